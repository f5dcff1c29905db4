"""The timing rules of DDR4 (JESD79-4) as a table: which command, after which, where, and how many clocks later."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Scope = Literal["bank", "same group", "other group", "rank"]


class TimingRule(NamedTuple):
    """A `later` command comes at least `gap` clocks after every `earlier` one in its scope (its bank, rank, ...)."""

    name: str
    earlier: str
    later: str
    scope: Scope
    gap: str


# An auto precharge counts from when it starts inside the device, the later of its two times:
#   RDA: nRAS after the ACT, nRTP after the RDA;   WRA: nRAS after the ACT, nCWL + nBL + nWR after the WRA.
AUTO_PRECHARGE = {"RDA": "nRTP", "WRA": "nCWL + nBL + nWR"}

# A precharge of a closed bank is allowed and restarts tRP. Turnaround between
# ranks is a matter of the data bus, not of the chips: `rank_gap` below.
TIMING_RULES = (
    TimingRule("tRCD", "ACT", "RD WR RDA WRA", "bank", "nRCD"),
    TimingRule("tRAS", "ACT", "PRE", "bank", "nRAS"),
    TimingRule("tRAS", "ACT", "PREA", "rank", "nRAS"),
    TimingRule("tRC", "ACT", "ACT", "bank", "nRC"),
    TimingRule("tRC", "ACT", "REF", "rank", "nRC"),
    TimingRule("tRP", "PRE RDA WRA", "ACT", "bank", "nRP"),
    TimingRule("tRP", "PREA", "ACT", "rank", "nRP"),
    TimingRule("tRP", "PRE PREA RDA WRA", "REF", "rank", "nRP"),
    TimingRule("tRRD_S", "ACT", "ACT", "other group", "nRRD_S"),
    TimingRule("tRRD_L", "ACT", "ACT", "same group", "nRRD_L"),
    TimingRule("tCCD_S", "RD RDA", "RD RDA", "other group", "nCCD_S"),
    TimingRule("tCCD_S", "WR WRA", "WR WRA", "other group", "nCCD_S"),
    TimingRule("tCCD_L", "RD RDA", "RD RDA", "same group", "nCCD_L"),
    TimingRule("tCCD_L", "WR WRA", "WR WRA", "same group", "nCCD_L"),
    TimingRule("tWTR_S", "WR WRA", "RD RDA", "other group", "nCWL + nBL + nWTR_S"),
    TimingRule("tWTR_L", "WR WRA", "RD RDA", "same group", "nCWL + nBL + nWTR_L"),
    TimingRule("tRTW", "RD RDA", "WR WRA", "rank", "nCL + nBL + 2 - nCWL"),
    TimingRule("tRTP", "RD RDA", "PRE", "bank", "nRTP"),
    TimingRule("tRTP", "RD RDA", "PREA", "rank", "nRTP"),
    TimingRule("tWR", "WR WRA", "PRE", "bank", "nCWL + nBL + nWR"),
    TimingRule("tWR", "WR WRA", "PREA", "rank", "nCWL + nBL + nWR"),
    TimingRule("tRFC", "REF", "ACT PRE PREA RD WR RDA WRA REF", "rank", "nRFC"),
)

ACTIVATES_IN_WINDOW = 4  # tFAW: at most so many ACTs of a rank in nFAW clocks
RANK_GAP = 2  # idle clocks of a shared data bus between bursts of two ranks
MAX_POSTPONED = 8  # REFs that may be postponed, so that two are at most nine nREFI apart; as many may be pulled in

OTHER_RULES = {
    "tFAW": "a fifth ACT of a rank comes at least nFAW after the first",
    "tREFI": "a rank is refreshed within 9 nREFI of its last REF, of cycle 0, and up to the end of the log",
    "refresh_debt": "a rank never owes more than 8 REFs, one falling due every nREFI; at most 8 count in advance",
    "ref_open_bank": "REF needs all banks of the rank precharged",
    "act_open_bank": "ACT needs a closed bank",
    "closed_bank": "RD and WR need an open bank",
    "other_row": "the row that a RD or WR names, if any, is the open one",
    "address": "rank, bank group, bank, row and column exist in the organization",
    "order": "the cycles of the commands on a bus do not decrease",
    "command_bus": "a bus carries one command a clock",
    "data_bus": "bursts (RD: nCL after the command, WR: nCWL after, for nBL) do not overlap on a bus",
    "rank_gap": "bursts of two ranks on one bus leave it idle for 2 clocks in between",
}

RULES = (*dict.fromkeys(rule.name for rule in TIMING_RULES), *OTHER_RULES)


def clocks(expression: str, timing: Mapping[str, int]) -> int:
    """Return the value of a sum such as `nCL + nBL + 2 - nCWL`."""
    total, sign = 0, 1
    for term in expression.split():
        if term in "+-":
            sign = 1 if term == "+" else -1
        else:
            total += sign * (int(term) if term.isdigit() else timing[term])
    return total
