"""Tokens of shared layers worked by hand: GPU and DIMMs take chosen times, PCIe 1 us and 1 us more each 100 bytes.

All times are in microseconds here.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from ndpsim.llm.step import Step
from ndpsim.machine.gpu_layers import LayerTimes
from ndpsim.machine.meter import Meter
from ndpsim.machine.ndp_model import ProgramSpan
from ndpsim.machine.pcie import Pcie
from ndpsim.systems.parts import shared_layers as module
from ndpsim.systems.parts.shared_layers import GroupShare, LayerPlan, SharedLayers, TokenPlan

US = 1_000_000


class Frame(SharedLayers):
    """The frame without a plan of its own."""

    resident_bytes = 0

    def decode(self, step, now):
        raise NotImplementedError


class Dimms:
    """DIMMs whose programs take chosen times: (end, partial result) by operation and layer, from the start on."""

    def __init__(self, spans):
        self.spans, self.asked = spans, []

    def contexts(self, step):
        return np.array(step.contexts)

    def _span(self, name, layer, start):
        end, partial = self.spans[name, layer]
        return ProgramSpan(start, start + int(end * US), start + int(partial * US))

    def sparse(self, kind, layer, rows, start, *, gpu, masks, sequences):
        self.asked.append((kind, layer, rows, gpu, masks, sequences))
        return self._span(kind, layer, start)

    def attend(self, layer, contexts, start):
        self.asked.append(("attend", layer, contexts.tolist()))
        return self._span("attend", layer, start)


def frame(monkeypatch, layers, dimms, asked=None):
    """A frame of layers: (norm, qkv, output, norm, block) on the GPU each; the head takes 9."""
    made = object.__new__(Frame)
    columns = [np.array(column, float) for column in zip(*layers, strict=True)]

    def layer_times(*arguments):
        if asked is not None:
            asked.append(arguments)
        return LayerTimes(*columns, 9.0)

    monkeypatch.setattr(module, "layer_times", layer_times)
    value = SimpleNamespace
    made.shape = value(layers=len(layers), hidden=100, attention_width=80, kv_width=20)
    made.job, made.gpu, made.dimms, made.meter = value(shape=made.shape), "gpu", Dimms(dimms), Meter()
    link = value(picoseconds_per_byte=value(value=20_000), latency_ps=value(value=500_000))
    made.devices = value(pcie=Pcie(gb_per_s=0.1, us=1.0), dimms=value(config=value(link=link)))
    return made


def in_us(spans):
    return [(one.device, one.operation, one.layer, one.start / US, one.end / US) for one in spans]


def test_a_token_of_one_sequence(monkeypatch):
    """The state of a sequence has 200 bytes (3 us), sums of QKV 480 (5.8 us), those of the block 400 (5 us).

    Layer 0: the state is on the GPU at 103, which computes QKV until 115; its sums are back at 120.8. The DIMMs would
    take them at 110 and be done at 112: done at 122.8. Attention until 126.8; on the GPU at 129.8, which projects until
    137.8. Meanwhile 600 bytes over the busiest bridge take 12.5: until 142.3, and with the state back at 145.3. The
    block: the GPU until 157.8, back at 162.8; the DIMMs take that at 170.3 and are done at 175.3, so that none waits.
    Layer 1, of which the GPU has no neurons: DIMMs until 176.3, attention until 180.3, projection from 183.3 to 191.3,
    back at 194.3, block until 200.3. The head: from 203.3 to 212.3.
    """
    dimms = {
        ("attention", 0): (12, 10), ("attend", 0): (4, 4), ("ffn", 0): (30, 25),
        ("attention", 1): (1, 1), ("attend", 1): (4, 4), ("ffn", 1): (6, 6),
    }  # fmt: skip
    asked = []
    made = frame(monkeypatch, [(2, 10, 7, 1, 20), (2, 0, 7, 1, 0)], dimms, asked)
    plan = TokenPlan(
        np.array([5, 6, 0, 0]),
        [
            LayerPlan(GroupShare("a"), GroupShare("b"), moved=1000, busiest=600),
            LayerPlan(GroupShare("c"), GroupShare("d")),
        ],
    )
    done = made.run(Step((1,), (7,)), plan, 100 * US)
    assert done.end == 212_300_000 and done.free == [8 * US, 8 * US]
    assert {name: time / US for name, time in made.meter.operation.items()} == {
        "qkv": 22.8 + 1, "attention": 4 + 4, "projection": 18.5 + 14, "ffn": 30 + 6, "head": 12,
    }  # fmt: skip
    assert made.meter.link == {"h2d": 5 * 200, "d2h": 480 + 200 + 400 + 200, "remap": 1000}
    assert in_us(made.meter.spans) == [
        ("gpu", "qkv", 0, 103, 115),
        ("dimms", "qkv", 0, 100, 112),
        ("dimms", "attention", 0, 122.8, 126.8),
        ("gpu", "projection", 0, 129.8, 137.8),
        ("dimm-link", "remap", 0, 129.8, 142.3),
        ("gpu", "ffn", 0, 137.8, 157.8),
        ("dimms", "ffn", 0, 145.3, 175.3),
        ("gpu", "qkv", 1, 178.3, 180.3),  # its norm alone
        ("dimms", "qkv", 1, 175.3, 176.3),
        ("dimms", "attention", 1, 176.3, 180.3),
        ("gpu", "projection", 1, 183.3, 191.3),
        ("dimms", "ffn", 1, 194.3, 200.3),
        ("gpu", "head", -1, 203.3, 212.3),
    ]
    assert {place: time / US for place, time in made.meter.busy.items()} == {
        ("gpu", "qkv"): 14, ("gpu", "projection"): 16, ("gpu", "ffn"): 20, ("gpu", "head"): 9,
        ("dimms", "qkv"): 13, ("dimms", "attention"): 8, ("dimms", "ffn"): 36, ("dimm-link", "remap"): 12.5,
    }  # fmt: skip
    assert made.dimms.asked == [
        ("attention", 0, "a", True, None, 1), ("attend", 0, [8]), ("ffn", 0, "b", True, None, 1),
        ("attention", 1, "c", False, None, 1), ("attend", 1, [8]), ("ffn", 1, "d", False, None, 1),
    ]  # fmt: skip
    ((gpu, shape, batch, channels, neurons),) = asked
    assert (gpu, shape, batch) == ("gpu", made.shape, 1)
    assert channels.tolist() == [5, 0] and neurons.tolist() == [6, 0]


def test_a_token_of_three_sequences_with_the_gpu_as_the_slower_side(monkeypatch):
    """States have 600 bytes (7 us), sums of QKV 1440 (15.4 us), those of the block 1200 (13 us).

    QKV on the GPU from 7 to 19, back at 34.4, 24.4 after the DIMMs would take it: done at 36.4. Attention until 40.4,
    projection from 47.4 to 55.4, back at 62.4. The block on the GPU until 75.4, back at 88.4, 1 after the DIMMs would
    take it: done at 93.4. The head: from 100.4 to 109.4.
    """
    dimms = {("attention", 0): (12, 10), ("attend", 0): (4, 4), ("ffn", 0): (30, 25)}
    made = frame(monkeypatch, [(2, 10, 7, 1, 20)], dimms)
    plan = TokenPlan(np.array([5, 6]), [LayerPlan(GroupShare("a", "masks a"), GroupShare("b", "masks b"))])
    done = made.run(Step((1, 1, 1), (7, 4, 9), sequences=(3, 1, 0)), plan, 0)
    assert done.end / US == 109.4 and done.free == [8 * US]
    assert {name: time / US for name, time in made.meter.operation.items()} == {
        "qkv": 36.4, "attention": 4, "projection": 22, "ffn": 31, "head": 16,
    }  # fmt: skip
    assert made.meter.link == {"h2d": 3 * 600, "d2h": 1440 + 600 + 1200}
    assert ("dimms", "ffn", 0, 62.4, 92.4) in in_us(made.meter.spans)
    assert made.dimms.asked == [
        ("attention", 0, "a", True, "masks a", 3), ("attend", 0, [8, 5, 10]), ("ffn", 0, "b", True, "masks b", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("moved", "busiest", "projection"),
    [
        (0, 0, 14.0),  # on the GPU at 1 + 3, projected at 12, back at 15
        (10, 10, 14.0),  # bridges are done at 4.7
        (900, 400, 14.5),  # at 4 + 8 + 0.5
        (900, 900, 24.5),  # at 4 + 18 + 0.5
    ],
)
def test_the_block_begins_when_the_busiest_bridge_and_the_projection_are_done(monkeypatch, moved, busiest, projection):
    dimms = {("attention", 0): (1, 1), ("attend", 0): (0, 0), ("ffn", 0): (0, 0)}
    made = frame(monkeypatch, [(0, 0, 8, 0, 0)], dimms)
    made.run(
        Step((1,), (7,)), TokenPlan(np.zeros(2, int), [LayerPlan(GroupShare("a"), GroupShare("b"), moved, busiest)]), 0
    )
    assert made.meter.operation["projection"] / US == projection
    assert made.meter.link.get("remap", 0) == moved
