"""Definitions of studies: what ships is sound, what is not is refused in one sentence."""

import pytest

from ndpsim.errors import InputError
from ndpsim.studies import definition
from ndpsim.studies.definition import read_definition
from ndpsim.studies.dram_reference import Figure, Reference, reference
from ndpsim.studies.loaded_latency import LoadedLatency

SOUND = 'standards = ["DDR4-3200AA"]\nloads = [0.5]\nrequests = 10\nseed = 1\n[mixes]\nreads = 0.0\n'


@pytest.fixture
def written(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    monkeypatch.setattr(definition, "workloads_dir", lambda: tmp_path)

    def write(text):
        (tmp_path / "studies" / "x.toml").write_text(text)

    return write


def test_a_definition_is_read(written):
    written(SOUND)
    assert read_definition("x", LoadedLatency).mixes == {"reads": 0.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SOUND.replace("0.5", "1.5"), "loads.0: expected less than or equal to 1, found 1.5"),
        (SOUND.replace("seed = 1", ""), "seed: expected a value, found none"),
        (SOUND.replace("seed", "sed"), "sed: expected only known keys, found this one"),
        ("[", "expected a TOML file, found"),
    ],
)
def test_a_fault_is_named(written, text, says):
    written(text)
    with pytest.raises(InputError, match=says):
        read_definition("x", LoadedLatency)


def test_a_missing_definition_is_named(written):
    with pytest.raises(InputError, match=r"absent\.toml: expected a readable file, found"):
        read_definition("absent", LoadedLatency)


def test_a_ratio_outside_the_default_band_needs_a_reason_and_only_that():
    with pytest.raises(ValueError, match="a reason where a band differs"):
        Figure(cycles=1, ratio=(1.1, 1.2))
    with pytest.raises(ValueError, match="a reason where a band differs"):
        Figure(cycles=1, why="x")
    with pytest.raises(ValueError, match="one of: cycles, gb_per_s, latency"):
        Figure()


def test_a_reason_that_is_not_there_is_missed():
    raw = reference().model_dump()
    with pytest.raises(ValueError, match="reasons"):
        Reference.model_validate(raw | {"reasons": {}})
