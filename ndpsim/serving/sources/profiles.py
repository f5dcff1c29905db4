"""Published request traces as small tables of quantiles, from which requests of the same shape are drawn.

Lengths are drawn from the quantiles, linear between two of them, prompts and outputs each by itself: in the Azure
traces both are nearly uncorrelated. Arrivals are a Gamma process of the trace's own rate and spread of gaps; a trace
without times arrives at once. Which prompts begin alike is not part of a profile. `tools/make_request_profiles.py`
made them.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.serving.sources.columns import MAX_TOKENS
from ndpsim.serving.sources.generated import MAX_PROMPTS, with_rate
from ndpsim.serving.workload import Workload
from ndpsim.tables import Table, read_toml, table_from

Lengths = Annotated[
    tuple[Annotated[float, Field(strict=False, ge=1, le=MAX_TOKENS)], ...], Field(min_length=2, max_length=1000)
]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class RequestProfile(Table):
    """The shape of a trace.

    requests: how many it has; shares: ascending from 0 to 1; input_tokens, output_tokens: their quantiles at these;
    rate_per_s: requests a second, and gap_cv: the standard deviation of the gaps by their mean, if it has times.
    """

    name: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    requests: Annotated[int, Field(gt=0)]
    rate_per_s: Positive | None = None
    gap_cv: Positive | None = None
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    input_tokens: Lengths
    output_tokens: Lengths

    def draw(self, count: int | None, seed: int) -> Workload:
        """Return requests of this shape, as many as the trace has if `count` is None.

        Raises InputError if there are to be none, or too many.
        """
        count = self.requests if count is None else count
        if not 1 <= count <= MAX_PROMPTS:
            raise InputError(f"{self.name}: expected 1 to {MAX_PROMPTS} requests, found {count}")
        random = np.random.default_rng([seed, 2])
        prompts, outputs = (
            np.rint(np.interp(random.random(count), self.shares, lengths)).astype(np.int64)
            for lengths in (self.input_tokens, self.output_tokens)
        )
        workload = Workload(np.zeros(count, np.int64), prompts, outputs)
        if self.rate_per_s is None or self.gap_cv is None:
            return workload
        return with_rate(workload, self.rate_per_s, self.gap_cv**-2, seed)


def profile_names() -> list[str]:
    """Return the names of the profiles that ship with ndpsim."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_request_profile(name: str) -> RequestProfile:
    """Load a profile that ships. Raises InputError with all faults."""
    path = _folder() / f"{name}.toml"
    profile = table_from(RequestProfile, read_toml(path), str(path))
    shares = np.array(profile.shares)
    faults = [
        f"{field}: expected {len(shares)} values that do not fall, found others"
        for field in ("input_tokens", "output_tokens")
        if len(getattr(profile, field)) != len(shares) or not _rises(np.array(getattr(profile, field)))
    ]
    if not _rises(shares) or shares[0] != 0 or shares[-1] != 1:
        faults.append("shares: expected values that rise from 0 to 1, found others")
    if faults:
        raise InputError(f"{path}: {'; '.join(faults)}", faults)
    return profile


def _rises(values: NDArray[np.float64]) -> bool:
    return bool((np.diff(values) >= 0).all())


def _folder() -> Path:
    return workloads_dir() / "requests"
