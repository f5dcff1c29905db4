"""Result files: the same bytes for the same run, stopped on its way or not, and one sentence for all that is wrong."""

import io
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from processes import environment
from system_files import PLAIN, written

from ndpsim.errors import InputError
from ndpsim.report.figures import figures_of
from ndpsim.report.run_file import read_run, write_run
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup

OUTPUT = 12
ROOM = {"gpu.weights_gb": 0.0018}  # some neurons fit
SYSTEMS = [
    ("hermes", 1, {**ROOM, "policy.placement": "random"}),  # a model so small is best left to the DIMMs altogether
    ("hermes", 3, ROOM),
    ("hermes-base", 2, ROOM),
    ("hermes-host", 1, ROOM),
    ("accelerate", 1, {}),
    ("flexgen", 2, {}),
    ("deja-vu", 2, {}),
    ("gpu-only", 1, {}),
    ("tensor-parallel", 1, {"gpu.count": 2}),
]

CHECKSUMMED = {"libver": ("v110", "v110")}
"""Of `h5py.File`: the form of HDF5 whose damage is always noticed."""


def small(system="gpu-only", batch=1, changes=None):
    return Setup.of(str(system), "relu-lm", batch=batch, prompt=32, output=OUTPUT, changes=changes)


def advanced(setup, tokens=None):
    run = Run(setup)
    run.advance(tokens)
    return run


@pytest.mark.parametrize(("system", "batch", "changes"), SYSTEMS)
def test_a_stopped_run_ends_in_the_same_bytes(tmp_path, system, batch, changes):
    setup = small(system, batch, changes)
    write_run(tmp_path / "whole.h5", advanced(setup))
    whole = (tmp_path / "whole.h5").read_bytes()
    for tokens in (1, 4, 5, OUTPUT - 1):
        write_run(tmp_path / "part.h5", advanced(setup, tokens))
        again = read_run(tmp_path / "part.h5").restored()
        write_run(tmp_path / "same.h5", again)
        assert (tmp_path / "same.h5").read_bytes() == (tmp_path / "part.h5").read_bytes()
        again.advance()
        write_run(tmp_path / "resumed.h5", again)
        assert (tmp_path / "resumed.h5").read_bytes() == whole


def test_other_processes_write_the_same_bytes(tmp_path):
    setup = small("hermes", 2, ROOM)
    code = (
        "import sys\nfrom pathlib import Path\nfrom ndpsim.runs.run import Run\n"
        "from ndpsim.runs.setup import Setup\nfrom ndpsim.report.run_file import write_run\n"
        "run = Run(Setup.from_json(sys.stdin.read())); run.advance(); write_run(Path(sys.argv[1]), run)"
    )
    changed = environment(PYTHONHASHSEED="5", NUMBA_NUM_THREADS="1")
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "b.h5"], input=setup.to_json(), env=changed, check=True, text=True
    )
    write_run(tmp_path / "a.h5", advanced(setup))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_file_tells_all_of_a_run(tmp_path):
    run = advanced(small("hermes", 1, ROOM))
    write_run(tmp_path / "run.h5", run)
    found = read_run(tmp_path / "run.h5")
    assert found.complete and found.setup == run.setup and found.state == {}
    assert (found.prompt_ps, found.token_ps) == (run.prompt_ps, run.token_ps)
    assert json.dumps(found.figures) == json.dumps(figures_of(run))
    assert vars(found.meter) == vars(run.system.meter)


def test_no_time_of_day_is_in_a_file(tmp_path, monkeypatch):
    run = advanced(small())
    write_run(tmp_path / "a.h5", run)
    monkeypatch.setattr("time.time", lambda: 4e9)
    write_run(tmp_path / "b.h5", run)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_run_that_says_nothing_of_itself_can_be_written(tmp_path):
    text = "\n".join(line for line in PLAIN.splitlines() if "meter" not in line)
    run = advanced(small(written(tmp_path, text)), 3)
    write_run(tmp_path / "run.h5", run)
    assert len(read_run(tmp_path / "run.h5").meter.spans) == 0


