"""`ndpsim run`, `rerun` and `timeline` as a user meets them."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli_support import refused, run
from processes import environment
from system_files import PLAIN, written

from ndpsim.cli.runs import run as run_module
from ndpsim.llm.catalog import load_shape
from ndpsim.report.figures import figures_of
from ndpsim.report.run_file import read_run, write_run
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader

LONGER = ("run", "--model", "relu-lm", "--input", "16", "--output", "30", "--set", "gpu.weights_gb=0.002")
SMALL = ("run", "--model", "relu-lm", "--input", "16", "--output", "3", "--set", "gpu.weights_gb=0.002")
STOPPED = PLAIN.replace("        self.meter.work", "        import os, signal\n        STOP\n        self.meter.work")


def test_help_imports_no_heavy_library():
    code = "import sys\nfrom ndpsim.cli.main import cli\ntry: cli(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'numba', 'h5py', 'pydantic', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("system", ["hermes", "hermes-base", "gpu-only"])
def test_the_record_is_the_figures_of_the_run_its_setup_and_the_wall_time(capsys, system):
    on_cards = system == "gpu-only"
    command = SMALL[:-2] if on_cards else SMALL
    code, out, _ = run(capsys, *command, "--system", system, "--batch", "2", "--gpu", "rtx3090", "--json")
    record = json.loads(out)
    changes = {"gpu.card": "rtx3090"} if on_cards else {"gpu.weights_gb": 0.002, "gpu.card": "rtx3090"}
    again = Run(Setup.of(system, "relu-lm", batch=2, prompt=16, output=3, changes=changes))
    again.advance()
    figures = json.loads(json.dumps(figures_of(again)))
    assert code == 0 and {name: record[name] for name in figures} == figures
    assert record.keys() - figures.keys() == {"wall_s", "slowdown", "wall_by_part_s", "setup"}
    assert record["wall_s"] > 0 and record["slowdown"] == record["wall_s"] / record["simulated_s"]
    assert sum(record["operation_s"].values()) == pytest.approx(record["simulated_s"])
    asked = {"value": 0.002, "source": "asked for"}
    assert record["setup"]["machine"]["gpu"].get("weights_gb") == (None if on_cards else asked)
    assert record["setup"]["card"]["name"] == "RTX 3090"


def test_a_captured_trace_runs(capsys, tmp_path):
    trace = tmp_path / "captured.h5"
    assert run(capsys, "trace", "capture", "--tokens", "40", "-o", trace)[0] == 0
    code, out, _ = run(capsys, *SMALL, "--trace", trace, "--json")
    record = json.loads(out)
    assert code == 0 and record["setup"]["trace"]["path"] == str(trace) and record["predictor"]["accuracy"] > 0.5
    assert "expected 16 + 30 tokens, found 40" in refused(capsys, *LONGER, "--trace", trace)


def test_the_example_runs(capsys):
    example = Path(__file__).parents[3] / "examples" / "kv_in_dimms.py"
    assert len(example.read_text().splitlines()) <= 40
    code, out, _ = run(capsys, "run", "--system", example, "--model", "llama2-7b", "--output", "3", "--json")
    record = json.loads(out)
    assert code == 0 and record["system"] == "kv-in-dimms"
    cache = 2 * 32 * 2 * 4096 * sum(range(129, 131))  # keys and values of 32 layers in FP16, read once a token
    assert cache <= sum(record["dimm_bytes"]) < 1.05 * cache
    assert record["busy_s"]["dimms"]["attention"] > 0 and record["link_bytes"].get("weights", 0) == 0
    code, out, _ = run(
        capsys,
        "run",
        "--system",
        example,
        "--model",
        "llama2-7b",
        "--output",
        "3",
        "--set",
        "gpu.weights_gb=4",
        "--json",
    )
    slower = json.loads(out)
    assert slower["link_bytes"]["weights"] > 3 * 9e9 and slower["tokens_per_s"] < record["tokens_per_s"] / 5


def test_a_timeline_is_written_by_the_run_or_from_its_file(capsys, tmp_path):
    result, first, second = (tmp_path / name for name in ("run.h5", "a.json", "b.json"))
    assert run(capsys, *SMALL, "-o", result, "--timeline", first)[0] == 0
    assert run(capsys, "timeline", result, "-o", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    assert {event["name"] for event in json.loads(first.read_text())["traceEvents"]} >= {"qkv", "attention", "ffn"}


def test_a_result_is_run_again_to_the_same_bytes_whatever_the_files_hold_today(capsys, tmp_path):
    result, again, model = tmp_path / "run.h5", tmp_path / "again.h5", tmp_path / "mine.toml"
    model.write_text(load_shape("relu-lm").with_overrides(layers=2, name="mine").to_toml())
    options = ("--input", "16", "--output", "3", "--set", "gpu.weights_gb=0.002")
    assert run(capsys, "run", "--model", model, *options, "-o", result)[0] == 0
    model.unlink()
    code, out, _ = run(capsys, "rerun", result, "-o", again)
    assert code == 0 and "all figures are the same again" in out
    assert again.read_bytes() == result.read_bytes()


def test_a_partial_result_is_run_again_as_far_as_it_came(capsys, tmp_path):
    whole = Run(Setup.of("gpu-only", "relu-lm", prompt=16, output=5))
    whole.advance(2)
    write_run(tmp_path / "part.h5", whole)
    code, _, _ = run(capsys, "rerun", tmp_path / "part.h5", "-o", tmp_path / "again.h5")
    assert code == 0 and (tmp_path / "again.h5").read_bytes() == (tmp_path / "part.h5").read_bytes()


def test_other_figures_are_named(capsys, tmp_path, monkeypatch):
    path = written(tmp_path, PLAIN.replace("10 + number", "10 + int(__import__('os').environ['SLOWER'])"))
    monkeypatch.setenv("SLOWER", "0")
    assert run(capsys, *SMALL, "--system", path, "-o", tmp_path / "run.h5")[0] == 0
    monkeypatch.setenv("SLOWER", "1")
    code, out, err = run(capsys, "rerun", tmp_path / "run.h5", "--json")
    record = json.loads(out)
    assert code == 1 and "expected the same figures again, found others: " in err and err.count("\n") == 1
    assert not record["agrees"] and "tokens_per_s" in record["differ"] and record["versions_differ"] == []


def test_another_version_is_named(capsys, tmp_path, monkeypatch):
    assert run(capsys, *SMALL, "--system", written(tmp_path, PLAIN), "-o", tmp_path / "run.h5")[0] == 0
    monkeypatch.setattr("ndpsim.runs.setup.__version__", "9.9")
    code, out, _ = run(capsys, "rerun", tmp_path / "run.h5")
    assert code == 0 and "version: ndpsim 0.1.0, now 9.9" in out


def test_a_changed_system_or_trace_is_refused(capsys, tmp_path):
    path = written(tmp_path, PLAIN)
    assert run(capsys, *SMALL, "--system", path, "-o", tmp_path / "run.h5")[0] == 0
    path.write_text(PLAIN + "\n")
    assert f"{path}: expected the file of the run, SHA-256" in refused(capsys, "rerun", tmp_path / "run.h5")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_partial_result_that_goes_on_to_the_same_bytes(capsys, tmp_path, number):
    stop = f"if number == 0 and os.path.exists('{tmp_path}/stop'): os.kill(os.getpid(), {int(number)})"
    path, whole, part = written(tmp_path, STOPPED.replace("STOP", stop)), tmp_path / "whole.h5", tmp_path / "part.h5"
    begin = (*SMALL, "--system", path, "-o")
    assert run(capsys, *begin, whole)[0] == 0
    (tmp_path / "stop").touch()
    code, out, err = run(capsys, *begin, part)
    assert code == 128 + number and "2 tokens so far" in out
    assert err == f"ndpsim: interrupted; {part} has 2 of 3 tokens: ndpsim run --resume {part}\n"
    assert not read_run(part).complete
    code, out, _ = run(capsys, "run", "--resume", part, "--json")
    assert code == 0 and json.loads(out)["output_tokens"] == 3
    assert part.read_bytes() == whole.read_bytes()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_ends_at_once(capsys, tmp_path):
    path = written(tmp_path, STOPPED.replace("STOP", "[os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]"))
    code, _, err = run(capsys, *SMALL, "--system", path, "-o", tmp_path / "run.h5")
    assert code == 130 and "interrupted" in err and not (tmp_path / "run.h5").exists()


def test_a_second_interrupt_tells_of_what_was_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "CHECKPOINT_S", 0)
    monkeypatch.setattr(run_module, "CHECKPOINT_SHARE", 0)
    stop = "[os.kill(os.getpid(), signal.SIGINT) for _ in range(2) if number == 1]"
    path, result = written(tmp_path, STOPPED.replace("STOP", stop)), tmp_path / "run.h5"
    code, _, err = run(capsys, *SMALL, "--system", path, "-o", result)
    assert code == 130 and f"{result} has 2 of 3 tokens" in err and len(read_run(result).token_ps) == 1


def test_without_a_result_file_an_interrupt_ends_at_once(capsys, tmp_path):
    path = written(tmp_path, STOPPED.replace("STOP", "os.kill(os.getpid(), signal.SIGINT)"))
    code, out, err = run(capsys, *SMALL, "--system", path)
    assert code == 130 and out == "" and "interrupted; nothing was written" in err


def test_what_is_done_is_kept_every_few_seconds_which_help_says(capsys, tmp_path, monkeypatch):
    assert 1 <= run_module.CHECKPOINT_S <= 5
    help_text = " ".join(run(capsys, "run", "--help")[1].split())
    assert f"every {run_module.CHECKPOINT_S:.0f} s or so, what is done so far" in help_text
    now, kept = 0.0, []
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("ndpsim.report.run_file.write_run", lambda path, run: kept.append((now, run.tokens)))

    class Slow:
        """A run whose tokens take 0.75 s of wall time each."""

        tokens = 0
        setup = SimpleNamespace(output=16)
        complete = property(lambda self: self.tokens == 16)

        def advance(self, tokens, tell):
            nonlocal now
            now += 0.75
            self.tokens += 1

    assert run_module.advance(Slow(), tmp_path / "run.h5") == 0
    assert kept == [(3, 4), (6, 8), (9, 12), (12, 16)]


def test_little_is_lost_when_a_run_dies(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "CHECKPOINT_S", 0)
    monkeypatch.setattr(run_module, "CHECKPOINT_SHARE", 0)
    stop = f"if number == 1 and os.path.exists('{tmp_path}/die'): raise OSError('gone')"
    path = written(tmp_path, STOPPED.replace("STOP", stop))
    (tmp_path / "die").touch()
    code, _, err = run(capsys, *SMALL, "--system", path, "-o", tmp_path / "run.h5")
    assert code == 2 and "mine.py: line 13: expected no exception, found OSError: gone" in err
    assert len(read_run(tmp_path / "run.h5").token_ps) == 1
    (tmp_path / "die").unlink()
    assert run(capsys, "run", "--resume", tmp_path / "run.h5", "-o", tmp_path / "other.h5")[0] == 0
    assert not read_run(tmp_path / "run.h5").complete and read_run(tmp_path / "other.h5").complete


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--batch", "0"), "batch: expected 1 to 256, found 0"),
        (("--seed", "-1"), "seed: expected 0 to 9223372036854775807, found -1"),
        (("--set", "gpu.card"), "--set: expected PATH=VALUE, found 'gpu.card'"),
        (("--set", "=3"), "--set: expected PATH=VALUE, found '=3'"),
        (("--set", "gpu.cards=t4"), "gpu.cards: expected a known path, such as gpu.card"),
        (("--set", "gpu.card=gtx"), "card 'gtx': expected one of"),
        (("--set", "gpu.card=t4", "--gpu", "t4"), "--gpu: expected it or --set gpu.card, found both"),
        (("--set", "policy.window=2024-01-01"), "policy.window: expected a valid integer, found 2024-01-01"),
        (("--preset", "none"), "preset 'none': expected one of"),
        (("--machine", "none"), "machine 'none': expected one of hermes, or a .toml file"),
        (("--system", "none"), "system 'none': expected one of hermes"),
        (("--trace", "absent.h5"), "absent.h5: expected a readable file"),
        (("-o", "/"), "/: expected a place that can be written, found: a folder"),
        (("--timeline", "/absent/x.json"), "/absent/x.json: expected a place that can be written"),
        (("--resume", "absent.h5"), "absent.h5: expected a result file of ndpsim run (HDF5), found no such file"),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, wanted):
    assert wanted in refused(capsys, *SMALL, *arguments)


def test_a_run_has_a_model_or_goes_on(capsys):
    assert "--model: expected a model, or --resume" in refused(capsys, "run")
    for command in (("run", "--resume", "absent.h5"), ("rerun", "absent.h5"), ("timeline", "absent.h5", "-o", "x")):
        assert "absent.h5: expected a result file of ndpsim run (HDF5), found no such file" in refused(capsys, *command)


def test_texts_and_toml_are_values(tmp_path):
    typed = (
        "a.b=3",
        "a.c=3.5",
        "a.d=text with spaces",
        "a.e=[1, 2]",
        "a.f={ nck = 4 }",
        "a.g=true",
        'a.h="x"',
        "a.i==",
    )
    assert run_module.changes_of(typed, "t4") == {
        "a.b": 3, "a.c": 3.5, "a.d": "text with spaces", "a.e": [1, 2], "a.f": {"nck": 4}, "a.g": True, "a.h": "x",
        "a.i": "=", "gpu.card": "t4",
    }  # fmt: skip


def test_smollm2_runs_on_a_trace_without_attention(capsys, tmp_path):
    shape, random = load_shape("smollm2-135m"), np.random.default_rng(1)
    header = TraceHeader("SmolLM2", (shape.ffn,) * shape.layers, "magnitude", "test")
    fired = [random.random((20, shape.ffn)) < 0.3 for _ in range(shape.layers)]
    ActivationTrace.of(header, fired).write(tmp_path / "trace.h5")
    changed = [argument if argument != "relu-lm" else "smollm2-135m" for argument in SMALL]
    changed[-1] = "gpu.weights_gb=0.2"
    code, out, _ = run(capsys, *changed, "--trace", tmp_path / "trace.h5", "--json")
    assert code == 0 and json.loads(out)["model"] == shape.name


def test_the_table_and_the_record_say_what_differs_from_what_ships(capsys):
    changed = ("--set", "dimm.dram=DDR5-6400B", "--set", "policy.window=3", "--gpu", "rtx3090")
    record = json.loads(run(capsys, *SMALL, *changed, "--json")[1])
    assert record["changed"] == {
        "gpu.weights_gb": [None, 0.002],
        "dimm.dram": ["DDR4-3200-Hermes", "DDR5-6400B"],
        "policy.window": [5, 3],
        "gpu.card": ["rtx4090", "rtx3090"],
    }
    lines = [" ".join(line.split()) for line in run(capsys, *SMALL, *changed)[1].splitlines()]
    assert "changed: dimm.dram DDR4-3200-Hermes -> DDR5-6400B" in lines
    assert "changed: gpu.weights_gb none -> 0.002" in lines
    assert "each 4 ranks, 32 GiB, 102.4 GB/s to its unit at most" in lines


def test_a_model_with_its_cache_fits_a_card_that_has_room_for_both(capsys):
    """13.48 GB of weights and 8.39 of keys and values: 21.9 of 0.9 * 25.76 GB, which are 24,564 MiB."""
    big = ("run", "--system", "gpu-only", "--model", "llama2-7b", "--input", "999", "--output", "1", "--batch", "16")
    code, out, _ = run(capsys, *big, "--json")
    assert code == 0 and json.loads(out)["time_per_output_token_s"] is None
    assert "gpu.card: expected room for 13.5 GB of weights" in refused(capsys, *big, "--gpu", "t4")


def test_neurons_beyond_the_memory_of_the_card_are_refused(capsys):
    says = refused(capsys, "run", "--system", "hermes-base", "--model", "llama2-70b", "--input", "16", "--output", "1",
                   "--set", "gpu.weights_gb=100")  # fmt: skip
    assert says == "ndpsim: gpu.weights_gb: expected at most the 25.76 GB of a card, found 100\n"


def test_verify_fast_times_programs_both_ways_and_changes_no_figure(capsys):
    def figures(*more):
        code, out, err = run(capsys, *SMALL, "--json", *more)
        assert code == 0
        return {k: v for k, v in json.loads(out).items() if k not in ("wall_s", "slowdown", "wall_by_part_s")}, err

    plain, both = figures(), figures("--verify-fast")
    assert both[0] == plain[0]
    sentence = r"\d+ programs took the same time both ways; the first \d+ commands keep all rules"
    assert re.fullmatch(sentence, both[1].strip())
    answer = refused(capsys, "run", "--system", "gpu-only", "--model", "relu-lm", "--verify-fast")
    assert answer == "ndpsim: --verify-fast: expected a system with NDP-DIMMs, found gpu-only\n"
