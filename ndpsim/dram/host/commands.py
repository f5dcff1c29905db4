"""The commands of a host controller by their numbers in kernels."""

ACT, PRE, PREA, RD, WR, REF, REFSET, RDA, WRA = range(9)
COMMANDS = 9
LATER = 7  # of them stand in tables of later commands, where RDA is as RD and WRA as WR
RDN, WRN = 9, 10  # in logs only: in all tables they are RD and WR
NUMBERS = {
    "ACT": ACT, "PRE": PRE, "PREA": PREA, "RD": RD, "WR": WR, "REF": REF, "REFsb": REFSET, "REFpb": REFSET,
    "RDA": RDA, "WRA": WRA,
}  # fmt: skip
