"""What capture records is what the model does, in NumPy and in PyTorch."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.decoder import Decoder, heldout_loss
from ndpsim.llm.model import LanguageModel
from ndpsim.llm.tokenizer import Tokenizer
from ndpsim.sparsity.capture import capture_in_memory, capture_text
from ndpsim.sparsity.trace import ActivationTrace

MODEL = LanguageModel.load(workloads_dir() / "models" / "relu-lm")
TEXT = MODEL.heldout_text()
DENSITIES = tomllib.loads((MODEL.folder / "densities.toml").read_text())
TOOLS = Path(__file__).parents[2] / "tools"


def test_a_captured_file_equals_brute_force(tmp_path: Path):
    reports = []
    path = tmp_path / "t.h5"
    assert capture_text(MODEL, TEXT, path, 60, lambda done, total: reports.append((done, total))) == 60
    assert reports == [(i, 60) for i in range(1, 61)]
    inputs = {}
    decoder = Decoder(MODEL)
    with ActivationTrace.read(path) as trace:
        assert (trace.tokens, trace.header.model) == (60, "relu-lm")
        assert list(trace.token_ids) == Tokenizer.of(MODEL).encode(TEXT)[:60]
        for token, token_id in enumerate(trace.token_ids):

            def dense(layer: int, x: np.ndarray) -> np.ndarray:
                inputs[layer] = x
                return MODEL.layer(layer, "w2") @ np.maximum(MODEL.layer(layer, "w1") @ x, 0)

            decoder.step(int(token_id), dense)
            for layer, x in inputs.items():
                hidden = MODEL.layer(layer, "w1") @ x
                assert list(trace.active(token, layer)) == [n for n in range(hidden.size) if hidden[n] > 0]


def test_capture_to_a_file_and_in_memory_agree(tmp_path: Path):
    capture_text(MODEL, TEXT, tmp_path / "a.h5", 300)
    capture_in_memory(MODEL, TEXT, 300).write(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_densities_file_matches_a_fresh_measurement_on_a_slice():
    found = capture_in_memory(MODEL, TEXT, 1500).statistics()
    for layer, recorded in zip(found.groups, DENSITIES["layer"], strict=True):
        assert layer.density == pytest.approx(recorded["density"], rel=0.15)
        assert layer.hottest_20 == pytest.approx(recorded["hottest_20"], rel=0.15)


@pytest.mark.slow
def test_the_densities_file_matches_a_fresh_measurement_of_everything():
    tokens = Tokenizer.of(MODEL).encode(TEXT)
    assert len(tokens) == DENSITIES["tokens"]
    assert heldout_loss(MODEL, tokens) == pytest.approx(DENSITIES["heldout_loss"], abs=2e-4)
    found = capture_in_memory(MODEL, TEXT, len(tokens)).statistics()
    for layer, recorded in zip(found.groups, DENSITIES["layer"], strict=True):
        figures = {name: value for name, value in layer._asdict().items() if not math.isnan(value)}
        assert figures == pytest.approx(recorded, abs=2e-4)


def test_most_neurons_are_silent():
    assert all(layer["density"] < 0.4 for layer in DENSITIES["layer"])


@pytest.mark.parametrize(("text", "tokens", "says"), [("", 5, "text: expected"), ("a", 0, "max_tokens: expected")])
def test_nothing_to_capture_is_refused(tmp_path: Path, text: str, tokens: int, says: str):
    with pytest.raises(InputError, match=says):
        capture_text(MODEL, text, tmp_path / "t.h5", tokens)
    assert not list(tmp_path.iterdir())


def test_hooks_on_the_pytorch_model_record_the_same_as_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(TOOLS)
    from capture_trace import capture, open_shipped

    tokens = MODEL.card.context
    capture(open_shipped(MODEL.folder), TEXT, "held-out text", tmp_path / "t.h5", tokens)
    ours = capture_in_memory(MODEL, TEXT, tokens)
    with ActivationTrace.read(tmp_path / "t.h5") as theirs:
        np.testing.assert_array_equal(theirs.token_ids, ours.token_ids)
        for layer in range(MODEL.card.layers):
            differing = theirs.fired(layer, 0, tokens) != ours.fired(layer, 0, tokens)
            # the two sum in another order, so that a value at the edge of zero may fall on the other side
            assert differing.mean() < 1e-4


def test_thresholds_reach_the_wanted_density_on_what_they_were_set_on(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(TOOLS)
    from capture_trace import calibrate

    rng = np.random.default_rng(0)
    parts = [[rng.random((50, 40)), rng.random((50, 8)) ** 3] for _ in range(3)]
    for layer, threshold in enumerate(calibrate(parts, 0.3)):
        assert np.mean([(part[layer] > threshold).mean() for part in parts]) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.slow
def test_smollm2_fires_at_about_the_calibrated_density(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in ("torch", "transformers", "gguf", "accelerate"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(TOOLS)
    from capture_trace import capture, open_smollm2

    try:
        model = open_smollm2()
    except InputError as error:
        pytest.skip(str(error))
    thresholds = capture(model, TEXT, "held-out text", tmp_path / "t.h5", 256, density=0.2, calibration_tokens=512)
    assert len(thresholds) == 30
    with ActivationTrace.read(tmp_path / "t.h5") as trace:
        assert trace.header.neurons == (1536,) * 30
        found = trace.statistics()
        assert found.spread("density").mean == pytest.approx(0.2, abs=0.03)
        assert found.spread("similarity_1").mean > found.spread("density").mean
