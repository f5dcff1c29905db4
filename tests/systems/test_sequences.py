"""Sequences come and go, each at a context of its own; a step that cannot be is refused."""

from itertools import pairwise

import numpy as np
import pytest
from baseline_support import system

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.runs.traces import generated_trace
from ndpsim.systems.cards.gpu_only import GpuOnly
from ndpsim.systems.catalog import SYSTEMS, load_system
from ndpsim.systems.hermes.hermes import Hermes
from ndpsim.systems.sequences import Sequences
from ndpsim.tables import read_toml

SHAPE = load_shape("relu-lm").with_overrides(layers=2)
PROMPT, OUTPUT, BATCH = 12, 6, 3
PAPER = read_toml(workloads_dir() / "sparsity" / "paper.toml")
DENSE = 2 * (SHAPE.layers * SHAPE.hidden**2 + SHAPE.vocab * SHAPE.hidden)


@pytest.fixture(scope="module")
def trace():
    found = generated_trace(SHAPE, PAPER, PROMPT, OUTPUT, BATCH, seed=5)
    return lambda: found


def made(kind, trace, **more):
    options = {"gpu_weights_gb": (DENSE + 200_000) * 1e-9} if "hermes" in kind.name else {}
    if kind.name == "deja-vu":
        options = {"policy": {"predictor_rank": 8}}
    if kind.name.startswith("hermes"):
        options["dimm_count"] = 2
    return system(kind, SHAPE, batch=BATCH, prompt=PROMPT, output=OUTPUT, activations=trace, **{**options, **more})


def entered(kind, trace, **more):
    sequences = Sequences(made(kind, trace, **more))
    for place in range(BATCH):
        sequences.enter(place)
    return sequences


@pytest.mark.parametrize("name", SYSTEMS)
def test_sequences_join_and_leave_every_system_while_others_decode(name, trace):
    """Place 0 decodes while 2 reads its prompt in two chunks; 0 leaves, and its place is used again."""
    sequences = Sequences(made(load_system(name), trace))
    half, now = PROMPT // 2, 0
    sequences.enter(0)
    ends = [
        sequences.forward(Step((PROMPT,), (0,), sequences=(0,)), now),
    ]
    sequences.enter(2)
    for step in (
        Step((1, half), (PROMPT, 0), logits=1, sequences=(0, 2)),
        Step((half, 1), (half, PROMPT + 1), sequences=(2, 0)),
        Step((1,), (PROMPT,), sequences=(2,)),
    ):
        ends.append(sequences.forward(step, ends[-1]))
    sequences.leave(0)
    sequences.enter(0)
    ends.append(sequences.forward(Step((3, 1), (0, PROMPT + 1), logits=1, sequences=(0, 2)), ends[-1]))
    assert all(end > begin for begin, end in pairwise(ends))
    assert sequences.tokens.tolist() == [3, -1, PROMPT + 2] and sequences.kv_tokens == PROMPT + 5
    assert sum(sequences.system.meter.operation.values()) == ends[-1]


@pytest.mark.parametrize("name", ["hermes", "hermes-base", "hermes-host", "deja-vu"])
def test_a_mixed_step_is_its_prompts_and_then_its_decodes(name, trace):
    mixed, apart = (entered(load_system(name), trace) for _ in range(2))
    begin = [one.forward(Step((PROMPT,), (0,), sequences=(1,)), 0) for one in (mixed, apart)]
    together = mixed.forward(Step((1, PROMPT), (PROMPT, 0), sequences=(1, 0)), begin[0])
    prompt = apart.forward(Step((PROMPT,), (0,), sequences=(0,)), begin[1])
    assert together == apart.forward(Step((1,), (PROMPT,), sequences=(1,)), prompt)
    assert mixed.system.meter.busy == apart.system.meter.busy
    assert mixed.system.meter.link == apart.system.meter.link


