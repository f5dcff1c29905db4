"""The timing rules of JEDEC's standards as tables: which command, after which, where, and how many clocks later.

They stand beside the constraints in the files of the standards, and are kept apart from them: simulators obey those,
the checker knows only these.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ndpsim.errors import InputError

Scope = Literal["bank", "same group", "other group", "rank"]

READS, WRITES = "RD RDA RDN RDab", "WR WRA WRN WRab"
COLUMN = f"{READS} {WRITES}"
ALL_BANKS = "RDab WRab"  # column commands of all banks of a rank
SETS = "REFsb REFpb"  # refreshes of a set of banks
REFRESHES = f"REF {SETS}"
WHOLE_RANK = f"PREA REF {ALL_BANKS}"
EVERY = f"ACT PRE PREA {COLUMN} {REFRESHES}"


class TimingRule(NamedTuple):
    """A `later` command comes at least `gap` clocks after every `earlier` one in its scope.

    As JEDEC does, `gap` counts from the last clock of the one to the last clock of the other. In the scope `bank` are
    two commands that touch one bank, and so on: PREA, REF, RDab and WRab touch all banks of a rank, and so are in the
    same group and in another group as well; REFsb and REFpb touch those of their set.
    """

    name: str
    earlier: str
    later: str
    scope: Scope
    gap: str


class RuleFamily(NamedTuple):
    """The timing rules of a standard.

    `other_rank` is the name of the rule for bursts of two ranks on one data bus, and the clocks from the begin of
    the one to the begin of the next.
    """

    timing: tuple[TimingRule, ...]
    other_rank: tuple[str, str]

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the names of all rules."""
        return (*dict.fromkeys(rule.name for rule in self.timing), self.other_rank[0], *OTHER_RULES)


# An auto precharge counts from when it starts inside the device, the later of its two times:
#   RDA: nRAS after the ACT, nRTP after the RDA;   WRA: nRAS after the ACT, nCWL + nBL + nWR after the WRA.
AUTO_PRECHARGE = {"RDA": "nRTP", "WRA": "nCWL + nBL + nWR"}

# A precharge of a closed bank is allowed and restarts tRP. What is said of commands that a standard does not have
# (REFsb is DDR5's, REFpb that of LPDDR5 and HBM) applies to none.
_ALL = (
    TimingRule("tRAS", "ACT", "PRE PREA", "bank", "nRAS"),
    TimingRule("tRC", "ACT", f"ACT {REFRESHES}", "bank", "nRC"),
    TimingRule("tRP", "PRE RDA WRA", f"ACT {REFRESHES}", "bank", "nRP"),
    TimingRule("tRTP", READS, "PRE PREA", "bank", "nRTP"),
    TimingRule("tWR", WRITES, "PRE PREA", "bank", "nCWL + nBL + nWR"),
    TimingRule("tCCD_S", READS, READS, "other group", "nCCD_S"),
    TimingRule("tCCD_S", WRITES, WRITES, "other group", "nCCD_S"),
    TimingRule("tCCD_L", READS, READS, "same group", "nCCD_L"),
    TimingRule("tWTR_S", WRITES, READS, "other group", "nCWL + nBL + nWTR_S"),
    TimingRule("tRFC", "REF", EVERY, "rank", "nRFC"),
)
_PRECHARGE_ALL = TimingRule("tRP", "PREA", f"ACT {REFRESHES}", "bank", "nRP")
_RCD = TimingRule("tRCD", "ACT", COLUMN, "bank", "nRCD")
_WRITES_IN_GROUP = TimingRule("tCCD_L", WRITES, WRITES, "same group", "nCCD_L")
_WRITE_TO_READ = TimingRule("tWTR_L", WRITES, READS, "same group", "nCWL + nBL + nWTR_L")
_RRD = (
    TimingRule("tRRD_S", "ACT", "ACT", "other group", "nRRD_S"),
    TimingRule("tRRD_L", "ACT", "ACT", "same group", "nRRD_L"),
)
_PPD = TimingRule("tPPD", "PRE PREA", "PRE PREA", "rank", "nPPD")
_DDR4 = (
    *_ALL,
    *_RRD,
    _PRECHARGE_ALL,
    _RCD,
    _WRITES_IN_GROUP,
    _WRITE_TO_READ,
    TimingRule("tRTW", READS, WRITES, "rank", "nCL + nBL + 2 - nCWL"),
)
_DDR5 = (
    *_ALL,
    *_RRD,
    _PRECHARGE_ALL,
    _RCD,
    _PPD,
    _WRITE_TO_READ,
    TimingRule("tCCD_L_WR", WRITES, WRITES, "same group", "nCCD_L_WR"),
    TimingRule("tRTW", READS, WRITES, "rank", "nCL + nBL + 4 - nCWL"),  # 2, and 2 more of preamble
    TimingRule("tRRD_L", "ACT", "REFsb", "rank", "nRRD_L"),  # inside, a refresh is an activate
    TimingRule("tRFCsb", "REFsb", EVERY, "bank", "nRFCsb"),
    TimingRule("tRFCsb", "REFsb", REFRESHES, "rank", "nRFCsb"),
    TimingRule("tREFSBRD", "REFsb", "ACT", "rank", "nREFSBRD"),
)
_LPDDR5X = (
    *_ALL,
    _RCD,
    _WRITES_IN_GROUP,
    _PPD,
    TimingRule("tWTR_L", WRITES, READS, "same group", "nCWL + nCCD_L + nWTR_L"),  # counts from WL + BL/n_max
    TimingRule("tRPab", "PREA", f"ACT {REFRESHES}", "bank", "nRPab"),
    TimingRule("tRRD", "ACT", "ACT REFpb", "rank", "nRRD"),
    TimingRule("tRTW", READS, WRITES, "rank", "nCL + nBL + 2 - nCWL"),
    TimingRule("tRFCpb", "REFpb", EVERY, "bank", "nRFCpb"),
    TimingRule("tpbR2pbR", "REFpb", "REFpb", "rank", "nPBR2PBR"),
    TimingRule("tpbR2act", "REFpb", "ACT", "rank", "nPBR2ACT"),
)
_HBM = (
    *_ALL,
    *_RRD,
    _PRECHARGE_ALL,
    _WRITES_IN_GROUP,
    _WRITE_TO_READ,
    TimingRule("tRCDRD", "ACT", READS, "bank", "nRCDRD"),
    TimingRule("tRCDWR", "ACT", WRITES, "bank", "nRCDWR"),
    TimingRule("tRTW", READS, WRITES, "rank", "nRTW"),
    TimingRule("tRRD_S", "ACT", "REFpb", "other group", "nRRD_S"),
    TimingRule("tRRD_L", "ACT", "REFpb", "same group", "nRRD_L"),
    TimingRule("tRFCpb", "REFpb", EVERY, "bank", "nRFCpb"),
    TimingRule("tRREFD", "REFpb", "REFpb ACT", "rank", "nRREFD"),
)
_IDLE_CLOCKS = ("tRTRS", "nBL + nRTRS")

