"""Programs that leave nothing behind but their accounts: decoded, checked, timed and counted in one kernel.

A run of a model has hundreds of programs a token, most of them short; a call for each of these steps would take longer
than the steps.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import Machine
from ndpsim.dimm.decode import OP, Encodings, decode_words, encodings
from ndpsim.dimm.energy import LINK, OperandSizes, add_work, operand_sizes
from ndpsim.dimm.resolve import UNLIMITED, Tables, check_ops, resolve
from ndpsim.dimm.timing import IS_STREAM, Timer, add_stream_ps
from ndpsim.dimm.timing_kernel import Ints, Model, Times, run_all
from ndpsim.dram.ndp.rank_state import RankState
from ndpsim.held import Held
from ndpsim.isa import codes
from ndpsim.isa.program import Program, upload_bytes
from ndpsim.jit import njit


class _Books(NamedTuple):
    """All that the programs of a machine share; work, stream_ps: those of `Accounts`."""

    encodings: Encodings
    sizes: OperandSizes
    is_stream: NDArray[np.bool_]
    buffer_bytes: int
    model: Model
    ranks: RankState
    work: Ints
    stream_ps: Ints


class Accounts:
    """What the programs of a machine did.

    timer: its clocks; work: int64[6], the fields of `NdpWork`; stream_ps: int64[DIMMs], the time of each DIMM in its
    stream instructions.
    """

    def __init__(self, machine: Machine) -> None:
        self.timer = Timer(machine)
        self.work = np.zeros(LINK + 1, np.int64)
        self.stream_ps = np.zeros(machine.dimms, np.int64)
        books = _Books(
            encodings(),
            operand_sizes(),
            IS_STREAM,
            machine.buffer_bytes,
            self.timer.model,
            self.timer.ranks,
            self.work,
            self.stream_ps,
        )
        self._books = Held(books)

    def run(self, program: Program) -> int:
        """Time a program, advance to its end, and return when DIMM 0 is ready to take the GPU's partial result.

        Raises ProgramError if the program traps, and InputError as `Timer.run`.
        """
        timer = self.timer
        timer.require_own(program)
        (words, starts), (lists, list_starts) = program.words, program.lists
        end, partial = _run(self._books, words, starts, lists, list_starts, *program.regions.table, timer.now_ps)
        if end < 0:
            resolve(program, timer.machine.buffer_bytes).require_clean()
        timer.now_ps = end
        return int(partial)


@njit
def _run(
    held: Held[_Books],
    words: NDArray[np.uint64],
    starts: Ints,
    lists: NDArray[np.uint32],
    list_starts: Ints,
    region_starts: Ints,
    regions: Ints,
    begin: int,
) -> tuple[int, int]:
    """Return the end of a program, and when DIMM 0 is ready to take the GPU's partial result; -1 if it traps."""
    books = held.value
    dimms = len(starts) - 1
    ops = decode_words(words, books.encodings)
    order = np.empty(len(ops), np.int64)
    checked = np.zeros(4, np.int64)
    tables = Tables(lists, list_starts, region_starts, regions, np.full(dimms, UNLIMITED))
    check_ops(ops, starts, tables, books.buffer_bytes, order, checked)
    if checked[1] != 0:
        return -1, -1
    uploads, spans = upload_bytes(starts, list_starts), np.full((len(ops), 2), -1)
    times = Times(uploads, np.empty(dimms, np.int64), np.empty(dimms, np.int64), spans)
    run_all(ops, starts, lists, books.model, books.ranks, begin, times, True, None)
    add_work(ops, order[: checked[0]], lists, books.sizes, books.work)
    add_stream_ps(ops, starts, spans, books.is_stream, books.stream_ps)
    return times.finish.max(), _partial(ops, starts, spans, books.is_stream)


@njit
def _partial(ops: Ints, starts: Ints, spans: Ints, is_stream: NDArray[np.bool_]) -> int:
    """Return when DIMM 0 is ready to take the GPU's partial result.

    It adds that last, tile by tile; the last tile. That is its first `hin` behind everything that it does with its own
    rows and with what comes from other DIMMs. ops, spans: instructions that run, and from when to when.
    """
    first = end = starts[1] - 1
    for at in range(end, -1, -1):
        code = ops[at, OP]
        if code == codes.OP_HIN:
            first = at
        elif is_stream[code] or code == codes.OP_RECV:
            break
    return spans[first, 0]
