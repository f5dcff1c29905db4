"""Long work that Ctrl-C can stop: at once, even in kernels (Python sees a signal only when the main thread is in
Python), or after the step at hand."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, Timer, current_thread, get_ident, main_thread
from types import FrameType
from typing import TypeVar

INTERRUPTED = 130  # the exit code, as shells know it: 128 and the number of the signal
T = TypeVar("T")
_POLL_S = 0.05
_AGAIN_S = 0.01
_LOSING = f"{os.sep}llvmlite{os.sep}"  # its functions are called back from C, which drops what they raise


def interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does; a little later if code runs that would lose it.

    Lost is what is raised in a finalizer, and while LLVM calls back.
    """
    while frame is not None:
        if frame.f_code.co_name == "__del__" or _LOSING in frame.f_code.co_filename:
            again = Timer(_AGAIN_S, signal.pthread_kill, (get_ident(), signal.SIGINT))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def interrupts_arrive() -> Iterator[None]:
    """Let no library lose a Ctrl-C, unless whoever started this process or thread has other plans for it."""
    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler and current_thread() is main_thread()
    if own:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def interruptible(call: Callable[[], T], stop: Callable[[], None] | None = None) -> T:
    """Run a call in a thread of its own and return its result; kernels release the GIL, so the main one can listen.

    When the main thread is interrupted, the process ends and takes the call with it. A call that has files to clear
    away gives `stop`, which makes it return soon, and is waited for.
    """
    from concurrent.futures import Future, wait

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
def stopping() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the number of the signal to stop that has come, or 0; a second Ctrl-C interrupts
    at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            interrupt(number, frame)
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
