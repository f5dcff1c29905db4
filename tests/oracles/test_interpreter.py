"""The reference interpreter agrees with every conformance program, and the programs cover the instruction set."""

import copy
from collections import Counter

import pytest

from oracles.conformance import Case, load
from oracles.interpreter import SPEC, run

CASES = load()


def words(content: bytearray) -> dict[str, str]:
    """Show the words that are not zero as hexadecimal numbers under their addresses."""
    values = {at: int.from_bytes(content[at : at + 4], "little") for at in range(0, len(content), 4)}
    return {f"{at:#x}": f"{value:#010x}" for at, value in values.items() if value}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_conformance_program_ends_as_its_file_says(case: Case) -> None:
    dimms = copy.deepcopy(case.before)
    trap = run(dimms)
    assert trap == case.trap
    for number, (found, expected) in enumerate(zip(dimms, case.after, strict=True)):
        assert bytes(found.host_out).hex() == bytes(expected.host_out).hex(), f"host stream out of DIMM {number}"
        assert words(found.buffer) == words(expected.buffer), f"buffer of DIMM {number}"
        for (base, _, _), memory, wanted in zip(found.regions, found.memory, expected.memory, strict=True):
            assert words(memory) == words(wanted), f"region at atom {base} of DIMM {number}"


@pytest.mark.parametrize("record", SPEC["instruction"], ids=lambda record: record["mnemonic"])
def test_every_instruction_stands_in_two_programs_of_its_file(record: dict) -> None:
    own = [case for case in CASES if case.instruction == record["mnemonic"]]
    opcodes = [{word & 0xFF for dimm in case.before for word in dimm.words} for case in own]
    assert sum(record["opcode"] in of_case for of_case in opcodes) >= 2


@pytest.mark.parametrize("trap", SPEC["trap"])
def test_every_trap_stops_some_program(trap: str) -> None:
    assert any(case.trap and case.trap.name == trap for case in CASES)


@pytest.mark.parametrize(
    ("mnemonic", "trap"), [(record["mnemonic"], trap) for record in SPEC["instruction"] for trap in record["traps"]]
)
def test_every_trap_of_an_instruction_stops_one_of_its_programs(mnemonic: str, trap: str) -> None:
    assert any(case.instruction == mnemonic and case.trap and case.trap.name == trap for case in CASES)


def test_no_two_programs_of_an_instruction_share_a_name() -> None:
    assert [name for name, times in Counter(map(str, CASES)).items() if times > 1] == []
