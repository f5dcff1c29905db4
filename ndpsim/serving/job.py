"""A serving job: requests on a system under an engine, made ready anew for each time that it is run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ndpsim.errors import InputError
from ndpsim.runs.setup import Setup
from ndpsim.serving.engine import serve
from ndpsim.serving.profile import EngineProfile
from ndpsim.serving.ready import kv_blocks, ready_system
from ndpsim.serving.served import Served
from ndpsim.serving.sources.generated import with_rate
from ndpsim.serving.state import Limits
from ndpsim.serving.workload import Workload
from ndpsim.systems.system import System

Progress = Callable[[int], None]
LEAST_RATE: Final = 1e-3
PRECISION: Final = 0.01


@dataclass(frozen=True)
class ServingJob:
    """What is served, on what, and how.

    setup: its prompt and output together are the longest sequence. The others: what the engine's profile says where
    None. kv_blocks: None for all that the system has room for.
    """

    setup: Setup
    profile: EngineProfile
    kv_blocks: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    prefix_caching: bool = True
    chunked_prefill: bool = True
    by_priority: bool = False

    def system(self) -> System:
        """Return the system, ready to begin. Raises InputError if something does not fit."""
        block = self.block_tokens
        longest = -(-(self.setup.prompt + self.setup.output) // block) * block  # a place has room for whole blocks
        setup = self.setup.model_copy(update={"prompt": longest - self.setup.output})
        return ready_system(setup, self.places, longest if self.kv_blocks is None else self.kv_blocks * block)

    @property
    def places(self) -> int:
        """The most sequences that run at a time."""
        return self.profile.max_num_seqs.value if self.max_num_seqs is None else self.max_num_seqs

    @property
    def block_tokens(self) -> int:
        """Tokens of a KV block."""
        return self.profile.block_tokens.value

    def limits(self, system: System) -> Limits:
        """Return what the engine may do."""
        given, tokens = self.kv_blocks, self.max_num_batched_tokens
        return Limits(
            kv_blocks=kv_blocks(system, self.profile) if given is None else given,
            max_num_seqs=self.places,
            max_num_batched_tokens=self.profile.max_num_batched_tokens.value if tokens is None else tokens,
            block_tokens=self.block_tokens,
            prefix_caching=self.prefix_caching,
            chunked_prefill=self.chunked_prefill,
            by_priority=self.by_priority,
        )

    def run(self, workload: Workload, tell: Progress = lambda done: None) -> tuple[Served, System]:
        """Serve requests, and return what came of it and the system that served them.

        Raises InputError if something does not fit, or a request can never be served.
        """
        system = self.system()
        return serve(system, workload, self.limits(system), self.profile, tell), system


def capacity(
    job: ServingJob,
    workload: Workload,
    keeps: Callable[[Served], bool],
    burstiness: float = 1.0,
    seed: int = 0,
    tell: Callable[[float], None] = lambda rate: None,
) -> tuple[float, Served, System]:
    """Return the greatest rate that keeps the limits, in requests a second, what came of it, and what served it.

    Found by bisection to a hundredth: the limits are kept at this rate, and not at one that is so much larger. The
    requests are the same, and so are the gaps between them but for their scale. tell: hears the rates that are tried.

    Raises:
        InputError: even the least rate does not keep the limits, or all requests at once do.
    """

    def at(rate: float) -> tuple[Served, System] | None:
        tell(rate)
        served, system = job.run(with_rate(workload, rate, burstiness, seed))
        return (served, system) if keeps(served) else None

    if at(np.inf) is not None:
        raise InputError(
            "--capacity: expected limits that some rate does not keep, found all requests at once keep them"
        )
    low, kept = 1.0, at(1.0)
    while kept is None:
        low /= 2
        if low < LEAST_RATE:
            raise InputError(f"--capacity: expected limits that {LEAST_RATE:g} requests a second keep, found others")
        kept = at(low)
    high = 2 * low
    while (found := at(high)) is not None:
        low, kept, high = high, found, 2 * high
    while high > low * (1 + PRECISION):
        middle = (low * high) ** 0.5
        found = at(middle)
        if found is None:
            high = middle
        else:
            low, kept = middle, found
    return low, *kept
