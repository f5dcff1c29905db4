"""`ndpsim generate`."""

from pathlib import Path
from typing import Any

import click

from ndpsim.cli.command import Command, OutputPath
from ndpsim.cli.machine_options import machine_options
from ndpsim.cli.show import energy_rows, json_option, percent, print_json, print_table, progress, quantity
from ndpsim.errors import InputError


@click.command("generate", cls=Command)
@click.argument("prompt")
@click.option("--tokens", default=64, show_default=True, help="Tokens to generate, 1 to 100000.")
@click.option("--model", default="relu-lm", show_default=True, help="Model: a name of `ndpsim list`, or a folder.")
@machine_options
@click.option(
    "--balance", default="round_robin", show_default=True, help="How neurons are spread: round_robin or by_frequency."
)
@click.option("--active", type=click.Choice(["exact", "all"]), default="exact", show_default=True,
              help="Compute the neurons that fire, or all.")  # fmt: skip
@click.option("--temperature", default=0.0, show_default=True, help="0 takes the likeliest token.")
@click.option("--seed", default=0, show_default=True, help="Of the draw, at a temperature above 0.")
@click.option("--log", "log_path", type=OutputPath(), help="Write all DRAM commands of the run (HDF5).")
@json_option
def generate_command(
    prompt: str,
    tokens: int,
    model: str,
    dimm: str,
    dimms: int,
    placement: str | None,
    balance: str,
    active: str,
    temperature: float,
    seed: int,
    log_path: Path | None,
    as_json: bool,
) -> None:
    """Generate text after PROMPT.

    Per token and layer, the neurons that fire are compiled into programs for the DIMMs, executed bit-exactly and
    timed DRAM command by DRAM command; the rest of the model runs in NumPy. Every step is compared with the same
    model run densely in float32.
    """
    if not 1 <= tokens <= 100_000:
        raise InputError(f"--tokens: expected 1 to 100000, found {tokens}")
    if not 0 <= temperature <= 1000:  # a NaN fails this too
        raise InputError(f"--temperature: expected 0 to 1000, found {temperature}")
    if seed < 0:
        raise InputError(f"--seed: expected 0 or more, found {seed}")

    from ndpsim.dimm.config import load_machine
    from ndpsim.dram.log.log import write_log
    from ndpsim.files import require_place
    from ndpsim.functional.dimms import join_logs
    from ndpsim.functional.ffn_offload import FfnOffload
    from ndpsim.llm.catalog import load_model
    from ndpsim.llm.tokenizer import Tokenizer

    if log_path is not None:
        require_place(log_path)
    loaded = load_model(model)
    machine = load_machine(dimm, placement=placement, dimms=dimms)
    tokenizer = Tokenizer.of(loaded)
    ids = tokenizer.encode(prompt)
    if len(ids) + tokens > loaded.card.context:
        click.echo(f"note: the model sees only the last {loaded.card.context} tokens", err=True)
    system = FfnOffload(loaded, machine, balance=balance, active=active, log=log_path is not None)
    with progress("tokens", total=len(ids) - 1 + tokens) as update:
        result = system.generate(ids, tokens, temperature=temperature, seed=seed, on_token=lambda _: update(advance=1))
    text = tokenizer.decode(result.tokens)
    figures = result.figures()
    if as_json:
        counts = {"tokens": len(result.tokens), "token_ids": result.tokens}
        print_json({"prompt": prompt, "text": text, **figures, **counts, "machine": machine.summary()})
    else:
        click.echo(tokenizer.decode(ids + result.tokens) + "\n")
        _print(figures, machine.dimms)
    if log_path is not None:
        assert result.totals is not None and result.prompt_totals is not None
        write_log(log_path, join_logs(result.prompt_totals.logs + result.totals.logs))
    if figures["mismatches"]:
        raise click.exceptions.Exit(1)


def _print(f: dict[str, Any], dimms: int) -> None:
    busiest = max(f["dimm_bytes"]) or 1
    rows = [
        ("tokens", str(f["tokens"])),
        ("NDP time per token", quantity(f["ndp_s_per_token"], "s")),
        ("DRAM bytes", quantity(f["dram_bytes"], "B")),
        (
            "bandwidth reached",
            f"{f['stream_gb_per_s']:.1f} GB/s on {dimms} DIMM{'s' * (dimms > 1)}, while rows were moved",
        ),
        ("row-hit rate", percent(f["row_hit_rate"])),
        ("neurons active", percent(f["active_share"])),
        ("  by layer", ", ".join(percent(share) for share in f["active_share_by_layer"])),
        ("load of each DIMM", ", ".join(percent(size / busiest) for size in f["dimm_bytes"]) + " of the busiest"),
        (
            "DRAM commands, without the prompt's",
            ", ".join(f"{name} {count}" for name, count in f["commands"].items() if count),
        ),
        ("programs sent", quantity(f["upload_bytes"], "B")),
        *energy_rows(f),
        ("wall time", quantity(f["wall_s"], "s")),
        ("same tokens as dense", _verdict(f)),
    ]
    print_table("", rows)
    for kind, name in (("near_ties", "near-tie"), ("mismatches", "MISMATCH")):
        for d in f[kind]:
            click.echo(
                f"{name} at token {d['step']}: NDP prefers {d['ndp_token']}, dense {d['dense_token']}, "
                f"logits {d['gap']:.4f} apart"
            )


def _verdict(f: dict[str, Any]) -> str:
    largest = f"largest difference of a logit {f['largest_logit_difference']:.4f}"
    if f["mismatches"]:
        return f"NO, {len(f['mismatches'])} differ ({largest})"
    return f"yes, up to {len(f['near_ties'])} near-ties ({largest})" if f["near_ties"] else f"yes ({largest})"
