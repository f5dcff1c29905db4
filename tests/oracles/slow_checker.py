"""An obviously slow DDR4 checker: every pair of commands against every rule. The twin of `ndpsim.dram.checker`."""

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


READS, WRITES, PRECHARGES = ("RD", "RDA"), ("WR", "WRA"), ("PRE", "PREA")
COLUMN = READS + WRITES


def address_is_sound(c, org):
    """Return (the bank exists, row and column are sound as well)."""
    exists = c.dimm >= 0 and 0 <= c.rank < org.ranks
    if c.name not in ("PREA", "REF"):
        exists = exists and 0 <= c.group < org.bank_groups and 0 <= c.bank < org.banks
    sound = exists
    if c.name == "ACT":
        sound = sound and 0 <= c.row < org.rows
    if c.name in COLUMN:
        sound = sound and -1 <= c.row < org.rows and -1 <= c.column < org.columns
    return exists, sound


def bus_of(c, bus):
    return c.dimm if bus == "channel" else (c.dimm, c.rank)


def same_rank(a, b):
    return (a.dimm, a.rank) == (b.dimm, b.rank)


def same_bank(a, b):
    return same_rank(a, b) and (a.group, a.bank) == (b.group, b.bank)


def concerns(a, b):
    """Return whether a precharge, or an ACT, or a column command, and a precharge touch the same bank."""
    return same_bank(a, b) or (same_rank(a, b) and ("PREA" in (a.name, b.name)))


def precharge_begins(log, i, t):
    """Return when the precharge that command i is, or ends with, begins."""
    c = log[i]
    if c.name in PRECHARGES:
        return c.cycle
    begins = c.cycle + (t["nRTP"] if c.name == "RDA" else t["nCWL"] + t["nBL"] + t["nWR"])
    activates = [a for a in log[:i] if a.name == "ACT" and same_bank(a, c)]
    return max(begins, activates[-1].cycle + t["nRAS"]) if activates else begins


def pair_rules(log, i, j, t):
    """Yield the name of each rule that command j breaks by coming too early after command i."""
    a, b = log[i], log[j]
    gap = b.cycle - a.cycle
    if not same_rank(a, b):
        return
    if a.name == "REF" and gap < t["nRFC"]:
        yield "tRFC"
    if a.name == "ACT":
        if b.name in COLUMN and same_bank(a, b) and gap < t["nRCD"]:
            yield "tRCD"
        if b.name in PRECHARGES and concerns(a, b) and gap < t["nRAS"]:
            yield "tRAS"
        if (b.name == "REF" or (b.name == "ACT" and same_bank(a, b))) and gap < t["nRC"]:
            yield "tRC"
        if b.name == "ACT" and a.group != b.group and gap < t["nRRD_S"]:
            yield "tRRD_S"
        if b.name == "ACT" and a.group == b.group and gap < t["nRRD_L"]:
            yield "tRRD_L"
    precharges = a.name in (*PRECHARGES, "RDA", "WRA")
    if precharges and (b.name == "REF" or (b.name == "ACT" and concerns(a, b))):
        since = precharge_begins(log, i, t)
        if b.cycle - since < t["nRP"]:
            yield "tRP"
    if a.name in READS and b.name in PRECHARGES and concerns(a, b) and gap < t["nRTP"]:
        yield "tRTP"
    if a.name in WRITES and b.name in PRECHARGES and concerns(a, b) and gap < t["nCWL"] + t["nBL"] + t["nWR"]:
        yield "tWR"
    if (a.name in READS and b.name in READS) or (a.name in WRITES and b.name in WRITES):
        if a.group == b.group and gap < t["nCCD_L"]:
            yield "tCCD_L"
        if a.group != b.group and gap < t["nCCD_S"]:
            yield "tCCD_S"
    if a.name in WRITES and b.name in READS:
        if a.group == b.group and gap < t["nCWL"] + t["nBL"] + t["nWTR_L"]:
            yield "tWTR_L"
        if a.group != b.group and gap < t["nCWL"] + t["nBL"] + t["nWTR_S"]:
            yield "tWTR_S"
    if a.name in READS and b.name in WRITES and gap < t["nCL"] + t["nBL"] + 2 - t["nCWL"]:
        yield "tRTW"


