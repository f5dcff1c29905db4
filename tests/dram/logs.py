"""Short ways to write DRAM commands and logs in tests, and to judge them."""

import numpy as np
from oracles.slow_checker import Cmd

from ndpsim.dram.checker import check
from ndpsim.dram.log import COMMANDS, FIELDS, CommandLog
from ndpsim.dram.standard import load_standard

DDR4 = load_standard("DDR4-3200-Hermes")


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
