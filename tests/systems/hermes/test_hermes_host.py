"""Hermes-host on a model small enough to run at once, against the same steps by hand."""

from itertools import pairwise

import numpy as np
import pytest
from baseline_support import ends, system
from steps import prompt, token

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.machine.cpu import cpu_picoseconds
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.runs.traces import generated_trace
from ndpsim.systems.hermes.host import HermesHost
from ndpsim.tables import read_toml

SHAPE = load_shape("relu-lm").with_overrides(layers=2)
DENSE = 2 * (SHAPE.layers * SHAPE.hidden**2 + SHAPE.vocab * SHAPE.hidden)
PROMPT, OUTPUT = 32, 7
CHANNEL = 2 * 3 * SHAPE.hidden  # a slice of queries, keys and values
NEURON = 2 * 2 * SHAPE.hidden
PRESET = read_toml(workloads_dir() / "sparsity" / "paper.toml")


@pytest.fixture(scope="module")
def traces():
    return {batch: generated_trace(SHAPE, PRESET, PROMPT, OUTPUT, batch, 3) for batch in (1, 3)}


def made(traces, batch=1, room=200_000, **policy):
    """A random placement: a model so small gains nothing on the GPU, which the others would see."""
    return system(
        HermesHost, SHAPE, batch=batch, prompt=PROMPT, output=OUTPUT, activations=lambda: traces[batch],
        policy={"placement": "random", **policy}, gpu_weights_gb=(DENSE + room) * 1e-9,
    )  # fmt: skip


def copy_ps(size):
    return int((2.0 + size / 64e3) * 1e6)


def by_hand(run, context):
    """The token that the system ran last, with what it predicted."""
    batch, layout = run.job.batch, run.neurons.layout
    cpu, computed, resident = run.devices.config.cpu, run.neurons.computed, run.neurons.resident
    flags = layout.flags(computed)
    held = layout.flags(resident[None])[0]
    start = cpu_picoseconds(cpu, 0, 0)

    def host(group, size, operators):
        mine = flags[:, layout.of(group)] & ~held[layout.of(group)]
        read, multiplied = int(mine.any(axis=0).sum()), int(mine.sum())
        flops = multiplied * size  # two FLOPs for each of size / 2 weights
        return (cpu_picoseconds(cpu, read * size, flops) + (operators - 1) * start, read)

    counts = [int((flags.any(axis=0) & held)[layout.of(g)].sum()) for g in range(4)]
    times = layer_times(run.devices.gpu, SHAPE, batch, np.array(counts[0::2]), np.array(counts[1::2]))
    d = SHAPE.hidden
    now = 0
    for layer in range(2):
        norm, qkv, output, norm2, block = (int(column[layer] * 1e6) for column in times[:-1])
        cold, read = host(2 * layer, CHANNEL, 1)
        assert read and counts[2 * layer]
        now += norm + max(copy_ps(2 * batch * d) + cold, qkv + copy_ps(4 * batch * 3 * d))
        cache = 2 * 2 * d * batch * context
        now += cpu_picoseconds(cpu, cache, 4 * batch * context * d) + copy_ps(2 * batch * d)
        now += output + norm2
        cold, read = host(2 * layer + 1, NEURON, 2)
        assert read and counts[2 * layer + 1]
        now += max(block, copy_ps(2 * batch * d) + cold + copy_ps(4 * batch * d))
    return now + int(times.head * 1e6)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_token_is_made_of_the_slower_of_gpu_and_host(traces, batch):
    run = made(traces, batch, adjust=False)
    now = prompt(run)
    for number in range(OUTPUT):
        end = token(run, number, now)
        assert end - now == pytest.approx(by_hand(run, PROMPT + number + 1), abs=20)
        now = end


@pytest.mark.parametrize("batch", [1, 3])
def test_operations_add_up_and_devices_do_one_thing_at_a_time(traces, batch):
    run = made(traces, batch)
    ends(run)
    assert set(run.meter.operation) == {"prompt", "qkv", "attention", "projection", "ffn", "head"}
    for device in ("gpu", "cpu"):
        spans = sorted((one.start, one.end) for one in run.meter.spans if one.device == device)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_without_room_on_the_gpu_the_host_computes_all_that_is_predicted(traces):
    run = made(traces, room=0)
    ends(run)
    assert run.figures()["resident_bytes"] == 0 and not run.meter.link["swap"]
    fixed = made(traces, room=400_000, adjust=False)
    ends(fixed)
    assert fixed.meter.busy["cpu", "ffn"] < run.meter.busy["cpu", "ffn"]


def test_swaps_have_the_bytes_that_pcie_offers_during_each_projection(traces):
    """The projection and its norm follow from the GPU model, and 64 GB/s from the machine; no swap is larger."""
    swapping, still = made(traces), made(traces, adjust=False)
    seen, swap = [], swapping.neurons.residency.swap

    def watched(hot, states, most_bytes):
        swaps = swap(hot, states, most_bytes)
        seen.append((swaps.bytes.tolist(), list(most_bytes)))
        return swaps

    swapping.neurons.residency.swap = watched
    for run in (swapping, still):
        ends(run)
    none = np.zeros(2, np.int64)
    times = layer_times(swapping.devices.gpu, SHAPE, 1, none, none)
    most = [int((int(a * 1e6) + int(b * 1e6)) * 64 / 1e3) for a, b in zip(times.output, times.ffn_norm, strict=True)]
    assert [offered for _, offered in seen] == [most] * (OUTPUT - 1)
    assert all(copied <= room for bytes_, offered in seen for copied, room in zip(bytes_, offered, strict=True))
    assert swapping.meter.link["swap"] == sum(sum(bytes_) for bytes_, _ in seen) > 0
    assert not still.meter.link["swap"]


def test_a_run_that_stopped_goes_on_as_if_it_had_not(traces):
    whole = ends(made(traces))
    first, second = made(traces), made(traces)
    now = prompt(first)
    for number in range(3):
        now = token(first, number, now)
    second.restore(first.state())
    for number in range(3, OUTPUT - 1):
        now = token(second, number, now)
    assert now == whole[-1]


def test_a_host_without_room_for_the_cache_is_refused(traces):
    shape = load_shape("llama2-70b")  # 138 GB, of 206 in six DIMMs
    with pytest.raises(InputError, match=r"dimm\.count: expected DIMMs with room for 138\.0 GB of weights and \d+"):
        system(HermesHost, shape, batch=255, prompt=1000, output=24, dimm_count=6)
