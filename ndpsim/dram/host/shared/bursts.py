"""What the NDP units of ranks read and write while the host uses them: one sequence of bursts for each rank."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram import address_map as field
from ndpsim.dram.address_map import parse_address_map
from ndpsim.dram.host import state as host
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.standard.standard import Organization, Standard
from ndpsim.errors import InputError

STREAM_MAP = "row bank rank column bank_group"
"""Neighbouring bursts alternate bank groups, and a rank holds a row of all of them before the next rank's turn."""


class NdpBursts(NamedTuple):
    """Bursts of one rank in order: int64[n] each, write uint8[n] of 0 or 1."""

    bank_group: NDArray[np.int64]
    bank: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    write: NDArray[np.uint8]


def ranks_of(organization: Organization) -> int:
    """Return how many ranks all channels have together; their order is channel, pseudo-channel, rank."""
    return organization.channels * organization.pseudo_channels * organization.ranks


def ndp_rows(
    standard: Standard, address_map: str | None, first_atom: int, atoms: int, *, write: bool = False
) -> list[NdpBursts]:
    """Return what every rank reads (or writes) of the atoms from `first_atom` on, in the order of their addresses.

    An atom is one burst. address_map: digits of an NDP stream (STREAM_CONTROLLER.md), whose rank counts all ranks of
    all channels; None is STREAM_MAP. Raises InputError for a bad map, or atoms outside the memory.
    """
    ranks = ranks_of(standard.organization)
    one_channel = standard.organization.model_copy(update={"channels": 1, "pseudo_channels": 1, "ranks": ranks})
    checked = parse_address_map(STREAM_MAP if address_map is None else address_map, one_channel)
    if first_atom < 0 or atoms < 0 or first_atom + atoms > 1 << checked.bits:
        raise InputError(
            f"NDP atoms: expected a range from 0 to {1 << checked.bits}, found {first_atom} to {first_atom + atoms}"
        )
    arrays = checked.arrays()
    address = np.arange(first_atom, first_atom + atoms, dtype=np.int64)
    rank = (address >> arrays.rank_lo ^ address >> arrays.rank_hash) & (ranks - 1)
    above = address >> arrays.rank_lo + arrays.rank_width << arrays.rank_lo
    local = above | address & (1 << arrays.rank_lo) - 1
    fields = np.zeros((4, atoms), np.int64)
    for shift, mask, digit, at in arrays.digits.tolist():
        fields[digit] |= (local >> shift & mask) << at
    result = []
    for number in range(ranks):
        own = rank == number
        bank_group, bank, row, column = (
            fields[at][own] for at in (field.BANK_GROUP, field.BANK, field.ROW, field.COLUMN)
        )
        result.append(NdpBursts(bank_group, bank, row, column, np.full(len(row), write, np.uint8)))
    return result


def upper_rows(standard: Standard, count: int) -> list[NdpBursts]:
    """Return what every rank reads of `count` bytes each: consecutive bursts from the upper half of its rows on.

    Raises InputError unless that is a whole number of bursts that the upper half has room for.
    """
    shape = standard.organization
    atoms = shape.bank_groups * shape.banks * shape.rows * shape.columns
    most = atoms // 2 * standard.burst_bytes
    if not 0 < count <= most or count % standard.burst_bytes:
        raise InputError(
            f"NDP bytes of a rank: expected a multiple of {standard.burst_bytes} up to {most}, found {count}"
        )
    one_rank = replace(
        standard, organization=shape.model_copy(update={"channels": 1, "pseudo_channels": 1, "ranks": 1})
    )
    return ndp_rows(one_rank, None, atoms // 2, count // standard.burst_bytes) * ranks_of(shape)


def burst_table(standard: Standard, ndp: Sequence[NdpBursts | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the table of bursts as kernels take it, int64[n, 5], and where those of each rank begin, int64[ranks + 1].

    ndp: one entry for each rank of all channels. Banks count from the first of their pseudo-channel. Raises InputError
    for wrong lengths, or bursts outside the memory.
    """
    shape = standard.organization
    ranks = ranks_of(shape)
    if len(ndp) != ranks:
        raise InputError(f"ndp: expected an entry for each of {ranks} ranks, found {len(ndp)}")
    limits = (shape.bank_groups, shape.banks, shape.rows, shape.columns, 2)
    parts = []
    for number, bursts in enumerate(ndp):
        columns = [np.asarray(column) for column in bursts or ()] or [np.empty(0, np.int64)] * 5
        for name, column, limit in zip(NdpBursts._fields, columns, limits, strict=True):
            where = f"ndp: rank {number}: {name}"
            if column.ndim != 1 or column.dtype.kind not in "iub" or len(column) != len(columns[0]):
                raise InputError(
                    f"{where}: expected {len(columns[0])} integers, found {column.dtype} of shape {column.shape}"
                )
            for found in (int(column.min(initial=0)), int(column.max(initial=0))):
                if not 0 <= found < limit:
                    raise InputError(f"{where}: expected an integer from 0 to {limit - 1}, found {found}")
        group, bank, row, burst_column, write = columns
        part = np.zeros((len(row), shared.BURST_SIZE), np.int64)
        flat = (number % shape.ranks * shape.bank_groups + group.astype(np.int64)) * shape.banks + bank.astype(np.int64)
        part[:, shared.B_BANK], part[:, shared.B_ROW], part[:, shared.B_COLUMN], part[:, shared.B_WRITE] = (
            flat * host.BANK_SIZE,
            row,
            burst_column,
            write,
        )
        parts.append(part)
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])
