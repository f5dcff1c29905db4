"""Files of DRAM standards: what they add, where they may lie, and how their faults are told."""

import pytest

from ndpsim.data import workloads_dir
from ndpsim.dram.standard import presets as standard_presets
from ndpsim.dram.standard.standard import load_standard, read_standards, standard_names
from ndpsim.errors import InputError

DDR4 = (workloads_dir() / "hardware" / "dram" / "ddr4.toml").read_text(encoding="utf-8")
SMALL = """
standard = "TINY"
transfers_per_clock = 2
burst_length = 8
rounding = "up"
bus_bits = 64
default_device = "1Gb_x8"
source = "made up"
constraints = [
  { rule = "tRCD", scope = "bank", earlier = "ACT", later = "RD WR RDA WRA", gap = "nRCD" },
  { rule = "tRC", scope = "rank", earlier = "ACT", later = "REF", gap = "nRC + 1" },
]
[[bus]]
name = "command"
commands = { ACT = 1, PRE = 1, PREA = 1, RD = 1, WR = 1, RDA = 1, WRA = 1, REF = 1 }
[refresh.all_bank]
command = "REF"
interval = "nREFI"
postpone = 8
[timing]
nRCD = { nck = 2, ns = 2.5, source = "made up" }
nREFI = { max_ns = 7800.0, source = "made up" }
nTWICE = { sum = "nRC + nRC", source = "made up" }
nRC = { sum = "nRCD + nRP", source = "made up" }
[device."1Gb_x8"]
density_gbit = 1
width = 8
bank_groups = 1
banks = 4
rows = 32768
columns = 128
[device."1Gb_x8".timing]
nRP = { nck = 5, source = "made up" }
[speed."800"]
data_rate_mtps = 800
[speed."800".timing]
nCL = { nck = 11, source = "made up" }
nCWL = { nck = 9, source = "made up" }
"""
OWN = """
extends = "DDR4"
[preset.Mine]
device = "4Gb_x16"
speed = "3200AC"
ranks = 2
channels = 4
source = "made up"
[preset.Mine.timing]
nRAS = { nck = 60, source = "made up" }
"""


def written(folder, text, name="own.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(tmp_path, text):
    path = written(tmp_path, text, "wrong.toml")
    with pytest.raises(InputError) as error:
        read_standards(path)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def changed(old, new, text=SMALL):
    assert text.count(old) == 1
    return text.replace(old, new)


def test_a_file_in_any_folder_gives_its_only_preset(tmp_path, monkeypatch):
    standard = load_standard(str(written(tmp_path, SMALL)))
    assert (standard.name, standard.family, standard.burst_bytes) == ("TINY-800", "TINY", 64)
    assert standard.timing == {
        "nBL": 4,
        "nCL": 11,
        "nCWL": 9,
        "nRC": 7,
        "nRCD": 2,
        "nREFI": 3120,
        "nRP": 5,
        "nTWICE": 14,
    }
    assert [(c.earlier, c.later, c.gap) for c in standard.constraints][-1] == ("ACT", "REF", 8)
    monkeypatch.chdir(tmp_path)
    assert load_standard("own.toml") == standard


def test_a_preset_of_a_file_is_named_after_a_colon(tmp_path):
    path = written(
        tmp_path,
        SMALL
        + '[speed."1600"]\ndata_rate_mtps = 1600\n'
        + SMALL[SMALL.index('[speed."800".t') :].replace("800", "1600"),
    )
    assert load_standard(f"{path}:TINY-1600").tck_ps == 1250
    assert load_standard(f"{path}:TINY-800-1Gb_x8").tck_ps == 2500
    with pytest.raises(InputError, match=r"expected .*own\.toml:NAME with one of TINY-800, TINY-1600, found none"):
        load_standard(str(path))
    with pytest.raises(InputError, match=r"with one of TINY-800, TINY-1600, found 'TINY-1'"):
        load_standard(f"{path}:TINY-1")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: expected a readable file"):
        load_standard(str(tmp_path / "none.toml"))


def test_a_file_can_extend_a_shipped_standard(tmp_path):
    standard = load_standard(str(written(tmp_path, OWN)))
    levels = standard.organization
    assert (standard.name, standard.family) == ("Mine", "DDR4")
    assert (levels.ranks, levels.channels, levels.density_gbit, levels.width) == (2, 4, 4, 16)
    assert (standard.timing["nRAS"], standard.timing["nRC"], standard.timing["nFAW"]) == (60, 84, 48)


def test_an_extension_adds_its_devices_and_speeds_in_all_combinations(tmp_path):
    speed = '[speed."4000"]\ndata_rate_mtps = 4000\n[speed."4000".timing]\n'
    speed += "".join(f'{name} = {{ nck = 30, source = "made up" }}\n' for name in ("nCL", "nRCD", "nRP", "nCWL"))
    added = read_standards(written(tmp_path, 'extends = "DDR4"\n' + speed))
    assert len(added) == 13  # one for each of twelve devices, and one under its short name
    assert added["DDR4-4000"].timing == added["DDR4-4000-8Gb_x8"].timing
    assert added["DDR4-4000"].timing["nRFC"] == 700


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('extends = "DDR9"', "extends: expected the name of a shipped standard, found 'DDR9'"),
        ("extends = 4", "extends: expected the name of a shipped standard, found 4"),
        ('extends = "DDR4"\nrounding = "up"', "rounding: expected only known keys, found this one"),
        ('extends = "DDR4"\nspeed = 3', "speed: expected a table, found 3"),
        (
            'extends = "DDR4"\n[speed.3200AA]\ndata_rate_mtps = 3200',
            "speed.3200AA: expected a new name, found one of the standard",
        ),
        (
            OWN.replace("nRAS", "nFOO"),
            "preset.Mine.timing.nFOO: expected a timing of the standard to replace, found none",
        ),
        (
            OWN.replace("preset.Mine", 'preset."DDR4-2400R"'),
            "preset.DDR4-2400R: expected a name that no speed and device make, found 'DDR4-2400R'",
        ),
    ],
)
def test_extensions_that_do_not_fit_are_refused(tmp_path, text, fault):
    assert fault in faults_of(tmp_path, text)


