"""Engines with made-up steps, for tests."""

import numpy as np

from ndpsim.serving.engine import Engine
from ndpsim.serving.profile import EngineProfile
from ndpsim.serving.state import Limits
from ndpsim.serving.workload import Workload

HOST = {"value": 0.0, "source": "a test"}
COUNT = {"value": 1, "source": "a test"}


def profile(step_us=0.0, step_sequence_us=0.0, front_end_us=0.0, ahead=False):
    return EngineProfile(
        name="a test", step_us={**HOST, "value": step_us}, step_sequence_us={**HOST, "value": step_sequence_us},
        front_end_us={**HOST, "value": front_end_us}, block_tokens=COUNT, max_num_seqs=COUNT,
        max_num_batched_tokens=COUNT, swapping={"value": False, "source": "a test"}, step_workers_us=HOST,
        activations_gb=HOST, async_scheduling={"value": ahead, "source": "a test"},
    )  # fmt: skip


class Timer:
    """A step takes longer for new tokens, and for cached ones."""

    def forward(self, step, now):
        return now + 1000 + 37 * step.tokens + sum(step.cached_tokens)


def requests(*rows, prefix_tokens=0, prefixes=None):
    """Return a workload of rows (arrival, prompt, output[, priority])."""
    arrival, prompt, output, priority = (np.array(c, np.int64) for c in zip(*((*r, 0)[:4] for r in rows), strict=True))
    if prefixes is None:
        return Workload(arrival, prompt, output, priority)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in prefixes])])
    return Workload(arrival, prompt, output, priority, prefix_tokens, np.concatenate(prefixes), starts)


def engine(work, made=None, **limits):
    """Return an engine; without other limits, blocks of 4 tokens for all that can come."""
    limits = {"block_tokens": 4, "kv_blocks": 1000, "max_num_seqs": 4, "max_num_batched_tokens": 16, **limits}
    return Engine(work, Limits(**limits), made or profile(), np.arange(limits.get("swap_blocks", 0) + 1) * 500)


def steps(made, timer=None):
    """Run an engine to its end; return of each step the new and the cached tokens of each request."""
    found = []
    while made.done < len(made.workload):
        counts = made.state.counts
        step = made.step(timer or Timer())
        found.append(((), ()) if step is None else (step.new_tokens, step.cached_tokens))
        assert len(found) < 10_000 and counts[0] <= made.limits.max_num_seqs
    return found
