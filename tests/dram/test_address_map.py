import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rank_controller import locate, parse_map

from ndpsim.dram.address_map import FIELDS, parse_address_map
from ndpsim.dram.standard import Organization
from ndpsim.errors import InputError

SIZES = {"rank": "ranks", "bank_group": "bank_groups", "bank": "banks", "row": "rows", "column": "columns"}
SMALL = {"ranks": 4, "bank_groups": 2, "banks": 4, "rows": 8, "columns": 16}


@st.composite
def maps(draw):
    """A small organisation, and any order and split of its address bits with the rank bits next to each other."""
    widths = {name: draw(st.integers(0, 3)) for name in FIELDS}
    pieces = []
    for name, width in widths.items():
        if name == "rank":
            pieces.append([f"rank:{width}" if draw(st.booleans()) else "rank"])
            continue
        parts = []
        while width and draw(st.booleans()):
            part = draw(st.integers(1, width))
            parts.append(f"{name}:{part}")
            width -= part
        if width or draw(st.booleans()):
            parts.insert(draw(st.integers(0, len(parts))), name)
        pieces += [[part] for part in parts]
    if widths["rank"] > 1 and draw(st.booleans()):  # one field in two neighbouring digits
        pieces = [["rank:1", "rank"] if piece[0].startswith("rank") else piece for piece in pieces]
    text = " ".join(digit for piece in draw(st.permutations(pieces)) for digit in piece)
    return text, {SIZES[name]: 1 << width for name, width in widths.items()}


def place(arrays, atom):
    """Where the arrays put an atom: rank, bank group, bank, row, column."""
    rank = atom >> arrays.rank_lo & (1 << arrays.rank_width) - 1
    below = atom & (1 << arrays.rank_lo) - 1
    local = atom >> arrays.rank_lo + arrays.rank_width << arrays.rank_lo | below
    fields = [0] * 4
    for shift, mask, field, shift_in_field in arrays.digits.tolist():
        fields[field] |= (local >> shift & mask) << shift_in_field
    return rank, *fields


@settings(max_examples=200, deadline=None)
@given(maps())
def test_every_atom_lies_where_the_reference_says_and_no_two_lie_together(case):
    text, organization = case
    address_map = parse_address_map(text, Organization(**organization))
    arrays, reference = address_map.arrays(), parse_map(text, organization)
    assert 1 << address_map.bits == math.prod(organization.values())
    seen = set()
    step = max(1, (1 << address_map.bits) // 512)  # all atoms of most organisations, every few of the largest
    for atom in range(0, 1 << address_map.bits, step):
        rank, bank_group, bank, row, column = found = place(arrays, atom)
        location = locate(atom, reference)
        assert location == (rank, bank_group, bank, row, column)
        seen.add(found)
    assert len(seen) == -(-(1 << address_map.bits) // step)


@settings(max_examples=200, deadline=None)
@given(maps())
def test_a_run_stays_in_one_row_and_visits_all_bank_groups_if_it_rotates(case):
    text, organization = case
    arrays = parse_address_map(text, Organization(**organization)).arrays()
    run = min(1 << arrays.run_bits, 256)
    places = [place(arrays._replace(rank_width=0, rank_lo=0), local) for local in range(run)]
    assert len({(bank, row) for _, _, bank, row, _ in places}) == 1
    groups = organization["bank_groups"]
    expected = [k % groups if arrays.rotating else places[0][1] for k in range(run)]
    assert [group for _, group, _, _, _ in places] == expected


@pytest.mark.parametrize(
    ("text", "rank_lo", "run_bits", "rotating"),
    [
        ("row bank rank column bank_group", 5, 5, 1),
        ("row bank bank_group rank column", 4, 4, 0),
        ("row bank column rank bank_group", 1, 5, 1),
        ("row bank column:2 bank_group column rank", 0, 2, 0),
    ],
)
def test_the_shipped_kinds_of_map_have_these_runs(text, rank_lo, run_bits, rotating):
    arrays = parse_address_map(text, Organization(**SMALL)).arrays()
    assert (arrays.rank_lo, arrays.rank_width, arrays.run_bits, arrays.rotating) == (rank_lo, 2, run_bits, rotating)


def test_the_first_part_of_a_split_field_is_its_more_significant_one():
    arrays = parse_address_map("column:1 row bank rank column:3 bank_group", Organization(**SMALL)).arrays()
    assert place(arrays, 1 << arrays.digits[-1][0] + 2)[4] == 8
    assert place(arrays, 2)[4] == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "bank_group: expected 1 bits in all"),
        ("row bank rank column", "bank_group: expected 1 bits in all"),
        ("row bank rank column bank_group bank", "bank: expected 2 bits in all"),
        ("row bank rank column group", "expected one of bank_group, bank, row, column, rank, found 'group'"),
        ("row bank rank column:5 bank_group", "column: expected 4 bits in all"),
        ("row bank rank column:3 bank_group", "column: expected 4 bits in all"),
        ("row bank rank column:2 bank_group column:3", "column: expected 4 bits in all"),
        ("row bank rank column:2 bank_group column:3 column", "column: expected 4 bits in all"),
        ("row bank rank column: bank_group", "column: expected a width in bits, found ''"),
        ("row bank rank column:x bank_group", "column: expected a width in bits, found 'x'"),
        ("row bank rank column:-1 bank_group", "column: expected a width in bits, found '-1'"),
        ("row bank rank column:9999 bank_group", "column: expected a width in bits, found '9999'"),
        ("rank:1 row bank rank column bank_group", "rank: expected contiguous bits"),
        ("row, bank rank column bank_group", "expected one of bank_group, bank, row, column, rank, found 'row,'"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(text, fault):
    with pytest.raises(InputError) as error:
        parse_address_map(text, Organization(**SMALL))
    assert str(error.value) == f"address map '{text}': {fault}"


def test_a_field_of_one_value_may_be_left_out():
    address_map = parse_address_map("row bank column", Organization(**SMALL | {"ranks": 1, "bank_groups": 1}))
    assert address_map.bits == 3 + 2 + 4
    assert np.array_equal(address_map.arrays().digits[:, 2], [3, 1, 2])
