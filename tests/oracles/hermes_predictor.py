"""The predictor as the paper describes it, neuron by neuron, in plain Python."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Numbers:
    part: str = "both"
    rise: int = 4
    fall: int = 1
    weight: int = 6
    threshold: int = 15
    strict: bool = True
    threshold_alone: int = 10
    hot: int = 10


def first_state(frequency: float) -> int:
    """16 bins: below 2 %, above 90 %, and 14 between them of equal ratio."""
    if frequency > 0.9:
        return 15
    state = 0
    for edge in range(14):
        if frequency >= 0.02 * (0.9 / 0.02) ** (edge / 14):
            state = edge + 1
    return state


def moved(state: int, active: bool, numbers: Numbers) -> int:
    return min(state + numbers.rise, 15) if active else max(state - numbers.fall, 0)


def state_now(state: int, parents: Sequence[bool], numbers: Numbers) -> int:
    if numbers.part == "layer" and parents:
        return min(numbers.weight * sum(parents), 15)
    return state


def predicted(state: int, parents: Sequence[bool], numbers: Numbers) -> bool:
    """``state`` as `state_now` gives it; ``parents``: whether each one that the neuron has is active."""
    if not parents or numbers.part != "both":
        return state > numbers.threshold_alone
    score = state + numbers.weight * sum(parents)
    return score > numbers.threshold if numbers.strict else score >= numbers.threshold


def pearson(x: Sequence[bool], y: Sequence[bool]) -> float:
    n, a, b = len(x), sum(x), sum(y)
    both = sum(p and q for p, q in zip(x, y, strict=True))
    spread = math.sqrt(a * (n - a) * b * (n - b))
    return (n * both - a * b) / spread if spread else 0.0
