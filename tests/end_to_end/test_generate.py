"""The shipped model writes the same tokens whether its feed-forward blocks run in DIMMs or densely in float32."""

import numpy as np
import pytest

from ndpsim.dimm.config import load_machine
from ndpsim.dram.checker.checker import check
from ndpsim.dram.standard.standard import load_standard
from ndpsim.functional.dimms import join_logs
from ndpsim.functional.ffn_offload import NEAR_TIE, FfnOffload
from ndpsim.llm.catalog import load_model
from ndpsim.llm.decoder import Decoder
from ndpsim.llm.tokenizer import Tokenizer

PROMPTS = [
    "The list", "A function that", "If the file", "Return the", "This module", "Changed in version",
    "The default value", "An exception is raised", "Dictionaries are", "In Python, a class",
]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return load_model("relu-lm")


@pytest.fixture(scope="module")
def tokenizer(model):
    return Tokenizer.of(model)


@pytest.fixture(scope="module")
def generations(model, tokenizer):
    system = FfnOffload(model, load_machine(dimms=4))
    return [(tokenizer.encode(prompt), system.generate(tokenizer.encode(prompt), 200)) for prompt in PROMPTS]


def test_ten_prompts_of_200_tokens_equal_the_dense_model_up_to_near_ties(model, generations):
    for prompt, result in generations:
        assert len(result.tokens) == 200
        dense = Decoder(model)
        for token in prompt[:-1]:
            dense.step(token)
        token = prompt[-1]
        for step, chosen in enumerate(result.tokens):
            logits = dense.step(token)
            best = int(logits.argmax())
            if chosen != best:
                assert logits[best] - logits[chosen] < NEAR_TIE
                assert step in [d.step for d in result.divergences], "a divergence that the command does not print"
            token = chosen
        assert result.matches_dense


def test_pytorch_agrees_too(model, generations):
    torch = pytest.importorskip("torch")
    weights = {name: torch.from_numpy(np.asarray(w)) for name, w in model.weights.items()}
    card = model.card

    def norm(x, gain):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + card.norm_eps) * gain

    def rotate(x, positions):
        half = x.shape[-1] // 2
        angle = positions[:, None, None] * card.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        cos, sin = angle.cos().float(), angle.sin().float()
        low, high = x.split(half, -1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)

    for prompt, result in generations:
        ids = torch.tensor(prompt + result.tokens[:-1])
        assert len(ids) <= card.context
        x = weights["embed"][ids]
        positions = torch.arange(len(ids), dtype=torch.float64)
        mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
        for i in range(card.layers):
            w = {n: weights[f"layers.{i}.{n}"] for n in ("attn_norm", "q", "k", "v", "o", "ffn_norm", "w1", "w2")}
            h = norm(x, w["attn_norm"])
            q, k, v = ((h @ w[n].T).view(len(ids), card.heads, -1) for n in "qkv")
            q, k = rotate(q, positions), rotate(k, positions)
            scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5 + mask
            x = x + torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(len(ids), -1) @ w["o"].T
            x = x + torch.relu(norm(x, w["ffn_norm"]) @ w["w1"].T) @ w["w2"].T
        logits = (norm(x, weights["final_norm"]) @ weights["embed"].T)[len(prompt) - 1 :]
        best = logits.max(-1)
        chosen = logits[torch.arange(len(result.tokens)), torch.tensor(result.tokens)]
        assert (best.values - chosen).max() < NEAR_TIE


def test_the_bytes_read_are_the_active_neurons_times_their_size(model, generations):
    for _, result in generations:
        neurons = round(sum(result.active_share) * model.card.d_ffn)
        assert result.figures()["dram_bytes"] == neurons * 2 * model.card.d_model * 2


def test_the_same_run_gives_the_same_tokens_and_the_same_times(model, tokenizer):
    runs = [FfnOffload(model, load_machine(dimms=4)).generate(tokenizer.encode("The list"), 12) for _ in range(2)]
    figures = [{k: v for k, v in run.figures().items() if k != "wall_s"} for run in runs]
    assert runs[0].tokens == runs[1].tokens
    assert figures[0] == figures[1]


def test_tokens_do_not_depend_on_the_placement_and_time_does(model, tokenizer):
    runs = [
        FfnOffload(model, load_machine(dimms=4, placement=name)).generate(tokenizer.encode("Return the"), 10)
        for name in ("interleaved", "row", "striped")
    ]
    assert runs[0].tokens == runs[1].tokens == runs[2].tokens
    assert len({run.figures()["simulated_s"] for run in runs}) == 3


@pytest.mark.parametrize("dimms", [1, 3, 8])
def test_any_number_of_dimms_writes_the_same_text(model, tokenizer, generations, dimms):
    result = FfnOffload(model, load_machine(dimms=dimms)).generate(generations[0][0], 20)
    assert result.tokens == generations[0][1].tokens[:20]


def test_computing_all_neurons_changes_no_token_and_reads_everything(model, tokenizer):
    ids = tokenizer.encode("This module")
    exact = FfnOffload(model, load_machine(dimms=4)).generate(ids, 8)
    everything = FfnOffload(model, load_machine(dimms=4), active="all").generate(ids, 8)
    assert everything.tokens == exact.tokens
    card = model.card
    assert everything.figures()["dram_bytes"] == 8 * card.layers * card.d_ffn * 4 * card.d_model


def test_the_whole_log_of_a_generation_is_legal_with_refreshes_across_programs(model, tokenizer):
    system = FfnOffload(model, load_machine(dimms=2), log=True)
    result = system.generate(tokenizer.encode("The list"), 8)
    log = join_logs(result.prompt_totals.logs + result.totals.logs)
    report = check(log, load_standard(log.standard))
    assert report.legal, report.counts
    assert result.figures()["commands"]["REF"] > 0


def test_balancing_by_frequency_writes_the_same_text(model, tokenizer, generations):
    system = FfnOffload(model, load_machine(dimms=4), balance="by_frequency")
    result = system.generate(generations[0][0], 20)
    assert result.tokens == generations[0][1].tokens[:20]


def test_a_temperature_draws_by_the_seed(model, tokenizer):
    system = FfnOffload(model, load_machine(dimms=1))
    ids = tokenizer.encode("The list")
    draws = [system.generate(ids, 16, temperature=1.0, seed=seed).tokens for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
