"""Requests that are drawn by chance, with the options of vLLM's serving benchmark, from a seed.

Gaps between arrivals are those of a Gamma process: with a burstiness of 1 it is a Poisson process, below it requests
come in bursts, above it more evenly. vLLM scales its gaps afterwards, so that the last request arrives exactly when the
rate says; here they stay as drawn.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.serving.sources.columns import MAX_SPAN_S, MAX_TOKENS
from ndpsim.serving.workload import PS_PER_S, Workload

Ints = NDArray[np.int64]
MAX_PROMPTS: Final = 10_000_000
MAX_RATE: Final = 1e9
_PREFIX_TOKENS: Final = 16  # a prefix number stands for so many tokens: a KV block of vLLM


@dataclass(frozen=True)
class RandomRequests:
    """What vLLM's benchmark calls the dataset `random`; names are those of its options.

    random_input_len, random_output_len: tokens, which vary evenly by `random_range_ratio` up and down;
    random_prefix_len: tokens that all prompts begin with, beside those. Raises InputError if one is out of range.
    """

    num_prompts: int = 1000
    random_input_len: int = 1024
    random_output_len: int = 128
    random_range_ratio: float = 0.0
    random_prefix_len: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("num_prompts", 1, MAX_PROMPTS), ("random_input_len", 1, MAX_TOKENS), ("random_output_len", 1, MAX_TOKENS),
            ("random_range_ratio", 0, math.nextafter(1, 0)), ("random_prefix_len", 0, MAX_TOKENS),
        ):  # fmt: skip
            _require(name, getattr(self, name), least, most)

    def draw(self, seed: int) -> Workload:
        """Return the requests, all of which arrive at once."""
        random = np.random.default_rng([seed, 0])
        prompts = self.random_prefix_len + self._lengths(random, self.random_input_len)
        outputs = self._lengths(random, self.random_output_len)
        workload = Workload(np.zeros(self.num_prompts, np.int64), prompts, outputs)
        return _with_common_prefix(workload, self.random_prefix_len) if self.random_prefix_len else workload

    def _lengths(self, random: np.random.Generator, length: int) -> Ints:
        least = max(math.floor(length * (1 - self.random_range_ratio)), 1)
        most = math.ceil(length * (1 + self.random_range_ratio))
        return random.integers(least, most, self.num_prompts, np.int64, endpoint=True)


def _with_common_prefix(workload: Workload, tokens: int) -> Workload:
    """Have all prompts begin with the same tokens; all prefixes that reach beyond them are one request's own."""
    held = -(-workload.prompts // _PREFIX_TOKENS)
    starts = np.concatenate([[0], np.cumsum(held)])
    places = np.arange(starts[-1]) - np.repeat(starts[:-1], held)
    common = tokens // _PREFIX_TOKENS
    prefixes = np.where(places < common, places, common + np.arange(starts[-1]))
    return replace(workload, prefix_tokens=_PREFIX_TOKENS, prefixes=prefixes, prefix_starts=starts)


def with_rate(workload: Workload, rate: float, burstiness: float, seed: int) -> Workload:
    """Return the requests in their order with other arrivals: `rate` a second on average, or all at once if infinite.

    Raises InputError if one is out of range, or the last request would arrive too late.
    """
    if rate != math.inf:
        _require("request_rate", rate, 1 / MAX_RATE, MAX_RATE)
    _require("burstiness", burstiness, 1e-6, 1e6)
    if rate == math.inf:
        return replace(workload, arrivals=np.zeros(len(workload), np.int64))
    gaps = np.random.default_rng([seed, 1]).gamma(burstiness, 1 / (rate * burstiness), len(workload))
    return replace(workload, arrivals=_picoseconds(np.cumsum(gaps), "request_rate", rate))


def sped_up(workload: Workload, factor: float) -> Workload:
    """Return the requests with `factor` times as many arrivals in the same time. Raises InputError as `with_rate`."""
    _require("speedup", factor, 1 / MAX_RATE, MAX_RATE)
    return replace(workload, arrivals=_picoseconds(workload.arrivals / PS_PER_S / factor, "speedup", factor))


def _picoseconds(seconds: NDArray[np.float64], name: str, value: float) -> Ints:
    if seconds[-1] > MAX_SPAN_S:
        raise InputError(
            f"{name}: expected the last request within {MAX_SPAN_S} s, found {seconds[-1]:.4g} s at {value}"
        )
    return np.rint(seconds * PS_PER_S).astype(np.int64)


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"{name}: expected {least:.6g} to {most:.6g}, found {value}")
