from decimal import Decimal
from fractions import Fraction

import pytest

from ndpsim.data import workloads_dir
from ndpsim.dram import standard as module
from ndpsim.dram.standard import (
    Minimum,
    load_standard,
    minimum_in_clocks,
    read_standards,
    standard_names,
    with_overrides,
)
from ndpsim.errors import InputError

SHIPPED = (workloads_dir() / "hardware" / "dram" / "ddr4.toml").read_text(encoding="utf-8")


def clocks(ns=None, nck=None, data_rate=3200):
    exact = None if ns is None else Decimal(str(ns))
    return minimum_in_clocks(Minimum(ns=exact, nck=nck, source="test"), module.clock_period_ps(data_rate))


def faults_of(tmp_path, text):
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_standards(path)
    assert all(line.startswith(f"{path}: ") for line in str(error.value).splitlines())
    return [line.removeprefix(f"{path}: ") for line in str(error.value).splitlines()]


def test_every_shipped_standard_loads_under_its_name():
    assert "DDR4-3200-Hermes" in standard_names()
    assert [load_standard(name).name for name in standard_names()] == standard_names()


def test_the_clock_period_is_exact():
    assert module.clock_period_ps(3200) == 625
    assert isinstance(module.clock_period_ps(3200), int)
    assert module.clock_period_ps(2400) == Fraction(2500, 3)


def test_nanoseconds_become_clocks_by_the_rounding_of_jesd79_4():
    assert clocks(ns=15) == 24  # exactly 24 clocks
    assert clocks(ns=0.625 * 3 + 0.625) == 4
    assert clocks(ns=5, data_rate=2400) == 6  # exactly 6 clocks of 2500/3 ps
    assert clocks(ns=13.75, data_rate=2666) == 19  # 18.33 clocks


@pytest.mark.parametrize(("ps", "expected"), [(6250, 10), (6266, 10), (6267, 11), (6874, 11), (6875, 11)])
def test_less_than_a_fortieth_of_a_clock_is_rounded_off(ps, expected):
    assert clocks(ns=ps / 1000) == expected


def test_the_larger_of_the_two_minima_counts():
    assert clocks(ns=7.5, nck=4) == 12
    assert clocks(ns=7.5, nck=13) == 13
    assert clocks(nck=9) == 9


def test_an_unknown_standard_lists_the_known_ones():
    with pytest.raises(InputError, match=r"expected one of .*DDR4-3200-Hermes.*, found 'DDR9'"):
        load_standard("DDR9")


def test_overrides_replace_timings_in_clocks_and_leave_the_original():
    standard = load_standard("DDR4-3200-Hermes")
    assert with_overrides(standard, {"nRFC": 560}).timing["nRFC"] == 560
    assert standard.timing["nRFC"] == 880


def test_bad_overrides_are_all_reported():
    with pytest.raises(InputError) as error:
        with_overrides(load_standard("DDR4-3200-Hermes"), {"nFOO": 1, "nRFC": 0})
    first, second = str(error.value).splitlines()
    assert first.startswith("timing: expected one of nCL, ") and first.endswith("found 'nFOO'")
    assert second == "nRFC: expected an integer from 1 to 1073741824, found 0"


def test_all_faults_of_a_file_are_reported_at_once(tmp_path):
    text = SHIPPED.replace("ranks = 4", "ranks = 3").replace("nWR    = { ns = 15.0,", "nWR    = { ns = -1.5,")
    text = text.replace("nRP    =", "nRPP   =").replace("rows = 131072", 'rows = "many"').replace("nck = 52, ", "")
    preset = "preset.DDR4-3200-Hermes"
    assert sorted(faults_of(tmp_path, text)) == [
        f"{preset}.organization.ranks: expected a power of two, found 3",
        f"{preset}.organization.rows: expected a valid integer, found 'many'",
        f"{preset}.timing.nRAS: expected nck, ns or both, found {{'source': 'Table II: tRC - tRP; equals 32 ns plus "
        "rounding of JESD79-4'}",
        f"{preset}.timing.nRP: expected a value, found none",
        f"{preset}.timing.nRPP: expected only known keys, found this one",
        f"{preset}.timing.nWR.ns: expected greater than 0, found -1.5",
    ]


@pytest.mark.parametrize("text", ["", "standard = ", "standard = 'DDR4'", "preset = 3", "standard = 'DDR4'\n[preset]"])
def test_a_file_that_holds_no_standard_is_refused(tmp_path, text):
    assert faults_of(tmp_path, text)


@pytest.mark.parametrize("value", ["nan", "inf", "0.0", "1e400", "'7.5'", "true", "[1]"])
def test_nanoseconds_are_finite_positive_numbers(tmp_path, value):
    (fault,) = faults_of(tmp_path, SHIPPED.replace("ns = 15.0", f"ns = {value}"))
    assert ".timing.nWR.ns: expected " in fault


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a TOML file"):
        read_standards(path)


def test_two_files_with_one_name_are_refused(tmp_path, monkeypatch):
    (tmp_path / "hardware" / "dram").mkdir(parents=True)
    for name in ("a.toml", "b.toml"):
        (tmp_path / "hardware" / "dram" / name).write_text(SHIPPED, encoding="utf-8")
    monkeypatch.setattr(module, "workloads_dir", lambda: tmp_path)
    with pytest.raises(InputError, match=r"b\.toml: preset\.DDR4-3200-Hermes: expected a name that no other file has"):
        standard_names()
