"""The command line as a user meets it: answers, exit codes, and one sentence for every mistake."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from cli_support import refused, run
from processes import environment

from ndpsim.cli.main import COMMANDS, cli


@pytest.fixture
def program(tmp_path, capsys):
    paths = tmp_path / "layer.ndp", tmp_path / "layer.h5"
    code, _, _ = run(capsys, "compile", "--neurons", 60, "--width", 70, "-o", paths[0], "--image", paths[1])
    assert code == 0
    return paths


def test_help_answers_at_once():
    """Of processor time, so that other work on the machine does not count."""

    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    best = 9.0
    for _ in range(5):
        began = spent()
        subprocess.run([sys.executable, "-m", "ndpsim", "--help"], env=environment(), check=True, capture_output=True)
        best = min(best, spent() - began)
    assert best < 0.3


def test_help_imports_no_heavy_library():
    code = "import sys\nfrom ndpsim.cli.main import cli\ntry: cli(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'numba', 'h5py', 'pydantic', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def commands(group, path=()):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize(("name", "command"), list(commands(cli)), ids=lambda x: x if isinstance(x, str) else "")
def test_every_command_and_every_option_has_a_help_text(name, command):
    assert command.help
    assert all(option.help for option in command.params if option.param_type_name == "option")


def test_the_table_of_commands_says_what_each_command_says():
    for name, (_, text) in COMMANDS.items():
        assert text and cli.get_command(None, name) is not None


def test_generate_prints_one_json_object_and_nothing_else(capsys):
    code, out, _ = run(capsys, "generate", "The list", "--tokens", 4, "--json")
    record = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert {"text", "tokens", "matches_dense", "simulated_s", "wall_s"} <= set(record)
    assert record["tokens"] == 4 == len(record["token_ids"])
    assert record["matches_dense"] is True and record["simulated_s"] > 0


def test_generate_prints_the_table(capsys):
    code, out, _ = run(capsys, "generate", "The list", "--tokens", 3)
    assert code == 0
    rows = (
        "NDP time per token|DRAM bytes|bandwidth reached|row-hit rate|neurons active|load of each DIMM|wall time|dense"
    )
    for row in rows.split("|"):
        assert row in out


def test_a_program_goes_round_through_text(capsys, tmp_path, program):
    code, text, _ = run(capsys, "disasm", program[0])
    assert code == 0
    (tmp_path / "layer.s").write_text(text)
    assert run(capsys, "asm", tmp_path / "layer.s", "-o", tmp_path / "same.ndp")[0] == 0
    assert (tmp_path / "same.ndp").read_bytes() == program[0].read_bytes()


def test_time_is_the_same_with_and_without_memory(capsys, program):
    _, with_image, _ = run(capsys, "exec", program[0], "--image", program[1], "--json")
    _, without, _ = run(capsys, "exec", program[0], "--json")
    with_image, without = json.loads(with_image), json.loads(without)
    assert with_image["executed"] and not without["executed"]
    assert all(with_image[key] == without[key] for key in ("simulated_s", "commands", "dimm_bytes", "class_s"))


def test_a_log_is_legal_and_breaks_a_slower_standard(capsys, tmp_path, program):
    assert run(capsys, "exec", program[0], "--log", tmp_path / "log.h5")[0] == 0
    code, out, _ = run(capsys, "check", tmp_path / "log.h5", "--json")
    assert code == 0 and json.loads(out)["legal"]
    code, out, _ = run(capsys, "check", tmp_path / "log.h5", "--set", "nRCD=30", "--json")
    record = json.loads(out)
    assert code == 1 and record["counts"]["tRCD"] > 0 and record["first"][0]["rule"] == "tRCD"


def test_a_trap_exits_with_1_and_keeps_the_state_before_it(capsys, tmp_path):
    import h5py
    import numpy as np

    from ndpsim.dimm.executor import new_states
    from ndpsim.dimm.image import write_image
    from ndpsim.isa.program import read_program

    source = tmp_path / "trap.s"
    source.write_text(".dimm 0\nfill [0x0], 2.5, 4\ndot m0, l0, [0x0], [0x40], 1\nend\n")
    assert run(capsys, "asm", source, "-o", tmp_path / "trap.ndp")[0] == 0
    write_image(tmp_path / "zero.h5", new_states(read_program(tmp_path / "trap.ndp"), 262144))
    code, out, err = run(
        capsys,
        "exec",
        tmp_path / "trap.ndp",
        "--image",
        tmp_path / "zero.h5",
        "--state",
        tmp_path / "after.h5",
        "--json",
    )
    assert code == 1 and json.loads(out)["trap"]["name"] == "unset" and "instruction 1" in err
    with h5py.File(tmp_path / "after.h5") as file:
        assert (file["dimm0/buffer"][:16].view(np.float32) == 2.5).all()
    code, out, err = run(capsys, "exec", tmp_path / "trap.ndp")
    assert code == 1 and out == "" and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["generate", "x", "--tokens", "0"], "--tokens"),
        (["generate", "x", "--model", "nope"], "relu-lm"),
        (["generate", "x", "--dimm", "nope"], "hermes"),
        (["generate", "x", "--dimms", "0"], "1 to 256"),
        (["generate", "x", "--placement", "foo"], "interleaved"),
        (["generate", "x", "--placement", "row bank"], "bank_group"),
        (["generate", "x", "--balance", "zzz"], "round_robin"),
        (["generate", "x", "--temperature", "nan"], "--temperature"),
        (["exec", "nowhere.ndp"], "nowhere.ndp"),
        (["disasm", "nowhere.ndp"], "nowhere.ndp"),
        (["asm", "nowhere.s", "-o", "x.ndp"], "nowhere.s"),
        (["check", "nowhere.h5"], "nowhere.h5"),
        (["trace", "info", "nowhere.h5"], "nowhere.h5"),
        (["trace", "capture", "-o", "t.h5", "--text", "nowhere.txt"], "nowhere.txt"),
        (["trace", "capture", "-o", "nodir/t.h5", "--tokens", "2"], "nodir"),
        (["compile", "-o", "c.ndp", "--neurons", "0"], "neurons"),
        (
            ["compile", "-o", "c.ndp", "--neurons", "10000000", "--width", "1000000"],
            "dimms: expected more than 256 for",
        ),
        (["compile", "-o", "nodir/c.ndp"], "nodir"),
        (
            ["compile", "-o", "c.ndp", "--batch", "200", "--width", "8192", "--activation", "none"],
            "batch: expected at most",
        ),
        (["compile", "-o", "c.ndp", "--density", "nan"], "density"),
        (["compile", "-o", "c.ndp", "--model", "relu-lm", "--layer", "9"], "layer"),
        (["compile", "-o", "c.ndp", "--width", "1" + 30 * "0"], "width"),
        (["compile", "-o", "c.ndp", "--image", "c.ndp"], "--image"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence_and_leaves_no_file(capsys, tmp_path, monkeypatch, arguments, names):
    monkeypatch.chdir(tmp_path)
    assert names in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_foreign_file_is_refused(capsys, tmp_path, program):
    data = program[0].read_bytes()
    cut = tmp_path / "cut.ndp"
    cut.write_bytes(data[: len(data) // 2])
    assert "cut.ndp" in refused(capsys, "exec", cut)
    assert "not an NDP program" in refused(capsys, "exec", program[1])
    image = tmp_path / "cut.h5"
    image.write_bytes(program[1].read_bytes()[:2000])
    assert "cut.h5" in refused(capsys, "exec", program[0], "--image", image)
    assert "cut.h5" in refused(capsys, "check", image)
    assert "cut.h5" in refused(capsys, "trace", "info", image)


def test_an_image_of_another_program_is_refused(capsys, tmp_path, program):
    other = tmp_path / "other.ndp"
    assert run(capsys, "compile", "--neurons", 61, "--width", 700, "-o", other)[0] == 0
    assert "region0" in refused(capsys, "exec", other, "--image", program[1])


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_is_one_sentence_and_leaves_no_file(tmp_path):
    command = [sys.executable, "-m", "ndpsim", "generate", "The list", "--tokens", "100000", "--log", "log.h5"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b"" and b"interrupted" in err and b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_region_beyond_the_dimm_is_refused(capsys, tmp_path):
    source = tmp_path / "far.s"
    source.write_text(".region far 1000000000 4 ro\nend\n")
    assert "region far" in refused(capsys, "asm", source, "-o", tmp_path / "far.ndp")
    source.write_text(".region a 0 4 ro\n.region b 2 4 ro\nend\n")
    assert "region b" in refused(capsys, "asm", source, "-o", tmp_path / "twice.ndp")


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_stops_a_kernel_that_would_run_for_minutes(tmp_path):
    source = tmp_path / "long.s"
    read = "range l0, 0, 16000\n" + "dot m0, l0, [0x0], [0x20000], 1\n" * 2000
    source.write_text(f".region all 0 {1 << 27} ro\nmat.f16 m0, 0, 16000, 60000, 8192\n{read}end\n")
    command = [sys.executable, "-m", "ndpsim"]
    subprocess.run([*command, "asm", source, "-o", tmp_path / "long.ndp"], env=environment(), check=True)
    process = subprocess.Popen(
        [*command, "exec", tmp_path / "long.ndp"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(4)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 130 and out == b"" and b"interrupted" in err and b"Traceback" not in err


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('unit = "ps", source = "Table II: 1 GHz"', 'unit = "ns", source = "x"'), "unit.core_ps.unit: expected ps"),
        (('interleaved = "row bank rank column bank_group"', 'interleaved = "row"'), "address_maps.interleaved"),
        (("lanes = {", "lane = {"), "vector.lane"),
    ],
)
def test_a_faulty_dimm_description_is_refused_by_file_and_field(capsys, tmp_path, change, names):
    from ndpsim.data import workloads_dir

    text = (workloads_dir() / "hardware" / "dimms" / "hermes.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "my.toml").write_text(text.replace(*change), encoding="utf-8")
    answer = refused(capsys, "generate", "x", "--tokens", 1, "--dimm", tmp_path / "my.toml")
    assert "my.toml" in answer and names in answer


def test_a_trap_is_in_the_json_without_an_image_too(capsys, tmp_path):
    (tmp_path / "trap.s").write_text("hin [0x3fffc], 256\nend\n")
    assert run(capsys, "asm", tmp_path / "trap.s", "-o", tmp_path / "trap.ndp")[0] == 0
    code, out, _ = run(capsys, "exec", tmp_path / "trap.ndp", "--json")
    assert code == 1 and json.loads(out)["trap"]["name"] == "buffer"


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_noticed_before_the_run(capsys, tmp_path):
    began = time.perf_counter()
    refused(capsys, "generate", "x", "--tokens", 5000, "--log", tmp_path / "none" / "log.h5")
    assert time.perf_counter() - began < 5


def test_a_prompt_that_is_no_utf8_and_options_that_contradict_are_refused(capsys, tmp_path):
    assert "UTF-8" in refused(capsys, "generate", "\udcff", "--tokens", 1)
    assert "--gated" in refused(capsys, "compile", "--model", "relu-lm", "--gated", "-o", tmp_path / "c.ndp")
    assert "gated" in refused(capsys, "compile", "--activation", "none", "--gated", "-o", tmp_path / "c.ndp")


@pytest.mark.slow
def test_every_flipped_byte_of_an_image_is_refused_or_harmless(capsys, tmp_path, program):
    data = bytearray(program[1].read_bytes())
    damaged = tmp_path / "damaged.h5"
    for at in range(0, min(len(data), 4000), 16):
        data[at] ^= 0xFF
        damaged.write_bytes(data)
        code, _, err = run(capsys, "exec", program[0], "--image", damaged, "--json")
        assert code in (0, 2) and "Traceback" not in err
        data[at] ^= 0xFF