def state_rules(log, org):
    """Replay the log bank by bank; return (rule, place) of each breach."""
    open_row, found = {}, []
    for j, c in enumerate(log):
        key = (c.dimm, c.rank, c.group, c.bank)
        if c.name == "ACT":
            if key in open_row:
                found.append(("act_open_bank", j))
            open_row[key] = c.row
        elif c.name == "PRE":
            open_row.pop(key, None)
        elif c.name == "PREA":
            for other in [k for k in open_row if k[:2] == key[:2]]:
                del open_row[other]
        elif c.name == "REF":
            if any(k[:2] == key[:2] for k in open_row):
                found.append(("ref_open_bank", j))
        else:
            if key not in open_row:
                found.append(("closed_bank", j))
            elif c.row not in (-1, open_row[key]) and c.row >= 0:
                found.append(("other_row", j))
            if c.name in ("RDA", "WRA"):
                open_row.pop(key, None)
    return found


def refresh_rules(log, t):
    """Walk each rank's REFs and count what is owed, one falling due just after every nREFI."""
    found, end = [], max((c.cycle for c in log), default=0)
    for rank in {(c.dimm, c.rank) for c in log}:
        last, due, owed = 0, 0, 0
        times = [(c.cycle, j) for j, c in enumerate(log) if (c.dimm, c.rank) == rank and c.name == "REF"]
        for cycle, j in [*times, (end, "end")]:
            if cycle - last > 9 * t["nREFI"]:
                found.append(("tREFI", (rank, j)))
            while (due + 1) * t["nREFI"] < cycle:  # one that falls due in this very clock is not late yet
                due, owed = due + 1, owed + 1
            if owed > 8:
                found.append(("refresh_debt", (rank, j)))
            falls_due_now = cycle > 0 and (due + 1) * t["nREFI"] == cycle
            owed = max(owed - 1, -8 - falls_due_now)
            last = cycle
    return found


def bus_rules(log, t, bus):
    """Compare all commands, and all bursts, of a bus with each other."""
    found = []
    bursts = []
    for j, c in enumerate(log):
        for i in range(j):
            if bus_of(log[i], bus) == bus_of(c, bus) and log[i].cycle == c.cycle:
                found.append(("command_bus", j))
        if c.name in COLUMN:
            bursts.append((c.cycle + (t["nCL"] if c.name in READS else t["nCWL"]), j))
    for begin, j in bursts:
        for other, i in bursts:
            if (other, i) < (begin, j) and bus_of(log[i], bus) == bus_of(log[j], bus):
                if begin - other < t["nBL"]:
                    found.append(("data_bus", j))
                if not same_rank(log[i], log[j]) and begin - (other + t["nBL"]) < 2:
                    found.append(("rank_gap", j))
    return found


def slow_counts(log, standard, bus):
    """Return how many commands break each rule, as a Counter."""
    t, org = standard.timing, standard.organization
    found = {("address", ("log", j)) for j, c in enumerate(log) if not address_is_sound(c, org)[1]}
    for j, c in enumerate(log):
        earlier = [o for o in log[:j] if bus_of(o, bus) == bus_of(c, bus)]
        if earlier and earlier[-1].cycle > c.cycle:
            found.add(("order", ("log", j)))
    log = sorted((c for c in log if address_is_sound(c, org)[0]), key=lambda c: c.cycle)
    for j in range(len(log)):
        for i in range(j):
            found.update((rule, j) for rule in pair_rules(log, i, j, t))
        before = [c for c in log[:j] if c.name == "ACT" and same_rank(c, log[j])]
        if log[j].name == "ACT" and len(before) >= 4 and log[j].cycle - before[-4].cycle < t["nFAW"]:
            found.add(("tFAW", j))
    found.update(state_rules(log, org) + refresh_rules(log, t) + bus_rules(log, t, bus))
    return Counter(rule for rule, _ in found)