def test_two_files_with_one_name_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "hardware" / "dram"
    folder.mkdir(parents=True)
    for name in ("a.toml", "b.toml"):
        written(folder, SMALL, name)
    monkeypatch.setattr(standard_presets, "workloads_dir", lambda: tmp_path)
    with pytest.raises(InputError, match=r"b\.toml: preset\.TINY-800: expected a name that no other file has"):
        standard_names()


def test_all_faults_of_a_file_are_reported_at_once(tmp_path):
    text = changed("banks = 4", "banks = 3")
    text = changed("nck = 2, ns = 2.5", "nck = 2, ns = -1.5", text)
    text = changed("bus_bits = 64\n", "", text)
    text = changed("postpone = 8", 'postpone = "many"\nfoo = 1', text)
    text = changed('gap = "nRCD"', 'gap = "nRCD + nFOO"', text)
    text = changed('earlier = "ACT", later = "REF"', 'earlier = "ACT REFpb", later = "REF"', text)
    text = changed("nCWL =", "nRCD =", text)
    text = changed("nck = 5, source", "source", text)
    assert sorted(faults_of(tmp_path, text)) == [
        "bus_bits: expected a value, found none",
        "constraints.0.gap: expected timings of the standard, found 'nFOO'",
        "constraints.1.earlier: expected commands that a bus carries, found 'REFpb'",
        "device.1Gb_x8.banks: expected a power of two, found 3",
        "device.1Gb_x8.density_gbit: expected 0.75 by its banks, rows, ..., found 1",
        "device.1Gb_x8.timing.nRP: expected one of: nck, ns or both; max_ns; sum, found {'source': 'made up'}",
        "refresh.all_bank.foo: expected only known keys, found this one",
        "refresh.all_bank.postpone: expected a valid integer, found 'many'",
        "timing nCWL: expected one value in [timing], device and speed, found none for speed 800 with device 1Gb_x8",
        "timing nRCD: expected one value in [timing], device and speed, found 2 for speed 800 with device 1Gb_x8",
        "timing.nRCD.ns: expected greater than 0, found -1.5",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('scope = "bank"', 'scope = "chip"', "constraints.0.scope: expected 'bank', 'bank_group', "),
        ('scope = "rank"', 'scope = "bank"', "constraints.1.scope: expected rank or other_rank for REF, found 'bank'"),
        ('"nRC + 1"', '"nRC +"', "constraints.1.gap: expected a sum such as 'nCL + nBL + 2 - nCWL', found 'nRC +'"),
        ('"nRC + 1"', '"nRC * 2"', "constraints.1.gap: expected a sum such as 'nCL + nBL + 2 - nCWL', found 'nRC * 2'"),
        ('"nRC + 1"', '"n-C + 1"', "constraints.1.gap: expected a sum of timing names and integers, found 'n-C + 1'"),
        ('"nRCD + nRP"', '"nTWICE + nRP"', "timing: expected no sum of itself, found nTWICE -> nRC -> nTWICE"),
        ('"nREFI"\n', '"nFOO"\n', "refresh.all_bank.interval: expected timings of the standard, found 'nFOO'"),
        ('command = "REF"', 'command = "REFsb"', "refresh.all_bank.command: expected a command that a bus carries"),
        ("postpone = 8", "postpone = 8\ncovers_groups = 2", "refresh.all_bank.covers_groups: expected at most 1 "),
        ("PREA = 1, ", "", "bus: expected one that carries PREA, found none"),
        ("PREA = 1, ", "PREA = 1, NOP = 1, ", "bus.0.commands.NOP: expected "),
        ("[[bus]]", '[[bus]]\nname = "one"\ncommands = { REF = 1 }\n[[bus]]', "bus.1.commands: expected commands of "),
        ('rounding = "up"', 'rounding = "down"', "rounding: expected "),
        ("data_rate_mtps = 800", 'data_rate_mtps = "8/0"', "speed.800.data_rate_mtps: expected a positive integer, "),
        ("max_ns = 7800.0", "max_ns = 7800.0, nck = 3", "timing.nREFI: expected one of: nck, ns or both; max_ns; "),
        ('default_device = "1Gb_x8"', 'default_device = "2Gb_x8"', "default_device: expected one of 1Gb_x8, found '2G"),
    ],
)  # fmt: skip
def test_each_fault_is_told(tmp_path, old, new, fault):
    assert [line for line in faults_of(tmp_path, changed(old, new)) if line.startswith(fault)]


