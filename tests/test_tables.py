"""What is wrong with the form of a file, in sentences: field, what is expected and found, and no word of pydantic."""

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.dimm.config import DimmConfig, dimm_content, dimm_names
from ndpsim.dram.standard.file import StandardFile
from ndpsim.errors import InputError
from ndpsim.gpu.card import Card, load_card
from ndpsim.kinds import Unit, Words, unit_of, words_of
from ndpsim.llm.catalog import shape_content
from ndpsim.llm.shape import ModelShape
from ndpsim.machine.config import MachineConfig, machine_content
from ndpsim.runs.setup_files import policy_content
from ndpsim.sparsity.generation.presets import TracePreset, load_preset
from ndpsim.systems.catalog import load_system
from ndpsim.tables import Count, Given, Number, Table, Text, read_toml, table_from

Small = Annotated[int, Field(strict=True, ge=2, le=64)]


class Inner(Table):
    """A table in a table."""

    size: Annotated[Given[Small], Unit("burst")]


class Outer(Table):
    """A table."""

    inner: Inner
    rate: Number
    share: Annotated[float, Field(ge=0, le=1)] | tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    by_name: dict[str, Small] = Field(default={})


LEAST = "expected greater than or equal to 2, found 1"
SHARES = "expected a number of 0 to 1, or a list, each a number of 0 to 1, found"
GOOD: dict[str, Any] = {"inner": {"size": {"value": 3, "source": "x"}}, "rate": {"value": 1.0, "source": "x"}}


def faults(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        table_from(Outer, GOOD | changes, "x.toml")
    return caught.value.faults


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inner": 3}, "inner: expected a table, found 3"),
        ({"inner": {"size": 3}}, "inner.size: expected a table with value and source, found 3"),
        ({"inner": {"size": {"value": 1, "source": "x"}}}, f"inner.size.value: {LEAST}"),
        ({"inner": {"size": {"value": 3, "source": "x", "unit": "B"}}}, "inner.size.unit: expected burst, found B"),
        ({"rate": {"value": 1.0, "source": "x", "unit": "m"}}, "rate.unit: expected none, found m"),
        ({"rate": {"value": "1.0", "source": "x"}}, "rate.value: expected a valid number, found '1.0'"),
        ({"rate": {"value": date(2024, 1, 2), "source": "x"}}, "rate.value: expected a valid number, found 2024-01-02"),
        ({"rate": {"value": 1.0}}, "rate.source: expected a value, found none"),
        ({"rat": 3}, "rat: expected only known keys, found this one"),
        ({"share": 2.0}, f"share: {SHARES} 2.0"),
        ({"share": [0.5, 2.0]}, f"share: {SHARES} 2.0 at 1"),
        ({"by_name": {"a": 3, "b": 1}}, "by_name.b: expected greater than or equal to 2, found 1"),
        ({"by_name": {3: 3}}, "by_name.3: expected a valid string, found 3"),
    ],
)  # fmt: skip
def test_one_fault_is_one_sentence(change, says):
    assert faults(**change) == (says,)


def test_all_faults_come_together_and_further_ones_with_them():
    with pytest.raises(InputError) as caught:
        table_from(Outer, GOOD | {"rate": 3, "share": "x"}, "x.toml", ["rate: expected more, found less"], lines=True)
    assert [line.split(":")[:2] for line in str(caught.value).splitlines()] == [
        ["x.toml", " rate"], ["x.toml", " share"], ["x.toml", " rate"]
    ]  # fmt: skip


def test_what_was_found_is_short():
    for value in (10**400, 16**5000, -(10**400), "x" * 1000, [1] * 1000):
        (fault,) = faults(inner={"size": {"value": value, "source": "x"}})
        assert len(fault) < 200


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Small, "2 to 64"),
        (Given[Small], "2 to 64"),
        (Number, "a number of 1e-06 to 1e+09"),
        (Count, "a whole number above 0, up to 1048576"),
        (Text, "a text"),
        (bool, "true or false"),
        (Literal["a", "b"], "one of a, b"),
        (Literal["a"], "a"),
        (Annotated[int, Field(ge=64, le=128, multiple_of=64)], "64 to 128, a multiple of 64"),
        (Annotated[float, Field(ge=0, le=1)] | None, "a number of 0 to 1"),
        (Annotated[int, Words("a power of two")], "a power of two"),
        (Annotated[int, Field(ge=3)], "a whole number from 3"),
        (tuple[Small, ...], "a list, each 2 to 64"),
        (dict[str, int], "a table"),
    ],
)
def test_words_of_a_kind(annotation, words):
    assert words_of(annotation) == words


def test_a_unit_is_that_of_the_annotation_or_of_the_name():
    assert unit_of("core_ps", [Unit("fortnight")]) == "fortnight"
    names = {
        "core_ps": "ps",
        "memory_gb_per_s": "GB/s",
        "memory_mib": "MiB",
        "l2_mb": "MB",
        "heads": "",
        "nck": "clock",
    }
    assert {name: unit_of(name) for name in names} == names


def leaves(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value of a content, and of each table."""
    for key, entry in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*place, key)
        if isinstance(entry, dict | list):
            yield from leaves(entry, (*place, key))


def replaced(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    copy = list(content) if isinstance(content, list) else dict(content)
    copy[place[0]] = value if len(place) == 1 else replaced(copy[place[0]], place[1:], value)
    return copy


FILES = [
    ("machine", MachineConfig, machine_content("hermes")[1]),
    *((name, DimmConfig, dimm_content(name)[1]) for name in dimm_names()),
    ("card", Card, load_card("rtx4090").model_dump()),
    ("model", ModelShape, shape_content("llama2-7b")[1] | {"kv_heads": 32, "head_width": 128}),
    ("preset", TracePreset, load_preset("measured").model_dump(exclude_none=True)),
    ("policy", load_system("hermes").Policy, policy_content(load_system("hermes"))[1]),
    ("standard", StandardFile, read_toml(workloads_dir() / "hardware" / "dram" / "lpddr5x.toml", Decimal)),
]
JUNK = [None, 3, -1.5, float("nan"), "junk", [], [[1]], {}, {"a": 1}, True, date(2024, 1, 2), 10**400]
INSIDE = re.compile(
    r"constrained|function-|lax-or|tuple\[|Input|instance|dictionary|pydantic|Given|datetime|frozen|subclass|int_|\[key\]"
)


@pytest.mark.parametrize(("table", "content"), [one[1:] for one in FILES], ids=[one[0] for one in FILES])
def test_no_message_on_a_shipped_file_with_anything_in_it_tells_of_the_inside(table, content):
    table_from(table, content, "x.toml")
    for place in leaves(content):
        for value in JUNK:
            try:
                table_from(table, replaced(content, place, value), "x.toml")
            except InputError as error:
                assert not INSIDE.search(str(error)), str(error)
                assert all(": expected " in fault for fault in error.faults), error.faults
                assert len(set(error.faults)) == len(error.faults)
