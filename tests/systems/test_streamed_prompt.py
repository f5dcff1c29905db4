"""A streamed prompt by hand: weights, computation and KV cache, each the longest once; two layers, PCIe at 1 GB/s.

Weights have 8,000 bytes (8 us); a token has 100 bytes of KV. The longest of the three runs through, and the other two
stick out by the share of one layer.
"""

from types import SimpleNamespace

import pytest

from ndpsim.llm.step import Step
from ndpsim.machine.meter import Meter
from ndpsim.machine.pcie import Pcie
from ndpsim.systems.parts import streamed_prompt as module
from ndpsim.systems.parts.streamed_prompt import StreamedPrompts

US = 1_000_000


class Streamed(StreamedPrompts):
    """Decodes in 5 us."""

    def decode(self, step, now):
        self.decoded.append((step, now))
        return now + 5 * US


def made(monkeypatch, compute_us):
    system = object.__new__(Streamed)
    system.decoded, system.meter = [], Meter()
    shape = SimpleNamespace(layers=2, weight_bytes=lambda: 8000, kv_bytes_per_token=lambda: 100)
    system.job = SimpleNamespace(shape=shape)
    system.devices = SimpleNamespace(gpu="gpu", pcie=Pcie(gb_per_s=1.0, us=99.0))
    monkeypatch.setattr(module, "graph", lambda shape, step: ("graph", step))
    monkeypatch.setattr(module, "step_microseconds", lambda gpu, of, operators: compute_us)
    return system


@pytest.mark.parametrize(
    ("compute_us", "tokens", "end"),
    [
        (3.0, (10, 10), 10.5),  # 8 of weights, 3 of computation and 2 of KV: 8 + (3 + 2) / 2
        (20.0, (10, 10), 25.0),  # 20 + (8 + 2) / 2
        (4.0, (100, 60), 22.0),  # KV of 160 tokens takes 16: 16 + (8 + 4) / 2
    ],
)
def test_the_longest_part_runs_through_and_the_others_stick_out_by_a_layer(monkeypatch, compute_us, tokens, end):
    system = made(monkeypatch, compute_us)
    assert system.forward(Step(tokens, (0, 0)), 50 * US) == (50 + end) * US
    assert system.meter.operation == {"prompt": end * US}
    assert system.meter.link == {"h2d": 8000, "d2h": 100 * sum(tokens)}  # of all sequences
    assert list(system.meter.spans) == [
        ("pcie", "prompt", -1, 50 * US, 58 * US),
        ("gpu", "prompt", -1, (50 + end - compute_us) * US, (50 + end) * US),
    ]
    assert not system.decoded


def test_a_chunk_behind_others_gets_what_they_cached_with_the_weights(monkeypatch):
    system = made(monkeypatch, 3.0)
    end = system.forward(Step((10, 10), (20, 0)), 0)
    assert system.meter.link == {"h2d": 8000 + 20 * 100, "d2h": 2000}
    assert end == (10 + (3 + 2) / 2) * US  # 10,000 bytes take 10


def test_a_step_runs_its_prompts_first_and_decodes_behind_them(monkeypatch):
    system = made(monkeypatch, 3.0)
    step = Step((20, 1), (0, 7), sequences=(1, 0))
    assert system.forward(step, 0) == (10.5 + 5) * US
    ((decodes, at),) = system.decoded
    assert at == 10.5 * US and decodes.places == (0,) and decodes.cached_tokens == (7,)
    assert system.meter.link["d2h"] == 2000


def test_a_step_of_decodes_has_no_prompt(monkeypatch):
    system = made(monkeypatch, 3.0)
    assert system.forward(Step((1,), (7,)), 3 * US) == 8 * US and not system.meter.operation
