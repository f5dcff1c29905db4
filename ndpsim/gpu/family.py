"""What a family of kernels (matrix products, attention, row operations) has: a time model and its efficiencies."""

from collections.abc import Callable
from typing import NamedTuple

from ndpsim.gpu.card import Card
from ndpsim.gpu.kernels import Floats, Kernels


class Parameter(NamedTuple):
    """An efficiency, latency or factor of a card that measurements decide.

    prior: what is assumed without any; low, high: what a fit may find; spread: by which factor (as a natural
    logarithm) the prior may well be off; reason: what it stands for, and where the prior comes from.
    """

    name: str
    prior: float
    low: float
    high: float
    spread: float
    reason: str


class KernelFamily(NamedTuple):
    """A family of kernels with one time model.

    times(kernels, card, efficiencies [len(parameters)]) -> microseconds [n]: the device time of each kernel, from the
    end of the kernel before it in a CUDA graph to its own end.
    expected(card) -> factors [len(parameters)]: what the data sheet lets one expect of each parameter beside the
    prior (1 where it says nothing), for example that a power limit caps the matrix rate. Cards share what is left.
    """

    name: str
    operations: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    times: Callable[[Kernels, Card, Floats], Floats]
    expected: Callable[[Card], Floats]
