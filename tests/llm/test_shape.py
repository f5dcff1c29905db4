"""Model files: the shipped ones have the published sizes, and bad ones are refused with all their faults."""

import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import operators as oracle
from oracles.model_shapes import CONTENT, contents, precisions

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_model, load_shape, model_names, shape_names
from ndpsim.llm.shape import ModelShape, row_bytes, shape_from
from ndpsim.tables import read_toml

FOLDER = workloads_dir() / "models"
# Parameters of the published checkpoints (sums over their tensors, a tied output head once), or the count that the
# paper prints where there is no checkpoint: GPT-3, Chinchilla, OPT-175B. OPT-66B: the paper's, as a name.
PUBLISHED = {
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
    "opt-30b": 29_974_540_288,
    "opt-66b": 66_000_000_000,
    "opt-175b": 175_000_000_000,
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama2-70b": 68_976_648_192,
    "llama3.1-8b": 8_030_261_248,
    "llama3.1-70b": 70_553_706_496,
    "falcon-40b": 41_303_293_952,
    "gpt3-175b": 175_000_000_000,
    "chinchilla-70b": 70_000_000_000,
    "qwen-72b": 72_287_920_128,
    "smollm2-135m": 134_515_008,
    "relu-lm": 1_574_016,
}


def refusal(content, where="my.toml"):
    with pytest.raises(InputError) as caught:
        shape_from(content, where)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{where}: ") for line in lines)
    return [line.removeprefix(f"{where}: ") for line in lines]


def test_every_shipped_model_has_a_published_count():
    assert sorted(PUBLISHED) == shape_names()


@pytest.mark.parametrize("name", shape_names())
def test_parameters_are_within_half_a_percent_of_the_published_count(name):
    assert load_shape(name).parameters() == pytest.approx(PUBLISHED[name], rel=0.005)


@pytest.mark.parametrize("name", shape_names())
def test_a_shipped_model_has_the_name_of_its_file(name):
    assert load_shape(name).name == name


def test_the_model_with_weights_is_also_a_shape():
    assert model_names() == ["relu-lm"]
    weights = load_model("relu-lm").weights
    shape = load_shape("relu-lm")
    assert shape.parameters() == sum(tensor.size for tensor in weights.values())
    assert weights["layers.0.w1"].shape == (shape.ffn, shape.hidden)
    assert load_shape(str(FOLDER / "relu-lm")) == shape


def test_key_values_of_llama2_70b():
    shape = load_shape("llama2-70b")
    assert shape.kv_bytes_per_token() == 80 * 2 * 8 * 128 * 2
    assert shape.kv_bytes_per_token("int8") == 80 * 2 * 8 * (128 + 2)


@pytest.mark.parametrize(
    ("width", "precision", "size"),
    [
        (128, "fp16", 256),
        (128, "int8", 130),
        (128, "int4", 66),
        (129, "int4", 65 + 4),
        (1, "int4", 1 + 2),
        (4096, "int4", 2048 + 64),
    ],
)
def test_rows_carry_their_scales(width, precision, size):
    assert row_bytes(width, precision) == size


@given(contents(), precisions)
@settings(deadline=None)
def test_sizes_are_those_of_a_list_of_all_tensors(content, precision):
    shape = shape_from(content, "test")
    assert shape.parameters() == oracle.parameters(content)
    assert shape.weight_bytes(precision) == oracle.stored_bytes(content, precision)
    assert shape.kv_bytes_per_token(precision) == oracle.kv_bytes_per_token(content, precision)


