"""The driver: systems by tables and step by step, and what it keeps of a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_support import engine, requests

from ndpsim.errors import InputError
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.serving import scheduler
from ndpsim.serving import served as rec
from ndpsim.serving.engine import _copies, serve
from ndpsim.serving.profile import load_profile, profile_names
from ndpsim.serving.served import bin_of, interval_of, new_records, note_load
from ndpsim.serving.state import Limits

LIMITS = Limits(kv_blocks=9, max_num_seqs=6, max_num_batched_tokens=64)


def system(name, model="relu-lm", **changes):
    return Run(Setup.of(name, model, batch=6, prompt=60, output=30, changes=changes)).system


def load(count=12):
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.integers(0, 10**8, count)).tolist()
    return requests(*zip(arrivals, rng.integers(1, 60, count), rng.integers(1, 30, count), strict=True))


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("name", ["gpu-only", "tensor-parallel"])
def test_a_system_by_tables_is_served_as_step_by_step(name, monkeypatch):
    made = system(name)
    tables = serve(made, load(), LIMITS, load_profile("vllm-0.19"))
    monkeypatch.setattr(type(made), "step_times", lambda *_: None)
    assert tables.preemptions.sum() > 0  # places come and go
    assert same(tables, serve(made, load(), LIMITS, load_profile("vllm-0.19")))


@pytest.mark.parametrize("name", ["hermes", "hermes-base", "flexgen"])
def test_every_system_serves_requests_that_come_and_go(name):
    served = serve(system(name), load(6), LIMITS, load_profile("vllm-0.19"))
    again = serve(system(name), load(6), LIMITS, load_profile("vllm-0.19"))
    assert (served.last_token >= served.first_token).all() and (served.first_token > served.arrival).all()
    assert same(served, again)


@pytest.mark.parametrize("name", ["gpu-only", "hermes-base"])
def test_devices_are_as_busy_however_steps_are_asked_for_and_a_timeline_is_kept_if_wanted(name):
    quick, told = system(name), system(name)
    served = serve(quick, load(6), LIMITS, load_profile("vllm-0.19"))
    assert same(served, serve(told, load(6), LIMITS, load_profile("vllm-0.19"), timeline=True))
    assert quick.meter.device_ps("gpu") == told.meter.device_ps("gpu") > 0
    assert len(quick.meter.spans) == 0 < len(told.meter.spans)


class OneAtATime:
    """Lets a single request run."""

    def schedule(self, rules, state, kv, now):
        scheduler.schedule(rules._replace(most_sequences=1), state, kv, now)

    def complete(self, rules, state, kv, end):
        scheduler.complete(rules, state, kv, end)


def test_a_system_brings_its_own_scheduler(monkeypatch):
    made = system("gpu-only")
    monkeypatch.setattr(type(made), "scheduler", lambda _: OneAtATime())
    served = serve(made, load(), LIMITS, load_profile("vllm-0.19"))
    assert served.load[:, rec.RUNNING].max() == 1 and (np.diff(served.last_token) > 0).all()


@pytest.mark.parametrize(("name", "found"), [("gpu-only", 48), ("hermes-base", 0)])
def test_only_systems_with_blocks_share_those_of_a_common_prefix(name, found):
    prefixes = [[1, 2, 3, 4], [1, 2, 3, 5]]
    work = requests((0, 60, 2), (10**12, 60, 2), prefix_tokens=16, prefixes=prefixes)
    assert serve(system(name), work, LIMITS, load_profile("vllm-0.19")).cached.tolist() == [0, found]


def test_swapping_takes_the_time_of_the_link_and_saves_computing():
    limits = Limits(9, 6, 64, swapping=True, swap_blocks=20)
    made = system("gpu-only")
    swapped, again = (serve(made, load(), one, load_profile("vllm-0.19")) for one in (limits, LIMITS))
    assert swapped.swapped > 0 == again.swapped
    assert same(swapped, serve(made, load(), limits, load_profile("vllm-0.19"), timeline=True))  # step by step
    size = 16 * made.job.shape.kv_bytes_per_token()
    assert _copies(made, limits)[:3].tolist() == [0, *(made.devices.pcie.picoseconds(n * size) for n in (1, 2))]
    with pytest.raises(InputError, match="swap_blocks: expected at most 0, what a second tier holds"):
        serve(system("hermes-base"), load(), limits, load_profile("vllm-0.19"))


def test_more_than_the_system_is_ready_for_is_refused():
    with pytest.raises(InputError, match="kv_blocks: expected at most 33, what the dimm holds, found 40"):
        serve(system("hermes-base"), load(), Limits(40, 6), load_profile("vllm-0.19"))
    with pytest.raises(InputError, match="max_num_seqs: expected at most 6 sequences of 90 tokens, found 7 of"):
        serve(system("gpu-only"), load(), Limits(40, 7), load_profile("vllm-0.19"))


def test_the_profiles_that_ship_can_be_read():
    assert "vllm-0.19" in profile_names()
    for name in profile_names():
        assert load_profile(name).block_tokens.value == 16
    with pytest.raises(InputError, match="engine 'none': expected one of"):
        load_profile("none")


@given(st.integers(0, 1 << 60))
def test_a_time_between_tokens_is_kept_to_a_thousandth(interval):
    found = int(interval_of(np.array([bin_of(interval)]))[0])
    assert abs(found - interval) * 1024 <= max(interval, 0)


def test_load_is_thinned_to_every_second_step_again_and_again():
    made, records = engine(requests((0, 1, 1))), new_records()
    for now in range(3 * rec.POINTS):
        note_load(records, made.state, made.kv, now)
    kept = records.points[: records.place[rec.KEPT], rec.TIME]
    assert kept.tolist() == list(range(0, 3 * rec.POINTS, 4))
