"""What a result file says, read field by field with h5py, beside the run made by hand."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hand_made_run import hand_made_run

from ndpsim.report.figures import figures_of
from ndpsim.report.run_file import read_run, write_run
from ndpsim.runs.setup import Setup

STATE = {"system.hot": np.array([[1, 2, 3], [4, 5, 6]], np.uint16), "ndp.timer.now_ps": np.array([77])}


@pytest.fixture
def written(tmp_path):
    """A function that writes a run made by hand and returns attributes, arrays and JSON of the file."""

    def write(**changes):
        run = hand_made_run(**changes)
        run.setup.to_json = lambda: '{"made": "up"}'
        run.state = lambda: STATE
        path = tmp_path / "run.h5"
        write_run(path, run)
        with h5py.File(path) as file:
            arrays = {name: file[name][:] for name in file}
            texts = {name: json.loads(arrays.pop(name).tobytes()) for name in list(arrays)
                     if name in ("setup", "figures", "names", "state")}  # fmt: skip
            return SimpleNamespace(run=run, attributes=dict(file.attrs), arrays=arrays, texts=texts)

    return write


def test_a_complete_run_is_written_as_it_was_measured(written):
    found = written()
    assert found.attributes == {"format": b"ndpsim-run", "version": 2, "complete": 1, "prompt_ps": 2_000_000}
    assert {name: one.tolist() for name, one in found.arrays.items()} == {
        "token_ps": [500_000, 300_000, 700_000],
        "timeline.device": [0, 1, 0, 2, 3, 0, 1, 4],
        "timeline.operation": [0, 0, 1, 2, 3, 3, 4, 5],
        "timeline.layer": [-1, -1, 0, 0, 1, 1, 1, 1],
        "timeline.start": [0, 0, 2_000_000, 2_200_000, 2_100_000, 2_900_000, 3_200_000, 3_300_000],
        "timeline.end": [2_000_000, 400_000, 2_200_000, 2_550_000, 3_500_000, 3_200_000, 3_300_000, 3_400_000],
    }
    assert {name: one.dtype.name for name, one in found.arrays.items()} == {
        "token_ps": "int64", "timeline.device": "uint16", "timeline.operation": "uint16", "timeline.layer": "int32",
        "timeline.start": "int64", "timeline.end": "int64",
    }  # fmt: skip
    assert found.texts == {
        "setup": {"made": "up"},
        "figures": json.loads(json.dumps(figures_of(found.run))),
        "names": {
            "devices": ["gpu", "pcie", "cpu", "dimms", "dimm-link"],
            "operations": ["prompt", "qkv", "attention", "ffn", "hidden", "remap"],
            "busy": [  # places of the device and of the operation in the lists above
                [0, 0, 2_000_000], [1, 0, 400_000], [0, 1, 200_000], [2, 2, 350_000], [3, 3, 1_400_000],
                [0, 3, 300_000], [1, 4, 100_000], [4, 5, 100_000],
            ],
            "operation": [["prompt", 2_000_000], ["qkv", 200_000], ["attention", 350_000], ["ffn", 950_000]],
            "link": [["h2d", 1500], ["d2h", 24], ["remap", 640]],
            "events": [["swaps", 7]],
        },
    }  # fmt: skip


def test_a_partial_run_keeps_its_state_with_name_type_and_shape(written):
    found = written(token_ps=(500_000, 300_000))
    assert found.attributes["complete"] == 0
    assert found.arrays["token_ps"].tolist() == [500_000, 300_000]
    assert found.texts["state"] == [["system.hot", "<u2", [2, 3]], ["ndp.timer.now_ps", "<i8", [1]]]
    assert found.arrays["state.000"].tolist() == [1, 2, 3, 4, 5, 6] and found.arrays["state.001"].tolist() == [77]


def test_a_file_is_read_as_it_was_written(tmp_path):
    run = hand_made_run(token_ps=(500_000, 300_000))
    setup = Setup.of("gpu-only", "relu-lm", batch=3, prompt=17, output=4)
    run.setup, run.state = setup, lambda: STATE
    write_run(tmp_path / "run.h5", run)
    found = read_run(tmp_path / "run.h5")
    assert (found.path, found.setup, found.complete) == (tmp_path / "run.h5", setup, False)
    assert (found.prompt_ps, found.token_ps) == (2_000_000, [500_000, 300_000])
    assert found.figures == json.loads(json.dumps(figures_of(run)))
    assert vars(found.meter) == vars(run.system.meter) and list(found.meter.spans) == list(run.system.meter.spans)
    assert {name: (one.dtype, one.tolist()) for name, one in found.state.items()} == {
        name: (one.dtype, one.tolist()) for name, one in STATE.items()
    }
