"""`ndpsim trace info`, `ndpsim trace generate` and `ndpsim trace capture`."""

from pathlib import Path

import click

from ndpsim.cli.command import CommandGroup, OutputPath
from ndpsim.cli.show import json_option, percent, print_json, print_table, progress
from ndpsim.errors import InputError


@click.group("trace", cls=CommandGroup)
def trace_command() -> None:
    """Describe, generate or capture activation traces."""


@trace_command.command("info")
@click.argument("trace", type=click.Path(path_type=Path))
@json_option
def info_command(trace: Path, as_json: bool) -> None:
    """Describe TRACE: density, skew and similarity of the neurons that fire, group by group.

    For each group: its active neurons, the share of the neurons that carries 80 % of the activations, Gini
    coefficient; of the neurons active at a token, the share active 1, 10 and 25 tokens later, and at the same token of
    another sequence; the share of the hottest 20 % in the first quarter that has cooled by the last; and the
    correlation with the best found partners in the preceding group.
    """
    from ndpsim.sparsity.trace import ActivationTrace

    with ActivationTrace.read(trace) as opened:
        header, statistics = opened.header, opened.statistics()
    tokens = statistics.tokens
    if as_json:
        print_json({
            "trace": str(trace), "model": header.model, "tokens": tokens, "sequences": header.sequences,
            "prompt_tokens": header.prompt_tokens, "rule": header.rule, "source": header.source, "seed": header.seed,
            "groups": [
                {"layer": layer, "kind": kind, "neurons": neurons, "preceding": before, **group._asdict()}
                for (layer, kind), neurons, before, group in zip(
                    header.places(), header.neurons, header.preceding, statistics.groups, strict=True
                )
            ],
        })  # fmt: skip
        return
    rows = [("model", header.model), ("tokens", f"{tokens}, {header.prompt_tokens} of them prompt")]
    rows += [("sequences", str(header.sequences)), ("fires", header.rule), ("source", header.source)]
    print_table("", rows)
    click.echo(
        "layer  kind       neurons  density  for 80 %   Gini   1 later  10 later  25 later  sequences  cooled  partners"
    )
    for (layer, kind), neurons, group in zip(header.places(), header.neurons, statistics.groups, strict=True):
        click.echo(
            f"{layer:>5}  {kind:<9} {neurons:>8} {percent(group.density):>8} {percent(group.share_for_80):>9} "
            f"{group.gini:>6.2f} {percent(group.similarity_1):>9} {percent(group.similarity_10):>9} "
            f"{percent(group.similarity_25):>9} {percent(group.sequence_similarity):>10} "
            f"{percent(group.hot_changed):>7} {percent(group.layer_correlation):>9}"
        )


@trace_command.command("generate")
@click.option("-o", "--output", required=True, type=OutputPath(), help="Trace to write (HDF5).")
@click.option("--model", help="Shape, and what the preset knows of it: a name of `ndpsim list`, or a model file.")
@click.option("--layers", type=int, help="Layers, instead of a model.")
@click.option("--attention", type=int, help="Input channels of attention in each layer, instead of a model.")
@click.option("--ffn", type=int, help="Neurons of the feed-forward block in each layer, instead of a model.")
@click.option("--preset", default="paper", show_default=True, help="What to meet: paper, measured, or a .toml file.")
@click.option("--set", "changes", multiple=True, help="Another value, as ffn.density=0.1; may be repeated.")
@click.option("--tokens", default=256, show_default=True, help="Tokens of each sequence, those of the prompt included.")
@click.option("--prompt", default=0, show_default=True, help="How many of the tokens are the prompt.")
@click.option("--batch", default=1, show_default=True, help="Sequences that run side by side.")
@click.option("--first-sequence", default=0, show_default=True, help="Number of the first; others are other texts.")
@click.option("--run-tokens", type=int, help="Tokens over which hotness drifts as asked; default: as the preset says.")
@click.option("--seed", default=0, show_default=True, help="Where all randomness comes from.")
@json_option
def generate_command(
    output: Path,
    model: str | None,
    layers: int | None,
    attention: int | None,
    ffn: int | None,
    preset: str,
    changes: tuple[str, ...],
    tokens: int,
    prompt: int,
    batch: int,
    first_sequence: int,
    run_tokens: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Generate a trace that has the densities, skews and similarities of a preset.

    For a model, or for --layers, --attention and --ffn (one of the two widths may be 0).
    """
    from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
    from ndpsim.sparsity.generation.presets import load_preset, read_changes

    numbers = (layers, attention, ffn)
    if model is not None:
        if any(number is not None for number in numbers):
            raise InputError("--model: expected it or --layers, --attention and --ffn, found both")
        from ndpsim.llm.catalog import load_shape

        found = load_shape(model)
        shape, name = NeuronShape(found.layers, found.hidden, found.ffn), found.name
    elif layers is None or attention is None or ffn is None:
        raise InputError("--model: expected it, or all of --layers, --attention and --ffn")
    else:
        shape, name = NeuronShape(layers, attention, ffn), ""
    chosen = load_preset(preset)
    asked = read_changes(changes)
    generator = ActivationGenerator(
        shape,
        chosen.parameters(shape.layers, name, asked),
        seed=seed,
        run_tokens=chosen.run_tokens.value if run_tokens is None else run_tokens,
        model=name or "generated",
        source=", ".join([f"preset {chosen.name}", *changes]),
    )
    with progress("groups", total=None) as update:
        generator.write(
            output,
            tokens,
            batch,
            first_sequence=first_sequence,
            prompt_tokens=prompt,
            progress=lambda done, total: update(completed=done, total=total),
        )
    size = output.stat().st_size
    if as_json:
        print_json({
            "trace": str(output), "model": name or "generated", "preset": chosen.name, "tokens": tokens,
            "sequences": batch, "seed": seed, "layers": shape.layers, "attention": shape.attention, "ffn": shape.ffn,
            "bytes": size,
        })  # fmt: skip
    else:
        click.echo(
            f"wrote {output}: {tokens} tokens, {batch} sequences, {shape.layers} layers of {shape.attention} attention "
            f"and {shape.ffn} ffn neurons, {size / 1e6:.1f} MB"
        )


@trace_command.command("capture")
@click.option("-o", "--output", required=True, type=OutputPath(), help="Trace to write (HDF5).")
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
    from ndpsim.cli.programs.program import read_text
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