def test_more_clocks_than_simulators_count_are_refused(tmp_path):
    text = changed("max_ns = 7800.0", "max_ns = 1e9", changed("data_rate_mtps = 800", "data_rate_mtps = 8000"))
    with pytest.raises(InputError, match=r"TINY-800: nREFI: expected from 1 to 1073741824 clocks, found 4000000000"):
        load_standard(str(written(tmp_path, text)))


def test_a_doubled_timing_is_told_once_for_all_combinations(tmp_path):
    (fault,) = faults_of(tmp_path, changed("[timing]\n", "[timing]\nnRP = { nck = 22, source = 'made up' }\n", DDR4))
    assert fault.endswith("found 2 for speed 2400P with device 2Gb_x4 (and 179 more)")


def test_presets_name_devices_and_speeds_that_exist(tmp_path):
    found = faults_of(tmp_path, OWN.replace('"4Gb_x16"', '"4Gb_x64"').replace('"3200AC"', '"9600"'))
    assert found[0].startswith("preset.Mine.device: expected one of 2Gb_x4, ") and found[0].endswith("'4Gb_x64'")
    assert found[1].startswith("preset.Mine.speed: expected one of 2400P, ") and found[1].endswith("'9600'")


@pytest.mark.parametrize("text", ["", "standard = ", "standard = 'DDR4'", "preset = 3", "standard = 'DDR4'\n[preset]"])
def test_a_file_that_holds_no_standard_is_refused(tmp_path, text):
    assert faults_of(tmp_path, text)


@pytest.mark.parametrize("key", ["device", "speed", "preset", "bus", "refresh", "timing", "constraints"])
@pytest.mark.parametrize(
    "value", ["3", "[1]", "{ a = 1 }", "{ a = { timing = 1 } }", "[{ commands = 1, earlier = 1 }]"]
)
def test_tables_of_a_wrong_form_are_told_and_never_crash(tmp_path, key, value):
    assert any(fault.startswith(key) for fault in faults_of(tmp_path, f"standard = 'A'\n{key} = {value}"))


@pytest.mark.parametrize("value", ["nan", "inf", "0.0", "1e400", "'7.5'", "true", "[1]"])
def test_nanoseconds_are_finite_positive_numbers(tmp_path, value):
    (fault,) = faults_of(tmp_path, changed("ns = 2.5", f"ns = {value}"))
    assert fault.startswith("timing.nRCD.ns: expected ")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a TOML file"):
        load_standard(str(path))
