"""`ndpsim model`: the shapes of models, and the operators of their steps."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndpsim.cli.command import CommandGroup, OutputPath
from ndpsim.cli.show import json_option, print_json, print_table, quantity
from ndpsim.errors import InputError

if TYPE_CHECKING:
    from ndpsim.llm.graph import Operator
    from ndpsim.llm.shape import ModelShape, Precision

_PRECISIONS: "tuple[Precision, ...]" = ("fp16", "int8", "int4")
_WIDTH = 120
_MAX_BATCH = 1 << 16
_precision = click.Choice(_PRECISIONS)


class _ModelGroup(CommandGroup):
    """A group in which a word that is no command is the name of a model to show."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@click.group("model", cls=_ModelGroup, invoke_without_command=True, no_args_is_help=True,
             subcommand_metavar="[NAME | COMMAND] [OPTIONS]")  # fmt: skip
@click.option("--list", "as_list", is_flag=True, help="List the models that ship with ndpsim.")
@json_option
@click.pass_context
def model_command(context: click.Context, as_list: bool, as_json: bool) -> None:
    """Describe models: `ndpsim model NAME` is short for `ndpsim model show NAME`."""
    if as_list == (context.invoked_subcommand is not None) or (as_json and not as_list):
        raise click.UsageError("expected --list, or the name of a model and its options after it")
    if as_list:
        _print_list(as_json)


