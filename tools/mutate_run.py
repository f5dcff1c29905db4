"""Mutants under their tests: each in a process of its own, forked from one that has imported what the mutant leaves.

The process that is forked from has run nothing: caches of functions are empty in it, so that no mutant meets results
of the code as it is. Mutants are written into a copy of the checkout. The kernel cache is that of the user: a changed
kernel has another digest, all others are found.
"""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"
_LIBRARIES: Final = ("numpy", "numba", "h5py", "pydantic", "rich.table", "click", "pytest", "hypothesis")
_OPTIONS: Final = ("-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist")
_SLOWER, _LEAST_S = 8, 20.0


class BaselineError(Exception):
    """The tests of a module fail without a mutant."""


def copied(root: Path, folder: Path) -> Path:
    """Copy the files that git knows, and untracked ones, to a folder that is new or an older copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    return folder


def dependents(root: Path, module: str) -> set[str]:
    """Return the name of a module, as `import` knows it, and those of all that import it, at any depth."""
    files = {".".join(path.relative_to(root).with_suffix("").parts): path for path in (root / "ndpsim").rglob("*.py")}
    users = defaultdict(set)
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                asked = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for other in asked:
                users[other].add(name)
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += users[name]
    return found


class Bench:
    """A copy of the checkout in which the tests of one module run on its mutants, in a process of its own."""

    def __init__(self, folder: Path, module: str, tests: Sequence[str]) -> None:
        """Run the tests as they are. Raises BaselineError if they fail."""
        self.file, self.tests = folder / module, list(tests)
        self.text = self.file.read_text(encoding="utf-8")
        self.name = module.removesuffix(".py").replace("/", ".")
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.dont_write_bytecode = True
        os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "mutants"}
        for library in _LIBRARIES:
            __import__(library)
        loaded, begun = folder / "loaded.txt", time.monotonic()
        outcome, output = self._forked(600.0, lambda: loaded.write_text("\n".join(sorted(sys.modules))))
        if outcome != SURVIVED:
            raise BaselineError(f"{' '.join(tests)}: expected tests that pass, found:\n{output}")
        self.seconds = time.monotonic() - begun
        self.limit_s = max(_LEAST_S, _SLOWER * self.seconds)
        left = dependents(folder, self.name)
        for name in loaded.read_text().split("\n"):
            if name.partition(".")[0] == "ndpsim" and name not in left:
                __import__(name)

    def outcome(self, text: str) -> str:
        """Return whether the tests notice that the module has another text."""
        for cached in (self.file.parent / "__pycache__").glob(f"{self.file.stem}.*.pyc"):
            cached.unlink()
        self.file.write_text(text, encoding="utf-8")
        try:
            return self._forked(self.limit_s)[0]
        finally:
            self.file.write_text(self.text, encoding="utf-8")

    def _forked(self, limit_s: float, behind: Callable[[], Any] = lambda: None) -> tuple[str, str]:
        """Run the tests in a fork, and return what came of it; behind: done there after the tests."""
        log = Path.cwd() / "mutant.log"
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.setsid()
                with log.open("w") as output:
                    os.dup2(output.fileno(), 1)
                    os.dup2(output.fileno(), 2)
                import pytest

                code = int(
                    pytest.main(["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", *self.tests])
                )
                behind()
            finally:
                os._exit(code)
        begun = time.monotonic()
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                outcome = SURVIVED if status == 0 else KILLED
                break
            if time.monotonic() - begun > limit_s:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                outcome = TIMEOUT
                break
            time.sleep(0.02)
        return outcome, log.read_text(errors="replace")[-2000:]
