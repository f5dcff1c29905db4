import json

import pytest

from ndpsim.data import workloads_dir
from ndpsim.dimm.config import dimm_names, load_machine, machine_from_json
from ndpsim.errors import InputError

SHIPPED = (workloads_dir() / "hardware" / "dimms" / "hermes.toml").read_text(encoding="utf-8")


def refusal(tmp_path, *changes):
    """The one sentence with which the Hermes DIMM is refused after these changes."""
    text = SHIPPED
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_machine(str(path))
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_every_shipped_description_loads_with_every_address_map():
    assert "hermes" in dimm_names()
    for name in dimm_names():
        for placement in load_machine(name).config.address_maps:
            assert load_machine(name, placement=placement).atoms == load_machine(name).atoms


def test_the_machine_of_hermes_is_that_of_the_paper():
    machine = load_machine("hermes")
    assert (machine.core_ps, machine.buffer_bytes, machine.dimms) == (1000, 256 << 10, 4)
    assert machine.atoms * 64 == 32 << 30  # 4 ranks of 2 x 4 banks of 131072 rows of 8 KiB


def test_ranks_of_both_sub_channels_of_a_ddr5_dimm_have_a_data_bus_of_their_own():
    machine = load_machine("ddr5")
    assert (machine.standard.organization.channels, machine.standard.organization.ranks, machine.ranks) == (2, 2, 4)
    assert machine.atoms * 64 == 32 << 30  # 4 ranks of 8 x 4 banks of 65536 rows of 4 KiB
    assert sum(width for name, width in machine.address_map.digits if name == "rank") == 2


def test_a_description_may_give_the_number_of_ranks(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(SHIPPED.replace("ranks = { value = 4", "ranks = { value = 2"), encoding="utf-8")
    two, four = load_machine(str(path)), load_machine("hermes")
    assert (two.ranks, four.ranks) == (2, 4)
    assert 2 * two.atoms == four.atoms
    assert machine_from_json(two.to_json(), "p.ndp") == two


RANKS = 'ranks = { value = 4, unit = "rank", source', 'ranks = {{ value = {}, unit = "{}", source'


@pytest.mark.parametrize(
    ("value", "unit", "sentence"),
    [
        (3, "rank", "ranks: expected a power of two, found 3"),
        (0, "rank", "ranks.value: expected greater than or equal to 1, found 0"),
        (2, "DIMM", "ranks.unit: expected rank, found DIMM"),
    ],
)
def test_a_number_of_ranks_that_cannot_be_is_refused(tmp_path, value, unit, sentence):
    assert refusal(tmp_path, (RANKS[0], RANKS[1].format(value, unit))) == sentence


@pytest.mark.parametrize("dram", ["HBM3-6400", "LPDDR5X-8533"])
def test_dram_whose_bursts_are_no_atoms_is_refused(tmp_path, dram):
    assert refusal(tmp_path, ('value = "DDR4-3200-Hermes"', f'value = "{dram}"')) == (
        f"dram: expected a standard with bursts of 64 bytes, the atom of the instruction set, found {dram} with 32"
    )


def test_the_first_address_map_is_the_default():
    assert load_machine().address_map == load_machine(placement="interleaved").address_map
    assert load_machine(placement="row").address_map.text == "row bank bank_group rank column"


def test_an_address_map_can_be_spelt_out():
    text = "row bank column:3 rank bank_group column"
    assert load_machine(placement=text).address_map.text == text


UNKNOWN = "expected only known keys, found this one"
COUNT_FAULT = "expected greater than or equal to 1, found"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("lanes = { value = 256,", "lanes = { value = 0,", f"vector.lanes.value: {COUNT_FAULT} 0"),
        ("lanes = { value = 256,", "lanes = { value = -1,", f"vector.lanes.value: {COUNT_FAULT} -1"),
        (
            "array_latency = { value = 16,", "array_latency = { value = -1,",
            "unit.array_latency.value: expected greater than or equal to 0, found -1",
        ),
        ("latency_ps = { value = 50000,", "latency_ps = { value = 1099511627776,",
         "link.latency_ps.value: expected less than or equal to 1073741824, found 1099511627776"),
        ("lanes = { value = 256,", "lanes = { value = 256.0,",
         "vector.lanes.value: expected a valid integer, found 256.0"),
        ("lanes = { value = 256,", "lanes = { value = '256',",
         "vector.lanes.value: expected a valid integer, found '256'"),
        ("lanes = { value = 256,", "lanes = { value = true,",
         "vector.lanes.value: expected a valid integer, found True"),
        ("lanes = { value = 256,", "lanes = { ", "vector.lanes.value: expected a value, found none"),
        ("lanes = {", "lane = {", "vector.lanes: expected a value, found none; vector.lane: " + UNKNOWN),
        ("[vector]", "[vektor]", "vector: expected a value, found none; vektor: " + UNKNOWN),
        ("buffer_bytes = { value = 262144,", "buffer_bytes = { value = 1000,",
         "unit.buffer_bytes.value: expected a multiple of 64, found 1000"),
        ("return_queue = { value = 16,", "return_queue = { value = 1,",
         "unit.return_queue.value: expected greater than or equal to 2, found 1"),
        ('loading = { value = "overlapped",', 'loading = { value = "never",',
         "unit.loading.value: expected 'overlapped' or 'alternating', found 'never'"),
        ('reduction_cycles = { value = 11, unit = "core cycle"', 'reduction_cycles = { value = 11, unit = "ps"',
         "unit.reduction_cycles.unit: expected core cycle, found ps"),
        ('name = "hermes"', "name = 3", "name: expected a valid string, found 3"),
        ('name = "hermes"', "", "name: expected a value, found none"),
        ('row = "row bank bank_group rank column" ', "row = 3 ", "address_maps.row: expected a valid string, found 3"),
        ("core_ps = { value = 1000,", "core_ps = { value = 600,",
         "unit.core_ps: expected a core no faster than a DRAM clock, found 600 ps against 625"),
    ],
)  # fmt: skip
def test_a_faulty_entry_is_refused_by_its_name(tmp_path, old, new, sentence):
    assert refusal(tmp_path, (old, new)) == sentence


