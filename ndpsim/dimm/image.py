"""Memory images in HDF5: what the DIMMs hold before or after a program.

Layout: attributes `format` and `version`; per DIMM a group `dimm0`, `dimm1`, ... with datasets `region0`,
`region1`, ... (uint8, in the order of the program's regions), `host_in`, `host_out` and `buffer` (uint8; a missing
one is empty, the buffer zero).
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.executor import DimmState
from ndpsim.errors import InputError
from ndpsim.files import has_checksums, unreadable
from ndpsim.hdf5_files import appearing_hdf5
from ndpsim.isa import codes
from ndpsim.isa.program import Program

FORMAT = "ndpsim-image"
VERSION = 1


def write_image(path: str | Path, states: list[DimmState]) -> None:
    """Write the state of all DIMMs, whole or not at all."""
    with appearing_hdf5(Path(path)) as file:
        file.attrs.update(format=np.bytes_(FORMAT), version=VERSION)
        for number, state in enumerate(states):
            group = file.create_group(f"dimm{number}")
            for i, region in enumerate(state.regions):
                _store(group, f"region{i}", region)
            for name, raw in (("host_in", state.host_in), ("host_out", bytes(state.host_out))):
                _store(group, name, np.frombuffer(raw, np.uint8))
            _store(group, "buffer", state.buffer)


def _store(group: h5py.Group, name: str, data: NDArray[np.uint8]) -> None:
    compressed = {"compression": "gzip", "compression_opts": 4, "fletcher32": True} if len(data) else {}
    group.create_dataset(name, data=data, **compressed)


def read_image(path: str | Path, program: Program, buffer_bytes: int) -> list[DimmState]:
    """Read the memory for a program.

    Raises InputError if the file is damaged, is no image, or does not fit the program's regions.
    """
    if found := unreadable(path):
        raise InputError(f"{path}: expected a memory image (HDF5), found {found}")
    try:
        if not has_checksums(path):
            raise InputError(f"{path}: expected an {FORMAT} file of version {VERSION}")
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != np.bytes_(FORMAT) or file.attrs.get("version") != VERSION:
                raise InputError(f"{path}: expected an {FORMAT} file of version {VERSION}")
            return [_read_dimm(file, str(path), d, program, buffer_bytes) for d in range(len(program.dimms))]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a whole HDF5 file: {str(error).strip(chr(39)).splitlines()[0]}") from None


def _read_dimm(file: h5py.File, path: str, dimm: int, program: Program, buffer_bytes: int) -> DimmState:
    group = file.get(f"dimm{dimm}")
    if not isinstance(group, h5py.Group):
        raise InputError(f"{path}: dimm{dimm}: expected the memory of {len(program.dimms)} DIMMs")
    sizes = [region.atoms * codes.ATOM_BYTES for region in program.dimms[dimm].regions]
    regions = [_bytes(group, f"region{i}", path, size) for i, size in enumerate(sizes)]
    buffer = _bytes(group, "buffer", path, buffer_bytes) if "buffer" in group else np.zeros(buffer_bytes, np.uint8)
    host_in = _bytes(group, "host_in", path, None).tobytes() if "host_in" in group else b""
    return DimmState(regions, buffer, host_in)


def _bytes(group: h5py.Group, name: str, path: str, size: int | None) -> NDArray[np.uint8]:
    data = group.get(name)
    shape = f"uint8[{'n' if size is None else size}]"
    if not isinstance(data, h5py.Dataset):
        raise InputError(f"{path}: {group.name[1:]}/{name}: expected {shape}, found nothing")
    if data.dtype != np.uint8 or data.ndim != 1 or (size is not None and len(data) != size):
        raise InputError(
            f"{path}: {group.name[1:]}/{name}: expected {shape}, found {data.dtype.name}{list(data.shape)}"
        )
    return np.asarray(data[()])
