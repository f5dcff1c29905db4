"""`ndpsim asm`, `ndpsim disasm` and `ndpsim exec`."""

from pathlib import Path
from typing import Any

import click

from ndpsim.cli.command import Command, OutputPath
from ndpsim.cli.interrupt import interruptible
from ndpsim.cli.machine_options import machine_options
from ndpsim.cli.show import energy_rows, json_option, percent, print_json, print_table, quantity
from ndpsim.errors import InputError


@click.command("asm", cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=OutputPath(), help="Program file to write (.ndp).")
@machine_options
@json_option
def asm_command(source: Path, output: Path, dimm: str, dimms: int, placement: str | None, as_json: bool) -> None:
    """Assemble SOURCE into a program file.

    The text is what `ndpsim disasm` prints: instructions as in isa/MANUAL.md, with .dimm, .region, .list and
    .machine lines. The machine options count where the source has no .machine line; then --dimms is the number of
    .dimm parts.
    """
    from ndpsim.dimm.config import load_machine, machine_from_json
    from ndpsim.dimm.timing import require_fit
    from ndpsim.isa.program import write_program
    from ndpsim.isa.source import read_source, source_machine

    text = read_text(source)
    named = source_machine(text)
    program = read_source(text, named or "", str(source))
    if named is None:
        machine = load_machine(dimm, placement=placement, dimms=len(program.dimms))
        program = read_source(text, machine.to_json(), str(source))
    else:
        machine = machine_from_json(named, str(source))
    if machine.dimms != len(program.dimms):
        raise InputError(f"{source}: .machine: names another number of DIMMs than the {len(program.dimms)} that follow")
    require_fit(program, machine)
    write_program(output, program)
    count = sum(len(d.words) for d in program.dimms)
    if as_json:
        print_json({"program": str(output), "instructions": count, "dimms": len(program.dimms)})
    else:
        click.echo(f"wrote {output}: {count} instructions for {len(program.dimms)} DIMMs")


def read_text(path: Path) -> str:
    """Read a text file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


@click.command("disasm", cls=Command)
@click.argument("program", type=click.Path(path_type=Path))
@json_option
def disasm_command(program: Path, as_json: bool) -> None:
    """Write the program file PROGRAM as text that `ndpsim asm` reads back."""
    from ndpsim.isa.program import read_program
    from ndpsim.isa.source import program_text

    text = program_text(read_program(program))
    if as_json:
        print_json({"program": str(program), "text": text})
    else:
        click.echo(text, nl=False)


@click.command("exec", cls=Command)
@click.argument("program", type=click.Path(path_type=Path))
@click.option(
    "--image", type=click.Path(path_type=Path), help="Memory to start from; without it the program is only timed."
)
@click.option("--state", "state_path", type=OutputPath(), help="With --image: write the final memory (HDF5).")
@click.option("--log", "log_path", type=OutputPath(), help="Write all DRAM commands (HDF5).")
@json_option
def exec_command(
    program: Path, image: Path | None, state_path: Path | None, log_path: Path | None, as_json: bool
) -> None:
    """Execute PROGRAM for its numbers (with --image) and for its time."""
    from ndpsim.dimm.config import machine_from_json
    from ndpsim.dimm.resolve import resolve
    from ndpsim.dimm.timing import time_program
    from ndpsim.dram.log.log import write_log
    from ndpsim.files import require_place
    from ndpsim.isa.program import read_program

    if state_path is not None and image is None:
        raise InputError("--state: expected together with --image")
    loaded = read_program(program)
    machine = machine_from_json(loaded.machine, str(program))
    if machine.dimms != len(loaded.dimms):
        raise InputError(f"{program}: machine: names {machine.dimms} DIMMs, found programs for {len(loaded.dimms)}")
    record: dict[str, Any] = {"program": str(program), "executed": image is not None}
    for path in (state_path, log_path):
        if path is not None:
            require_place(path)
    if image is not None:
        record |= _execute(loaded, machine.buffer_bytes, image, state_path)
    else:
        record["trap"] = _trap_record(resolve(loaded, machine.buffer_bytes).trap)
    if record["trap"]:
        if as_json:
            print_json(record)
        click.echo(f"ndpsim: {record['trap']['sentence']}", err=True)
        raise click.exceptions.Exit(1)
    run = interruptible(lambda: time_program(loaded, machine, log=log_path is not None))
    record |= run.summary()
    record["class_s"] = {name: ps * 1e-12 for name, ps in run.class_ps().items()}
    if as_json:
        print_json(record)
    else:
        _print(record)
    if log_path is not None and run.log is not None:
        write_log(log_path, run.log)


def _execute(program: Any, buffer_bytes: int, image: Path, state_path: Path | None) -> dict[str, Any]:
    import hashlib

    from ndpsim.dimm.executor import execute
    from ndpsim.dimm.image import read_image, write_image

    states = read_image(image, program, buffer_bytes)
    trap = interruptible(lambda: execute(program, states))
    if state_path is not None:
        write_image(state_path, states)
    outputs = [bytes(state.host_out) for state in states]
    return {
        "trap": _trap_record(trap),
        "host_out_bytes": [len(out) for out in outputs],
        "host_out_sha256": [hashlib.sha256(out).hexdigest() for out in outputs],
    }


def _trap_record(trap: Any) -> dict[str, Any] | None:
    return {**vars(trap), "sentence": str(trap)} if trap else None


def _print(record: dict[str, Any]) -> None:
    rows = [
        ("time", quantity(record["simulated_s"], "s")),
        ("DRAM bytes", quantity(record["dram_bytes"], "B")),
        ("bandwidth reached", f"{record['stream_gb_per_s']:.1f} GB/s, while rows were moved"),
        ("row-hit rate", percent(record["row_hit_rate"])),
        (
            "DRAM commands",
            ", ".join(f"{name} {count}" for name, count in record["commands"].items() if count) or "none",
        ),
        ("bytes by DIMM", ", ".join(quantity(size, "B") for size in record["dimm_bytes"])),
        ("busy, all DIMMs", ", ".join(f"{name} {quantity(s, 's')}" for name, s in record["class_s"].items() if s)),
        *energy_rows(record),
    ]
    if record["executed"]:
        rows.append(("returned", ", ".join(quantity(size, "B") for size in record["host_out_bytes"])))
    else:
        rows.append(("numbers", "none: without --image a program is only timed"))
    print_table("", rows)
