"""`ndpsim list`."""

from typing import Any

import click

from ndpsim.cli.command import Command
from ndpsim.cli.show import json_option, print_json
from ndpsim.errors import InputError


@click.command("list", cls=Command)
@click.argument("systems", metavar="[SYSTEM]...", nargs=-1)
@click.option("--paths", is_flag=True, help="Every path of --set: value, unit, range, source; of hermes or SYSTEM...")
@click.option("--model", metavar="NAME", help="With --paths: the model whose values are shown.  [default: llama2-70b]")
@json_option
def list_command(systems: tuple[str, ...], paths: bool, model: str | None, as_json: bool) -> None:
    """List what ships with ndpsim: systems, machines, models, GPUs, DIMMs, standards, presets, instructions.

    With --paths: what `ndpsim run --set PATH=VALUE` can change.
    """
    if paths:
        _list_paths(systems or ("hermes",), model or "llama2-70b", as_json)
        return
    if systems or model:
        raise InputError(f"{systems[0] if systems else '--model'}: expected it with --paths, found it without")
    from ndpsim.compiler.placement import STRATEGIES
    from ndpsim.dimm.config import dimm_names, load_machine
    from ndpsim.dram.standard.standard import standard_names
    from ndpsim.gpu.card import card_names
    from ndpsim.isa.spec import isa
    from ndpsim.llm.catalog import model_names, shape_names
    from ndpsim.machine.config import machine_names
    from ndpsim.serving.profile import profile_names as engine_names
    from ndpsim.serving.sources.profiles import profile_names as request_names
    from ndpsim.sparsity.generation.presets import preset_names
    from ndpsim.systems.catalog import SYSTEMS

    record: dict[str, Any] = {
        "systems": list(SYSTEMS),
        "machines": machine_names(),
        "models": shape_names(),
        "models_with_weights": model_names(),
        "gpus": card_names(),
        "trace_presets": preset_names(),
        "request_profiles": request_names(),
        "engines": engine_names(),
        "dimms": dimm_names(),
        "placements": {name: dict(load_machine(name).config.address_maps) for name in dimm_names()},
        "standards": standard_names(),
        "balance": list(STRATEGIES),
        "instructions": [instruction.syntax for instruction in isa().instructions.values()],
    }
    if as_json:
        print_json(record)
        return
    for name in (
        "systems", "machines", "models", "models_with_weights", "gpus", "dimms", "balance", "trace_presets",
        "request_profiles", "engines",
    ):  # fmt: skip
        click.echo(f"{name.replace('_', ' ')}: {', '.join(record[name])}")
    families = dict.fromkeys(name.partition("-")[0] for name in record["standards"])
    click.echo(f"standards: {len(record['standards'])} of {', '.join(families)}; see ndpsim dram --list")
    for dimm, maps in record["placements"].items():
        click.echo(f"placements of {dimm}:")
        for name, text in maps.items():
            click.echo(f"  {name}: {text}")
    click.echo("instructions:")
    for syntax in record["instructions"]:
        click.echo(f"  {syntax}")


def _list_paths(systems: tuple[str, ...], model: str, as_json: bool) -> None:
    """List what can be set, system by system."""
    from ndpsim.runs.paths import paths_of

    found = {system: paths_of(system, model) for system in systems}
    if as_json:
        print_json({"paths": {system: [entry._asdict() for entry in entries] for system, entries in found.items()}})
        return
    for system, entries in found.items():
        click.echo(f"{system}, {model}: {len(entries)} paths of --set")
        width = max(len(entry.path) for entry in entries)
        for entry in entries:
            value = "-" if entry.value is None else f"{_plain(entry.value)} {entry.unit}".rstrip()
            line = f"  {entry.path:<{width}}  {value}  ({entry.range})"
            click.echo(f"{line}  {entry.source}".rstrip())


def _plain(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
