"""Energy of the NDP units: what a program makes them do, counted instruction by instruction, and the joules of it.

The memory channel (programs, host streams) is not in it: no public figure covers its drivers and termination.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.bits import popcount
from ndpsim.dimm import decode
from ndpsim.dimm.checks import Ints, operand_bytes, width_of
from ndpsim.dimm.config import Machine
from ndpsim.dimm.resolve import Resolved
from ndpsim.dram.energy.counts import RankActivity
from ndpsim.dram.energy.energy import dram_energy
from ndpsim.dram.ndp.rank_state import COUNTERS
from ndpsim.isa import codes, facts
from ndpsim.isa.facts import instruction_facts
from ndpsim.jit import borrowing

F16, BF16, I8, BUFFER, VECTOR, LINK = range(6)
"""Fields of NdpWork, for kernels."""


@dataclass(frozen=True)
class NdpWork:
    """What units did: multiply-accumulates by type, bytes in and out of the buffer, operations of the vector unit, and
    bytes sent over DIMM-Link."""

    macs_f16: int = 0
    macs_bf16: int = 0
    macs_i8: int = 0
    buffer_bytes: int = 0
    vector_operations: int = 0
    link_bytes: int = 0

    def __add__(self, other: "NdpWork") -> "NdpWork":
        """Return the work of both."""
        return NdpWork(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True)
class NdpEnergy:
    """Joules of the units by component; `basis` says what the figures rest on. All NaN if the DIMM gives none."""

    mac: float
    buffer: float
    vector: float
    link: float
    static: float
    basis: str

    @property
    def total(self) -> float:
        """All components together."""
        return self.mac + self.buffer + self.vector + self.link + self.static

    def summary(self) -> dict[str, Any]:
        """Return the joules by component, their total, and the basis."""
        parts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "basis"}
        return {**parts, "total": self.total, "basis": self.basis}


def ndp_work(resolved: Resolved) -> NdpWork:
    """Count the work of the instructions that run, on all DIMMs.

    Every operand is read from the buffer and every result written to it: a dot product reads its vector once a row, and
    scaled rows read and write their sums once a row. That is an upper bound for a unit that keeps some in registers. A
    row works for the sequences in which it takes part; the +0 of a dot product for another one is written all the same.
    """
    totals = np.zeros(LINK + 1, np.int64)
    add_work(resolved.ops, resolved.order, len(resolved.order), resolved.lists, instruction_facts(), totals)
    return NdpWork(*totals.tolist())


@borrowing
def _products(op: Ints, lists: NDArray[np.uint32]) -> int:
    """Return how many pairs of a row and a sequence in which it takes part an instruction has."""
    if op[decode.MASKS] < 0:
        return op[decode.LENGTH] * op[decode.BATCH]
    pairs = 0
    for i in range(op[decode.MASKS], op[decode.MASKS] + op[decode.LENGTH]):
        pairs += int(popcount(np.uint64(lists[i])))
    return pairs


@borrowing
def _moved(shape: int, width: int, result: bool, op: Ints, pairs: int) -> int:
    """Return the bytes in and out of the buffer for one operand; pairs: what `_products` says of a matrix product."""
    if shape == facts.COLUMNS:  # read once a row, and as sums also written
        return pairs * op[decode.COLS] * (2 * width if result else width)
    if shape == facts.ROWS and not result:
        return pairs * width
    if shape == facts.STATE:
        return (2 + 4) * 4 * max(op[decode.BATCH], 1)
    return max(operand_bytes(shape, width, op), 0)


@borrowing
def add_work(ops: Ints, order: Ints, ran: int, lists: NDArray[np.uint32], instructions: Ints, totals: Ints) -> None:
    """Add the work of the first `ran` instructions of `order` to int64[6], the fields of NdpWork.

    instructions: what `isa/facts.py` says of them; only those that it knows pass the check before.
    """
    for i in range(ran):
        op = ops[order[i]]
        fact = instructions[op[decode.OP]]
        class_, kind, vectors = fact[facts.CLASS], op[decode.TYPE], max(op[decode.BATCH], 1)
        pairs = 0
        if class_ == facts.STREAM and fact[facts.BATCHED] == 1:
            pairs = _products(op, lists)
            macs = pairs * op[decode.COLS]
            totals[F16] += macs if kind == codes.T_F16 else 0
            totals[BF16] += macs if kind == codes.T_BF16 else 0
            totals[I8] += macs if kind == codes.T_I8 else 0
        width = width_of(fact[facts.SRC_WIDTH], op)
        moved = _moved(fact[facts.SRC], width, False, op, pairs) + _moved(fact[facts.SRC2], width, False, op, pairs)
        moved += _moved(fact[facts.DST], width_of(fact[facts.DST_WIDTH], op), True, op, pairs)
        totals[BUFFER] += moved
        totals[VECTOR] += fact[facts.PASSES] * op[decode.COUNT] * vectors
        if fact[facts.DIVISIONS] == facts.PER_ELEMENT:
            totals[VECTOR] += op[decode.COUNT] * vectors
        elif fact[facts.DIVISIONS] == facts.PER_VECTOR:
            totals[VECTOR] += vectors
        if class_ == facts.LINK and fact[facts.SRC] == facts.BYTES:
            totals[LINK] += op[decode.COUNT]


def ndp_energy(machine: Machine, work: NdpWork, total_ps: int) -> NdpEnergy:
    """Return the joules of what the machine's units did in a run of `total_ps`."""
    energy = machine.config.energy
    if energy is None:
        nothing = math.nan
        basis = f"no energy: the description of DIMM {machine.config.name} gives none"
        return NdpEnergy(nothing, nothing, nothing, nothing, nothing, basis)
    macs = (
        work.macs_f16 * energy.mac_f16.value
        + work.macs_bf16 * energy.mac_bf16.value
        + work.macs_i8 * energy.mac_i8.value
    )
    static = energy.static.value
    return NdpEnergy(
        mac=macs * 1e-12,
        buffer=work.buffer_bytes * energy.buffer_byte.value * 1e-12,
        vector=work.vector_operations * energy.vector_operation.value * 1e-12,
        link=work.link_bytes * 8 * energy.link_bit.value * 1e-12,
        static=static * 1e-3 * machine.dimms * total_ps * 1e-12,
        basis=f"figures of DIMM {machine.config.name}" + ("" if static else "; static power not included"),
    )


