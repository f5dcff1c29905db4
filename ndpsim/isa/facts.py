"""What checks, timing and energy need to know of every instruction, as a table for kernels, from `isa/ndp.toml`.

They go by an instruction's timing class and by the shapes of its operands, not by its opcode, so that another
element-wise or matrix instruction is a record in that file and its arithmetic in the executor.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.isa.spec import OPERANDS, TIMING_CLASSES, Isa, isa

CLASS, SRC, SRC2, DST, SRC_WIDTH, DST_WIDTH, IN_PLACE, BATCHED, PASSES, DIVISIONS, SIZE = range(11)
"""Columns: the timing class; what operands are; by what they are wide; whether the result may coincide with a source,
and whether there is a batch; passes and divisions of the vector unit."""
UNKNOWN, CONTROL, CHANNEL, LINK, BARRIER, STREAM, VECTOR = range(len(TIMING_CLASSES) + 1)
NOTHING, VALUES, VECTORS, STATE, COLUMNS, ROWS, MATRIX, BYTES = range(len(OPERANDS) + 1)
WORD, BY_TYPE, BY_TO = range(3)
NO_DIVISION, PER_ELEMENT, PER_VECTOR = range(3)


@cache
def instruction_facts() -> NDArray[np.int64]:
    """Return the table of the instruction set that ships with ndpsim."""
    return facts_of(isa())


def facts_of(instructions: Isa) -> NDArray[np.int64]:
    """Return int64[256, SIZE] by opcode; an opcode that is not used is of the class UNKNOWN."""
    table = np.zeros((256, SIZE), np.int64)
    for one in instructions.instructions.values():
        row, fields, operands = table[one.opcode], {field.name for field in one.fields}, dict(one.operands)
        row[CLASS] = TIMING_CLASSES.index(one.timing) + 1
        for column, field in ((SRC, "src"), (SRC2, "src2"), (DST, "dst")):
            row[column] = OPERANDS.index(operands[field]) + 1 if field in operands else NOTHING
        stream = one.timing == "stream"  # its type is that of the matrix
        row[SRC_WIDTH] = BY_TYPE if stream or "type" in fields else WORD
        row[DST_WIDTH] = BY_TO if "to" in fields else row[SRC_WIDTH]
        if stream and operands.get("dst") != "matrix":
            row[DST_WIDTH] = WORD
        row[IN_PLACE], row[BATCHED] = one.in_place, "batch" in fields
        row[PASSES], row[DIVISIONS] = one.passes, ("none", "element", "vector").index(one.divisions)
    return table
