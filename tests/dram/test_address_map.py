import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.host_address_map import parse_map as reference_map
from oracles.rank_trains import locate, parse_map

from ndpsim.dram.address_map import FIELDS, HOST_FIELDS, HOST_MAP, host_map, parse_address_map
from ndpsim.dram.standard.standard import Organization, load_standard
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
    rank = (atom >> arrays.rank_lo ^ atom >> arrays.rank_hash) & (1 << arrays.rank_width) - 1
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


@pytest.mark.parametrize(
    "text", ["row bank bank_group rank column | rank ^= row", "row rank bank column | rank ^= row>>1"]
)
def test_a_hashed_rank_is_where_the_reference_says(text):
    organization = SMALL | {"bank_groups": 2 if "bank_group" in text else 1}
    arrays, reference = parse_address_map(text, Organization(**organization)).arrays(), parse_map(text, organization)
    atoms = range(math.prod(organization.values()))
    places = [place(arrays, atom) for atom in atoms]
    assert places == [tuple(locate(atom, reference)) for atom in atoms]
    assert len(set(places)) == len(places)
    column = organization["columns"]
    assert {place(arrays, 2 * vector * column)[0] for vector in range(len(atoms) // (2 * column))} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("row bank column bank_group rank | rank ^= row", "rank: expected its digit above those of a run in one row"),
        ("row:1 bank row bank_group rank column | rank ^= row", "hash of rank: expected row in one digit, as wide as"),
        ("row bank bank_group rank column | rank ^= row>>2", "hash of rank: expected row in one digit, as wide as"),
        ("row bank bank_group rank column | rank ^= column", "expected a hash of rank with row"),
        ("row bank bank_group rank column |", "expected a hash such as"),
    ],
)
def test_a_hash_that_no_stream_can_follow_is_refused(text, fault):
    with pytest.raises(InputError) as error:
        parse_address_map(text, Organization(**SMALL))
    assert fault in str(error.value) and "\n" not in str(error.value)


def test_a_field_of_one_value_may_be_left_out():
    address_map = parse_address_map("row bank column", Organization(**SMALL | {"ranks": 1, "bank_groups": 1}))
    assert address_map.bits == 3 + 2 + 4
    assert np.array_equal(address_map.arrays().digits[:, 2], [3, 1, 2])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "row bank rank column bank_group | bank ^= row",
            "expected a hash of rank with row: only maps of the host have others",
        ),
        ("row bank rank column bank_group channel", "found 'channel', which only maps of the host have"),
        ("row bank rank column bank_group pseudo_channel", "found 'pseudo_channel', which only maps of the host have"),
    ],
)
def test_the_map_of_a_stream_neither_hashes_nor_has_channels(text, fault):
    with pytest.raises(InputError) as error:
        parse_address_map(text, Organization(**SMALL))
    assert fault in str(error.value) and "\n" not in str(error.value)


NAMES = ("DDR4-3200AA", "DDR5-4800B", "LPDDR5X-8533", "HBM2E-3200", "HBM3-6400")
STANDARDS = {name: load_standard(name) for name in NAMES}
SMALL_MEMORY = {"channel": 2, "pseudo_channel": 1, "rank": 4, "bank_group": 2, "bank": 4, "row": 8, "column": 16}


def memory(family="DDR4-3200AA", **counts):
    """A standard with so many of each field."""
    standard = STANDARDS[family]
    plural = {f"{name}s": count for name, count in counts.items()}
    return replace(standard, organization=standard.organization.model_copy(update=plural))


@st.composite
def host_maps(draw):
    """A small memory with bursts of 64 or 32 bytes; any order and split of its address bits; any hashes."""
    widths = {name: draw(st.integers(0, 3)) for name in HOST_FIELDS}
    pieces, hashes = [], []
    for name, width in widths.items():
        left = width
        while left and draw(st.booleans()):
            part = draw(st.integers(1, left))
            pieces.append(f"{name}:{part}")
            left -= part
        if left or draw(st.booleans()):
            pieces.append(name)
    for target in draw(st.lists(st.sampled_from(HOST_FIELDS[:5]), unique=True)):
        source = draw(st.sampled_from(["row", "column"]))
        shift = draw(st.integers(0, max(widths[source] - 1, 0)))
        hashes.append(f"{target} ^= {source}" + (f">>{shift}" if shift or draw(st.booleans()) else ""))
    text = " ".join(draw(st.permutations(pieces))) + (f" | {', '.join(hashes)}" if hashes else "")
    family = draw(st.sampled_from(["DDR4-3200AA", "LPDDR5X-8533"]))
    return text, memory(family, **{name: 1 << width for name, width in widths.items()})


