"""Batches up to 256 run in every system."""

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup

BATCHES = [1, 31, 32, 33, 64, 255, 256]
SHAPE = load_shape("relu-lm").with_overrides(layers=2)
SMALL = {"model.layers": 2, "dimm.count": 2}


def ran(system, batch, **changes):
    small = {"model.layers": 2} if system == "gpu-only" else SMALL
    run = Run(Setup.of(system, "relu-lm", batch=batch, prompt=4, output=3, changes={**small, **changes}))
    run.advance()
    return run


@pytest.mark.parametrize(
    "system", ["hermes", "hermes-base", "hermes-host", "deja-vu", "flexgen", "accelerate", "gpu-only"]
)
def test_batches_up_to_256_run(system):
    times = []
    for batch in BATCHES:
        run = ran(system, batch)
        assert run.complete and min(run.token_ps) > 0
        times.append(sum(run.token_ps))
    assert times[0] < times[-1] < 256 * times[0]


@pytest.mark.parametrize("batch", BATCHES)
def test_hermes_base_multiplies_all_weights_for_every_sequence(batch):
    """On a card without room for neurons; attention of tokens 5 and 6 over as many."""
    dense = 2 * (2 * SHAPE.hidden**2 + SHAPE.vocab * SHAPE.hidden)
    run = ran("hermes-base", batch, **{"gpu.weights_gb": (dense + 1) * 1e-9})
    projection = SHAPE.hidden * (SHAPE.attention_width + 2 * SHAPE.kv_width)
    block = SHAPE.ffn * (2 + SHAPE.gated) * SHAPE.hidden
    attended = 2 * SHAPE.attention_width * (5 + 6)
    assert run.system.ndp.work.macs_f16 == batch * SHAPE.layers * (2 * (projection + block) + attended)


@pytest.mark.parametrize("batch", [1, 33, 256])
def test_hermes_multiplies_what_the_predictors_say_and_the_card_does_not_hold(batch, monkeypatch):
    run = Run(Setup.of("hermes", "relu-lm", batch=batch, prompt=4, output=3, changes=SMALL))
    neurons, macs, seen = run.system.neurons, [], run.system.neurons.predict
    widths = [SHAPE.attention_width + 2 * SHAPE.kv_width, (2 + SHAPE.gated) * SHAPE.hidden] * SHAPE.layers

    def predict(places, tokens):
        seen(places, tokens)
        cold = neurons.computed & ~neurons.resident
        macs.append(sum(int(neurons.layout.counts(one) @ np.array(widths)) for one in cold))

    monkeypatch.setattr(neurons, "predict", predict)
    run.advance()
    attended = batch * SHAPE.layers * 2 * SHAPE.attention_width * (5 + 6)
    assert len(macs) == 2 and min(macs) > 0
    assert run.system.ndp.work.macs_f16 == sum(macs) + attended


def test_a_batch_of_257_is_refused():
    with pytest.raises(InputError, match="batch: expected 1 to 256, found 257"):
        Setup.of("hermes", "relu-lm", batch=257, prompt=4, output=3)