@model_command.command("show")
@click.argument("name")
@click.option("--prefill", type=int, help="Operators of a step that reads prompts of so many tokens.")
@click.option("--decode", type=int, help="Operators of a step that adds a token to contexts of so many.")
@click.option("--batch", default=1, show_default=True, help="Sequences of a step.")
@click.option("--weights", type=_precision, default="fp16", show_default=True, help="Type of the layers' matrices.")
@click.option("--activations", type=_precision, default="fp16", show_default=True, help="Type between operators.")
@click.option("--kv", type=_precision, default="fp16", show_default=True, help="Type of the KV cache.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Replace an entry: activation=relu.")
@json_option
def show_command(
    name: str,
    prefill: int | None,
    decode: int | None,
    batch: int,
    weights: Any,
    activations: Any,
    kv: Any,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Describe the model NAME, one that ships with ndpsim or a model file, and the operators of a step.

    Figures of an operator are those of one execution; totals count all layers.
    """
    if not 1 <= batch <= _MAX_BATCH:
        raise InputError(f"--batch: expected 1 to {_MAX_BATCH}, found {batch}")
    if prefill is not None and prefill < 1:
        raise InputError(f"--prefill: expected 1 or more, found {prefill}")
    if decode is not None and decode < 0:
        raise InputError(f"--decode: expected 0 or more, found {decode}")

    from ndpsim.llm.catalog import load_shape
    from ndpsim.llm.graph import graph
    from ndpsim.llm.step import Step

    shape = load_shape(name)
    if settings:
        shape = shape.with_overrides(**dict(map(_setting, settings)))
    steps = {
        **({"prefill": Step.prefill(batch, prefill)} if prefill is not None else {}),
        **({"decode": Step.decode(batch, decode)} if decode is not None else {}),
    }
    operators = {kind: graph(shape, step, weights, activations, kv) for kind, step in steps.items()}
    if as_json:
        types = {"weights": weights, "activations": activations, "kv": kv}
        record = {kind: _step_record(listed) for kind, listed in operators.items()}
        print_json({**_summary(shape), "shape": shape.model_dump(), **(types if steps else {}), **record})
        return
    _print_summary(shape)
    for kind, listed in operators.items():
        asked = f"{prefill} tokens" if kind == "prefill" else f"{decode} tokens in the KV cache"
        _print_operators(f"{kind}: {batch} sequence{'s' * (batch > 1)}, {asked}, weights {weights}", listed)


@model_command.command("import")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=OutputPath(), required=True, help="Model file to write (.toml).")
def import_command(config: Path, output: Path) -> None:
    """Write a model file from a Hugging Face CONFIG (config.json); the model gets the name of the file."""
    from ndpsim.files import appearing, require_place
    from ndpsim.llm.hugging_face import read_config

    if output.suffix != ".toml":
        raise InputError(f"{output}: expected a name that ends in .toml")
    require_place(output)
    shape = read_config(config, output.stem)
    with appearing(output) as part:
        part.write_text(shape.to_toml(), encoding="utf-8")
    click.echo(f"{output}: {shape.parameters():,} parameters, contexts of {shape.context:,} tokens; {shape.source}")


def _setting(text: str) -> tuple[str, object]:
    import tomllib

    field, equals, value = text.partition("=")
    if not equals or not field:
        raise InputError(f"--set: expected FIELD=VALUE, found {text!r}")
    try:
        return field, tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return field, value  # a word without quotes


def _print_list(as_json: bool) -> None:
    from ndpsim.llm.catalog import load_shape, shape_names

    records = [_summary(load_shape(name)) for name in shape_names()]
    if as_json:
        print_json({"models": records})
        return
    heads = ("model", "parameters", "FP16", "INT8", "INT4", "KV of a token, FP16")
    rows = [
        [
            record["name"],
            f"{record['parameters']:,}",
            *(quantity(record["weight_bytes"][precision], "B") for precision in _PRECISIONS),
            quantity(record["kv_bytes_per_token"]["fp16"], "B"),
        ]
        for record in records
    ]
    _print_columns("", heads, rows)


def _summary(shape: "ModelShape") -> dict[str, Any]:
    return {
        "name": shape.name,
        "parameters": shape.parameters(),
        "weight_bytes": {precision: shape.weight_bytes(precision) for precision in _PRECISIONS},
        "kv_bytes_per_token": {precision: shape.kv_bytes_per_token(precision) for precision in _PRECISIONS},
    }


def _print_summary(shape: "ModelShape") -> None:
    summary = _summary(shape)
    sizes = {key: _by_precision(summary[key]) for key in ("weight_bytes", "kv_bytes_per_token")}
    gate = "gated" if shape.gated else "plain"
    print_table(
        "",
        [
            ("model", shape.name),
            ("parameters", f"{shape.parameters():,}"),
            ("weights", sizes["weight_bytes"]),
            ("KV of a token", sizes["kv_bytes_per_token"]),
            ("layers", f"{shape.layers}, {shape.block.replace('_', ' ')}, {shape.norm} norm"),
            ("hidden", str(shape.hidden)),
            ("attention", f"{shape.heads} heads of {shape.head_width}, {shape.kv_heads} KV heads, {shape.positions}"),
            ("feed-forward", f"{shape.ffn}, {gate}, {shape.activation}"),
            ("vocabulary", f"{shape.vocab}, {'tied' if shape.tied_embedding else 'untied'}"),
            ("context", str(shape.context)),
            ("source", shape.source),
        ],
    )


def _by_precision(sizes: dict[str, int]) -> str:
    return ", ".join(f"{quantity(size, 'B')} in {precision.upper()}" for precision, size in sizes.items())


def _step_record(operators: "list[Operator]") -> dict[str, Any]:
    from ndpsim.llm.graph import totals

    listed = [{**asdict(one), "shape": one.shape._asdict()} for one in operators]
    return {"operators": listed, "totals": totals(operators)._asdict()}


def _print_operators(title: str, operators: "list[Operator]") -> None:
    from ndpsim.llm.graph import totals

    heads = ("operator", "times", "shape", "MFLOP", "weights", "activations", "KV read", "KV written")
    rows = [
        [
            one.name,
            str(one.repeat),
            _sizes(one),
            f"{one.flops / 1e6:,.1f}",
            *(
                quantity(size, "B")
                for size in (one.weight_bytes, one.activation_bytes, one.kv_read_bytes, one.kv_write_bytes)
            ),
        ]
        for one in operators
    ]
    flops, *sizes = totals(operators)
    rows.append(["all, all layers", "", "", f"{flops / 1e6:,.1f}", *(quantity(size, "B") for size in sizes)])
    _print_columns(title, heads, rows)


def _sizes(one: "Operator") -> str:
    from ndpsim.llm.graph import AttentionSizes, Linear

    if isinstance(one.shape, Linear):
        return f"m {one.shape.m}, n {one.shape.n}, k {one.shape.k}"
    if isinstance(one.shape, AttentionSizes):
        heads = f"{one.shape.heads}/{one.shape.kv_heads} heads of {one.shape.head_width}"
        return f"{heads}, {one.shape.queries[0]} to {one.shape.contexts[0]}"
    return f"{one.shape.rows} x {one.shape.width}"


def _print_columns(title: str, heads: tuple[str, ...], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if title:
        click.echo(f"\n{title}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, justify="left" if head in ("model", "operator", "shape") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=max(Console().width, _WIDTH)).print(table)
