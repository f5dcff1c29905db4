"""Says that kernels are being compiled, which makes a first run long: in a bar, or in a pipe as one line on stderr."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ndpsim.kernels.compiling import Compilation, watched

LINE = "ndpsim: compiling kernels, once (at most {})"


def text_of(compilation: Compilation) -> str:
    """Return what a bar says."""
    return f"compiling kernels, once: {compilation.done} of at most {compilation.at_most}"


@contextmanager
def compile_notice() -> Iterator[None]:
    """Say it while no other bar is shown: in a bar of its own, or once on stderr, if that is no terminal."""
    said = False
    bar: Any = None
    shown = ExitStack()

    def watch(compilation: Compilation) -> None:
        nonlocal said, bar
        if not compilation.active:
            shown.close()
            bar = None
        elif not _is_terminal():
            if not said:
                sys.stderr.write(LINE.format(compilation.at_most) + "\n")
                sys.stderr.flush()
            said = True
        else:
            if bar is None:
                bar = shown.enter_context(_bar())
            bar(text_of(compilation))

    with shown, watched(watch):
        yield


def _is_terminal() -> bool:
    from rich.console import Console

    return Console(stderr=True).is_terminal


def _bar() -> AbstractContextManager[Any]:
    """Return a context with a line on stderr; it yields a function that takes the line's text."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    @contextmanager
    def show() -> Iterator[Any]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("")
            yield lambda text: progress.update(task, description=text)

    return show()
