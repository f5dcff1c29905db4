"""Numbers of the instruction set for kernels, taken from `isa/ndp.toml` when this module is imported.

Numba freezes them into compiled kernels; a kernel's digest has their values (`ndpsim.kernels.kernel_digest`).
"""

from ndpsim.isa.spec import isa

_OPCODE = {name: instruction.opcode for name, instruction in isa().instructions.items()}
OP_END, OP_BAR, OP_MAT = (_OPCODE[n] for n in ("end", "bar", "mat"))
OP_LIST, OP_RANGE, OP_MASK = (_OPCODE[n] for n in ("list", "range", "mask"))
OP_DOT, OP_AXPY, OP_LD, OP_ST, OP_CVT, OP_FILL = (_OPCODE[n] for n in ("dot", "axpy", "ld", "st", "cvt", "fill"))
OP_ADD, OP_MUL, OP_RELU, OP_SILU, OP_GELU = (_OPCODE[n] for n in ("add", "mul", "relu", "silu", "gelu"))
OP_SOFTMAX, OP_SUM, OP_MAX = (_OPCODE[n] for n in ("softmax", "sum", "max"))
OP_SOFTPART, OP_SCALE = (_OPCODE[n] for n in ("softpart", "scale"))
OP_HIN, OP_HOUT, OP_SEND, OP_RECV = (_OPCODE[n] for n in ("hin", "hout", "send", "recv"))

_TYPE = {name: element.code for name, element in isa().types.items()}
T_F16, T_BF16, T_I8, T_F32, T_I32 = (_TYPE[n] for n in ("f16", "bf16", "i8", "f32", "i32"))
TYPE_BYTES = tuple(
    next((t.bits // 8 for t in isa().types.values() if t.code == code), 0)
    for code in range(1 << isa().fields["type"].width)
)

_TRAP = {name: code for name, (code, _) in isa().traps.items()}
TRAP_ILLEGAL, TRAP_OPERAND, TRAP_MISALIGNED, TRAP_BUFFER, TRAP_OVERLAP = (
    _TRAP[n] for n in ("illegal", "operand", "misaligned", "buffer", "overlap")
)
TRAP_REGION, TRAP_UNSET, TRAP_LIST, TRAP_ROW, TRAP_STARVED = (
    _TRAP[n] for n in ("region", "unset", "list", "row", "starved")
)
TRAP_PEER, TRAP_LENGTH, TRAP_DEADLOCK, TRAP_NO_END, TRAP_MASK = (
    _TRAP[n] for n in ("peer", "length", "deadlock", "no_end", "mask")
)

ALIGNMENT = isa().buffer_alignment
ATOM_BYTES = isa().atom_bytes
PARTIAL_SUMS = isa().partial_sums
ENTRY_BITS = isa().entry_bits
