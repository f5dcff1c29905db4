"""Shapes from config.json: every family against the shape that ships or the published count, and what is refused."""

import json
import re

import pytest

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.hugging_face import from_hugging_face, read_config

LLAMA2_70B = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 8192,
    "initializer_range": 0.02,
    "intermediate_size": 28672,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": 32000,
}
SMOLLM2_135M = {
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "vocab_size": 49152,
}
MISTRAL_NEMO = {
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 40,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "vocab_size": 131072,
}
QWEN2_7B = {
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
OPT_13B = {
    "_remove_final_layer_norm": False,
    "activation_function": "relu",
    "do_layer_norm_before": True,
    "ffn_dim": 20480,
    "hidden_size": 5120,
    "max_position_embeddings": 2048,
    "model_type": "opt",
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
    "vocab_size": 50272,
    "word_embed_proj_dim": 5120,
}
FALCON_40B = {
    "alibi": False,
    "bias": False,
    "hidden_size": 8192,
    "model_type": "falcon",
    "multi_query": True,
    "new_decoder_architecture": True,
    "num_attention_heads": 128,
    "num_hidden_layers": 60,
    "num_kv_heads": 8,
    "parallel_attn": True,
    "vocab_size": 65024,
}
FALCON_7B = {
    "alibi": False,
    "bias": False,
    "hidden_size": 4544,
    "model_type": "falcon",
    "multi_query": True,
    "new_decoder_architecture": False,
    "num_attention_heads": 71,
    "num_hidden_layers": 32,
    "parallel_attn": True,
    "vocab_size": 65024,
}
FALCON_RW_1B = {
    "alibi": True,
    "bias": True,
    "hidden_size": 2048,
    "model_type": "falcon",
    "multi_query": False,
    "new_decoder_architecture": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 24,
    "parallel_attn": False,
    "vocab_size": 50304,
}
GPT2 = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
}


@pytest.mark.parametrize(
    ("config", "name"),
    [(LLAMA2_70B, "llama2-70b"), (SMOLLM2_135M, "smollm2-135m"), (OPT_13B, "opt-13b"), (FALCON_40B, "falcon-40b")],
)
def test_a_config_gives_the_shape_that_ships(config, name):
    assert from_hugging_face(config, name).with_overrides(source=load_shape(name).source) == load_shape(name)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (MISTRAL_NEMO, 12_247_782_400),
        (QWEN2_7B, 7_615_616_512),
        (FALCON_7B, 6_921_720_704),
        (FALCON_RW_1B, 1_311_625_216),
        (GPT2, 124_439_808),
    ],
)
def test_a_config_gives_the_parameters_of_its_published_checkpoint(config, parameters):
    assert from_hugging_face(config, "x").parameters() == parameters


def test_blocks_and_heads_of_the_falcons():
    shapes = [from_hugging_face(config, "x") for config in (FALCON_40B, FALCON_7B, FALCON_RW_1B)]
    assert [shape.block for shape in shapes] == ["parallel_two_norms", "parallel_one_norm", "sequential"]
    assert [shape.kv_heads for shape in shapes] == [8, 1, 32]
    assert [shape.positions for shape in shapes] == ["rotary", "rotary", "alibi"]
    one_norm = from_hugging_face(FALCON_40B | {"num_ln_in_parallel_attn": 1}, "x")
    assert one_norm.block == "parallel_one_norm"


def test_biases_follow_the_config():
    assert from_hugging_face(LLAMA2_70B | {"attention_bias": True, "mlp_bias": True}, "x").biases == (
        "qkv", "output", "ffn"
    )  # fmt: skip
    assert from_hugging_face(OPT_13B | {"enable_bias": False}, "x").biases == ()
    assert from_hugging_face(QWEN2_7B, "x").biases == ("qkv",)


def test_null_means_what_the_class_makes_of_it():
    config = LLAMA2_70B | {"num_key_value_heads": None, "head_dim": None}
    assert from_hugging_face(config, "x").kv_heads == 64
    assert from_hugging_face(MISTRAL_NEMO | {"num_key_value_heads": None}, "x").kv_heads == 32
    assert from_hugging_face(GPT2 | {"n_inner": None}, "x").ffn == 4 * 768
    assert refusal(LLAMA2_70B | {"vocab_size": None}) == ["c.json: vocab_size: expected 1 to 16777216, found none"]


