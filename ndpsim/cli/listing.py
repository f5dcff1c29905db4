"""`ndpsim list`."""

from typing import Any

import click

from ndpsim.cli.command import Command
from ndpsim.cli.show import json_option, print_json


@click.command("list", cls=Command)
@json_option
def list_command(as_json: bool) -> None:
    """List what ships with ndpsim: systems, machines, models, GPUs, DIMMs, standards, presets, instructions."""
    from ndpsim.compiler.placement import STRATEGIES
    from ndpsim.dimm.config import dimm_names, load_machine
    from ndpsim.dram.standard.standard import standard_names
    from ndpsim.gpu.card import card_names
    from ndpsim.isa.spec import isa
    from ndpsim.llm.catalog import model_names, shape_names
    from ndpsim.machine.config import machine_names
    from ndpsim.sparsity.presets import preset_names
    from ndpsim.systems.catalog import SYSTEMS

    record: dict[str, Any] = {
        "systems": list(SYSTEMS),
        "machines": machine_names(),
        "models": shape_names(),
        "models_with_weights": model_names(),
        "gpus": card_names(),
        "trace_presets": preset_names(),
        "dimms": dimm_names(),
        "placements": {name: dict(load_machine(name).config.address_maps) for name in dimm_names()},
        "standards": standard_names(),
        "balance": list(STRATEGIES),
        "instructions": [instruction.syntax for instruction in isa().instructions.values()],
    }
    if as_json:
        print_json(record)
        return
    for name in ("systems", "machines", "models", "models_with_weights", "gpus", "dimms", "balance", "trace_presets"):
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
