"""`ndpsim trace info` and `ndpsim trace capture`."""

from pathlib import Path

import click

from ndpsim.cli.show import json_option, percent, print_json, print_table, progress
from ndpsim.errors import InputError


@click.group("trace")
def trace_command() -> None:
    """Describe or capture activation traces."""


@trace_command.command("info")
@click.argument("trace", type=click.Path(path_type=Path))
@json_option
def info_command(trace: Path, as_json: bool) -> None:
    """Describe TRACE: density, skew and similarity of the neurons that fire, layer by layer."""
    from ndpsim.sparsity.trace import ActivationTrace

    with ActivationTrace.read(trace) as opened:
        header, statistics = opened.header, opened.statistics()
    tokens = statistics.tokens
    if as_json:
        print_json({
            "trace": str(trace), "model": header.model, "tokens": tokens, "rule": header.rule, "source": header.source,
            "neurons": list(header.neurons), "layers": [layer._asdict() for layer in statistics.layers],
        })  # fmt: skip
        return
    print_table(
        "", [("model", header.model), ("tokens", str(tokens)), ("fires", header.rule), ("source", header.source)]
    )
    click.echo("layer  neurons  density  for 80 %   Gini  adjacent  10 apart")
    for number, (neurons, layer) in enumerate(zip(header.neurons, statistics.layers, strict=True)):
        click.echo(
            f"{number:>5} {neurons:>8} {percent(layer.density):>8} {percent(layer.share_for_80):>9} "
            f"{layer.gini:>6.2f} {percent(layer.similarity_1):>9} {percent(layer.similarity_10):>9}"
        )


@trace_command.command("capture")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Trace to write (HDF5).")
@click.option("--model", default="relu-lm", show_default=True, help="Model: a name of `ndpsim list`, or a folder.")
@click.option(
    "--text", "text_path", type=click.Path(path_type=Path), help="Text file; default: the model's held-out text."
)
@click.option("--tokens", default=512, show_default=True, help="Tokens to run at most.")
@json_option
def capture_command(output: Path, model: str, text_path: Path | None, tokens: int, as_json: bool) -> None:
    """Run a shipped model over a text and record which neurons fire.

    tools/capture_trace.py does the same for PyTorch models.
    """
    if tokens < 1:
        raise InputError(f"--tokens: expected 1 or more, found {tokens}")
    from ndpsim.cli.program import read_text
    from ndpsim.llm.catalog import load_model
    from ndpsim.sparsity.capture import capture_text

    loaded = load_model(model)
    text = read_text(text_path) if text_path else loaded.heldout_text()
    with progress("tokens", total=tokens) as update:
        count = capture_text(loaded, text, output, tokens, lambda done, total: update(completed=done, total=total))
    if as_json:
        print_json({"trace": str(output), "tokens": count})
    else:
        click.echo(f"wrote {output}: {count} tokens, {loaded.card.layers} layers of {loaded.card.d_ffn} neurons")