@pytest.mark.parametrize(
    ("kind", "parameters", "context"),
    [
        # each class without arguments: LlamaConfig() is Llama 7B, MistralConfig() is Mistral 7B with its window, ...
        ("llama", 6_738_415_616, 2048),
        ("mistral", 7_241_732_096, 4096),
        ("qwen2", 12_049_846_272, 32768),
        ("opt", 125_239_296, 2048),
        ("falcon", 6_921_720_704, 2048),
        ("gpt2", 124_439_808, 1024),
    ],
)
def test_keys_that_are_left_out_have_the_defaults_of_their_class(kind, parameters, context):
    shape = from_hugging_face({"model_type": kind}, "x")
    assert (shape.parameters(), shape.context) == (parameters, context)


def test_a_mistral_without_kv_heads_has_eight():
    config = {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 32768, "hidden_act": "silu",
        "tie_word_embeddings": False,
    }  # fmt: skip
    shape = from_hugging_face(config, "x")
    assert shape.kv_heads == 8
    assert shape.parameters() == 7_241_732_096
    assert "; num_key_value_heads 8, sliding_window 4096 by the defaults of transformers; " in shape.source
    assert shape.source.endswith("; context ends with sliding_window: 4096 of 32768 tokens")


def test_a_context_ends_with_the_window():
    assert from_hugging_face(MISTRAL_NEMO, "x").context == 131072
    assert from_hugging_face(MISTRAL_NEMO | {"sliding_window": 4096}, "x").context == 4096
    assert from_hugging_face(MISTRAL_NEMO | {"sliding_window": 1 << 18}, "x").context == 131072
    assert from_hugging_face(QWEN2_7B | {"use_sliding_window": True, "sliding_window": 1024}, "x").context == 1024
    assert from_hugging_face(QWEN2_7B | {"sliding_window": 1024}, "x").context == 131072
    assert refusal(MISTRAL_NEMO | {"sliding_window": 0}) == ["c.json: sliding_window: expected 1 to 16777216, found 0"]


def test_other_names_of_keys_are_known():
    config = {"model_type": "gpt2", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    assert from_hugging_face(config, "x").parameters() == 354_823_168  # gpt2-medium
    assert from_hugging_face(FALCON_7B | {"n_embed": 71 * 128}, "x").hidden == 71 * 128


def refusal(config):
    with pytest.raises(InputError) as caught:
        from_hugging_face(config, "x", "c.json")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("config", "change", "says"),
    [
        (OPT_13B, {"word_embed_proj_dim": 512}, "word_embed_proj_dim: expected 5120 (projections of the embedding"),
        (OPT_13B, {"do_layer_norm_before": False}, "do_layer_norm_before: expected true (norms after the blocks"),
        (OPT_13B, {"_remove_final_layer_norm": True}, "_remove_final_layer_norm: expected false ("),
        (OPT_13B, {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine: expected true ("),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention: expected false (attention to an encoder"),
        (FALCON_40B, {"parallel_attn": False}, "parallel_attn: expected true (the new architecture in sequence"),
        (FALCON_40B, {"num_ln_in_parallel_attn": 3}, "num_ln_in_parallel_attn: expected 1 or 2, found 3"),
        (LLAMA2_70B, {"hidden_act": "relu2"}, "hidden_act: expected one of relu, gelu, gelu_new"),
        (LLAMA2_70B, {"num_hidden_layers": -1}, "num_hidden_layers: expected 1 to 16777216, found -1"),
        (LLAMA2_70B, {"num_hidden_layers": True}, "num_hidden_layers: expected 1 to 16777216, found True"),
        (LLAMA2_70B, {"tie_word_embeddings": "no"}, "tie_word_embeddings: expected true or false, found 'no'"),
        (LLAMA2_70B, {"num_key_value_heads": 5}, "kv_heads: expected a divisor of heads = 64, found 5"),
        (LLAMA2_70B, {"model_type": "mamba"}, "model_type: expected one of llama, mistral, qwen2, opt, falcon, gpt2"),
        (LLAMA2_70B, {"model_type": None}, "model_type: expected one of llama"),
        (LLAMA2_70B, {"model_type": ["llama"]}, "model_type: expected one of llama"),
    ],
)
def test_what_a_shape_cannot_say_is_refused_in_one_line(config, change, says):
    (line,) = refusal(config | change)
    assert line.startswith(f"c.json: {says}")


def test_faults_of_sizes_and_of_keys_come_together():
    lines = refusal(LLAMA2_70B | {"num_key_value_heads": 5, "vocab_size": 0, "hidden_act": None})
    assert [line.split(": ")[1] for line in lines] == ["vocab_size", "hidden_act", "kv_heads"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "expected a JSON file"), ("[1]", "expected one JSON object, found list"), ("[" * 10**5, "expected a JSON")],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, says):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{path}: {says}")):
        read_config(path, "x")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: expected a readable file, found: No such file"):
        read_config(tmp_path / "config.json", "x")


def test_a_file_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT2))
    assert read_config(path, "gpt2").parameters() == 124_439_808
