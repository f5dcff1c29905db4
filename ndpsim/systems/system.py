"""What a system is: a policy that says who computes and stores what, and when.

A system serves sequences, step by step: in a step some sequences read their prompts, or chunks of them, and others get
a token each, every one at a context of its own. For each step it asks the models of the machine how long each piece of
work takes (`Devices`), decides what waits for what, and tells its `Meter`. Who asks for steps is a driver: a run in
lockstep, or requests that arrive over time; `sequences` keeps account between the two. `load_system` finds the systems
that ship, and any class in a file of the user's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import Machine
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.config import MachineConfig
from ndpsim.machine.dense_times import DenseTimes
from ndpsim.machine.meter import Meter
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.machine.pcie import PS_PER_US as PS_PER_US
from ndpsim.machine.pcie import Pcie
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.tables import Table

DIMM_UNITS: Final = (
    "dimm.unit", "dimm.vector", "dimm.channel", "dimm.link", "dimm.barrier", "dimm.software", "dimm.energy",
    "dimm.placement", "dimm.address_maps", "dram.timing", "dram.constraints", "dram.refresh", "dram.bus",
    "dram.rounding", "dram.speed", "dram.transfers_per_clock", "dram.preset.*.timing", "dram.preset.*.speed",
)  # fmt: skip
"""Paths of `--set` that a system ignores to which the DIMMs are memory of the host, of which only the size counts."""
OTHER_FORMATS: Final = (
    "gpu.int8_tops",
    "gpu.fp32_tflops",
    "dimm.unit.macs_per_cycle_8bit",
    "dimm.energy.mac_i8",
    "dimm.energy.mac_bf16",
)
"""Paths that no system depends on that computes in FP16."""
ONE_CARD: Final = ("gpu.nvlink_gb_per_s", "gpu.pcie_gb_per_s", "gpu.traits.nvlink", "gpu.traits.pcie")
"""Paths that no system depends on whose card talks to no other: its link to the host is `pcie` of the machine."""


NO_RUN: Final = (
    "dimm.barrier", "dram.refresh.*.postpone", "dram.timing.nRTRS", "dram.preset.*.timing.nRTRS", "model.activation",
)  # fmt: skip
"""Paths that no run depends on: programs of runs have no barrier, NDP units postpone no refresh, ranks of an NDP-DIMM
have data buses of their own, and an activation takes the time of any element-wise operation."""


def is_ignored(path: str, ignores: Sequence[str]) -> bool:
    """Tell whether a path is among those that begin so; `*` stands for one part of any name."""
    parts = path.split(".")
    return any(
        len(own := one.split(".")) <= len(parts) and all(a in ("*", b) for a, b in zip(own, parts, strict=False))
        for one in ignores
    )


def ignored_by(system: "type[System]") -> tuple[str, ...]:
    """Return the beginnings of paths on which no run of a system depends."""
    return (*system.ignores, *NO_RUN)


@dataclass(frozen=True)
class Devices:
    """A machine: its links and sizes, the timing model of its graphics card, and its NDP-DIMMs."""

    config: MachineConfig
    gpu: GpuModel
    dimms: Machine

    @property
    def pcie(self) -> Pcie:
        """The link between card and host."""
        return Pcie.of(self.config.pcie)

    @property
    def weight_bytes(self) -> int:
        """Bytes of each card's memory that model weights may take. Raises InputError if it has not so many."""
        return self.config.gpu.weight_bytes(self.gpu.card.memory_bytes)


@dataclass(frozen=True)
class Job:
    """What a system gets ready for: at most `batch` sequences at a time, with `prompt` tokens to read and `output` to
    generate.

    activations: makes the trace of which neurons fire in prompt and output, and for each of its groups the neurons
    that foretell each one (`ndpsim.sparsity.prediction.predictor`). Dense systems never ask for it. cache_tokens: of
    all KV caches together, where requests share the room; None is `capacity` of each sequence.
    """

    shape: ModelShape
    batch: int
    prompt: int
    output: int
    activations: Callable[[], tuple[ActivationTrace, Sequence[NDArray[np.int32]]]]
    cache_tokens: int | None = None

    @property
    def capacity(self) -> int:
        """The most tokens of a sequence."""
        return self.prompt + self.output


