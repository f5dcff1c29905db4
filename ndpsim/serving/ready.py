"""A system made ready for requests that arrive: a place for each running sequence, and room for KV caches."""

from pathlib import Path

from ndpsim.llm.shape import ModelShape, shape_from
from ndpsim.runs.run import devices_of
from ndpsim.runs.setup import Setup
from ndpsim.runs.setup_files import policy_from
from ndpsim.runs.traces import generated_trace
from ndpsim.serving.profile import EngineProfile
from ndpsim.systems.catalog import load_system, plugin_errors
from ndpsim.systems.system import Job, System
from ndpsim.wall import PLACEMENT


def ready_system(setup: Setup, places: int, cache_tokens: int | None = None) -> System:
    """Return the system of a setup, whose prompt and output together are the longest sequence, with so many places.

    cache_tokens: what all KV caches together must have room for, where they share it; None is the longest sequence
    in every place.

    Raises:
        InputError: something does not fit.
    """
    shape: ModelShape = shape_from(setup.model, "model")
    chosen = load_system(setup.system)
    job = Job(
        shape,
        places,
        setup.prompt,
        setup.output,
        lambda: generated_trace(shape, setup.preset, setup.prompt, setup.output, places, setup.seed),
        cache_tokens,
    )
    with plugin_errors(Path(setup.plugin.path) if setup.plugin else None), PLACEMENT:
        return chosen(job, devices_of(setup), policy_from(chosen, setup.policy, "policy"))


def kv_blocks(system: System, profile: EngineProfile) -> int:
    """Return how many KV blocks a system's first tier has room for, beside what the engine keeps for itself."""
    room = system.kv_room(round(profile.activations_gb.value * 1e9))
    return next(iter(room.values())) // profile.block_tokens.value
