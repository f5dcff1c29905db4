"""Mutation tests: change the code in one place, and see whether the tests of its module notice.

    python tools/mutate.py                                  everything that `tools/mutate.toml` names (hours)
    python tools/mutate.py --module ndpsim/report/figures.py
    python tools/mutate.py --sample 300 --seed 1 --jobs 2   mutants drawn by chance over all modules

The mutants are those of cosmic-ray (`pip install ndpsim[mutate]`). Results lie in `.mutate/`, so that a run that was
stopped goes on where it was. A result counts as long as its module has the same text, and a survivor as long as its
tests have; `--again` tries all survivors again. `tools/mutate_survivors.txt` explains survivors that change nothing,
one a line. The report tells of a line whose mutant is noticed by now, or gone, and of survivors without one; the exit
code is 1 then.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mutate_mutants import Mutant, mutants_of
from mutate_run import SURVIVED, BaselineError, Bench, copied

ROOT: Final = Path(__file__).resolve().parents[1]
GUARDS: Final = ROOT / "tools" / "mutate.toml"
EXPLAINED: Final = ROOT / "tools" / "mutate_survivors.txt"
RESULTS: Final = ROOT / ".mutate" / "results.jsonl"
_ROUND: Final = 60  # mutants of a process, which runs the tests as they are once


def guards(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the tests of each module; of a module that is named twice, those of the first."""
    found: dict[str, list[str]] = {}
    for guard in tomllib.loads(GUARDS.read_text(encoding="utf-8"))["guard"]:
        for pattern in guard["modules"]:
            for path in sorted(root.glob(pattern)):
                if path.name != "__init__.py":
                    found.setdefault(str(path.relative_to(root)), guard["tests"])
    return found


def explained(lines: Iterable[str]) -> dict[str, str]:
    """Return why survivors change nothing, by name of mutant; a line is `name | why`."""
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            name, bar, why = line.strip().rpartition(" | ")
            if not bar or name.count(" | ") < 2 or not why.strip():
                raise SystemExit(
                    f"{EXPLAINED.name}: expected module | definition | change | why, found {line.strip()!r}"
                )
            found[name] = why
    return found


def key_of(mutant: Mutant) -> str:
    """Return what a result is kept under."""
    digest = hashlib.sha256((ROOT / mutant.module).read_bytes()).hexdigest()[:16]
    return f"{mutant.module} {digest} {mutant.operator} {mutant.occurrence}"


def digest_of(tests: Iterable[str]) -> str:
    """Return a digest of the tests of a module: files, or folders of them."""
    digest = hashlib.sha256()
    for path in (ROOT / one for one in tests):
        for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def known(tests: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the outcomes of earlier runs; tests: of each module, as they are now."""
    if not RESULTS.exists():
        return {}
    found, now = {}, {module: digest_of(own) for module, own in tests.items()}
    for one in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines()):
        found[one["key"]] = one["outcome"]
        if one["outcome"] == SURVIVED and one.get("tests") != now.get(one["key"].partition(" ")[0]):
            del found[one["key"]]
    return found


def _work(asked: tuple[str, list[str], list[Mutant]]) -> list[tuple[Mutant, str]] | str:
    module, tests, mutants = asked
    with tempfile.TemporaryDirectory(prefix="ndpsim-mutate-") as folder:
        try:
            bench = Bench(copied(ROOT, Path(folder)), module, tests)
        except BaselineError as error:
            return f"{module}: {error}"
        found, guarded = [], digest_of(tests)
        for mutant in mutants:
            found.append((mutant, bench.outcome(mutant.source(bench.text))))
            with RESULTS.open("a", encoding="utf-8") as file:
                one = {"key": key_of(mutant), "outcome": found[-1][1], "name": mutant.name, "tests": guarded}
                file.write(json.dumps(one) + "\n")
        return found


def run(mutants: Sequence[Mutant], tests: Mapping[str, list[str]], jobs: int) -> dict[Mutant, str]:
    """Run mutants, and return what came of each."""
    by_module = defaultdict(list)
    for mutant in mutants:
        by_module[mutant.module].append(mutant)
    rounds = [
        (module, tests[module], own[at : at + _ROUND])
        for module, own in by_module.items()
        for at in range(0, len(own), _ROUND)
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    found: dict[Mutant, str] = {}
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        for outcomes in pool.imap_unordered(_work, rounds):
            if isinstance(outcomes, str):
                raise SystemExit(outcomes)
            found |= dict(outcomes)
            if outcomes:
                killed = sum(outcome != SURVIVED for _, outcome in outcomes)
                print(f"{outcomes[0][0].module}: {killed} of {len(outcomes)} noticed", file=sys.stderr, flush=True)
    return found


def report(outcomes: Mapping[Mutant, str], why: Mapping[str, str], whole: Iterable[str]) -> tuple[list[str], bool]:
    """Return the lines of a report, and whether all survivors are explained and all explanations hold.

    whole: modules of which every mutant was run, so that a line for one that is not there is out of date.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, outcome in outcomes.items():
        counts[mutant.module][outcome] += 1
    lines = []
    for module, own in [*sorted(counts.items()), ("in all", sum(counts.values(), Counter[str]()))]:
        noticed = own.total() - own[SURVIVED]
        lines.append(f"{module}: {noticed} of {own.total()} noticed, {noticed / max(own.total(), 1):.1%}")
    survivors = [mutant for mutant, outcome in outcomes.items() if outcome == SURVIVED]
    open_ones = [mutant for mutant in survivors if mutant.name not in why]
    lines.append(f"survivors: {len(survivors)}, of which {len(survivors) - len(open_ones)} are explained")
    lines += [f"  line {mutant.line}: {mutant.name}" for mutant in open_ones]
    still = {mutant.name for mutant in survivors}
    names, modules = {mutant.name for mutant in outcomes}, set(whole)
    stale = [name for name in why if name not in still and (name in names or name.partition(" | ")[0] in modules)]
    lines += [f"explained, but {'noticed by now' if name in names else 'gone'}: {name}" for name in stale]
    return lines, not open_ones and not stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the report, and return the exit code."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", action="append", default=[], help="a module; again for more")
    parser.add_argument("--sample", type=int, help="how many mutants, drawn by chance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="try mutants again that survived")
    parser.add_argument("--json", type=Path, help="a file to write the outcomes to")
    options: Any = parser.parse_args(arguments)
    tests = guards()
    for module in options.module:
        if module not in tests:
            raise SystemExit(f"--module: expected one that {GUARDS.name} names, found {module}")
    modules = options.module or list(tests)
    with multiprocessing.Pool(options.jobs) as pool:
        every = [mutant for own in pool.starmap(mutants_of, [(ROOT, module) for module in modules]) for mutant in own]
    mutants = every
    if options.sample is not None and options.sample < len(every):
        mutants = random.Random(options.seed).sample(every, options.sample)
    before = known(tests)
    outcomes = {one: before[key_of(one)] for one in mutants if key_of(one) in before}
    if options.again:
        outcomes = {one: outcome for one, outcome in outcomes.items() if outcome != SURVIVED}
    outcomes |= run([one for one in mutants if one not in outcomes], tests, options.jobs)
    why = explained(EXPLAINED.read_text(encoding="utf-8").splitlines()) if EXPLAINED.exists() else {}
    lines, good = report(outcomes, why, modules if mutants is every else [])
    print("\n".join(lines))
    if options.json is not None:
        table = [{"name": mutant.name, "line": mutant.line, "outcome": outcome} for mutant, outcome in outcomes.items()]
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