class NoPolicy(Table):
    """A policy without parameters."""


class System(ABC):
    """A system; its class is all that a file needs.

    name: as results call it; Policy: the table of its own parameters, which come from `workloads/systems/<name>.toml`
    ([policy]) if that is there, else from the table's defaults, and from `--set policy.NAME=VALUE`. several_cards:
    whether it uses all `gpu.count` cards of a machine; others run on machines with one. ignores: beginnings of paths
    of `--set` on which nothing depends that it does; to set one of them is refused. shares_cache: whether KV caches are
    blocks that lie anywhere, so that sequences may share those of a common prefix; else each place has its own cache.
    """

    name: ClassVar[str]
    Policy: ClassVar[type[Table]] = NoPolicy
    several_cards: ClassVar[bool] = False
    ignores: ClassVar[tuple[str, ...]] = ()
    shares_cache: ClassVar[bool] = False

    def __init__(self, job: Job, devices: Devices, policy: Table) -> None:
        """Get ready: place the model. Raises InputError if something does not fit."""
        self.job, self.devices, self.policy = job, devices, policy
        self.meter = Meter()
        self.ndp: NdpModel | None = None

    @abstractmethod
    def forward(self, step: Step, now: int) -> int:
        """Run a step from `now` on, and return when it has ended, in picoseconds.

        `step.places` says which sequences it is for, 0 to `job.batch` - 1. All of them have entered.
        """

    def kv_room(self, reserved: int = 0) -> dict[str, int]:
        """Return how many tokens' keys and values there is room for, by tier: gpu, dimm, host.

        The first tier is where attention finds them; the others are where they may be swapped to. By default each place
        has its own room, in the DIMMs if the system computes there, else beside the host. reserved: bytes of a card's
        memory that are for something else, where that is what the caches share.
        """
        return {"dimm" if self.ndp else "host": self.job.batch * self.job.capacity}

    def step_times(self, tokens: int, sequences: int) -> DenseTimes | None:
        """Return the times of steps of up to so many new tokens, if they follow from nothing else.

        They are those of `forward` to the picosecond. None: a driver asks `forward` for each step.
        """
        return None

    @property
    def kv_token_bytes(self) -> int:
        """Bytes of the keys and values of a token, of one card if there are several: what swapping copies."""
        return self.job.shape.kv_bytes_per_token()

    def scheduler(self) -> Any:
        """Return what decides in serving which requests compute how many tokens; None: the engine's own scheduler.

        It has `schedule` and `complete` of `Scheduler`, in the engine of serving.
        """
        return None

    def enter(self, sequence: int) -> None:  # noqa: B027 - nothing to do where nothing is kept for each sequence
        """Begin a sequence at a place: its KV cache is empty, and what is kept for each sequence starts anew."""

    def leave(self, sequence: int) -> None:  # noqa: B027 - nothing to do where nothing is kept for each sequence
        """End a sequence: its place and its KV cache are free."""

    def figures(self) -> dict[str, Any]:
        """Return what else is to be reported: plain numbers and texts by name."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next step depends on, as arrays; with `restore` a stopped run can go on.

        A system whose steps depend on nothing but the step and the time has none.
        """
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:  # noqa: B027 - nothing to take where there is no state
        """Take the state that `state` returned."""

    def pcie(self, link: str, size: int) -> int:
        """Return the picoseconds of a transfer over PCIe, and count its bytes; link: h2d, d2h or a purpose."""
        self.meter.move(link, size)
        return self.devices.pcie.picoseconds(size)
