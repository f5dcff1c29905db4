"""What is known while kernels are compiled, for whoever shows it.

Nothing here imports Numba, so that a command which needs no kernel starts without it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Compilation(NamedTuple):
    """How far a process is with compiling kernels.

    done: kernels that it has compiled; at_most: these, and all others of the modules that it has imported which no
    process compiled before, of which it may not need a few; active: whether a kernel is being compiled.
    """

    done: int
    at_most: int
    active: bool


Watcher = Callable[[Compilation], None]
_watchers: list[Watcher] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher, and none of those around this one, when a kernel begins to be compiled, and when all are done."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def tell(compilation: Compilation) -> None:
    """Tell the innermost watcher."""
    if _watchers:
        _watchers[-1](compilation)
