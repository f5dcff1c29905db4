"""An obviously slow checker: every pair of commands against every rule. The twin of `ndpsim.dram.checker.checker`.

It has its own statement of the rules. All gaps are between the last clocks of commands.
"""

from collections import Counter
from typing import NamedTuple


class Cmd(NamedTuple):
    """One command; -1 where a field does not apply."""

    cycle: int
    name: str
    rank: int
    group: int = -1
    bank: int = -1
    row: int = -1
    column: int = -1
    dimm: int = 0
    channel: int = 0
    pseudo: int = 0


READS, WRITES, PRECHARGES = ("RD", "RDA", "RDN", "RDab"), ("WR", "WRA", "WRN", "WRab"), ("PRE", "PREA")
COLUMN = READS + WRITES
WHOLE_RANK = ("PREA", "REF", "RDab", "WRab")
SETS = ("REFsb", "REFpb")
REFRESHES = ("REF", *SETS)
TWO_CLOCKS = {"DDR5": ("ACT", *COLUMN), "LPDDR5X": ("ACT",), "HBM2E": ("ACT",), "HBM3": ("ACT",)}
OF_A_SET = {"DDR4": (), "DDR5": ("REFsb",), "LPDDR5X": ("REFpb",), "HBM2E": ("REFpb",), "HBM3": ("REFpb",)}


def clocks_of(name, family):
    return 2 if name in TWO_CLOCKS.get(family, ()) else 1


def last(c, family):
    return c.cycle + clocks_of(c.name, family) - 1


def set_refresh(standard):
    """Return the refresh of sets of banks that the standard has, or None."""
    return next((refresh for refresh in standard.refresh.values() if refresh.command in SETS), None)


def groups_apart(standard):
    """Return how many bank groups can be told apart by refreshes of a set."""
    refresh = set_refresh(standard)
    return standard.organization.bank_groups // refresh.covers_groups if refresh else 1


def has_command(c, standard):
    return c.name not in SETS or c.name in OF_A_SET[standard.family]


def address_is_sound(c, standard):
    """Return (the bank exists, row and column are sound as well)."""
    org = standard.organization
    exists = c.dimm >= 0 and c.channel >= 0 and 0 <= c.pseudo < org.pseudo_channels and 0 <= c.rank < org.ranks
    if c.name not in WHOLE_RANK:
        all_groups = c.name in SETS and groups_apart(standard) == 1 and c.group == -1
        exists = exists and (0 <= c.group < org.bank_groups or all_groups) and 0 <= c.bank < org.banks
    sound = exists
    if c.name == "ACT":
        sound = sound and 0 <= c.row < org.rows
    if c.name in COLUMN:
        sound = sound and -1 <= c.row < org.rows and -1 <= c.column < org.columns
    return exists, sound


def rank_of(c):
    return c.channel, c.dimm, c.pseudo, c.rank


def lane_of(c, bus):
    return (c.channel, c.dimm, c.rank) if bus == "rank" else c.channel


def bus_of(c, bus, family):
    """Return the command bus of a command."""
    column_bus = family.startswith("HBM") and c.name in COLUMN
    return rank_of(c) if bus == "shared" else lane_of(c, bus), column_bus


def touched(c, standard):
    """Return all banks that a command touches."""
    groups, banks = range(standard.organization.bank_groups), range(standard.organization.banks)
    if c.name in WHOLE_RANK:
        return {(*rank_of(c), group, bank) for group in groups for bank in banks}
    if c.name in SETS:
        apart = groups_apart(standard)
        return {(*rank_of(c), group, c.bank) for group in groups if group % apart == c.group % apart}
    return {(*rank_of(c), c.group, c.bank)}


def precharge_begins(log, i, standard):
    """Return when the precharge that command i is, or ends with, begins."""
    c, t = log[i], standard.timing
    since = last(c, standard.family)
    if c.name in PRECHARGES:
        return since
    since += t["nRTP"] if c.name == "RDA" else t["nCWL"] + t["nBL"] + t["nWR"]
    activates = [a for a in log[:i] if a.name == "ACT" and touched(a, standard) == touched(c, standard)]
    return max([since, *(last(a, standard.family) + t["nRAS"] for a in activates[-1:])])


def demands(log, i, b, standard):
    """Yield (rule, first allowed last clock) for what command i of the log demands of a later command b."""
    a, t, family = log[i], standard.timing, standard.family
    if rank_of(a) != rank_of(b):
        return
    for rule, gap in pair_rules(a, b, t, family, not touched(a, standard).isdisjoint(touched(b, standard))):
        yield rule, last(a, family) + gap
    precharges = a.name in (*PRECHARGES, "RDA", "WRA") and b.name in ("ACT", *REFRESHES)
    if precharges and not touched(a, standard).isdisjoint(touched(b, standard)):
        of_all = a.name == "PREA" and family == "LPDDR5X"
        rule, wait = ("tRPab", t["nRPab"]) if of_all else ("tRP", t["nRP"])
        yield rule, precharge_begins(log, i, standard) + wait