FAMILIES = {
    "DDR4": RuleFamily(_DDR4, _IDLE_CLOCKS),
    "DDR5": RuleFamily(_DDR5, _IDLE_CLOCKS),
    "LPDDR5X": RuleFamily(_LPDDR5X, _IDLE_CLOCKS),
    "HBM2E": RuleFamily(_HBM, _IDLE_CLOCKS),
    "HBM3": RuleFamily((*_HBM, _PPD), ("tCCD_R", "nCCD_R")),
}

ACTIVATES_IN_WINDOW = 4  # tFAW: at most so many ACTs of a rank in nFAW clocks

OTHER_RULES = {
    "tFAW": "a fifth ACT of a rank comes at least nFAW after the first",
    "tREFI": "a rank is refreshed again within the postponed refreshes and one more; so after cycle 0, and at the end",
    "refresh_debt": "a rank never owes more refreshes than may be postponed; as many count in advance",
    "refresh_turn": "REFsb and REFpb refresh no set of banks again before all others of the rank had their turn",
    "ref_open_bank": "REF needs all banks of the rank precharged, REFsb and REFpb those of their set",
    "act_open_bank": "ACT needs a closed bank",
    "closed_bank": "RD and WR need an open bank, RDab and WRab need all banks of the rank open",
    "other_row": "the row that a RD or WR names, if any, is the open one",
    "address": "pseudo-channel, rank, bank group, bank, row and column exist in the organization",
    "command": "the standard has such a command",
    "order": "the cycles of the commands of a channel (or of a rank with its own bus) do not decrease",
    "command_bus": "a bus carries one command at a time: that of the channel, or of each rank where it has its own",
    "data_bus": "bursts (nCL after the last clock of a RD, nCWL after that of a WR, for nBL) do not overlap on a bus",
}


def clocks(expression: str, timing: Mapping[str, int]) -> int:
    """Return the value of a sum such as `nCL + nBL + 2 - nCWL`; InputError if a timing in it is not known."""
    total, sign = 0, 1
    for term in expression.split():
        if term in "+-":
            sign = 1 if term == "+" else -1
        elif term.isdigit():
            total += sign * int(term)
        elif term in timing:
            total += sign * timing[term]
        else:
            raise InputError(f"standard: {term}: expected a timing that the rules of its family need, found none")
    return total
