"""A measured serving run beside the GPU model: the times per output token of its requests, as the engine serves them.

It is the first run of `serving_runs`, on any card and with any time of the engine between two steps.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ndpsim.gpu.kernels import Floats
from ndpsim.serving.profile import load_profile
from ndpsim.serving.workload import PS_PER_S
from ndpsim.studies.serving_runs import logged_case, measured_serving


class Replay(NamedTuple):
    """Milliseconds per output token [requests], simulated, and by statistic, measured; steps, seconds, the card."""

    simulated_ms: Floats
    measured_ms: dict[str, float]
    steps: int
    seconds: float
    measured_s: float
    source: str
    origin: str

    def record(self) -> dict[str, Any]:
        """Return the figures that a report prints."""
        times = self.simulated_ms
        return {
            "card": self.origin,
            "requests": len(times),
            "steps": self.steps,
            "simulated_s": self.seconds,
            "measured_s": self.measured_s,
            "simulated_ms": {"mean": float(times.mean()), **_percentiles(times)},
            "measured_ms": self.measured_ms,
            "mean_error": self.error,
        }

    @property
    def error(self) -> float:
        """Relative error of the mean time per output token."""
        return float(self.simulated_ms.mean() / self.measured_ms["mean"] - 1)


def replay(card: str | None = None, engine_us: float | None = None) -> Replay:
    """Serve the run; card, engine_us: others than its own, the latter in place of the profile's times between steps.

    Raises InputError if the model does not fit on the card.
    """
    run = measured_serving().run[0]
    case = logged_case(run)
    if card is not None:
        case = replace(case, card=card)
    profile = load_profile(run.engine)
    if engine_us is not None:
        times = {"step_us": engine_us, "step_sequence_us": 0.0}
        given = {name: getattr(profile, name).model_copy(update={"value": value}) for name, value in times.items()}
        profile = profile.model_copy(update=given)
    done = case.serve(profile)
    measured = case.measured["tpot"]
    return Replay(
        simulated_ms=done.times()["tpot"],
        measured_ms={"mean": measured["mean"], "median": measured["p50"], "90th percentile": measured["p90"]},
        steps=done.served.steps,
        seconds=done.served.end / PS_PER_S,
        measured_s=case.measured["whole"]["seconds"],
        source=run.source,
        origin=done.origin,
    )


def _percentiles(times: Floats) -> dict[str, float]:
    return {"median": float(np.median(times)), "90th percentile": float(np.quantile(times, 0.9))}
