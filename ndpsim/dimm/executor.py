"""Execute a program for its numbers: the fast executor.

The resolve pass has checked every operand, so each instruction is a few NumPy views and one kernel. The state at a trap
is the state after the last instruction before it.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm import arithmetic
from ndpsim.dimm.conversion import NUMPY_TYPE, narrow, widen, widen_table
from ndpsim.dimm.resolve import (
    BATCH,
    COLS,
    COUNT,
    DST,
    FIRST,
    LENGTH,
    LISTED,
    OFFSET,
    OP,
    PEER,
    REGION,
    SRC,
    SRC2,
    STRIDE,
    TO,
    TYPE,
    VALUE,
    Resolved,
    Trap,
    resolve,
)  # fmt: skip
from ndpsim.isa.constants import (
    ATOM_BYTES,
    OP_ADD,
    OP_AXPY,
    OP_CVT,
    OP_DOT,
    OP_FILL,
    OP_GELU,
    OP_HIN,
    OP_HOUT,
    OP_LD,
    OP_MAX,
    OP_MUL,
    OP_RECV,
    OP_RELU,
    OP_SEND,
    OP_SILU,
    OP_SOFTMAX,
    OP_ST,
    OP_SUM,
    T_F32,
    T_I8,
    T_I32,
    TYPE_BYTES,
)  # fmt: skip
from ndpsim.isa.program import Program


@dataclass
class DimmState:
    """The memory of one DIMM: regions uint8[atoms * 64] as the program declares them, buffer uint8, host streams."""

    regions: list[NDArray[np.uint8]]
    buffer: NDArray[np.uint8]
    host_in: bytes = b""
    host_out: bytearray = field(default_factory=bytearray)
    host_read: int = 0


def new_states(program: Program, buffer_bytes: int) -> list[DimmState]:
    """Return zeroed memory for every DIMM of a program."""
    return [
        DimmState([np.zeros(r.atoms * ATOM_BYTES, np.uint8) for r in dimm.regions], np.zeros(buffer_bytes, np.uint8))
        for dimm in program.dimms
    ]


def execute(program: Program, states: list[DimmState]) -> Trap | None:
    """Run a program on `states`, one per DIMM, in place; return where it trapped, or None.

    Regions must have the sizes that the program declares; buffers must be equally long.
    """
    resolved = resolve(program, len(states[0].buffer), [len(state.host_in) - state.host_read for state in states])
    execute_resolved(resolved, states)
    return resolved.trap


def execute_resolved(resolved: Resolved, states: list[DimmState]) -> None:
    """Run a checked program on `states`, in place, up to its end or its trap."""
    starts = resolved.starts
    dimms = np.searchsorted(starts, resolved.order, side="right") - 1
    messages: dict[tuple[int, int], deque[bytes]] = {}
    rows = resolved.ops[resolved.order].tolist()
    with np.errstate(all="ignore"):
        for op, dimm in zip(rows, dimms.tolist(), strict=True):
            state = states[dimm]
            code = op[OP]
            if code in (OP_DOT, OP_AXPY):
                _matrix(op, state, resolved.lists)
            elif code in (OP_LD, OP_ST):
                _move_rows(op, state, resolved.lists)
            elif code in (OP_HIN, OP_HOUT, OP_SEND, OP_RECV):
                _exchange(op, state, dimm, messages)
            elif code in _VECTOR:
                _vector(op, state)


_VECTOR = {
    OP_CVT, OP_FILL, OP_ADD, OP_MUL, OP_RELU, OP_SILU, OP_GELU, OP_SOFTMAX, OP_SUM, OP_MAX,
}  # fmt: skip


def _view(buffer: NDArray[np.uint8], at: int, type_code: int, *shape: int) -> NDArray[np.generic]:
    size = int(np.prod(shape, dtype=np.int64)) * TYPE_BYTES[type_code]
    return buffer[at : at + size].view(NUMPY_TYPE[type_code]).reshape(shape)


def _matrix(op: list[int], state: DimmState, lists: NDArray[np.uint32]) -> None:
    kind, n, batch, cols = op[TYPE], op[LENGTH], op[BATCH], op[COLS]
    dot = op[OP] == OP_DOT
    source = _view(state.buffer, op[SRC], kind, batch, cols if dot else n)
    result = _view(state.buffer, op[DST], T_I32 if kind == T_I8 else T_F32, batch, n if dot else cols)
    if n > 0:
        size = TYPE_BYTES[kind]
        memory = state.regions[op[REGION]].view(NUMPY_TYPE[kind])
        where = (memory, op[OFFSET] // size, op[STRIDE] * ATOM_BYTES // size, cols, lists, op[LISTED], op[FIRST], n)
        if kind == T_I8:
            (arithmetic.dot_8 if dot else arithmetic.axpy_8)(*where, source, result)
        else:
            kernel = arithmetic.dot_16 if dot else arithmetic.axpy_16
            kernel(*where, widen_table(kind), widen(source, kind), result)
    if kind != T_I8:
        arithmetic.canonical(result.reshape(-1))


def _move_rows(op: list[int], state: DimmState, lists: NDArray[np.uint32]) -> None:
    load, n = op[OP] == OP_LD, op[LENGTH]
    if n == 0:
        return
    row_bytes = op[COLS] * TYPE_BYTES[op[TYPE]]
    at = op[DST] if load else op[SRC]
    place = state.buffer[at : at + n * row_bytes].reshape(n, row_bytes)
    stride = op[STRIDE] * ATOM_BYTES
    move = arithmetic.load_rows if load else arithmetic.store_rows
    move(state.regions[op[REGION]], op[OFFSET], stride, lists, op[LISTED], op[FIRST], place)


def _exchange(op: list[int], state: DimmState, dimm: int, messages: dict[tuple[int, int], deque[bytes]]) -> None:
    code, size, peer = op[OP], op[COUNT], op[PEER]
    source, target = state.buffer[op[SRC] : op[SRC] + size], state.buffer[op[DST] : op[DST] + size]
    if code == OP_HIN:
        target[:] = np.frombuffer(state.host_in, np.uint8, size, state.host_read) if size else 0
        state.host_read += size
    elif code == OP_HOUT:
        state.host_out += source.tobytes()
    elif code == OP_SEND:
        messages.setdefault((dimm, peer), deque()).append(source.tobytes())
    else:
        target[:] = np.frombuffer(messages[peer, dimm].popleft(), np.uint8)


def _vector(op: list[int], state: DimmState) -> None:
    code, count, batch, buffer = op[OP], op[COUNT], max(op[BATCH], 1), state.buffer
    if code == OP_CVT:
        _view(buffer, op[DST], op[TO], count)[:] = _convert(_view(buffer, op[SRC], op[TYPE], count), op)
        return
    if code == OP_FILL:
        buffer[op[DST] : op[DST] + 4 * count].view(np.uint32)[:] = op[VALUE]
        return
    if code == OP_ADD and op[TYPE] == T_I32:
        a, b, result = (_view(buffer, op[at], T_I32, count) for at in (SRC, SRC2, DST))
        np.add(a, b, out=result)
        return
    source = _view(buffer, op[SRC], T_F32, batch, count)
    if code in (OP_SUM, OP_MAX):
        result = _view(buffer, op[DST], T_F32, batch)
        reduce = arithmetic.vector_sum if code == OP_SUM else arithmetic.vector_max
        for i in range(batch):
            result[i] = reduce(source[i])
    else:
        result = _view(buffer, op[DST], T_F32, batch, count)
        if code in (OP_ADD, OP_MUL):
            (np.add if code == OP_ADD else np.multiply)(
                source, _view(buffer, op[SRC2], T_F32, batch, count), out=result
            )
        else:
            kernel = _ELEMENTWISE[code]
            for i in range(batch):
                kernel(source[i], result[i])
    arithmetic.canonical(result.reshape(-1))


_ELEMENTWISE = {
    OP_RELU: arithmetic.relu, OP_SILU: arithmetic.silu, OP_GELU: arithmetic.gelu, OP_SOFTMAX: arithmetic.softmax,
}  # fmt: skip


def _convert(values: NDArray[np.generic], op: list[int]) -> NDArray[np.generic]:
    return narrow(values.view(np.float32), op[TO]) if op[TYPE] == T_F32 else widen(values, op[TYPE])
