"""An instruction added to the set is checked, timed and counted by its record; what is not there is an error."""

import numpy as np
import pytest

from ndpsim.data import isa_dir
from ndpsim.dimm import energy, resolve, timing
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.decode import Encodings, encodings
from ndpsim.errors import ProgramError
from ndpsim.isa import facts
from ndpsim.isa.assembly import assemble
from ndpsim.isa.encoding import words_to_array
from ndpsim.isa.program import DimmProgram, Program, Region
from ndpsim.isa.spec import isa, load_isa

MACHINE = load_machine(dimms=1)
SHIPPED = (isa_dir() / "ndp.toml").read_text(encoding="utf-8")
TIMES = """
[[instruction]]
mnemonic = "blend"
opcode = 0x7E
fields = ["src", "src2", "dst", "count", "batch"]
syntax = "blend [{src}], [{src2}], [{dst}], {count}, {batch}"
meaning = "made up"
traps = ["operand", "misaligned", "buffer", "overlap"]
operands = { src = "values", src2 = "values", dst = "vectors" }
timing = "vector"
passes = 7
divisions = "element"
[[instruction]]
mnemonic = "twin"
opcode = 0x7F
fields = ["mat", "list", "src", "dst", "batch"]
syntax = "twin {mat}, {list}, [{src}], [{dst}], {batch}"
meaning = "made up"
traps = ["operand", "unset", "misaligned", "buffer", "overlap", "row", "mask"]
operands = { src = "columns", dst = "rows" }
timing = "stream"
"""


@pytest.fixture
def more(tmp_path, monkeypatch):
    """The instruction set with two more instructions, as checks, timing and energy see it."""
    path = tmp_path / "more.toml"
    path.write_text(SHIPPED + TIMES, encoding="utf-8")
    found = load_isa(path)
    table = facts.facts_of(found)
    columns, masks, types = encodings()
    masks, types = masks.copy(), types.copy()
    for name in ("blend", "twin"):
        one = found.instructions[name]
        masks[one.opcode] = one.mask & (1 << 64) - 1, one.mask >> 64
    for module in (energy, resolve, timing):
        monkeypatch.setattr(module, "instruction_facts", lambda: table)
    monkeypatch.setattr(resolve, "encodings", lambda: Encodings(columns, masks, types))
    return found


def program(text, opcode=None, at=-2):
    words = words_to_array(assemble(text.replace(";", "\n")))
    if opcode is not None:
        words[at, 0] = words[at, 0] & ~np.uint64(0xFF) | np.uint64(opcode)
    return Program.of("{}", [DimmProgram(words, np.zeros(0, np.uint32), (Region("r", 0, 1 << 12),))])


def timed(made):
    resolved = resolve.resolve(made, MACHINE.buffer_bytes).require_clean()
    run = timing.Timer(MACHINE).run(made, resolved)
    return int(run.spans[-2, 1] - run.spans[-2, 0]), energy.ndp_work(resolved), run.stream_ps_by_dimm().tolist()


def test_an_element_wise_instruction_that_is_added_is_checked_timed_and_counted_by_its_record(more):
    # scale has the fields of blend: the program is assembled with it, and its opcode changed.
    took, work, _ = timed(program("scale [0], [8192], [16384], 512, 3; end", 0x7E))
    lanes, dividers = MACHINE.config.vector.lanes.value, MACHINE.config.vector.dividers.value
    cycles = 7 * -(-1536 // lanes) + -(-1536 // dividers)
    assert took == (cycles + MACHINE.config.vector.latency.value) * MACHINE.core_ps
    assert (work.buffer_bytes, work.vector_operations) == (2 * 4 * 1536 + 4 * 3, 7 * 1536 + 1536)
    for text, trap in (
        ("scale [0], [8192], [16384], 512, 0; end", "operand"),
        ("scale [0], [8190], [16384], 512, 3; end", "misaligned"),
        (f"scale [0], [{MACHINE.buffer_bytes - 6140}], [16384], 512, 3; end", "buffer"),
        ("scale [0], [8192], [6140], 512, 3; end", "overlap"),
        ("scale [0], [8192], [8192], 1, 3; end", "overlap"),  # not in place
    ):
        with pytest.raises(ProgramError, match=f": {trap}: "):
            timed(program(text, 0x7E))


def test_a_matrix_instruction_that_is_added_takes_the_time_and_the_work_of_one_with_the_same_operands(more):
    text = "mat.f16 m0, 0, 64, 256, 8; range l0, 0, 64; dot m0, l0, [0], [8192], 2; end"
    assert timed(program(text, 0x7F)) == timed(program(text))
    assert timed(program(text, 0x7F))[2][0] > 0


def test_an_opcode_that_the_set_does_not_have_is_an_error_everywhere():
    made = program("scale [0], [8192], [16384], 512, 3; end", 0x7E)
    with pytest.raises(ProgramError, match="illegal"):
        timed(made)
    ops = resolve.resolve(program("scale [0], [8192], [16384], 512, 3; end"), MACHINE.buffer_bytes).ops
    ops[0, 0] = 0x7E
    with pytest.raises(ProgramError, match="instruction 0: opcode 0x7e has no time"):
        timing.Timer(MACHINE).advance(ops, made)


def test_a_control_instruction_without_a_meaning_in_the_checks_is_illegal(tmp_path, monkeypatch):
    path = tmp_path / "nop.toml"
    nop = 'mnemonic = "nop"\nopcode = 0x7E\nfields = []\nsyntax = "nop"\nmeaning = "-"\ntraps = []\ntiming = "control"'
    path.write_text(f"{SHIPPED}\n[[instruction]]\n{nop}\n", encoding="utf-8")
    table = facts.facts_of(load_isa(path))
    columns, masks, types = encodings()
    masks = masks.copy()
    masks[0x7E] = 0xFF, 0
    monkeypatch.setattr(resolve, "instruction_facts", lambda: table)
    monkeypatch.setattr(resolve, "encodings", lambda: Encodings(columns, masks, types))
    with pytest.raises(ProgramError, match="illegal"):
        timed(program("bar; end", 0x7E))


def test_facts_are_those_of_the_shipped_set():
    table = facts.instruction_facts()
    assert (table[:, facts.CLASS] != facts.UNKNOWN).sum() == len(isa().instructions)
    streams = {one.mnemonic for one in isa().instructions.values() if table[one.opcode, facts.CLASS] == facts.STREAM}
    assert streams == {"dot", "axpy", "ld", "st"}
