"""Card files: what ships is sound, names are forgiving, and faults are told."""

import pytest

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.gpu.card import card_names, cards_dir, load_card, read_card

CARD = """
name = "Small"
architecture = "ada"
sms = 10
clock_mhz = 1000
clock_headroom = 1.0
power_w = 100
memory_mib = 8192
memory_gb_per_s = 200
inline_ecc = false
l2_mb = 4
l2_bytes_per_clock = 500
fp16_tflops = 10
int8_tops = 20
fp32_tflops = 5
pcie_gb_per_s = 16
nvlink_gb_per_s = 0
source = "made up"
"""
FIT = """
[fit]
data = "made up"
rows = 40
[fit.error]
gemm = 0.05
[fit.efficiencies.gemm]
launch_us = 2.0
"""
OF_THE_ISSUE = [
    "a100-40",
    "a100-80",
    "a10g",
    "a40",
    "a6000",
    "h100",
    "h200",
    "l40s",
    "rtx3090",
    "rtx4090",
    "rtxpro6000",
    "t4",
]


def faults_of(tmp_path, text):
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_card(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ").split("; ")


def changed(*pairs, text=CARD):
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def test_the_cards_of_the_issue_ship():
    assert card_names() == OF_THE_ISSUE
    assert cards_dir() == workloads_dir() / "hardware" / "gpus"


@pytest.mark.parametrize(
    ("name", "sms", "memory_gb_per_s", "fp16_tflops", "l2_mb"),
    [
        ("rtx4090", 128, 1008, 165, 72),
        ("rtx3090", 82, 936, 71, 6),
        ("t4", 40, 320, 65, 4),
        ("a10g", 80, 600, 70, 6),
        ("a40", 84, 696, 150, 6),
        ("a6000", 84, 768, 155, 6),
        ("l40s", 142, 864, 362, 96),
        ("a100-40", 108, 1555, 312, 40),
        ("a100-80", 108, 2039, 312, 40),
        ("h100", 132, 3352, 989, 50),
        ("h200", 132, 4800, 989, 50),
        ("rtxpro6000", 188, 1792, 504, 128),
    ],
)
def test_shipped_cards_are_as_their_data_sheets_say(name, sms, memory_gb_per_s, fp16_tflops, l2_mb):
    card = load_card(name)
    found = (card.sms, card.memory_gb_per_s, card.fp16_tflops, card.l2_mb)
    assert found == pytest.approx((sms, memory_gb_per_s, fp16_tflops, l2_mb), rel=0.005)
    assert card.source


@pytest.mark.parametrize("name", ["rtx4090", "RTX 4090", "RTX-4090", "rtx_4090"])
def test_case_spaces_and_dashes_of_a_name_do_not_matter(name):
    assert load_card(name).name == "RTX 4090"


def test_a_file_is_a_card(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(CARD + FIT)
    card = load_card(str(path))
    assert card.fitted and card.fit.efficiencies == {"gemm": {"launch_us": 2.0}}
    assert (card.memory_rate, card.l2_rate, card.rate("int8")) == (200e3, 500e3, 20e6)  # in a microsecond


@pytest.mark.parametrize("name", ["rtx5090", "", "a100"])
def test_an_unknown_card_lists_the_known_ones(name):
    with pytest.raises(InputError) as error:
        load_card(name)
    assert str(error.value) == f"card '{name}': expected one of {', '.join(OF_THE_ISSUE)}, or a .toml file"


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    text = changed(
        ("sms = 10\n", ""),
        ("power_w", "powr_w"),
        ("memory_gb_per_s = 200", "memory_gb_per_s = -200"),
        ('"ada"', '"volta"'),
        ("clock_headroom = 1.0", "clock_headroom = 0.9"),
        ("inline_ecc = false", 'inline_ecc = "no"'),
        ("l2_mb = 4", 'l2_mb = "4"'),
        ("int8_tops = 20", "int8_tops = 50"),
    )
    assert sorted(faults_of(tmp_path, text)) == [
        "architecture: expected one of ada, ampere, blackwell-rtx, hopper, turing, or a .toml file, found 'volta'",
        "clock_headroom: expected greater than or equal to 1, found 0.9",
        "inline_ecc: expected a valid boolean, found 'no'",
        "int8_tops: expected 1 to 4 times fp16_tflops 10, found 50",
        "l2_mb: expected a valid number, found '4'",
        "memory_gb_per_s: expected greater than 0, found -200",
        "power_w: expected a value, found none",
        "powr_w: expected only known keys, found this one",
        "sms: expected a value, found none",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "fp16_tflops = 10",
            "fp16_tflops = 0.5",
            "fp16_tflops: expected 64 to 16384 operations a clock and SM, found ",
        ),
        (
            "clock_mhz = 1000",
            "clock_mhz = 1",
            "fp16_tflops: expected 64 to 16384 operations a clock and SM, found 1000000",
        ),
        ("int8_tops = 20", "int8_tops = 5", "int8_tops: expected 1 to 4 times fp16_tflops 10, found 5"),
        ("fp32_tflops = 5", "fp32_tflops = 11", "fp32_tflops: expected at most fp16_tflops 10, found 11"),
        ("l2_mb = 4", "l2_mb = 9000", "l2_mb: expected less than memory_mib 8192, found 9000 MB"),
        ("clock = 500", "clock = 100", "l2_bytes_per_clock: expected more than the memory's rate, found 100 GB/s"),
        ("nvlink_gb_per_s = 0", "nvlink_gb_per_s = -1", "nvlink_gb_per_s: expected greater than or equal to 0, found"),
        ("sms = 10", "sms = 10.5", "sms: expected a valid integer"),
        ("sms = 10", "sms = true", "sms: expected a valid integer, found True"),
        ("power_w = 100", "power_w = nan", "power_w: expected "),
        ("power_w = 100", "power_w = inf", "power_w: expected "),
        ("power_w = 100", f"power_w = {10**400}", "power_w: expected "),
        ("sms = 10", f"sms = {10**400}", "sms: expected less than or equal to 1024, found 1000"),
        ("rows = 40", "rows = 0", "fit.rows: expected greater than 0, found 0"),
        ("gemm = 0.05", "gemm = -0.05", "fit.error.gemm: expected greater than or equal to 0, found -0.05"),
        ("launch_us = 2.0", "launch_us = 0", "fit.efficiencies.gemm.launch_us: expected greater than 0, found 0"),
        ("launch_us = 2.0", "launch_us = '2'", "fit.efficiencies.gemm.launch_us: expected a valid number, found '2'"),
        ("[fit.error]", "[fit.errors]", "fit.error: expected a value, found none"),
    ],
)
def test_each_fault_is_told(tmp_path, old, new, fault):
    assert [found for found in faults_of(tmp_path, changed((old, new), text=CARD + FIT)) if found.startswith(fault)]


@pytest.mark.parametrize("text", ["name = ", "", "fit = 3"])
def test_a_file_that_holds_no_card_is_refused(tmp_path, text):
    assert all("expected" in fault for fault in faults_of(tmp_path, text))


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: expected a readable file, found: No such file"):
        load_card(str(tmp_path / "none.toml"))
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.toml: expected a TOML file"):
        load_card(str(path))


@pytest.mark.parametrize(
    ("name", "card"), [("4090", "RTX 4090"), ("A100 SXM 80GB", "A100 SXM 80 GB"), ("tesla-t4", "Tesla T4")]
)
def test_a_card_is_found_by_its_full_name_and_by_a_part_that_is_its_own(name, card):
    assert load_card(name).name == card


@pytest.mark.parametrize("name", ["a100", "", "rtx"])
def test_a_name_that_several_cards_share_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=r"expected one of a100-40, a100-80, .*t4, or a \.toml file"):
        load_card(name)
