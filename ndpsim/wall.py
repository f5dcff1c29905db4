"""Where the wall time of a process goes, by part of the work.

A part's time is what is spent in it and in no part inside it, so that the parts sum to the whole. The account is one
for the process, as a log would be: the places that know what they do lie on all floors, and are spared an argument.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

START: Final = "start_and_compile"
OTHER: Final = "other"


class Account:
    """Seconds by part since `begin`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Begin anew; what belongs to no part counts as other."""
        self.seconds = dict.fromkeys((*PARTS, OTHER), 0.0)
        self._inside = [OTHER]
        self._since = self._clock()

    def enter(self, part: str) -> None:
        """Go into a part."""
        now = self._clock()
        self.seconds[self._inside[-1]] += now - self._since
        self._inside.append(part)
        self._since = now

    def leave(self) -> None:
        """Go back to the part around this one."""
        now = self._clock()
        self.seconds[self._inside.pop()] += now - self._since
        self._since = now

    def so_far(self) -> dict[str, float]:
        """Return the seconds of all parts until now."""
        now = self._clock()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now
        return dict(self.seconds)


class Part:
    """A part of the work, for `with`, and to decorate functions that are a part of the work as a whole."""

    __slots__ = ("_account", "name")

    def __init__(self, account: Account, name: str) -> None:
        self._account, self.name = account, name

    def __enter__(self) -> None:
        self._account.enter(self.name)

    def __exit__(self, *_error: object) -> None:
        self._account.leave()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function, timed."""

        @wraps(function)
        def timed(*args: P.args, **more: P.kwargs) -> R:
            with self:
                return function(*args, **more)

        return timed


PARTS: Final = (
    START, "trace", "placement", "compiling_programs", "timing_kernels", "gpu_model", "policy", "writing"
)  # fmt: skip
ACCOUNT: Final = Account()
ELSEWHERE: Final = Part(ACCOUNT, OTHER)
STARTING, TRACE, PLACEMENT, PROGRAMS, TIMING, GPU_MODEL, POLICY, WRITING = (Part(ACCOUNT, name) for name in PARTS)