def stream_activity(machine: Machine, counters: NDArray[np.int64], total_ps: int) -> RankActivity:
    """Return what ranks did in runs of `total_ps` altogether, from their counters int64[DIMMs, ranks, COUNTERS].

    The engine does not count open clocks. A rank that moved a burst is taken as open all the time but for its
    refreshes, since rows stay open until then: an upper bound. `activity_of_log` counts them exactly.
    """
    timing = machine.standard.timing
    clocks = -(-total_ps // machine.standard.tck_ps)
    count = {name: counters[..., column] for column, name in enumerate(COUNTERS)}
    used = count["RD"] + count["WR"] > 0
    closed = count["REF"] * (timing["nRP"] + timing["nRFC"])
    return RankActivity(
        activates=count["ACT"],
        reads=count["RD"],
        writes=count["WR"],
        refreshes=count["REF"],
        bank_refreshes=np.zeros_like(count["REF"]),
        open_clocks=np.where(used, np.maximum(clocks - closed, 0), 0),
        clocks=np.full(used.shape, clocks, np.int64),
    )


def energy_figures(machine: Machine, counters: NDArray[np.int64], work: NdpWork, total_ps: int) -> dict[str, object]:
    """Return what a report says of the energy of runs: joules by component, and what they rest on.

    A part without public figures is None, and so is the total then.
    """
    parts = {
        "dram": dram_energy(machine.standard, stream_activity(machine, counters, total_ps)).summary(),
        "ndp": ndp_energy(machine, work, total_ps).summary(),
    }
    notes = [f"{name}: {part.pop('basis')}" for name, part in parts.items()]
    total = sum(part["total"] for part in parts.values())
    known = {name: None if math.isnan(part["total"]) else part for name, part in parts.items()}
    return {
        "energy_j": {**known, "total": None if math.isnan(total) else total},
        "energy_note": ". ".join([*notes, "The memory channel to the host is not included"]),
    }
