"""`ndpsim run`: a whole machine on a whole model."""

import time
import tomllib
from pathlib import Path
from typing import Any

import click

from ndpsim.cli.show import json_option, percent, print_json, print_table, progress, quantity
from ndpsim.errors import InputError

SYSTEMS = ("hermes", "hermes-base")
_MAX_TOKENS = 1 << 16


@click.command("run")
@click.option("--system", type=click.Choice(SYSTEMS), default="hermes", show_default=True, help="Who computes what.")
@click.option("--model", required=True, metavar="NAME", help="A model that ships, or a model file.")
@click.option("--batch", default=1, show_default=True, help="Sequences at a time.")
@click.option("--input", "prompt", default=128, show_default=True, help="Tokens of each prompt.")
@click.option("--output", default=128, show_default=True, help="Tokens to generate for each sequence.")
@click.option("--preset", default="paper", show_default=True, help="Which neurons fire: a preset of ndpsim trace.")
@click.option("--seed", default=0, show_default=True, help="Seed of the generated trace.")
@click.option("--trace", type=click.Path(path_type=Path), help="A trace file in place of a generated one.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Replace a parameter: machine.dimms=16.")
@click.option("--placement", type=click.Choice(["greedy", "optimal", "random"]), default="greedy", show_default=True,
              help="How neurons are chosen for GPU memory.")  # fmt: skip
@click.option("--predictor", type=click.Choice(["both", "token", "layer"]), default="both", show_default=True,
              help="What predictions rest on.")  # fmt: skip
@click.option("--no-adjust", is_flag=True, help="Leave the GPU's neurons as they begin.")
@click.option("--no-remap", is_flag=True, help="Leave the DIMMs' neurons as they begin.")
@json_option
def run_command(
    system: str,
    model: str,
    batch: int,
    prompt: int,
    output: int,
    preset: str,
    seed: int,
    trace: Path | None,
    settings: tuple[str, ...],
    placement: Any,
    predictor: Any,
    no_adjust: bool,
    no_remap: bool,
    as_json: bool,
) -> None:
    """Run a model on one GPU and NDP-DIMMs, every operation of the DIMMs timed DRAM command by DRAM command."""
    for name, value, most in (("batch", batch, 255), ("input", prompt, _MAX_TOKENS), ("output", output, _MAX_TOKENS)):
        if not 1 <= value <= most:
            raise InputError(f"--{name}: expected 1 to {most}, found {value}")
    from ndpsim.llm.catalog import load_shape
    from ndpsim.sparsity.predictor import PredictorRule
    from ndpsim.systems.hermes import Hermes, Mechanisms
    from ndpsim.systems.hermes_config import load_config
    from ndpsim.systems.traces import generated_trace, recorded_trace

    began = time.perf_counter()
    config = load_config(dict(_setting(text) for text in settings))
    shape = load_shape(model)
    fires, parents = recorded_trace(trace) if trace else generated_trace(shape, preset, prompt, output, batch, seed)
    rule = PredictorRule(part=predictor, hot=config.policy.hot_above.value)
    mechanisms = Mechanisms(
        sparse=system == "hermes", placement=placement, adjust=not no_adjust, remap=not no_remap, rule=rule
    )
    machine = Hermes(config, shape, fires, parents, mechanisms)
    with progress("tokens", fires.tokens - fires.header.prompt_tokens) as update:
        result = machine.run(lambda done: update(completed=done))
    wall = time.perf_counter() - began
    record = {**result.record(), "wall_s": wall, "slowdown": wall / result.simulated_s}
    if as_json:
        print_json({**record, "config": config.model_dump()})
    else:
        _print(record)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set: expected PATH=VALUE, found {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _print(record: dict[str, Any]) -> None:
    tokens, busy = record["output_tokens"], record["dimm_busy_s"]
    rates = record["dimm_gb_per_s"]
    rows = [
        ("tokens/s", f"{record['tokens_per_s']:.2f}, prompt included"),
        ("time to first token", f"{record['time_to_first_token_s']:.3f} s"),
        ("time per output token", f"{record['time_per_output_token_s'] * 1e3:.2f} ms"),
        *(
            (f"  {name}", f"{seconds * 1e3 / tokens:.3f} ms")
            for name, seconds in record["operation_s"].items()
            if name != "prompt"
        ),
        ("GPU", record["gpu"]),
        ("  busy", f"{record['gpu_busy_s']:.3f} s of {record['simulated_s']:.3f} s"),
        ("  neurons in its memory", quantity(record["resident_bytes"], "B")),
        ("DIMMs busy", f"{min(busy):.3f} to {max(busy):.3f} s, while rows moved"),
        ("  bandwidth reached", f"{min(rates):.1f} to {max(rates):.1f} GB/s each"),
        ("  busiest over mean", f"{record['dimm_imbalance']:.3f}"),
        ("  neurons that changed DIMM", str(record["neurons_moved"])),
        ("links", ", ".join(f"{name} {quantity(size, 'B')}" for name, size in record["link_bytes"].items())),
    ]
    if record["predictor"]:
        rows.append(("predictor", ", ".join(f"{name} {percent(share)}" for name, share in record["predictor"].items())))
    rows += [
        ("energy of the DIMMs", quantity(record["energy_j"]["total"], "J")),
        ("wall time", f"{record['wall_s']:.1f} s, {record['slowdown']:.1f} times the simulated time"),
    ]
    print_table(f"{record['system']}: {record['model']}, batch {record['sequences']}", rows)
