"""The frame of a decode step, worked by hand: who waits for whom, and what is counted as what.

The model has two layers of 64 values, 2 query heads of 32 that share one KV head, so that queries, keys and values
are 64 + 2 * 32 = 128 wide. A transfer over PCIe takes 0.5 us and 1 ns a byte. Times below are in microseconds, and
the GPU's and the DIMMs' are chosen.
"""

import numpy as np
import pytest
from baseline_support import devices

from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.gpu_layers import LayerTimes
from ndpsim.machine.ndp_model import ProgramSpan
from ndpsim.systems.parts import shared_layers
from ndpsim.systems.parts.shared_layers import GroupShare, LayerPlan, SharedLayers, TokenPlan
from ndpsim.systems.system import Job, NoPolicy

US = 1_000_000
SHAPE = load_shape("relu-lm").with_overrides(layers=2, hidden=64, heads=2, kv_heads=1, head_width=32, ffn=128)
#                    norm         qkv          output       norm          block        of two layers, and the head
TIMES = LayerTimes([1.0, 1.0], [2.0, 0.0], [3.0, 3.0], [1.0, 2.0], [4.0, 0.0], 5.0)  # type: ignore[arg-type]
ON_GPU = np.array([7, 9, 0, 0])


class Frame(SharedLayers):
    name = "frame"
    resident_bytes = 12

    def decode(self, step, now):
        raise AssertionError("the frame is called directly")


class Dimms:
    """Programs of chosen length: sparse ones, and when DIMM 0 is ready for the GPU's part; attention takes 1 us."""

    def __init__(self, lasts, partial, places):
        self.lasts, self.partial, self.places, self.calls = int(lasts * US), int(partial * US), places, []

    def sparse(self, kind, layer, rows, start, *, gpu, masks, sequences):
        self.calls.append((kind, layer, rows, masks, gpu, sequences))
        return ProgramSpan(start, start + self.lasts, start + self.partial)

    def attend(self, layer, contexts, start):
        self.calls.append(("attend", layer, contexts.tolist()))
        return ProgramSpan(start, start + US, start + US)

    def contexts(self, step):
        found = np.zeros(self.places, np.int64)
        found[list(step.places)] = step.contexts
        return found


@pytest.fixture
def frame(monkeypatch):
    def made(batch, lasts, partial):
        asked = []
        monkeypatch.setattr(shared_layers, "layer_times", lambda *arguments: asked.append(arguments) or TIMES)
        machine = devices(pcie_gb_per_s=1.0, pcie_us=0.5, dimm_count=2)
        link = machine.dimms.config.link
        slow = {"picoseconds_per_byte": link.picoseconds_per_byte.model_copy(update={"value": 4000}),
                "latency_ps": link.latency_ps.model_copy(update={"value": US})}  # fmt: skip
        object.__setattr__(machine.dimms.config, "link", link.model_copy(update=slow))
        system = Frame(Job(SHAPE, batch, 8, 8, lambda: None), machine, NoPolicy())
        system.dimms = Dimms(lasts, partial, batch)
        return system, asked

    return made


def plan(moved=0, busiest=0):
    shares = [GroupShare([f"rows {group}"], f"masks {group}") for group in range(4)]
    return TokenPlan(ON_GPU, [LayerPlan(*shares[:2]), LayerPlan(*shares[2:], moved, busiest)])


def us(accounts):
    return {name: time / US for name, time in accounts.items() if time}


def test_one_sequence_with_the_gpu_as_the_slower_side(frame):
    """Programs of 2 us, whose DIMM 0 is ready for the GPU's part after 1.5; 128 bytes of a hidden state take 0.628.

    Layer 0: the hidden state is there at 0.628, the GPU is done at 3.628, its 512 bytes are there at 4.64, which is
    3.14 later than DIMM 0 was ready: 5.14. Attention until 6.14. The projection has its input at 6.768 and is done at
    10.768; its output is in the DIMMs at 11.396. The GPU's part of the block is done at 14.768, and its 256 bytes are
    there at 15.524, 2.628 later than DIMM 0 was ready: 13.396 + 2.628 = 16.024. Layer 1: nothing on the GPU but a
    norm: QKV until 18.024, attention until 19.024, the projection from 19.652 to 24.652. Meanwhile 2,000 bytes go
    over the busiest bridge, at 4 ns a byte and after 1 us, until 28.652, and the output is in the DIMMs at 29.28; the
    block lasts until 31.28. The head begins at 31.908 and ends at 36.908.
    """
    system, asked = frame(1, 2, 1.5)
    done = system.run(Step((1,), (10,)), plan(moved=3000, busiest=2000), 0)
    meter = system.meter
    assert done.end == 36_908_000 and done.free == [4 * US, 5 * US]
    assert us(meter.operation) == pytest.approx({
        "qkv": 5.14 + 2, "attention": 2, "projection": 5.256 + 10.256, "ffn": 4.628 + 2, "head": 5.628,
    })  # fmt: skip
    assert sum(meter.operation.values()) == done.end
    assert us({" ".join(name): time for name, time in meter.busy.items()}) == pytest.approx({
        "gpu qkv": 3 + 1, "gpu projection": 4 + 5, "gpu ffn": 4, "gpu head": 5,
        "dimms qkv": 2 + 2, "dimms attention": 2, "dimms ffn": 2 + 2, "dimm-link remap": 9,
    })  # fmt: skip
    assert dict(meter.link) == {"h2d": 5 * 128, "d2h": 512 + 128 + 256 + 128, "remap": 3000}
    assert system.figures() == {"resident_bytes": 12}
    ((_, shape, batch, channels, neurons),) = asked
    assert (shape, batch, channels.tolist(), neurons.tolist()) == (SHAPE, 1, [7, 0], [9, 0])