def test_each_sequence_is_predicted_at_its_own_place_in_the_trace(trace):
    """What is computed for a sequence does not depend on who else decodes, nor on how far they are."""
    still = {"adjust": False, "remap": False, "placement": "random"}
    alone, among = (entered(Hermes, trace, policy=still) for _ in range(2))
    now = among.forward(Step((PROMPT,) * 2, (0, 0), sequences=(0, 2)), 0)
    now = among.forward(Step((1,), (PROMPT,), sequences=(0,)), now)
    among.forward(Step((1, 1), (PROMPT + 1, PROMPT), sequences=(0, 2)), now)
    now = alone.forward(Step((PROMPT,), (0,), sequences=(2,)), 0)
    alone.forward(Step((1,), (PROMPT,), sequences=(2,)), now)
    found, expected = among.system.neurons.computed[1], alone.system.neurons.computed[0]
    assert found.tolist() == expected.tolist() and found.any()
    masks = among.system.neurons.layout.sequence_masks(trace()[0], [0, 2], [PROMPT + 1, PROMPT])
    assert among.system.neurons.active.tolist() == masks.tolist()
    assert masks[0].tolist() != masks[1].tolist()


def test_a_place_that_is_used_again_starts_with_the_states_of_its_prompt(trace):
    sequences = entered(Hermes, trace)
    begin = sequences.system.neurons.predictors[1].states.copy()
    now = sequences.forward(Step((PROMPT,), (0,), sequences=(1,)), 0)
    for token in range(3):
        now = sequences.forward(Step((1,), (PROMPT + token,), sequences=(1,)), now)
    assert sequences.system.neurons.predictors[1].states.tolist() != begin.tolist()
    sequences.leave(1)
    sequences.enter(1)
    assert sequences.system.neurons.predictors[1].states.tolist() == begin.tolist()


def test_the_dimms_attend_to_each_context_alone(trace):
    """Keys and values of 18 and of 13 tokens, read once and the new ones written, in whole bursts; no other place."""
    sequences = entered(load_system("hermes-base"), trace, gpu_weights_gb=24)
    now = sequences.forward(Step((PROMPT + 5, PROMPT), (0, 0), sequences=(0, 2)), 0)
    assert sequences.system.ndp.dram_bytes.sum() == 0
    sequences.forward(Step((1, 1), (PROMPT + 5, PROMPT), sequences=(0, 2)), now)
    burst = -(-2 * SHAPE.head_width // 64) * 64
    tokens = (PROMPT + 6) + (PROMPT + 1) + 2
    assert sequences.system.ndp.dram_bytes.sum() == 2 * SHAPE.layers * SHAPE.kv_heads * burst * tokens


def test_a_chunk_brings_back_what_the_chunks_before_it_have_cached(trace):
    sequences = entered(load_system("hermes-base"), trace)
    link, token, weights = sequences.system.meter.link, SHAPE.kv_bytes_per_token(), SHAPE.weight_bytes()
    sequences.forward(Step((5,), (0,), logits=0), 0)
    assert (link["h2d"], link["d2h"]) == (weights, 5 * token)
    sequences.forward(Step((7,), (5,)), 0)
    assert (link["h2d"], link["d2h"]) == (2 * weights + 5 * token, 12 * token)


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (Step((1,), (4,), sequences=(2,)), "sequence 2: expected one that has entered, found none"),
        (Step((1,), (4,), sequences=(3,)), "sequence 3: expected one that has entered, found none"),
        (Step((1,), (3,)), "sequence 0: expected 4 cached tokens, found 3"),
        (Step((15,), (4,)), "sequence 0: expected at most 18 tokens, found 19"),
    ],
)
def test_a_step_that_cannot_be_is_refused(step, wanted):
    sequences = Sequences(system(GpuOnly, SHAPE, batch=3, prompt=PROMPT, output=OUTPUT))
    sequences.enter(0)
    sequences.forward(Step((4,), (0,)), 0)
    with pytest.raises(InputError, match=wanted):
        sequences.forward(step, 10**12)
    assert sequences.tokens.tolist() == [4, -1, -1]


def test_a_place_holds_one_sequence_at_a_time():
    sequences = Sequences(system(GpuOnly, SHAPE, batch=2, prompt=PROMPT, output=OUTPUT))
    sequences.enter(1)
    for place in (1, 2, -1):
        with pytest.raises(InputError, match="sequence: expected a free place of 2, found"):
            sequences.enter(place)
    with pytest.raises(InputError, match="sequence 0: expected one that has entered, found none"):
        sequences.leave(0)
    assert np.count_nonzero(sequences.tokens == -1) == 1
