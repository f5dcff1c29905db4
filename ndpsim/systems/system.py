"""What a system is: a policy that says who computes and stores what, and when.

A system runs a job: a prompt, then tokens of all sequences one after the other. It asks the models of the machine how
long each piece of work takes (`Devices`), decides what waits for what, and tells its `Meter`. `load_system` finds
those that ship, and any class in a file of the user's.
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
from ndpsim.machine.config import MachineConfig
from ndpsim.machine.meter import Meter
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.tables import Table

PS_PER_US: Final = 1_000_000


@dataclass(frozen=True)
class Devices:
    """A machine: its links and sizes, the timing model of its graphics card, and its NDP-DIMMs."""

    config: MachineConfig
    gpu: GpuModel
    dimms: Machine


@dataclass(frozen=True)
class Job:
    """What is to be run: tokens of `batch` sequences, `prompt` of each known and `output` to generate.

    activations: makes the trace of which neurons fire in prompt and output, and for each of its groups the neurons
    that foretell each one (`ndpsim.sparsity.predictor`). Dense systems never ask for it.
    """

    shape: ModelShape
    batch: int
    prompt: int
    output: int
    activations: Callable[[], tuple[ActivationTrace, Sequence[NDArray[np.int32]]]]


class NoPolicy(Table):
    """A policy without parameters."""


class System(ABC):
    """A system; its class is all that a file needs.

    name: as results call it; Policy: the table of its own parameters, which come from `workloads/systems/<name>.toml`
    ([policy]) if that is there, else from the table's defaults, and from `--set policy.NAME=VALUE`. several_cards:
    whether it uses all `gpu.count` cards of a machine; others run on machines with one.
    """

    name: ClassVar[str]
    Policy: ClassVar[type[Table]] = NoPolicy
    several_cards: ClassVar[bool] = False

    def __init__(self, job: Job, devices: Devices, policy: Table) -> None:
        """Get ready: place the model. Raises InputError if something does not fit."""
        self.job, self.devices, self.policy = job, devices, policy
        self.meter = Meter()
        self.ndp: NdpModel | None = None

    @abstractmethod
    def prompt(self) -> int:
        """Run the prompt of all sequences from time 0 on, and return when it has ended, in picoseconds."""

    @abstractmethod
    def token(self, number: int, now: int) -> int:
        """Run output token `number` (0, 1, ...) of all sequences from `now` on, and return when it has ended."""

    def figures(self) -> dict[str, Any]:
        """Return what else is to be reported: plain numbers and texts by name."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next token depends on, as arrays; with `restore` a stopped run can go on.

        A system whose tokens depend on nothing but their number and the time has none.
        """
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:  # noqa: B027 - nothing to take where there is no state
        """Take the state that `state` returned."""

    def pcie(self, link: str, size: int) -> int:
        """Return the picoseconds of a transfer over PCIe, and count its bytes; link: h2d, d2h or a purpose."""
        self.meter.move(link, size)
        pcie = self.devices.config.pcie
        return int((pcie.us.value + size / (pcie.gb_per_s.value * 1e3)) * PS_PER_US)