def test_three_sequences_with_the_dimms_as_the_slower_side(frame):
    """Programs of 20 us, ready for the GPU's part after 15, before which it is there; 384 bytes take 0.884.

    Layer 0: QKV until 20, attention until 21, the projection from 21.884 to 25.884, in the DIMMs at 26.768, the block
    until 46.768. Layer 1: 66.768, 67.768, from 68.652 to 73.652, 74.536, 94.536. The head from 95.42 to 100.42.
    """
    system, asked = frame(3, 20, 15)
    done = system.run(Step((1, 1, 1), (10, 4, 7)), plan(), 0)
    assert done.end == 100_420_000
    assert us(system.meter.operation) == pytest.approx({
        "qkv": 40, "attention": 2, "projection": 5.768 + 6.768, "ffn": 40, "head": 5.884,
    })  # fmt: skip
    assert dict(system.meter.link) == {"h2d": 5 * 384, "d2h": 1536 + 384 + 768 + 384}
    assert asked[0][2] == 3
    masks = [f"masks {group}" for group in range(4)]
    assert system.dimms.calls == [
        ("attention", 0, ["rows 0"], masks[0], True, 3), ("attend", 0, [11, 5, 8]),
        ("ffn", 0, ["rows 1"], masks[1], True, 3),
        ("attention", 1, ["rows 2"], masks[2], False, 3), ("attend", 1, [11, 5, 8]),
        ("ffn", 1, ["rows 3"], masks[3], False, 3),
    ]  # fmt: skip


def test_two_of_three_sequences_are_a_batch_of_two_at_their_own_places(frame):
    system, asked = frame(3, 20, 15)
    system.run(Step((1, 1), (4, 7), sequences=(2, 0)), plan(), 0)
    assert [call[2] for call in system.dimms.calls if call[0] == "attend"] == [[8, 0, 5]] * 2
    assert {call[5] for call in system.dimms.calls if call[0] != "attend"} == {2} and asked[0][2] == 2
    assert system.meter.link["h2d"] == 5 * 256


def test_a_step_begins_when_it_is_asked_for_and_lasts_as_long(frame):
    early, late = (frame(1, 2, 1.5)[0].run(Step((1,), (10,)), plan(), now) for now in (0, 77 * US))
    assert late.end - early.end == 77 * US


def test_moves_within_the_projection_cost_nothing(frame):
    """1,000 bytes take 1 + 4 us, as long as the projection of layer 1."""
    ends = [frame(1, 2, 1.5)[0].run(Step((1,), (10,)), plan(2000, size), 0).end for size in (0, 1000, 1001)]
    assert ends[1] == ends[0] and ends[2] - ends[0] == 4000


def test_spans_lie_where_the_work_is_done(frame):
    system, _ = frame(1, 2, 1.5)
    system.run(Step((1,), (10,)), plan(moved=3000, busiest=2000), 0)
    spans = [(one.device, one.operation, one.layer, one.start / US, one.end / US) for one in system.meter.spans]
    assert spans == [
        ("gpu", "qkv", 0, 0.628, 3.628), ("dimms", "qkv", 0, 0, 2), ("dimms", "attention", 0, 5.14, 6.14),
        ("gpu", "projection", 0, 6.768, 10.768), ("gpu", "ffn", 0, 10.768, 14.768), ("dimms", "ffn", 0, 11.396, 13.396),
        ("gpu", "qkv", 1, 16.652, 17.652), ("dimms", "qkv", 1, 16.024, 18.024),
        ("dimms", "attention", 1, 18.024, 19.024),
        ("gpu", "projection", 1, 19.652, 24.652), ("dimm-link", "remap", 1, 19.652, 28.652),
        ("dimms", "ffn", 1, 29.28, 31.28), ("gpu", "head", -1, 31.908, 36.908),
    ]  # fmt: skip
