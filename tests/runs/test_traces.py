"""The trace of a run: generated and kept, or the part of a recorded one that the run uses."""

from pathlib import Path

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.kernels import code_digest
from ndpsim.llm.catalog import load_shape
from ndpsim.runs import traces
from ndpsim.runs.traces import generated_trace, recorded_trace
from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.generation.presets import load_preset
from ndpsim.sparsity.prediction.parents import correlation_table
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader

SHAPE = load_shape("relu-lm").with_overrides(layers=3, hidden=24, heads=2, kv_heads=2, ffn=40, head_width=12)
PAPER = load_preset("paper").for_model(SHAPE.name).model_dump(mode="json", exclude_none=True)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(traces, "_latest", {})


def test_the_key_of_what_is_kept_names_the_files_that_make_it_and_no_others(monkeypatch):
    counted = []
    digest = code_digest.code_digest
    monkeypatch.setattr(code_digest, "code_digest", lambda code: counted.append(code.co_filename) or digest(code))
    traces._makers.cache_clear()
    traces._makers()
    package = Path(traces.__file__).parents[1]
    found = {Path(file).relative_to(package).as_posix() for file in counted if file.endswith(".py")}
    generation = ("generator", "generator_kernel", "counter_hash", "hotness", "parameters", "presets")
    makers = {*(f"generation/{name}" for name in generation), "prediction/parents", "correlation"}
    assert {f"sparsity/{name}.py" for name in makers} | {"runs/traces.py", "jit.py"} <= found
    others = {f"sparsity/{name}.py" for name in ("prediction/predictor", "prediction/layout", "capture", "frequency")}
    assert not found & {*others, "errors.py", "kernels/kernel_cache.py", "runs/run.py"}


def test_the_key_changes_with_either_part_of_what_makes_it(monkeypatch):
    keys = set()
    for changed in ((), (traces.__name__,), traces._MAKERS):
        traces._makers.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(traces, "modules_digest", lambda names, changed=changed, **_: f"{names == changed}")
            keys.add(traces._makers())
    traces._makers.cache_clear()
    assert len(keys) == 3


def rows(trace):
    return [trace.packed(group, 0, trace.tokens) for group in range(trace.header.groups)]


def same(a, b):
    return a.header == b.header and all(np.array_equal(x, y) for x, y in zip(rows(a), rows(b), strict=True))


def test_a_generated_trace_comes_from_the_cache_the_second_time(monkeypatch):
    first, parents = generated_trace(SHAPE, PAPER, 8, 4, 2, seed=5)
    monkeypatch.setattr(ActivationGenerator, "rows", lambda *_: pytest.fail("made again"))
    assert generated_trace(SHAPE, PAPER, 8, 4, 2, seed=5)[0] is first  # the latest is at hand
    traces._latest.clear()
    again, same_parents = generated_trace(SHAPE, PAPER, 8, 4, 2, seed=5)
    assert same(first, again) and again.header.prompt_tokens == 8 and again.tokens == 12
    assert all(np.array_equal(a, b) for a, b in zip(parents, same_parents, strict=True))


def test_a_larger_batch_serves_a_smaller_one(monkeypatch):
    larger, _ = generated_trace(SHAPE, PAPER, 8, 4, 3, seed=5)
    monkeypatch.setattr(ActivationGenerator, "rows", lambda *_: pytest.fail("made again"))
    smaller, _ = generated_trace(SHAPE, PAPER, 8, 4, 2, seed=5)
    assert all(np.array_equal(a[:, :2], b) for a, b in zip(rows(larger), rows(smaller), strict=True))


def test_a_generated_trace_is_that_of_the_generator():
    preset = load_preset("paper")
    shape, parameters = NeuronShape(SHAPE.layers, SHAPE.hidden, SHAPE.ffn), preset.parameters(SHAPE.layers, SHAPE.name)
    expected = ActivationGenerator(shape, parameters, seed=5, run_tokens=preset.run_tokens.value).trace(12, 2)
    found, _ = generated_trace(SHAPE, PAPER, 8, 4, 2, seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(rows(expected), rows(found), strict=True))


