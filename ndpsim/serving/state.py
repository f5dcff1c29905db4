"""What the scheduler works on, as arrays: requests, limits, and who runs, waits and holds which blocks.

Sizes: n requests, `max_num_seqs` places. A running request has a place, the lowest that was free when it was admitted.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.serving.workload import Workload

Ints = NDArray[np.int64]
NONE = -1
RUNNING, WAITING, ARRIVED, SCHEDULED, LEFT, SWAP_FREE, SWAPPED_OUT, SWAPPED_IN, DONE, COUNTS = range(10)
"""What `State.counts` counts; LEFT, SWAPPED_OUT, SWAPPED_IN: in the step at hand, the last two in blocks."""


@dataclass(frozen=True)
class Limits:
    """What an engine may do; see docs/SERVING.md. kv_blocks, swap_blocks: in the first and in the second tier."""

    kv_blocks: int
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    block_tokens: int = 16
    swap_blocks: int = 0
    prefix_caching: bool = True
    chunked_prefill: bool = True
    by_priority: bool = False
    swapping: bool = False

    def __post_init__(self) -> None:
        """Raises InputError."""
        for name in ("kv_blocks", "max_num_seqs", "max_num_batched_tokens", "block_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.swap_blocks < 0:
            raise InputError(f"swap_blocks: expected at least 0, found {self.swap_blocks}")

    def require(self, workload: Workload, context: int) -> None:
        """Raise InputError if a request can never be served; context: the most tokens that the model takes."""
        total = workload.prompts + workload.outputs
        _require(total, context, "tokens, the model's context")
        if not self.chunked_prefill:
            _require(total, self.max_num_batched_tokens, "tokens, those of a step without chunked prefill")
        held = -(-(total - 1) // self.block_tokens)
        _require(held, self.kv_blocks, f"KV blocks of {self.block_tokens} tokens")


def _require(values: Ints, most: int, what: str) -> None:
    if (values > most).any():
        first = int((values > most).argmax())
        raise InputError(f"request {first + 1}: expected at most {most} {what}, found {values[first]}")


class Rules(NamedTuple):
    """Limits as kernels take them, and the requests. ready: int64[n], picoseconds at which the scheduler gets each.

    prefixes: numbers from 0 to `own` - 1; identities of blocks that are a request's own count on from there.
    """

    ready: Ints
    prompt: Ints
    output: Ints
    priority: Ints
    prefixes: Ints
    prefix_starts: Ints
    prefix_tokens: int
    own: int
    most_blocks: int
    block_tokens: int
    most_sequences: int
    most_tokens: int
    caching: bool
    chunked: bool
    by_priority: bool
    swapping: bool


class State(NamedTuple):
    """Requests, places and counts.

    int64[n]: computed, produced, place (NONE: does not run), swapped (blocks in the second tier), preemptions, cached
    (prompt tokens found at the first admission), first_scheduled, first_token, last_token.

    waiting: [n], a heap of requests; running: [places], in order of admission; new: [places], what the step computes of
    the first SCHEDULED running ones; left: [places], the places that the step's preempted (or done) requests had.
    owner, held, marked: [places], the request, its blocks, and how many of them have an identity; blocks: [places,
    most_blocks]. counts: [COUNTS].
    """

    computed: Ints
    produced: Ints
    place: Ints
    swapped: Ints
    preemptions: Ints
    cached: Ints
    first_scheduled: Ints
    first_token: Ints
    last_token: Ints
    waiting: Ints
    running: Ints
    new: Ints
    left: Ints
    owner: Ints
    held: Ints
    marked: Ints
    blocks: Ints
    counts: Ints


def rules_of(workload: Workload, limits: Limits, front_end_ps: int) -> Rules:
    """Return the rules under which requests are served."""
    numbers, prefixes = np.unique(workload.prefixes, return_inverse=True)
    return Rules(
        ready=workload.arrivals + front_end_ps,
        prompt=workload.prompts,
        output=workload.outputs,
        priority=workload.priorities if limits.by_priority else np.zeros(len(workload), np.int64),
        prefixes=prefixes.astype(np.int64),
        prefix_starts=workload.prefix_starts,
        prefix_tokens=workload.prefix_tokens,
        own=len(numbers),
        most_blocks=-(-workload.longest // limits.block_tokens),
        block_tokens=limits.block_tokens,
        most_sequences=limits.max_num_seqs,
        most_tokens=limits.max_num_batched_tokens,
        caching=limits.prefix_caching,
        chunked=limits.chunked_prefill,
        by_priority=limits.by_priority,
        swapping=limits.swapping,
    )


def new_state(rules: Rules, swap_blocks: int) -> State:
    """Return the state in which no request has arrived."""
    requests, places = len(rules.ready), rules.most_sequences
    counts = np.zeros(COUNTS, np.int64)
    counts[SWAP_FREE] = swap_blocks

    def zeros() -> Ints:
        return np.zeros(requests, np.int64)

    def none(size: int = requests) -> Ints:
        return np.full(size, NONE, np.int64)

    return State(
        computed=zeros(),
        produced=zeros(),
        place=none(),
        swapped=zeros(),
        preemptions=zeros(),
        cached=none(),
        first_scheduled=none(),
        first_token=none(),
        last_token=none(),
        waiting=none(),
        running=none(places),
        new=none(places),
        left=none(places),
        owner=none(places),
        held=np.zeros(places, np.int64),
        marked=np.zeros(places, np.int64),
        blocks=np.full((places, rules.most_blocks), NONE, np.int64),
        counts=counts,
    )