@given(contents(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@settings(deadline=None)
def test_a_written_model_file_reads_back_equal(content, source):
    shape = shape_from(content | {"source": source}, "test")
    assert shape_from(tomllib.loads(shape.to_toml()), "test") == shape


def test_heads_have_keys_of_their_own_and_share_the_width_unless_the_file_says_otherwise():
    shape = shape_from(CONTENT, "test")
    assert (shape.kv_heads, shape.head_width) == (4, 4)
    assert shape_from(CONTENT | {"hidden": 18, "head_width": 6}, "test").head_width == 6


def test_overrides_are_checked_and_change_nothing_else():
    shape = load_shape("llama2-7b")
    relu = shape.with_overrides(activation="relu")
    assert relu.activation == "relu" and relu.with_overrides(activation="silu") == shape
    with pytest.raises(InputError) as caught:
        shape.with_overrides(kv_heads=5, activation="tanh", depth=3)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and all(line.startswith("model llama2-7b: ") for line in lines)


@pytest.mark.parametrize("field", [field for field in CONTENT if field != "name"])
def test_a_missing_entry_is_the_only_fault(field):
    assert refusal({key: value for key, value in CONTENT.items() if key != field}) == [
        f"{field}: expected a value, found none"
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"layers": -3}, "layers: expected greater than or equal to 1, found -3"),
        ({"layers": 0}, "layers: expected greater than or equal to 1, found 0"),
        ({"heads": 0}, "heads: expected greater than or equal to 1, found 0"),
        ({"heads": 4.0}, "heads: expected a valid integer, found 4.0"),
        ({"ffn": "24"}, "ffn: expected a valid integer, found '24'"),
        ({"vocab": 1 << 25}, "vocab: expected less than or equal to 16777216, found 33554432"),
        ({"gated": 1}, "gated: expected a valid boolean, found 1"),
        ({"layer": 3}, "layer: expected only known keys, found this one"),
        ({"activation": "Relu"}, "activation: expected 'relu', 'gelu' or 'silu', found 'Relu'"),
        ({"norm": "batch"}, "norm: expected 'layer' or 'rms', found 'batch'"),
        ({"biases": ["qkv", "head"]}, "biases.1: expected 'qkv', 'output' or 'ffn', found 'head'"),
        ({"biases": ["qkv"] * 2}, "biases: expected each kind of linear layer at most once, found ['qkv', 'qkv']"),
        ({"name": "a b"}, r"name: expected string to match pattern '^\w[\w.-]*$', found 'a b'"),
        ({"source": ""}, "source: expected string to have at least 1 character, found ''"),
        ({"kv_heads": 3}, "kv_heads: expected a divisor of heads = 4, found 3"),
        ({"kv_heads": 8}, "kv_heads: expected a divisor of heads = 4, found 8"),
        ({"hidden": 18}, "hidden: expected a multiple of heads = 4, or a head_width, found 18"),
        ({"hidden": 3}, "hidden: expected a multiple of heads = 4, or a head_width, found 3"),
        ({"hidden": 12}, "head_width: expected an even number, for rotary positions, found 3"),
        ({"head_width": 5}, "head_width: expected an even number, for rotary positions, found 5"),
        ({"position_offset": 2}, "position_offset: expected 0 unless positions are learned, found 2"),
    ],
)
def test_a_bad_entry_is_named_with_what_was_expected_and_found(change, fault):
    assert refusal(CONTENT | change) == [fault]


def test_all_faults_are_listed_at_once():
    content = CONTENT | {"layers": -1, "kv_heads": 3, "activatoin": "relu", "position_offset": 1}
    del content["vocab"], content["activation"]
    assert sorted(fault.split(":")[0] for fault in refusal(content)) == [
        "activation", "activatoin", "kv_heads", "layers", "position_offset", "vocab"
    ]  # fmt: skip


def test_the_file_is_named(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "bad"\nlayers = -3\n')
    with pytest.raises(InputError, match=re.escape(f"{path}: layers: expected greater than or equal to 1, found -3")):
        load_shape(str(path))
    path.write_text("layers =")
    with pytest.raises(InputError, match=re.escape(f"{path}: expected a TOML file, found: ")):
        load_shape(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=re.escape(f"{path}: expected a TOML file, found: ")):
        load_shape(str(path))
    with pytest.raises(InputError, match=r"none\.toml: expected a readable file, found: No such file"):
        load_shape(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", ["", "llama9", "../hardware", "LLAMA2-7B", "a\0b"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(InputError, match=r"expected one of chinchilla-70b, falcon-40b.*or a model file"):
        load_shape(name)


def test_a_model_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "opt-13b.toml").read_text().replace("opt-13b", "mine"))
    assert load_shape(str(path)) == load_shape("opt-13b").with_overrides(
        name="mine", source=load_shape(str(path)).source
    )
    assert ModelShape.model_validate(load_shape(str(path)).model_dump()) == load_shape(str(path))
    assert read_toml(path)["name"] == "mine"