def pair_rules(a, b, t, family, one_bank):
    """Yield (rule, gap) for two commands of a rank; `one_bank`: they touch a bank in common."""
    hbm = family in ("HBM2E", "HBM3")
    all_groups = a.name in WHOLE_RANK or b.name in WHOLE_RANK
    one_group, other_group = a.group == b.group or all_groups, a.group != b.group or all_groups
    if a.name == "REF":
        yield "tRFC", t["nRFC"]
    if a.name == "REFsb":
        if one_bank or b.name in REFRESHES:
            yield "tRFCsb", t["nRFCsb"]
        if b.name == "ACT":
            yield "tREFSBRD", t["nREFSBRD"]
    if a.name == "REFpb":
        if one_bank:
            yield "tRFCpb", t["nRFCpb"]
        if hbm and b.name in ("ACT", "REFpb"):
            yield "tRREFD", t["nRREFD"]
        if not hbm and b.name == "REFpb":
            yield "tpbR2pbR", t["nPBR2PBR"]
        if not hbm and b.name == "ACT":
            yield "tpbR2act", t["nPBR2ACT"]
    if a.name == "ACT":
        if one_bank:
            if b.name in COLUMN:
                name = "tRCD" if not hbm else "tRCDRD" if b.name in READS else "tRCDWR"
                yield name, t["n" + name[1:]]
            if b.name in PRECHARGES:
                yield "tRAS", t["nRAS"]
            if b.name in ("ACT", *REFRESHES):
                yield "tRC", t["nRC"]
        if b.name in ("ACT", *SETS):
            if family == "LPDDR5X":
                yield "tRRD", t["nRRD"]
            elif one_group or b.name == "REFsb":
                yield "tRRD_L", t["nRRD_L"]
            else:
                yield "tRRD_S", t["nRRD_S"]
    if a.name in PRECHARGES and b.name in PRECHARGES and family in ("DDR5", "LPDDR5X", "HBM3"):
        yield "tPPD", t["nPPD"]
    if one_bank and b.name in PRECHARGES:
        if a.name in READS:
            yield "tRTP", t["nRTP"]
        if a.name in WRITES:
            yield "tWR", t["nCWL"] + t["nBL"] + t["nWR"]
    if (a.name in READS and b.name in READS) or (a.name in WRITES and b.name in WRITES):
        if other_group:
            yield "tCCD_S", t["nCCD_S"]
        if one_group:
            name = "tCCD_L_WR" if family == "DDR5" and a.name in WRITES else "tCCD_L"
            yield name, t["n" + name[1:]]
    if a.name in WRITES and b.name in READS:
        if other_group:
            yield "tWTR_S", t["nCWL"] + t["nBL"] + t["nWTR_S"]
        if one_group:
            burst = t["nCCD_L"] if family == "LPDDR5X" else t["nBL"]
            yield "tWTR_L", t["nCWL"] + burst + t["nWTR_L"]
    if a.name in READS and b.name in WRITES:
        idle = 4 if family == "DDR5" else 2
        yield "tRTW", t["nRTW"] if hbm else t["nCL"] + t["nBL"] + idle - t["nCWL"]


def window_demand(log, b, standard):
    """Yield (rule, first allowed last clock) of the activate window."""
    before = [c for c in log if c.name == "ACT" and rank_of(c) == rank_of(b)]
    if b.name == "ACT" and len(before) >= 4:
        yield "tFAW", last(before[-4], standard.family) + standard.timing["nFAW"]


def open_rows(log, standard):
    """Return the open row of each open bank after these commands."""
    rows = {}
    for c in log:
        if c.name == "ACT":
            rows[next(iter(touched(c, standard)))] = c.row
        if c.name in (*PRECHARGES, "RDA", "WRA"):
            for bank in touched(c, standard):
                rows.pop(bank, None)
    return rows


def state_faults(rows, c, standard):
    """Yield each rule about states that a command breaks where these rows are open."""
    mine = touched(c, standard)
    if c.name == "ACT" and mine & rows.keys():
        yield "act_open_bank"
    if c.name in REFRESHES and mine & rows.keys():
        yield "ref_open_bank"
    if c.name in COLUMN:
        if not mine <= rows.keys():
            yield "closed_bank"
        elif len(mine) == 1 and c.row >= 0 and c.row != rows[next(iter(mine))]:
            yield "other_row"


