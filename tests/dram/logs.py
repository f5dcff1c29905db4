"""Short ways to write DRAM commands and logs in tests."""

import numpy as np
from oracles.slow_checker import Cmd

from ndpsim.dram.log import COMMANDS, FIELDS, CommandLog


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
