"""Checked access to the attributes and datasets of an HDF5 file; every refusal names the field."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5t

from ndpsim.errors import InputError


def _value_of(file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        return None
    kind = file.attrs.get_id(name).get_type()
    plain = isinstance(kind, h5t.TypeIntegerID | h5t.TypeFloatID | h5t.TypeStringID)
    # what has a variable length lies in a heap without a checksum, and the library crashes on a damaged one
    if not plain or (isinstance(kind, h5t.TypeStringID) and kind.is_variable_str()):
        raise InputError(f"{name}: expected numbers or a text of fixed length, found another type")
    return file.attrs[name]


def text_of(file: h5py.File, name: str) -> str:
    """Attribute ``name`` as text."""
    value = _value_of(file, name)
    if not isinstance(value, bytes):
        raise InputError(f"{name}: expected a text attribute, found {value!r}")
    return value.decode()


def integer_of(file: h5py.File, name: str) -> int:
    """Attribute ``name`` as an integer that is not negative."""
    value = _value_of(file, name)
    if not isinstance(value, np.integer) or value < 0:
        raise InputError(f"{name}: expected an integer attribute of at least 0, found {value!r}")
    return int(value)


def vector_of(file: h5py.File, name: str, kinds: str) -> Any:
    """Attribute ``name`` as an array with one axis, of one of the NumPy ``kinds``."""
    value = _value_of(file, name)
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in kinds:
        raise InputError(f"{name}: expected an attribute with a number for each layer, found {value!r}")
    return value


def dataset_of(file: h5py.File, name: str, dtype: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """Dataset ``name``, of that type and shape, with every chunk stored in this very file."""
    value = file.get(name)
    if not isinstance(value, h5py.Dataset):
        raise InputError(f"{name}: expected a dataset, found {'nothing' if value is None else 'something else'}")
    if value.dtype != np.dtype(dtype) or value.shape != shape:
        raise InputError(f"{name}: expected {dtype}{list(shape)}, found {value.dtype}{list(value.shape or ())}")
    if value.chunks is None or value.is_virtual or value.file.filename != file.filename:
        raise InputError(f"{name}: expected a chunked dataset of this file, found another kind of storage")
    # a chunk that was never written reads as zeros: a few bytes could then pass for a trace of any length
    chunks = int(np.prod([-(-length // chunk) for length, chunk in zip(shape, value.chunks, strict=True)]))
    if value.id.get_num_chunks() != chunks:
        raise InputError(f"{name}: expected {chunks} stored chunks, found {value.id.get_num_chunks()}")
    return value


def column_of(file: h5py.File, name: str, dtype: str) -> Any:
    """The values of dataset ``name``, which has one axis and that type."""
    found = file.get(name)
    length = len(found) if isinstance(found, h5py.Dataset) and found.ndim == 1 else 0
    return dataset_of(file, name, dtype, (length,))[:]
