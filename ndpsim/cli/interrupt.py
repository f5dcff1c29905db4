"""Long work that Ctrl-C can stop: at once, even in kernels (Python sees a signal only when the main thread is in
Python), or after the step at hand."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.05


def interruptible(call: Callable[[], T], stop: Callable[[], None] | None = None) -> T:
    """Run a call in a thread of its own and return its result; kernels release the GIL, so the main one can listen.

    When the main thread is interrupted, the process ends and takes the call with it. A call that has files to clear
    away gives `stop`, which makes it return soon, and is waited for.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        while not future.done():
            wait([future], _POLL_S)
    except KeyboardInterrupt:
        if stop is not None:
            stop()
            wait([future])  # an interrupted Thread.join takes a thread that runs on for ended (CPython 3.11)
        raise
    return future.result()


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or SIGTERM has come; a second Ctrl-C interrupts at once."""
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
