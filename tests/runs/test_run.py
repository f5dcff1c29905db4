"""The driver of a run in lockstep: which steps a system gets, at which times, and what is measured of them."""

import hashlib

import numpy as np
import pytest
from system_files import written

from ndpsim.errors import InputError
from ndpsim.machine.meter import Meter
from ndpsim.runs import run as module
from ndpsim.runs.run import MOST_PS, Run, _too_long
from ndpsim.runs.setup import Setup

RECORDER = """
import numpy as np
from ndpsim.systems.system import System

class Recorder(System):
    name = "recorder"

    def __init__(self, job, devices, policy):
        super().__init__(job, devices, policy)
        self.heard, self.hot = [], np.arange(3)

    def enter(self, sequence):
        self.heard.append(("enter", sequence))

    def forward(self, step, now):
        self.heard.append((step.new_tokens, step.cached_tokens, now))
        self.hot += 1
        return now + (1000 if step.decodes is None else 10 * len(self.heard))

    def state(self):
        return {"hot": self.hot.copy()}

    def restore(self, state):
        self.hot[:] = state["hot"]
"""


@pytest.fixture
def setup(tmp_path):
    """Two sequences, prompts of 16 tokens, outputs of 4."""
    return Setup.of(str(written(tmp_path, RECORDER)), "relu-lm", batch=2, prompt=16, output=4)


def test_a_run_is_the_prompt_and_then_a_pass_for_each_later_token(setup):
    run, told = Run(setup), []
    assert (run.tokens, run.complete, run.prompt_ps, run.now_ps) == (0, False, None, 0)
    run.advance(tell=told.append)
    # the prompt is the third thing that is heard; passes take 10 ps for each thing heard by then
    assert run.system.heard == [
        ("enter", 0),
        ("enter", 1),
        ((16, 16), (0, 0), 0),
        ((1, 1), (16, 16), 1000),
        ((1, 1), (17, 17), 1040),
        ((1, 1), (18, 18), 1090),
    ]
    assert (run.prompt_ps, run.token_ps, run.now_ps) == (1000, [40, 50, 60], 1150)
    assert (run.tokens, run.complete, told) == (4, True, [1, 2, 3, 4])
    assert run.sequences.tokens.tolist() == [19, 19]


def test_a_run_goes_on_by_as_many_tokens_as_are_asked_for_and_no_further(setup):
    run, told = Run(setup), []
    run.advance(1, told.append)
    assert (run.tokens, run.prompt_ps, run.token_ps) == (1, 1000, [])
    run.advance(2, told.append)
    assert (run.tokens, run.token_ps, run.complete) == (3, [40, 50], False)
    run.advance(5, told.append)
    assert (run.tokens, run.complete, told) == (4, True, [1, 2, 3, 4])
    run.advance(1, told.append)
    run.advance()
    assert run.tokens == 4 and told == [1, 2, 3, 4]


def test_a_restored_run_stands_where_the_other_one_came_to(setup):
    first, second = Run(setup), Run(setup)
    first.advance(3)
    meter = Meter()
    meter.spend("all", 5)
    second.restore(1000, [40, 50], meter, first.state())
    assert (second.tokens, second.prompt_ps, second.token_ps, second.now_ps) == (3, 1000, [40, 50], 1090)
    assert second.sequences.tokens.tolist() == [18, 18] and second.system.meter.operation == {"all": 5}
    assert second.system.hot.tolist() == [3, 4, 5] == first.system.hot.tolist()
    second.advance()
    assert second.system.heard[-1] == ((1, 1), (18, 18), 1090) and second.now_ps == 1090 + 30


@pytest.mark.parametrize(
    ("state", "wrong"),
    [
        ({}, "system.hot"),
        ({"system.hot": np.arange(3), "system.cold": np.arange(3)}, "system.cold"),
        ({"system.hot": np.arange(3.0)}, "system.hot"),
        ({"system.hot": np.zeros((3, 1), np.int64)}, "system.hot"),
    ],
)
def test_another_state_is_refused(setup, state, wrong):
    with pytest.raises(InputError, match=f"state: expected the arrays of a run of recorder, found others: {wrong}"):
        Run(setup).restore(1000, [], Meter(), state)


def test_a_run_hands_its_lengths_its_machine_and_its_trace_to_the_system(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "generated_trace", lambda *arguments: asked.append(arguments) or "a trace")
    path = str(written(tmp_path, RECORDER))
    run = Run(Setup.of(path, "relu-lm", batch=2, prompt=16, output=4, seed=7, changes={"model.layers": 2}))
    job = run.system.job
    assert (job.batch, job.prompt, job.output, job.capacity) == (2, 16, 4, 20)
    assert job.shape.layers == 2 and run.system.devices is run.devices
    assert job.activations() == "a trace" and asked == [(job.shape, run.setup.preset, 16, 4, 2, 7)]


def test_a_run_with_a_trace_of_the_users_reads_that(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "recorded_trace", lambda *arguments: asked.append(arguments) or "a trace")
    (tmp_path / "trace.h5").write_bytes(b"abc")
    path = str(written(tmp_path, RECORDER))
    run = Run(Setup.of(path, "relu-lm", batch=2, prompt=16, output=4, trace=tmp_path / "trace.h5"))
    assert run.system.job.activations() == "a trace"
    ((file, digest, *rest),) = asked
    assert (file, digest) == (tmp_path / "trace.h5", hashlib.sha256(b"abc").hexdigest())
    assert rest == [run.job.shape, 2, 16, 4]
    (tmp_path / "trace.h5").write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"trace.h5: expected the file of the run"):
        Run(run.setup)


def test_the_longest_simulated_time_leaves_room_for_a_sum_of_two():
    assert np.iinfo(np.int64).max == 2 * MOST_PS - 1
    assert "at most 53 days" in str(_too_long())  # 4.6 million seconds