def burst_begins(c, standard):
    return last(c, standard.family) + standard.timing["nCL" if c.name in READS else "nCWL"]


def burst_rules(a, b, standard, bus):
    """Yield (rule, clocks between the beginnings of bursts) for two commands on data busses."""
    if a.name in WHOLE_RANK or b.name in WHOLE_RANK:
        return
    t, same_rank = standard.timing, rank_of(a) == rank_of(b)
    on_channel = bus != "rank" and "RDN" not in (a.name, b.name) and "WRN" not in (a.name, b.name)
    same_bus = on_channel and (a.channel, a.pseudo) == (b.channel, b.pseudo)
    if same_rank or same_bus:
        yield "data_bus", t["nBL"]
    if same_bus and not same_rank:
        yield ("tCCD_R", t["nCCD_R"]) if standard.family == "HBM3" else ("tRTRS", t["nBL"] + t["nRTRS"])


class Owed:
    """What a rank owes: each refresh command pays for its interval, and at most so much is paid in advance."""

    def __init__(self, standard):
        self.kinds = {refresh.command: refresh for refresh in standard.refresh.values()}
        self.sets = groups_apart(standard) * standard.organization.banks
        self.advance = max(self.limit(kind) - self.kinds[kind].interval for kind in self.kinds)
        self.paid = self.last = 0
        self.kind = "REF"
        self.turns = []

    def limit(self, kind):
        refresh = self.kinds[kind]
        return (refresh.postpone * (1 if kind == "REF" else self.sets) + 1) * refresh.interval

    def faults(self, cycle, kind):
        if cycle - self.last > self.limit(kind):
            yield "tREFI"
        if cycle - self.paid > self.limit(kind):
            yield "refresh_debt"

    def refresh(self, c, standard):
        yield from self.faults(c.cycle, c.name)
        self.paid = min(self.paid + self.kinds[c.name].interval, c.cycle + self.advance)
        self.last, self.kind = c.cycle, c.name
        if c.name == "REF":
            self.turns = []
        else:
            mine = (c.group % groups_apart(standard), c.bank)
            if self.turns.count(mine) > len(self.turns) // self.sets:
                yield "refresh_turn"
            self.turns.append(mine)


def refresh_faults(log, standard):
    """Return (rule, place) of each breach of the rules of refresh."""
    found, end = [], max((c.cycle for c in log), default=0)
    for rank in {rank_of(c) for c in log}:
        owed = Owed(standard)
        for j, c in enumerate(log):
            if rank_of(c) == rank and c.name in REFRESHES:
                found += [(rule, j) for rule in owed.refresh(c, standard)]
        found += [(rule, (rank, "end")) for rule in owed.faults(end, owed.kind)]
    return found


def bus_faults(log, standard, bus):
    """Compare all commands, and all bursts, of a bus with each other."""
    found = []
    bursts = [(burst_begins(c, standard), j) for j, c in enumerate(log) if c.name in COLUMN]
    for j, b in enumerate(log):
        for a in log[:j]:
            same_bus = bus_of(a, bus, standard.family) == bus_of(b, bus, standard.family)
            if same_bus and b.cycle < a.cycle + clocks_of(a.name, standard.family):
                found.append(("command_bus", j))
    for begin, j in bursts:
        for other, i in bursts:
            if (other, i) < (begin, j):
                found += [(rule, j) for rule, gap in burst_rules(log[i], log[j], standard, bus) if begin - other < gap]
    return found


def slow_counts(log, standard, bus):
    """Return how many commands break each rule, as a Counter."""
    found = {("command", ("log", j)) for j, c in enumerate(log) if not has_command(c, standard)}
    log = [(j, c) for j, c in enumerate(log) if has_command(c, standard)]
    found |= {("address", ("log", j)) for j, c in log if not address_is_sound(c, standard)[1]}
    log = [c for _, c in log if address_is_sound(c, standard)[0]]
    for j, c in enumerate(log):
        earlier = [o for o in log[:j] if lane_of(o, bus) == lane_of(c, bus)]
        if earlier and earlier[-1].cycle > c.cycle:
            found.add(("order", ("log", j)))
    log.sort(key=lambda c: c.cycle)
    for j, b in enumerate(log):
        demanded = [demand for i in range(j) for demand in demands(log, i, b, standard)]
        demanded += window_demand(log[:j], b, standard)
        found |= {(rule, j) for rule, clock in demanded if last(b, standard.family) < clock}
        found |= {(rule, j) for rule in state_faults(open_rows(log[:j], standard), b, standard)}
    found.update(refresh_faults(log, standard) + bus_faults(log, standard, bus))
    return Counter(rule for rule, _ in found)