def test_a_complete_run_is_not_gone_on_with(tmp_path):
    write_run(tmp_path / "run.h5", advanced(small()))
    with pytest.raises(InputError, match=r"run.h5: expected a partial run, found a complete one"):
        read_run(tmp_path / "run.h5").restored()


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    path = tmp_path_factory.mktemp("partial") / "run.h5"
    write_run(path, advanced(small("hermes", 1, ROOM), 5))
    return path.read_bytes()


def test_every_value_has_a_checksum(partial):
    with h5py.File(io.BytesIO(partial), "r") as file:
        assert all(values.fletcher32 for values in file.values() if values.shape)


def test_every_damaged_byte_is_noticed_or_does_not_matter(tmp_path, partial):
    path = tmp_path / "run.h5"
    path.write_bytes(partial)
    good = read_run(path)
    noticed = 0
    for at in range(0, len(partial), max(len(partial) // 150, 1)):
        path.write_bytes(partial[:at] + bytes([partial[at] ^ 0x15]) + partial[at + 1 :])
        try:
            found = read_run(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            noticed += 1
        else:
            assert found.setup == good.setup and found.token_ps == good.token_ps and found.figures == good.figures
            assert all(np.array_equal(one, found.state[name]) for name, one in good.state.items())
            assert vars(found.meter) == vars(good.meter)
    assert noticed > 75


def test_every_file_that_was_cut_short_is_refused(tmp_path, partial):
    path = tmp_path / "run.h5"
    for length in range(0, len(partial), len(partial) // 100):
        path.write_bytes(partial[:length])
        with pytest.raises(InputError, match=r"run.h5: expected "):
            read_run(path)


def changed(path, partial, change):
    """Write a file whose checksums are right and whose content was changed."""
    path.write_bytes(partial)
    with h5py.File(path, "r+", **CHECKSUMMED) as file:
        change(file)


def without(name):
    def change(file):
        del file[name]

    return change


def replaced(name, values):
    def change(file):
        del file[name]
        chunks = (max(len(values), 1),)
        file.create_dataset(name, data=values, chunks=chunks, maxshape=(None,), compression="gzip")

    return change


def text(content):
    return np.frombuffer(content.encode(), np.uint8)


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    "change",
    [
        without("setup"),
        without("names"),
        without("timeline.end"),
        without("state.003"),
        replaced("setup", text("{}")),
        replaced("setup", text("no json")),
        replaced("figures", text("[")),
        replaced("names", text("{}")),
        replaced(
            "names", text('{"devices": [], "operations": [], "busy": [], "operation": [], "link": [], "events": []}')
        ),
        replaced("state", text("3")),
        replaced("token_ps", np.zeros(OUTPUT - 1, np.int64)),
        replaced("token_ps", np.zeros(3)),
        attribute("version", 9),
        attribute("complete", 1),
        attribute("prompt_ps", "x"),
        attribute("format", np.array(b"other", h5py.string_dtype("utf-8", 5))),
    ],
)
def test_foreign_content_is_refused_in_a_sentence(tmp_path, partial, change):
    path = tmp_path / "run.h5"
    changed(path, partial, change)
    with pytest.raises(InputError, match=r"run.h5: ") as caught:
        read_run(path)
    assert "\n" not in str(caught.value)


def test_the_state_of_another_run_is_refused(tmp_path, partial):
    table = json.dumps([["system.other", "<i8", [2]]])
    changed(tmp_path / "run.h5", partial, replaced("state", text(table)))
    changed_again = tmp_path / "run.h5"
    with h5py.File(changed_again, "r+", **CHECKSUMMED) as file:
        replaced("state.000", np.zeros(2, np.int64))(file)
    with pytest.raises(InputError, match=r"run.h5: state: expected the arrays of a run of hermes, found others"):
        read_run(changed_again).restored()


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"other.h5: expected a"):
        read_run(path)
