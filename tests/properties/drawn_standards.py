"""Standards with all kinds of timings, for properties of the stream engines."""

from dataclasses import replace
from math import ceil

from hypothesis import strategies as st

from ndpsim.dram.standard.standard import load_standard, with_overrides

PRESETS = [
    "DDR4-3200AA", "DDR4-2400R", "DDR5-4800B", "DDR5-6400B-16Gb_x4", "LPDDR5X-8533", "HBM2E-3200", "HBM3-6400",
]  # fmt: skip
KEPT = ("nBL", "nCL", "nCWL", "nRC", "nRTW", "nREFI")  # the data bus, sums, and what is drawn below
_STANDARDS = {name: load_standard(name) for name in PRESETS}


@st.composite
def standards(draw, organizations, spare=1):
    """A preset with one of the organizations (changes to its own), often with shorter or longer timings.

    A refresh falls due at least `spare` clocks after the end of the one before. With few of them, a train that is not
    interrupted lets a rank owe more refreshes than a standard allows.
    """
    standard = _STANDARDS[draw(st.sampled_from(PRESETS))]
    some = draw(st.lists(st.sampled_from([name for name in standard.timing if name not in KEPT]), max_size=6))
    factors = st.sampled_from([0, 0.3, 0.8, 1.3, 3])
    least = {"nCCD_S": standard.timing["nBL"], "nCCD_L": standard.timing["nBL"]}
    changed = {name: max(least.get(name, 1), ceil(standard.timing[name] * draw(factors))) for name in some}
    standard = with_overrides(standard, changed)
    standard = with_overrides(standard, {"nREFI": standard.timing["nRFC"] + spare + draw(st.integers(0, 1500))})
    changes = draw(st.sampled_from(organizations))
    return replace(standard, organization=standard.organization.model_copy(update=changes))
