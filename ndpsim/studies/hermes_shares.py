"""Shares of a run's time as the text of Hermes (HPCA 2025) states them, from what was simulated of it."""

from typing import Final

from ndpsim.studies.cases import Outcome
from ndpsim.studies.hermes_points import Measure

_COMPUTERS: Final = ("gpu", "dimms", "cpu")


def share(measure: Measure, outcome: Outcome) -> float:
    """Return a share, 0 to 1, of a run with all its output tokens.

    prompt: of the time; dimms: of the time in which GPU and DIMMs compute tokens; communication: PCIe, of the time;
    predictor: of the time in which devices compute; migration: of neurons between DIMMs, of the time; accuracy: of the
    predictions, those that are right.
    """
    if measure == "prompt":
        return outcome.prompt_s / outcome.seconds
    if measure == "accuracy":
        return float(outcome.figures["predictor"]["accuracy"])
    if measure == "dimms":
        computed = {device: _busy(outcome, device, prompt=False) for device in _COMPUTERS}
        return computed["dimms"] / sum(computed.values())
    if measure == "predictor":
        predicted = _busy(outcome, operation="predictor")
        return predicted / sum(_busy(outcome, device) for device in _COMPUTERS)
    return _busy(outcome, "pcie" if measure == "communication" else "dimm-link") / outcome.seconds


def _busy(outcome: Outcome, device: str | None = None, operation: str | None = None, *, prompt: bool = True) -> float:
    """Return the seconds in which a device worked, or any at an operation, had all tokens been simulated."""
    found = 0.0
    for name, operations in outcome.figures["busy_s"].items():
        for done, seconds in operations.items():
            if device not in (None, name) or operation not in (None, done) or (done == "prompt" and not prompt):
                continue
            found += seconds if done == "prompt" else outcome.whole(seconds)
    return found
