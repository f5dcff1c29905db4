"""Conversions between element types, bit for bit as isa/ndp.toml defines them."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.arithmetic import fill_widen_tables
from ndpsim.isa import codes

NUMPY_TYPE = {
    codes.T_F16: np.uint16,
    codes.T_BF16: np.uint16,
    codes.T_I8: np.int8,
    codes.T_F32: np.float32,
    codes.T_I32: np.int32,
}


@cache
def widen_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what every FP16 and every BF16 bit pattern means, float32[65536] each, NaNs canonical."""
    tables = fill_widen_tables()
    for table in tables:
        table.flags.writeable = False
    return tables


def widen_table(type_code: int) -> NDArray[np.float32]:
    """Return the table of codes.T_F16 or codes.T_BF16."""
    return widen_tables()[int(type_code == codes.T_BF16)]


def widen(values: NDArray[np.generic], type_code: int) -> NDArray[np.float32]:
    """Convert elements as stored (FP16 and BF16 as uint16) to float32 of the same shape; NaNs become canonical."""
    if type_code in (codes.T_F16, codes.T_BF16):
        return widen_table(type_code)[values]
    return values.astype(np.float32)


def narrow(values: NDArray[np.float32], type_code: int) -> NDArray[np.generic]:
    """Convert float32 to the stored form of a type: round to nearest even, saturate integers, NaN canonical or 0."""
    if type_code == codes.T_F16:
        with np.errstate(over="ignore"):
            bits = values.astype(np.float16).view(np.uint16)
        return np.where(np.isnan(values), np.uint16(0x7E00), bits)
    if type_code == codes.T_BF16:
        raw = values.view(np.uint32)
        rounded = ((raw + np.uint32(0x7FFF) + (raw >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
        return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
    limits = np.iinfo(np.int8 if type_code == codes.T_I8 else np.int32)
    exact = np.rint(np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
    return np.clip(exact, limits.min, limits.max).astype(limits.dtype)
