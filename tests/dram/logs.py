"""Short ways to write DRAM commands and logs in tests, and to judge them."""

import random
from functools import cache

import numpy as np
from oracles.slow_checker import Cmd

from ndpsim.dram.checker.checker import check
from ndpsim.dram.log.log import COMMANDS, FIELDS, CommandLog
from ndpsim.dram.standard.standard import load_standard, with_overrides

DDR4 = load_standard("DDR4-3200-Hermes")
NAMES = ("DDR4-3200AA", "DDR5-4800B", "LPDDR5X-8533", "HBM2E-3200", "HBM3-6400")  # one of each family


@cache
def two_ranks(name):
    return load_standard(name, ranks=2)


def quick(name, seed):
    """Return a standard of two ranks with short refresh times, and with some others that make rare rules bind."""
    standard, draw = two_ranks(name), random.Random(seed)
    times = {"nRFC": 40, "nREFI": 60, "nRFCsb": 30, "nRFCpb": 30, "nREFIsb": 15, "nREFIpb": 7, "nFAW": 40, "nPPD": 3}
    times |= {"nREFSBRD": 9, "nPBR2PBR": 20, "nPBR2ACT": 9, "nRTRS": draw.choice([1, 2, 5])}
    if draw.random() < 0.5:
        longer = {"nWTR_S": 30, "nRRD_S": 12, "nCCD_S": 12, "nRRD_L": 2, "nCCD_L": 2, "nRC": 120}
        times |= {key: longer[key] for key in draw.sample(sorted(longer), 2)}
    return with_overrides(standard, {key: clocks for key, clocks in times.items() if key in standard.timing})


def act(cycle, rank=0, group=0, bank=0, row=7):
    return Cmd(cycle, "ACT", rank, group, bank, row)


def column(name, cycle, rank=0, group=0, bank=0, row=-1):
    return Cmd(cycle, name, rank, group, bank, row, 0)


def rd(cycle, rank=0, group=0, bank=0, row=-1):
    return column("RD", cycle, rank, group, bank, row)


def wr(cycle, rank=0, group=0, bank=0, row=-1):
    return column("WR", cycle, rank, group, bank, row)


def pre(cycle, rank=0, group=0, bank=0):
    return Cmd(cycle, "PRE", rank, group, bank)


def prea(cycle, rank=0):
    return Cmd(cycle, "PREA", rank)


def ref(cycle, rank=0):
    return Cmd(cycle, "REF", rank)


def of_set(cycle, group=0, bank=0):
    """Return the refresh of the set of banks with this one; `spelt` gives it the name that the standard has for it."""
    return Cmd(cycle, "REFsb or REFpb", 0, group, bank)


def spelt(command, standard):
    if command.name != "REFsb or REFpb":
        return command
    if standard.family == "DDR5":
        return command._replace(name="REFsb", group=-1)
    return command._replace(name="REFpb")


def command_log(commands, bus="rank", standard=""):
    fields = {
        "cycle": [c.cycle for c in commands],
        "command": [COMMANDS.index(c.name) for c in commands],
        "channel": [c.channel for c in commands],
        "pseudo_channel": [c.pseudo for c in commands],
        "dimm": [c.dimm for c in commands],
        "rank": [c.rank for c in commands],
        "bank_group": [c.group for c in commands],
        "bank": [c.bank for c in commands],
        "row": [c.row for c in commands],
        "column": [c.column for c in commands],
    }
    return CommandLog(
        **{name: np.array(fields[name], dtype) for name, dtype in FIELDS.items()}, bus=bus, standard=standard
    )


def two_banks(group, bank=0):
    return [act(0), act(10, group=group, bank=bank)]


def broken(commands, bus="rank", standard=DDR4):
    report = check(command_log(commands, bus), standard)
    assert report.legal == (not any(report.counts.values()))
    assert bool(report.first) != report.legal
    return {rule: count for rule, count in report.counts.items() if count}


def blocked_until(rule, before, command, cycle, *, also=(), bus="rank", standard=DDR4):
    """Check that the command is legal at the cycle, and a clock earlier breaks the rule (and only those in `also`)."""
    assert broken([*before, command._replace(cycle=cycle)], bus, standard) == {}
    assert set(broken([*before, command._replace(cycle=cycle - 1)], bus, standard)) == {rule, *also}
