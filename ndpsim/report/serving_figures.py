"""The figures of served requests, with the names that `vllm bench serve` gives them.

Time to first token (ttft) counts from the arrival; the time per output token (tpot) of a request is that from its first
token to its last one by the tokens between, and requests with one token have none; times between tokens (itl) are those
of all requests together; e2el is from the arrival to the last token. Percentiles are linear between two values.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.report.figures import energy_of
from ndpsim.serving.served import BLOCKS, RUNNING, TIME, WAITING, Served, interval_of
from ndpsim.systems.system import System

Ints = NDArray[np.int64]
PS_PER_MS: Final = 1e9
PS_PER_S: Final = 1e12
PERCENTILES: Final = (50, 90, 95, 99)
LIMITED: Final = ("ttft", "tpot", "e2el")
"""What goodput may set a limit for."""


def serving_figures(served: Served, goodput: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the figures of served requests; `None` where nothing is known.

    goodput: most milliseconds of each that `LIMITED` names; a request is good that keeps all of them.
    """
    seconds = int(served.last_token.max()) / PS_PER_S
    inputs, outputs, count = int(served.prompts.sum()), int(served.outputs.sum()), len(served.arrival)
    found: dict[str, Any] = {
        "duration": seconds,
        "completed": count,
        "total_input": inputs,
        "total_output": outputs,
        "request_throughput": count / seconds,
        "request_goodput": None if goodput is None else int(good(served, goodput).sum()) / seconds,
        "output_throughput": outputs / seconds,
        "total_token_throughput": (inputs + outputs) / seconds,
    }
    for name, times in times_of(served).items():
        found.update(_statistics(name, times))
    found |= _intervals(served)
    return found | {
        "prefix_hit_rate": float(served.cached.sum() / inputs),
        "preemptions": int(served.preemptions.sum()),
        "swapped_blocks": served.swapped,
        "steps": served.steps,
        "device_use": served.busy / served.end,
        **_load(served),
    }


def serving_energy(served: Served, system: System) -> dict[str, Any]:
    """Return the joules of serving, as those of a run, and `joules_per_output_token`."""
    busy: dict[str, float] = {}
    for (device, _), time in system.meter.busy.items():
        busy[device] = busy.get(device, 0.0) + time / PS_PER_S
    energy = energy_of(system, system.devices, busy, served.end)
    joules = energy["energy_j"]
    return {**energy, "joules_per_output_token": None if joules is None else joules / int(served.outputs.sum())}


def times_of(served: Served) -> dict[str, NDArray[np.float64]]:
    """Return milliseconds of each request: ttft, tpot (NaN for those with one token) and e2el, float64[requests]."""
    between = np.where(served.outputs > 1, served.outputs - 1, 1)
    tpot = (served.last_token - served.first_token) / PS_PER_MS / between
    return {
        "ttft": (served.first_token - served.arrival) / PS_PER_MS,
        "tpot": np.where(served.outputs > 1, tpot, np.nan),
        "e2el": (served.last_token - served.arrival) / PS_PER_MS,
    }


def good(served: Served, goodput: Mapping[str, float]) -> NDArray[np.bool_]:
    """Return which requests keep all limits, in milliseconds. What a request does not have keeps any limit."""
    times, kept = times_of(served), np.ones(len(served.arrival), np.bool_)
    for name, most in goodput.items():
        kept &= ~(times[name] > most)
    return kept


def limits_of(text: str, option: str) -> dict[str, float]:
    """Read limits such as `ttft:2000,tpot:200`, in milliseconds. Raises InputError that begins with the option."""
    limits: dict[str, float] = {}
    for part in text.replace(" ", ",").split(","):
        name, _, value = part.partition(":")
        try:
            most = float(value)
        except ValueError:
            most = np.nan
        if name not in LIMITED or name in limits or not 0 < most < np.inf:
            raise InputError(
                f"{option}: expected limits in ms such as ttft:2000,tpot:200, each of {', '.join(LIMITED)} once, "
                f"found {part!r}"
            )
        limits[name] = most
    return limits


def _statistics(name: str, times: NDArray[np.float64]) -> Iterator[tuple[str, float | None]]:
    known = times[~np.isnan(times)]
    yield f"mean_{name}_ms", float(known.mean()) if known.size else None
    yield f"median_{name}_ms", float(np.median(known)) if known.size else None
    yield f"std_{name}_ms", float(known.std()) if known.size else None
    for percent in PERCENTILES:
        yield f"p{percent}_{name}_ms", float(np.percentile(known, percent)) if known.size else None


def _intervals(served: Served) -> Mapping[str, float | None]:
    """Return the statistics of times between tokens: the mean is exact, all else is that of a histogram."""
    counts = served.intervals
    total = int(counts.sum())
    if not total:
        return {f"{key}_itl_ms": None for key in ("mean", "median", "std", *(f"p{one}" for one in PERCENTILES))}
    bins = np.flatnonzero(counts)
    values, ends = interval_of(bins) / PS_PER_MS, np.cumsum(counts[bins])

    def quantile(share: float) -> float:
        rank = share * (total - 1)
        below = int(rank)
        low, high = values[np.searchsorted(ends, [below, min(below + 1, total - 1)], side="right")]
        return float(low + (high - low) * (rank - below))

    mean = float((served.last_token - served.first_token).sum()) / PS_PER_MS / total
    spread = float(np.sqrt((counts[bins] * (values - mean) ** 2).sum() / total))
    found = {"mean_itl_ms": mean, "median_itl_ms": quantile(0.5), "std_itl_ms": spread}
    return found | {f"p{percent}_itl_ms": quantile(percent / 100) for percent in PERCENTILES}


def _load(served: Served) -> dict[str, float]:
    """Return the load over time: each point holds until the next one, the last until the end."""
    points = served.load
    held = np.diff(np.append(points[:, TIME], served.end))
    whole = max(int(held.sum()), 1)
    return {
        "mean_running": float((points[:, RUNNING] * held).sum() / whole),
        "max_running": int(points[:, RUNNING].max()),
        "max_waiting": int(points[:, WAITING].max()),
        "mean_kv_use": float((points[:, BLOCKS] * held).sum() / whole / served.kv_blocks),
        "max_kv_use": float(points[:, BLOCKS].max() / served.kv_blocks),
    }