@settings(max_examples=200, deadline=None)
@given(host_maps(), st.integers(0, 1 << 30))
def test_a_map_of_the_host_is_bijective_and_agrees_with_the_reference_bit_by_bit(case, seed):
    text, standard = case
    address_map, reference = host_map(text, standard), reference_map(text, standard)
    rng = np.random.default_rng(seed)
    assert address_map.size == standard.burst_bytes * math.prod(address_map.counts().values())
    bursts = np.arange(address_map.size // standard.burst_bytes)
    bursts = bursts if len(bursts) <= 4096 else rng.choice(bursts, 4096, replace=False)
    address = bursts * standard.burst_bytes
    fields = address_map.decode(address)
    assert tuple(fields) == HOST_FIELDS
    assert all(((fields[name] >= 0) & (fields[name] < n)).all() for name, n in address_map.counts().items())
    assert np.array_equal(address_map.encode(fields), address)
    for at in rng.integers(0, len(address), 40):
        assert {name: int(values[at]) for name, values in fields.items()} == reference.locate(int(address[at]))


@settings(max_examples=50, deadline=None)
@given(host_maps(), st.integers(0, 1 << 30), st.integers(0, 31))
def test_bytes_of_a_burst_lie_together_and_addresses_wrap(case, burst, byte):
    address_map = host_map(*case)
    start = burst % (1 << 20) * address_map.burst_bytes
    here, there = (address_map.decode([a]) for a in (start, start + byte + 5 * address_map.size))
    assert here == there


def test_by_default_a_sequential_stream_rotates_over_channels_and_bank_groups_in_one_row():
    fields = host_map(None, memory(**SMALL_MEMORY)).decode(np.arange(64) * 64)
    i = np.arange(64)
    expected = {"channel": i % 2, "bank_group": i // 2 % 2, "column": i // 4}
    assert all(np.array_equal(fields[name], expected.get(name, 0 * i)) for name in HOST_FIELDS)
    assert host_map(None, memory(**SMALL_MEMORY)).text == HOST_MAP


def test_a_bank_of_two_bits_is_hashed_with_the_row_bits_above_the_shift():
    text = "row bank rank column bank_group channel | bank ^= row>>1"
    address_map = host_map(text, memory(**SMALL_MEMORY))
    fields = {name: np.zeros(8, np.int64) for name in HOST_FIELDS} | {"row": np.arange(8)}
    plain = host_map(text.partition("|")[0], memory(**SMALL_MEMORY))
    assert address_map.decode(plain.encode(fields))["bank"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_arrays_for_kernels_number_the_fields_from_channel_to_column():
    arrays = host_map("row rank bank column bank_group channel | rank ^= row>>1", memory(**SMALL_MEMORY)).arrays()
    assert arrays.digits.tolist() == [
        [0, 1, 0, 0], [1, 1, 3, 0], [2, 15, 6, 0], [6, 3, 4, 0], [8, 3, 2, 0], [10, 7, 5, 0]
    ]  # fmt: skip
    assert arrays.hashes.tolist() == [[2, 5, 1, 3]]
    assert (arrays.digits.dtype, arrays.hashes.dtype) == (np.int64, np.int64)


DIGITS = "row rank bank column bank_group channel"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("row rank bank column bank_group", "channel: expected 1 bits in all"),
        (f"{DIGITS} pseudo_channel:1", "pseudo_channel: expected 0 bits in all"),
        (f"{DIGITS} stack", f"expected one of {', '.join(HOST_FIELDS)}, found 'stack'"),
        (f"{DIGITS} | ", "expected a hash such as bank ^= row>>2, found ''"),
        (f"{DIGITS} | bank ^= row,", "expected a hash such as bank ^= row>>2, found ''"),
        (f"{DIGITS} | bank ^= row | rank ^= row", "expected a hash such as bank ^= row>>2, found 'bank ^= row | rank"),
        (f"{DIGITS} | bank = row", "expected a hash such as bank ^= row>>2, found 'bank = row'"),
        (f"{DIGITS} | bank ^= row>>-1", "expected a hash such as"),
        (f"{DIGITS} | bank ^= row<<1", "expected a hash such as"),
        (
            f"{DIGITS} | row ^= column",
            "hash: expected one of channel, pseudo_channel, rank, bank_group, bank, found",
        ),
        (f"{DIGITS} | column ^= row", "found 'column'"),
        (f"{DIGITS} | bnk ^= row", "found 'bnk'"),
        (f"{DIGITS} | bank ^= row, bank ^= column", "expected one of channel, pseudo_channel, rank, bank_group, found"),
        (f"{DIGITS} | bank ^= rank", "hash of bank: expected row or column, found 'rank'"),
        (f"{DIGITS} | bank ^= row>>3", "hash of bank: expected a shift within row, found >>3"),
        (f"{DIGITS} | bank ^= row>>99999", "expected a hash such as"),
    ],
)
def test_a_map_of_the_host_that_does_not_fit_is_refused(text, fault):
    with pytest.raises(InputError) as error:
        host_map(text, memory(**SMALL_MEMORY))
    message = str(error.value)
    assert message.startswith(f"address map '{text}': ") and fault in message and "\n" not in message


def test_a_memory_beyond_all_addresses_is_refused():
    with pytest.raises(InputError, match="expected a memory of at most"):
        host_map(None, memory(rank=1 << 20, channel=1 << 20))


@pytest.mark.parametrize("name", NAMES)
def test_the_default_covers_all_of_every_kind_of_memory(name):
    standard = STANDARDS[name]
    shape = standard.organization
    busses = shape.channels * shape.pseudo_channels
    banks = shape.ranks * shape.bank_groups * shape.banks
    assert host_map(None, standard).size == busses * banks * shape.rows * shape.columns * standard.burst_bytes