def test_other_traces_are_others():
    first, _ = generated_trace(SHAPE, PAPER, 8, 4, 2, seed=5)
    sparser = {**PAPER, "ffn": {**PAPER["ffn"], "density": {"value": 0.1, "source": "test"}}}
    for other in ((SHAPE, PAPER, 8, 4, 2, 6), (SHAPE, sparser, 8, 4, 2, 5)):
        assert not same(first, generated_trace(*other)[0])


def recorded(tmp_path, kinds, tokens=20, sequences=2, prompt=0, shape=SHAPE):
    """Write a random trace; returns its path and what fires in it, bool[tokens, sequences, neurons] a group."""
    widths = {"attention": shape.hidden, "ffn": shape.ffn}
    places = [(layer, kind) for layer in range(shape.layers) for kind in kinds]
    random = np.random.default_rng(7)
    fired = [random.random((tokens, sequences, widths[kind])) < 0.4 for _, kind in places]
    header = TraceHeader(
        "any",
        tuple(widths[kind] for _, kind in places),
        "rule",
        "source",
        layer=tuple(layer for layer, _ in places),
        kind=tuple(kind for _, kind in places),
        sequences=sequences,
        prompt_tokens=prompt,
    )
    path = tmp_path / "recorded.h5"
    ActivationTrace.of(header, fired).write(path)
    return path, fired


def read(path, sequences=2, prompt=8, output=4, shape=SHAPE):
    return recorded_trace(path, "digest", shape, sequences, prompt, output)


def test_without_a_recorded_prompt_the_first_tokens_are_the_profile(tmp_path):
    path, fired = recorded(tmp_path, ("attention", "ffn"))
    trace, parents = read(path)
    assert (trace.tokens, trace.header.prompt_tokens, trace.header.sequences) == (12, 8, 2)
    assert np.array_equal(trace.fired(3, 0, 12, sequence=1), fired[3][:12, 1])
    expected = correlation_table(trace, 0, 8)
    assert all(np.array_equal(a, b) for a, b in zip(parents, expected, strict=True))


def test_a_longer_recorded_prompt_is_used_from_its_end(tmp_path):
    path, fired = recorded(tmp_path, ("attention", "ffn"), prompt=10)
    assert np.array_equal(read(path, prompt=8)[0].fired(1, 0, 12), fired[1][2:14, 0])


def test_without_attention_groups_all_channels_are_active(tmp_path):
    path, fired = recorded(tmp_path, ("ffn",))
    trace, parents = read(path, sequences=1)
    assert trace.header.kind == ("attention", "ffn") * 3 and trace.header.sequences == 1
    assert trace.header.preceding == (-1, -1, 0, 1, 2, 3)
    for layer in range(3):
        assert trace.fired(2 * layer, 0, 12).all() and (parents[2 * layer] == -1).all()
        assert np.array_equal(trace.fired(2 * layer + 1, 0, 12), fired[layer][:12, 0])
    assert (parents[3] >= 0).any()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"output": 13}, r"recorded.h5: expected 8 \+ 13 tokens, found 20"),
        ({"sequences": 3}, "recorded.h5: expected 3 sequences, found 2"),
        ({"shape": SHAPE.with_overrides(layers=2)}, "recorded.h5: expected the ffn groups of relu-lm, 2 layers of 40"),
        ({"shape": SHAPE.with_overrides(hidden=32)}, "and attention groups of 32 or none, found 6 groups of any"),
    ],
)
def test_a_trace_that_does_not_do_is_refused(tmp_path, options, wanted):
    path, _ = recorded(tmp_path, ("attention", "ffn"))
    with pytest.raises(InputError, match=wanted):
        read(path, **options)


def test_what_is_too_short_behind_its_prompt_says_so(tmp_path):
    path, _ = recorded(tmp_path, ("ffn",), prompt=12)
    with pytest.raises(
        InputError, match=r"expected 8 \+ 10 tokens behind token 4, where its prompt's last 8 tokens be"
    ):
        read(path, output=10)
