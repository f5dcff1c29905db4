"""`ndpsim compile`."""

from pathlib import Path

import click
from click.core import ParameterSource

from ndpsim.cli.command import Command, OutputPath
from ndpsim.cli.machine_options import machine_options
from ndpsim.cli.show import json_option, print_json, print_table, quantity
from ndpsim.errors import InputError


@click.command("compile", cls=Command)
@click.option("-o", "--output", required=True, type=OutputPath(), help="Program file to write (.ndp).")
@click.option("--image", "image_path", type=OutputPath(), help="Also write the memory for it (HDF5).")
@click.option(
    "--model", default=None, help="Take a layer of this model, and the activations that a prompt causes in it."
)
@click.option("--layer", default=0, show_default=True, help="With --model: which layer.")
@click.option(
    "--prompt", default="The list", show_default=True, help="With --model: the token after this text is compiled."
)
@click.option("--neurons", default=1024, show_default=True, help="Without --model: neurons of a random layer.")
@click.option("--width", default=512, show_default=True, help="Without --model: elements of a neuron's rows.")
@click.option("--activation", default="relu", show_default=True, help="relu, silu, gelu, or none for a single matrix.")
@click.option("--gated", is_flag=True, help="Without --model: three matrices instead of two.")
@click.option("--type", "type_", default="f16", show_default=True, help="f16, bf16; i8 for a single matrix.")
@click.option("--density", default=0.2, show_default=True, help="Without --model: share of neurons that are active.")
@click.option("--batch", default=1, show_default=True, help="Without --model: sequences handled together.")
@click.option("--seed", default=0, show_default=True, help="Without --model: of weights, inputs and active neurons.")
@click.option("--balance", default="round_robin", show_default=True, help="How neurons are spread over DIMMs.")
@machine_options
@json_option
def compile_command(
    output: Path,
    image_path: Path | None,
    model: str | None,
    layer: int,
    prompt: str,
    neurons: int,
    width: int,
    activation: str,
    gated: bool,
    type_: str,
    density: float,
    batch: int,
    seed: int,
    balance: str,
    dimm: str,
    dimms: int,
    placement: str | None,
    as_json: bool,
) -> None:
    """Compile one token of a layer into programs for all DIMMs.

    The layer is one of a model's (--model) or a random one of any shape. The program alone can be timed; with --image
    it can be executed too.
    """
    from ndpsim.compiler.lower import layer_compiler
    from ndpsim.compiler.tokens import model_token, random_token
    from ndpsim.dimm.config import load_machine
    from ndpsim.dimm.executor import DimmState
    from ndpsim.dimm.image import write_image
    from ndpsim.files import require_place
    from ndpsim.isa.program import write_program

    if model is not None:
        _refuse_random_options()
    for path in (output, image_path):
        if path is not None:
            require_place(path)
    machine = load_machine(dimm, placement=placement, dimms=dimms)
    if model is not None:
        token = model_token(model, layer, prompt)
    else:
        kind = None if activation == "none" else activation
        token = random_token(neurons, width, kind, gated, type_, density, batch, seed)
    compiler = layer_compiler(token.shape, machine, balance=balance, frequencies=token.frequencies)
    if image_path is not None and image_path.resolve() == output.resolve():
        raise InputError(f"--image: expected another file than {output}")
    program = compiler.compile(token.active, token.batch)
    if image_path is not None:
        import numpy as np

        from ndpsim.compiler.placement import memory_image

        host_input = compiler.host_input(token.x(), token.active)
        images = memory_image(compiler.placement, token.weights())
        buffer = np.zeros(machine.buffer_bytes, np.uint8)
        states = [DimmState(regions, buffer, data) for regions, data in zip(images, host_input, strict=True)]
        write_image(image_path, states)
    write_program(output, program)
    upload = sum(d.upload_bytes for d in program.dimms)
    record = {
        "program": str(output),
        "image": str(image_path) if image_path else None,
        "neurons": token.shape.neurons,
        "active": len(token.active),
        "dimms": dimms,
        "instructions": sum(len(d.words) for d in program.dimms),
        "upload_bytes": upload,
        "dram_bytes": len(token.active) * token.shape.neuron_bytes,
    }
    if as_json:
        print_json(record)
        return
    print_table("", [
        ("wrote", " and ".join(str(p) for p in (output, image_path) if p)),
        ("neurons", f"{record['active']} of {record['neurons']} active, on {dimms} DIMMs"),
        ("instructions", f"{record['instructions']}, {quantity(upload, 'B')} with lists"),
        ("will read", quantity(len(token.active) * token.shape.neuron_bytes, "B")),
    ])  # fmt: skip


def _refuse_random_options() -> None:
    """Options of a random layer mean nothing beside --model."""
    context = click.get_current_context()
    for name in ("neurons", "width", "activation", "gated", "type_", "density", "batch", "seed"):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise InputError(f"--{name.rstrip('_')}: expected without --model, which brings its own layer")