LIKE = """
like = "hermes"
name = "wide"
[unit]
macs_per_cycle_16bit = { value = 512, unit = "MAC/cycle", source = "a test" }
[address_maps]
row = "row bank_group bank rank column"
"""


def like_hermes(tmp_path, text):
    path = tmp_path / "wide.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_description_like_another_holds_its_fields_but_for_those_it_gives_itself(tmp_path):
    wide, hermes = load_machine(str(like_hermes(tmp_path, LIKE))), load_machine("hermes")
    own = {
        "name": "wide",
        "unit": hermes.config.unit.model_copy(update={"macs_per_cycle_16bit": wide.config.unit.macs_per_cycle_16bit}),
        "address_maps": hermes.config.address_maps | {"row": "row bank_group bank rank column"},
    }
    assert wide.config == hermes.config.model_copy(update=own)
    assert wide.config.unit.macs_per_cycle_16bit.value == 512
    assert wide.address_map == hermes.address_map  # the first map stays the default
    assert machine_from_json(wide.to_json(), "p.ndp") == wide


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"hermes"', '"hermez"', "like: expected one of ddr5, hermes, hermes-alternating, found 'hermez'"),
        ('"hermes"', '"../dimms/hermes"', "like: expected one of ddr5, hermes, hermes-alternating, found '../dimms/h"),
        ('"hermes"', "3", "like: expected one of ddr5, hermes, hermes-alternating, found 3"),
        ('"hermes"', '"hermes-alternating"',
         "like: expected a DIMM that is described in full, found 'hermes-alternating'"),
        ('name = "wide"', "", "name: expected a value, found none"),
        ("value = 512", "value = 0", "unit.macs_per_cycle_16bit.value: expected greater than or equal to 1, found 0"),
        ("value = 512, ", "", "unit.macs_per_cycle_16bit.value: expected a value, found none"),
        ('"MAC/cycle"', '"MAC"', "unit.macs_per_cycle_16bit.unit: expected MAC/cycle, found MAC"),
        ("[unit]", "[unity]", "unity: expected only known keys, found this one"),
        ("[unit]", "unit = 3\n[vector]", "unit: expected "),
        ("row bank_group bank rank column", "row bank rank column", "address_maps.row: address map 'row bank rank"),
    ],
)  # fmt: skip
def test_a_fault_of_a_description_like_another_names_its_own_file(tmp_path, old, new, sentence):
    assert LIKE.count(old) == 1
    path = like_hermes(tmp_path, LIKE.replace(old, new))
    with pytest.raises(InputError) as error:
        load_machine(str(path))
    assert str(error.value).startswith(f"{path}: {sentence}")


