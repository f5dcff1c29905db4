"""An engine profile: what an engine version takes beside the kernels of a step, from `workloads/engines/`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.kinds import Unit
from ndpsim.tables import Count, Given, Switch, Table, read_toml, table_from

PS_PER_US = 10**6
Host = Annotated[Given[Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]], Unit("us")]


class EngineProfile(Table):
    """An engine version.

    step_us, step_sequence_us: host time between the kernels of two steps, and its part for each scheduled sequence;
    step_workers_us: what it takes longer where several cards have a process each; front_end_us: from the arrival of a
    request until the scheduler has it; async_scheduling: whether a step is scheduled while the one before runs. The
    rest are the engine's defaults: tokens of a KV block, most running sequences, most new tokens of a step, what it
    leaves of its share of a card's memory beside weights and KV blocks, and whether preempted requests are swapped.
    """

    name: Annotated[str, Field(min_length=1)]
    step_us: Host
    step_sequence_us: Host
    step_workers_us: Host
    front_end_us: Host
    block_tokens: Count
    max_num_seqs: Count
    max_num_batched_tokens: Count
    async_scheduling: Switch
    activations_gb: Annotated[Given[Annotated[float, Field(strict=True, ge=0, le=1e4)]], Unit("GB")]
    swapping: Switch

    @property
    def front_end_ps(self) -> int:
        """Picoseconds from the arrival of a request until the scheduler has it."""
        return round(self.front_end_us.value * PS_PER_US)

    def step_ps(self, cards: int) -> int:
        """Picoseconds between two steps, on so many cards."""
        return round((self.step_us.value + (self.step_workers_us.value if cards > 1 else 0)) * PS_PER_US)

    @property
    def step_sequence_ps(self) -> int:
        """Picoseconds more for each scheduled sequence."""
        return round(self.step_sequence_us.value * PS_PER_US)


def profile_names() -> list[str]:
    """Return the names of the profiles that ship with ndpsim."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_profile(name: str) -> EngineProfile:
    """Load a profile by name, or from a `.toml` file. Raises InputError with all faults."""
    if not name.endswith(".toml") and name not in profile_names():
        raise InputError(f"engine '{name}': expected one of {', '.join(profile_names())}, or a .toml file")
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    return table_from(EngineProfile, read_toml(path), str(path))


def _folder() -> Path:
    return workloads_dir() / "engines"
