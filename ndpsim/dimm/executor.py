"""Execute a program for its numbers: the fast executor.

The resolve pass has checked every operand, so each instruction is a few NumPy views and one kernel. The state at a trap
is the state after the last instruction before it.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm import arithmetic, decode
from ndpsim.dimm.conversion import NUMPY_TYPE, narrow, widen, widen_table
from ndpsim.dimm.resolve import Resolved, Trap, resolve
from ndpsim.isa import codes
from ndpsim.isa.program import Program
from ndpsim.isa.spec import isa


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
        DimmState(
            [np.zeros(r.atoms * codes.ATOM_BYTES, np.uint8) for r in dimm.regions], np.zeros(buffer_bytes, np.uint8)
        )
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
            code = op[decode.OP]
            if code in (codes.OP_DOT, codes.OP_AXPY):
                _matrix(op, state, resolved.lists)
            elif code in (codes.OP_LD, codes.OP_ST):
                _move_rows(op, state, resolved.lists)
            elif code in (codes.OP_HIN, codes.OP_HOUT, codes.OP_SEND, codes.OP_RECV):
                _exchange(op, state, dimm, messages)
            elif code in _VECTOR:
                _vector(op, state)


_VECTOR = {code for code, instruction in isa().by_opcode.items() if instruction.timing == "vector"}


def _view(buffer: NDArray[np.uint8], at: int, type_code: int, *shape: int) -> NDArray[np.generic]:
    size = int(np.prod(shape, dtype=np.int64)) * codes.TYPE_BYTES[type_code]
    return buffer[at : at + size].view(NUMPY_TYPE[type_code]).reshape(shape)


def _matrix(op: list[int], state: DimmState, lists: NDArray[np.uint32]) -> None:
    kind, n, batch, cols = op[decode.TYPE], op[decode.LENGTH], op[decode.BATCH], op[decode.COLS]
    dot = op[decode.OP] == codes.OP_DOT
    source = _view(state.buffer, op[decode.SRC], kind, batch, cols if dot else n)
    result = _view(
        state.buffer, op[decode.DST], codes.T_I32 if kind == codes.T_I8 else codes.T_F32, batch, n if dot else cols
    )
    if n > 0:
        size = codes.TYPE_BYTES[kind]
        rows = _rows(op, lists, state.regions[op[decode.REGION]].view(NUMPY_TYPE[kind]), size)
        if kind == codes.T_I8:
            (arithmetic.dot_8 if dot else arithmetic.axpy_8)(rows, source, result)
        else:
            (arithmetic.dot_16 if dot else arithmetic.axpy_16)(rows, widen_table(kind), widen(source, kind), result)
    if kind != codes.T_I8:
        arithmetic.canonical(result.reshape(-1))


def _rows(op: list[int], lists: NDArray[np.uint32], memory: NDArray[np.generic], size: int) -> arithmetic.ReadRows:
    """Describe the rows of an instruction to a kernel; size: bytes of an element of `memory`."""
    cols = op[decode.COLS] * codes.TYPE_BYTES[op[decode.TYPE]] // size
    stride = op[decode.STRIDE] * codes.ATOM_BYTES // size
    listed = lists, op[decode.LISTED], op[decode.FIRST], op[decode.LENGTH], op[decode.MASKS]
    return arithmetic.ReadRows(memory, op[decode.OFFSET] // size, stride, cols, *listed)


def _move_rows(op: list[int], state: DimmState, lists: NDArray[np.uint32]) -> None:
    load, n = op[decode.OP] == codes.OP_LD, op[decode.LENGTH]
    if n == 0:
        return
    rows = _rows(op, lists, state.regions[op[decode.REGION]], 1)
    at = op[decode.DST] if load else op[decode.SRC]
    place = state.buffer[at : at + n * rows.cols].reshape(n, rows.cols)
    (arithmetic.load_rows if load else arithmetic.store_rows)(rows, place)


def _exchange(op: list[int], state: DimmState, dimm: int, messages: dict[tuple[int, int], deque[bytes]]) -> None:
    code, size, peer = op[decode.OP], op[decode.COUNT], op[decode.PEER]
    source, target = (
        state.buffer[op[decode.SRC] : op[decode.SRC] + size],
        state.buffer[op[decode.DST] : op[decode.DST] + size],
    )
    if code == codes.OP_HIN:
        target[:] = np.frombuffer(state.host_in, np.uint8, size, state.host_read) if size else 0
        state.host_read += size
    elif code == codes.OP_HOUT:
        state.host_out += source.tobytes()
    elif code == codes.OP_SEND:
        messages.setdefault((dimm, peer), deque()).append(source.tobytes())
    else:
        target[:] = np.frombuffer(messages[peer, dimm].popleft(), np.uint8)


def _vector(op: list[int], state: DimmState) -> None:
    code, count, batch, buffer = op[decode.OP], op[decode.COUNT], max(op[decode.BATCH], 1), state.buffer
    if code == codes.OP_CVT:
        _view(buffer, op[decode.DST], op[decode.TO], count)[:] = _convert(
            _view(buffer, op[decode.SRC], op[decode.TYPE], count), op
        )
        return
    if code == codes.OP_FILL:
        buffer[op[decode.DST] : op[decode.DST] + 4 * count].view(np.uint32)[:] = op[decode.VALUE]
        return
    if code == codes.OP_ADD and op[decode.TYPE] == codes.T_I32:
        a, b, result = (_view(buffer, op[at], codes.T_I32, count) for at in (decode.SRC, decode.SRC2, decode.DST))
        np.add(a, b, out=result)
        return
    source = _view(buffer, op[decode.SRC], codes.T_F32, batch, count)
    if code == codes.OP_SOFTPART:
        softmax_state = _view(buffer, op[decode.SRC2], codes.T_F32, 4, batch)
        result = _view(buffer, op[decode.DST], codes.T_F32, batch, count)
        arithmetic.softmax_part(source, softmax_state, result)
        arithmetic.canonical(softmax_state.reshape(-1))
        arithmetic.canonical(result.reshape(-1))
        return
    if code in (codes.OP_SUM, codes.OP_MAX):
        result = _view(buffer, op[decode.DST], codes.T_F32, batch)
        reduce = arithmetic.vector_sum if code == codes.OP_SUM else arithmetic.vector_max
        for i in range(batch):
            result[i] = reduce(source[i])
    else:
        result = _view(buffer, op[decode.DST], codes.T_F32, batch, count)
        if code == codes.OP_SCALE:
            np.multiply(source, _view(buffer, op[decode.SRC2], codes.T_F32, batch, 1), out=result)
        elif code in (codes.OP_ADD, codes.OP_MUL):
            (np.add if code == codes.OP_ADD else np.multiply)(
                source, _view(buffer, op[decode.SRC2], codes.T_F32, batch, count), out=result
            )
        else:
            kernel = _ELEMENTWISE[code]
            for i in range(batch):
                kernel(source[i], result[i])
    arithmetic.canonical(result.reshape(-1))


_ELEMENTWISE = {
    codes.OP_RELU: arithmetic.relu,
    codes.OP_SILU: arithmetic.silu,
    codes.OP_GELU: arithmetic.gelu,
    codes.OP_SOFTMAX: arithmetic.softmax,
}


def _convert(values: NDArray[np.generic], op: list[int]) -> NDArray[np.generic]:
    return (
        narrow(values.view(np.float32), op[decode.TO])
        if op[decode.TYPE] == codes.T_F32
        else widen(values, op[decode.TYPE])
    )