def test_a_fault_of_the_other_description_names_its_file(tmp_path, monkeypatch):
    folder = tmp_path / "hardware" / "dimms"
    folder.mkdir(parents=True)
    (folder / "hermes.toml").write_text(SHIPPED.replace("[vector]", "[vektor]"), encoding="utf-8")
    monkeypatch.setattr("ndpsim.dimm.config.workloads_dir", lambda: tmp_path)
    with pytest.raises(InputError) as error:
        load_machine(str(like_hermes(tmp_path, LIKE)))
    assert str(error.value).startswith(f"{folder / 'hermes.toml'}: vector: expected a value, found none")


def test_hermes_with_alternating_loads_is_hermes_in_all_else():
    alternating, hermes = load_machine("hermes-alternating").config, load_machine("hermes").config
    assert (hermes.unit.loading.value, alternating.unit.loading.value) == ("overlapped", "alternating")
    assert hermes.unit.reduction_cycles == alternating.unit.reduction_cycles
    unit = alternating.unit.model_copy(
        update={"loading": hermes.unit.loading, "array_latency": hermes.unit.array_latency}
    )
    assert alternating.model_copy(update={"name": "hermes", "unit": unit}) == hermes


def test_a_value_needs_its_source(tmp_path):
    sentence = refusal(tmp_path, (', source = "section IV-A1: one divider"', ""))
    assert sentence == "vector.dividers.source: expected a value, found none"


def test_all_faults_are_reported_at_once(tmp_path):
    sentence = refusal(
        tmp_path,
        ("lanes = { value = 256,", "lanes = { value = 0,"),
        ("[barrier]", "[barier]"),
        ("picoseconds_per_byte = { value = 40,", "picoseconds_per_byte = { value = '40',"),
    )
    assert sentence.split("; ") == [
        "vector.lanes.value: expected greater than or equal to 1, found 0",
        "link.picoseconds_per_byte.value: expected a valid integer, found '40'",
        "barrier: expected a value, found none",
        "barier: expected only known keys, found this one",
    ]


def test_an_unknown_standard_is_refused_with_the_known_ones(tmp_path):
    sentence = refusal(tmp_path, ('value = "DDR4-3200-Hermes"', 'value = "DDR9"'))
    assert sentence.startswith("dram: standard: expected one of ") and "DDR4-3200-Hermes" in sentence


def test_what_is_no_toml_is_refused(tmp_path):
    assert refusal(tmp_path, ("[vector]", "[vector")).startswith("expected a TOML file, found: ")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(InputError, match=r"binary\.toml: expected a TOML file, found: "):
        load_machine(str(path))


@pytest.mark.parametrize("name", ["hermez", "", "hermes.txt", "../hermes.toml"])
def test_an_unknown_description_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError) as error:
        load_machine(name)
    known = ", ".join(dimm_names())
    assert str(error.value) == f"DIMM '{name}': no such description; known are {known}, or a .toml file"


def test_an_unknown_placement_is_refused_with_the_known_ones():
    with pytest.raises(InputError) as error:
        load_machine(placement="diagonal")
    known = "interleaved, row, hashed, striped"
    assert str(error.value) == f"placement 'diagonal': expected one of {known}, or an address map"


@pytest.mark.parametrize("dimms", [0, -1, 257, 2.0, True, "4"])
def test_a_number_of_dimms_that_cannot_be_is_refused(dimms):
    with pytest.raises(InputError) as error:
        load_machine(dimms=dimms)
    assert str(error.value) == f"number of DIMMs: expected 1 to 256, found {dimms}"


@pytest.mark.parametrize("placement", ["interleaved", "row", "striped", "row bank column:3 rank bank_group column"])
@pytest.mark.parametrize("dimms", [1, 256])
def test_a_machine_comes_back_from_its_json(placement, dimms):
    machine = load_machine(placement=placement, dimms=dimms)
    again = machine_from_json(machine.to_json(), "p.ndp")
    assert again == machine
    assert again.to_json() == machine.to_json()
    assert "\n" not in machine.to_json()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"dimm": {}, "dimms": 4}', '{"dimm": {}, "dimms": 4, "address_map": [1]}']
)
def test_json_that_describes_no_machine_is_refused(text):
    with pytest.raises(InputError) as error:
        machine_from_json(text, "p.ndp")
    assert str(error.value) == "p.ndp: machine: expected the description of a machine"


@pytest.mark.parametrize(
    "changes", [{"dimm": 3}, {"dimm": {}}, {"dimms": 0}, {"dimms": None}, {"address_map": "diagonal"}]
)
def test_json_of_a_machine_that_cannot_be_is_refused(changes):
    with pytest.raises(InputError) as error:
        machine_from_json(json.dumps(json.loads(load_machine().to_json()) | changes), "p.ndp")
    assert "\n" not in str(error.value)
