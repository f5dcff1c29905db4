"""A setup: all contents as plain data, every field by its path, all faults at once."""

import json
import math
import random

import pytest

from ndpsim.dimm.config import dimm_names
from ndpsim.dram.standard.standard import load_standard, standard_content, standard_from, standard_names
from ndpsim.errors import InputError
from ndpsim.runs.changes import ASKED, unknown
from ndpsim.runs.run import devices_of
from ndpsim.runs.setup import Setup
from ndpsim.runs.setup_files import SetupFiles, policy_content
from ndpsim.systems.catalog import load_system


def setup(**more):
    return Setup.of(**{"model": "relu-lm", "prompt": 16, "output": 4, **more})


def refusal(**more):
    with pytest.raises(InputError) as caught:
        setup(**more)
    return str(caught.value)


def test_a_setup_is_the_same_after_a_way_through_json():
    made = setup(changes={"gpu.weights_gb": 0.0017, "preset.ffn.gini": 0.3, "dram.timing.nRTP": {"nck": 9}})
    again = Setup.from_json(made.to_json())
    assert again == made and again.to_json() == made.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"system": 3}', '"x"', "[" * 100_000])
def test_other_json_is_no_setup(text):
    with pytest.raises(InputError, match=r"^setup: "):
        Setup.from_json(text)


@pytest.mark.parametrize("name", [*standard_names()[::7], "DDR4-3200-Hermes"])
def test_the_content_of_one_preset_is_that_standard(name):
    content = json.loads(json.dumps(standard_content(name)))
    assert standard_from(content, name, "dram") == load_standard(name)


@pytest.mark.parametrize("name", dimm_names())
def test_every_dimm_that_ships_makes_a_machine(name):
    devices = devices_of(setup(changes={"dimm.name": name, "dimm.placement": "interleaved"}))
    assert devices.dimms.config.name == name


def test_each_table_has_fields_that_can_be_set():
    changes = {
        "dimm.count": 3,
        "pcie.gb_per_s": 32,
        "gpu.card": "rtx3090",
        "gpu.memory_gb_per_s": 900.0,
        "dimm.unit.macs_per_cycle_16bit": 64,
        "dimm.link.latency_ps": 7,
        "dram.timing.nRCD.nck": 20,
        "model.layers": 2,
        "preset.ffn.density": 0.33,
        "policy.window": 3,
    }
    made = setup(changes=changes)
    devices = devices_of(made)
    assert (devices.dimms.dimms, devices.config.pcie.gb_per_s.value) == (3, 32)
    host = devices_of(setup(system="hermes-host", changes={"cpu.gflops": 500.0}))
    assert host.config.cpu.gflops.value == 500
    assert (devices.gpu.card.name, devices.gpu.card.memory_gb_per_s) == ("RTX 3090", 900)
    unit, link = devices.dimms.config.unit, devices.dimms.config.link
    assert (unit.macs_per_cycle_16bit.value, link.latency_ps.value, link.latency_ps.source) == (64, 7, ASKED)
    assert unit.macs_per_cycle_16bit.unit == "MAC/cycle"
    assert devices.dimms.standard.timing["nRCD"] == 20
    assert (made.model["layers"], made.policy["window"]) == (2, {"value": 3, "source": ASKED, "unit": ""})
    assert made.preset["ffn"]["density"] == {"value": 0.33, "source": ASKED}
    assert made.changes == changes


@pytest.mark.parametrize("value", [30, {"nck": 30}, {"nck": 4, "ns": 18.75}])
def test_a_timing_can_be_given_in_clocks_or_as_a_table(value):
    standard = devices_of(setup(changes={"dram.timing.nWR": value})).dimms.standard
    assert standard.timing["nWR"] == 30


def test_a_part_of_a_timing_stands_instead_of_all_of_it():
    standard = devices_of(setup(changes={"dram.timing.nRTP.nck": 5})).dimms.standard
    assert load_standard("DDR4-3200-Hermes").timing["nRTP"] == 12 and standard.timing["nRTP"] == 5


def test_sums_of_timings_follow():
    plain, changed = (
        devices_of(setup(changes={"dimm.dram": "DDR4-3200AA", **more})).dimms.standard.timing
        for more in ({}, {"dram.timing.nRP": 30})
    )
    assert changed["nRC"] - plain["nRC"] == 30 - plain["nRP"] > 0


def test_a_value_of_a_preset_stands_instead_of_its_alternative_and_of_those_of_the_model():
    made = setup(model="opt-13b", changes={"preset.ffn.gini": 0.5, "preset.ffn.density": 0.4})
    assert "share_for_80" not in made.preset["ffn"] and made.preset["ffn"]["gini"]["value"] == 0.5
    assert made.preset["ffn"]["density"]["value"] == 0.4 != setup(model="opt-13b").preset["ffn"]["density"]["value"]


def test_sizes_that_a_model_leaves_out_follow_those_that_change():
    assert "kv_heads" not in setup(model="opt-13b", changes={"model.heads": 20}).model


def test_fields_that_a_file_leaves_out_can_be_set():
    changes = {"dimm.ranks": 2, "dimm.placement": "row", "dimm.address_maps.row": "row bank bank_group column rank"}
    devices = devices_of(setup(changes=changes))
    assert devices.dimms.ranks == 2 and devices.dimms.address_map.text == "row bank bank_group column rank"


def test_another_card_brings_its_own_fields():
    assert devices_of(setup(changes={"gpu.card": "t4"})).gpu.card.name == "Tesla T4"


def test_a_fitted_card_keeps_its_efficiencies_and_another_is_predicted():
    fitted, predicted = setup(), setup(changes={"gpu.card": "t4"})
    assert fitted.efficiencies["gemm"]["launch_us"] == fitted.card["fit"]["efficiencies"]["gemm"]["launch_us"]
    assert "fit" not in predicted.card and predicted.efficiencies["gemm"]["launch_us"] > 0


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("gpu.count", -1, "gpu.count: expected greater than 0, found -1"),
        ("gpu.card", "gtx", "card 'gtx': expected one of"),
        ("gpu.sms", "many", "gpu.sms: expected a valid integer, found 'many'"),
        ("gpu.fp16_tflops", 1, "gpu.fp16_tflops: expected 64 to 16384 operations a clock and SM, found 3"),
        ("dimm.name", "absent", "DIMM 'absent': "),
        ("dimm.placement", "none", "dimm.placement: expected one of"),
        ("dimm.count", 257, "dimm.count: expected less than or equal to 256, found 257"),
        ("dimm.unit.core_ps", 0, "dimm.unit.core_ps: expected greater than or equal to 1, found 0"),
        ("dimm.unit.core_ps", 1, "dimm: unit.core_ps: expected a core no faster than a DRAM clock"),
        ("dimm.dram", "HBM4", "standard: expected one of"),
        ("dram.timing.nRCD.nck", 0, "dram.timing.nRCD.nck: expected greater than or equal to 1, found 0"),
        ("dram.timing.nRCD", {"nck": 3, "sum": "nRP"}, "dram.timing.nRCD: expected one of: nck, ns or both"),
        ("dram.device.16Gb_x16.rows", 5, "dram.device.16Gb_x16.rows: expected a power of two, found 5"),
        ("model.layers", 0, "model.layers: expected greater than or equal to 1, found 0"),
        ("model.heads", 7, "model.kv_heads: expected a divisor of heads = 7, found 4"),
        ("preset.ffn.density", 7, "preset.ffn.density"),
        ("policy.window", 0, "policy.window: expected greater than 0, found 0"),
        ("policy.placement", "best", "policy.placement: expected 'greedy', 'optimal' or 'random', found 'best'"),
        ("dram.timing.nRCDD", 3, "dram.timing.nRCDD: expected a known path, such as dram.timing.nRCD,"),
        ("dimm.unit.x", 3, "dimm.unit.x: expected a known path, such as dimm.unit.core_ps, dimm.unit.buffer_bytes"),
        ("policy.windows", 3, "policy.windows: expected a known path, such as policy.window"),
        ("machine", 3, "machine: expected a path that begins with gpu, dimm, "),
        ("gpu", 3, "gpu: expected a path that begins with gpu, dimm, "),
    ],
)
def test_a_value_or_a_path_that_cannot_be_is_named(path, value, wanted):
    text = refusal(changes={path: value})
    assert wanted in text and "\n" not in text


def test_any_value_for_any_path_is_taken_or_refused():
    files = SetupFiles({})
    files.hardware("hermes", several_cards=False)
    files.software(load_system("hermes"), "relu-lm", "paper", 20)
    values = [-1, 0, 1, 1e300, 2.5, "x", "x" * 5000, "", [], [1], {}, {"value": 3}, {"nck": -1}, True, math.nan, 10**30]
    paths = list(files.paths)
    assert len(paths) > 200
    taken = 0
    for path, value in random.Random(1).sample([(path, value) for path in paths for value in values], 80):
        try:
            made = setup(changes={path: value})
        except InputError as error:
            assert "\n" not in str(error)
            continue
        taken += 1
        assert Setup.from_json(made.to_json()) == made
        devices_of(made)
    assert 0 < taken < 40


def test_all_faults_are_told_at_once():
    text = refusal(
        batch=0, output=1 << 40, changes={"dimm.unit.core_ps": -3, "model.ffn": 0, "policy.window": "a", "gpu.foo": 1}
    )
    for field in ("batch: ", "output: ", "dimm.unit.core_ps: ", "model.ffn: ", "policy.window: ", "gpu.foo: "):
        assert field in text


def test_paths_of_files_that_could_not_be_read_are_not_judged():
    text = refusal(changes={"gpu.card": "gtx", "gpu.sms": 3})
    assert text.startswith("card 'gtx'") and "gpu.sms" not in text


def test_a_sequence_is_no_longer_than_the_context():
    assert "input + output: expected at most 256 tokens (model.context), found 257" in refusal(prompt=250, output=7)
    assert setup(prompt=250, output=7, changes={"model.context": 257}).prompt == 250


def test_more_cards_than_a_system_uses_are_refused():
    assert refusal(changes={"gpu.count": 2}) == "gpu.count: expected 1, as the system uses one card, found 2"
    assert devices_of(setup(system="tensor-parallel", changes={"gpu.count": 2})).config.gpu.count.value == 2


def test_a_machine_file_of_the_users_is_read(tmp_path):
    from ndpsim.data import workloads_dir

    text = (workloads_dir() / "hardware" / "machines" / "hermes.toml").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('name = "hermes"', 'name = "mine"', 1).replace("value = 8,", "value = 5,", 1))
    assert devices_of(setup(machine=str(mine))).dimms.dimms == 5
    mine.write_text(text.replace("value = 8,", 'value = "many",', 1).replace("[pcie]", "[pci]", 1))
    mine.write_text(f"pcie = 3\n{mine.read_text()}")
    assert "pcie" in refusal(machine=str(mine), changes={"pcie.gb_per_s": 3})
    mine.write_text(mine.read_text().removeprefix("pcie = 3\n"))
    found = refusal(machine=str(mine))
    assert found.startswith(f"{mine}: ") and "dimm.count.value: " in found and "pci: " in found and "pcie: " in found


def test_a_trace_file_is_marked(tmp_path):
    trace = tmp_path / "trace.h5"
    trace.write_bytes(b"abc")
    mark = setup(trace=trace).trace
    assert mark.path == str(trace) and mark.sha256.startswith("ba7816bf")
    mark.require_same()
    trace.write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"trace.h5: expected the file of the run, SHA-256 ba78\w+, found"):
        mark.require_same()
    trace.unlink()
    with pytest.raises(InputError, match=r"trace.h5: expected a readable file"):
        mark.require_same()


@pytest.mark.parametrize(
    ("card", "mib"), [("rtx4090", 24564), ("t4", 15360), ("a100-80", 81920), ("h200", 143771), ("l40s", 46068)]
)
def test_what_a_card_keeps_follows_from_its_own_memory(card, mib):
    """All but the reserve of 5.757220864 GB, which leaves 20 GB of an RTX 4090."""
    devices = devices_of(setup(changes={"gpu.card": card} if card != "rtx4090" else {}))
    assert devices.weight_bytes == mib * 2**20 - 5_757_220_864
    assert devices.weight_bytes == 20_000_000_000 or card != "rtx4090"


def test_more_than_a_card_has_is_refused_with_both_figures():
    devices = devices_of(setup(changes={"gpu.card": "t4", "gpu.weights_gb": 16.2}))
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected at most the 16\.11 GB of a card, found 16\.2"):
        _ = devices.weight_bytes
    assert devices_of(setup(changes={"gpu.card": "t4", "gpu.weights_gb": 16.1})).weight_bytes == 16_100_000_000
    devices = devices_of(setup(changes={"gpu.card": "t4", "gpu.reserve_gb": 17}))
    with pytest.raises(InputError, match=r"gpu\.reserve_gb: expected less than the 16\.11 GB of a card, found 17"):
        _ = devices.weight_bytes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dram.standard", "DDR5-6400B"),
        ("dram.default_device", "x"),
        ("dram.source", "x"),
        ("gpu.name", "x"),
        ("gpu.fit.rows", 3),
        ("gpu.fit.data", "x"),
        ("model.name", "x"),
        ("cpu.name", "x"),
        ("preset.summary", "x"),
    ],
)
def test_what_only_names_something_is_no_path(path, value):
    assert f"{path}: expected a known path, such as " in refusal(changes={path: value})
    assert f" {path}," not in refusal(changes={"gpu.x": 1, "dram.x": 1, "model.x": 1, "cpu.x": 1, "preset.x": 1})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dimm.address_maps.row", "row bank bank_group column rank"),  # another one is in use
        ("dram.preset.DDR4-3200-Hermes.ranks", 2),  # the DIMM says how many it has
    ],
)
def test_a_change_that_a_run_would_not_notice_is_refused(path, value):
    assert f"{path}: expected a value that changes the run, found {value!r}, which does not" in refusal(
        changes={path: value, "dimm.count": 9}
    )


def test_the_value_that_is_there_already_can_be_set():
    assert setup(changes={"dimm.count": 8, "dimm.dram": "DDR4-3200-Hermes", "policy.window": 5}).before == {
        "dimm.count": 8, "dimm.dram": "DDR4-3200-Hermes", "policy.window": 5,
    }  # fmt: skip


def test_another_dram_leaves_the_organisation_of_the_dimm():
    """Four ranks, whether a DIMM has one channel or, as with DDR5, two sub-channels."""
    summaries = [
        devices_of(setup(changes={"dimm.dram": name})).dimms.summary() for name in ("DDR4-3200AA", "DDR5-6400B")
    ]
    assert [one["ranks"] for one in summaries] == [4, 4]
    assert [one["capacity_bytes"] for one in summaries] == [32 << 30, 32 << 30]
    assert [one["peak_gb_per_s"] for one in summaries] == [4 * 25.6, 4 * 25.6]  # 64 bits at 3200, 32 bits at 6400
    assert "ranks: expected a multiple of the 2 sub-channels of DDR5-6400B, found 1" in refusal(
        changes={"dimm.dram": "DDR5-6400B", "dimm.ranks": 1}
    )


@pytest.mark.parametrize(
    ("name", "field", "least", "most"),
    [("batch", "batch", 1, 256), ("input", "prompt", 1, 1 << 20), ("output", "output", 1, 1 << 20),
     ("seed", "seed", 0, (1 << 63) - 1)],
)  # fmt: skip
def test_lengths_batches_and_seeds_have_their_limits(name, field, least, most):
    for wrong in (least - 1, most + 1):
        assert f"{name}: expected {least} to {most}, found {wrong}" in refusal(**{field: wrong})
    assert f"{name}: expected" not in (refusal(**{field: most, "model": "none"}))
    assert f"{name}: expected" not in (refusal(**{field: least, "model": "none"}))


def test_what_is_not_asked_for_is_the_main_job():
    made = Setup.of()
    assert (made.system, made.model["name"], made.machine["name"]) == ("hermes", "llama2-70b", "hermes")
    assert (made.batch, made.prompt, made.output, made.seed, made.trace) == (1, 128, 128, 0, None)
    assert (made.preset["name"], made.changes, made.plugin) == ("paper", {}, None)


def test_a_system_of_the_users_is_marked_by_its_file_and_named_by_its_class(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ndpsim.systems.cards.gpu_only import GpuOnly\nclass Mine(GpuOnly):\n    name = 'mine'\n", "utf-8"
    )
    for typed in (str(path), f"{path}:Mine"):
        made = setup(system=typed)
        assert made.plugin is not None and made.plugin.path == str(path.resolve())
        assert made.system == f"{path.resolve()}:Mine"


def test_json_of_a_setup_has_no_word_that_json_has_not():
    made = setup()
    with pytest.raises(ValueError, match="JSON"):
        made.model_copy(update={"changes": {"gpu.weights_gb": math.nan}}).to_json()


def test_a_change_that_counts_only_beside_another_is_taken():
    changes = {"model.heads": 80, "model.kv_heads": 40}  # as many as heads if nothing is said, of which there are 40
    assert setup(model="opt-13b", changes=changes).changes == changes
    told = refusal(model="opt-13b", changes={"model.kv_heads": 40})
    assert "model.kv_heads: expected a value that changes the run" in told


def test_a_card_has_either_a_size_for_weights_or_a_reserve():
    told = refusal(changes={"gpu.reserve_gb": 3.0, "gpu.weights_gb": 5.0})
    assert "gpu.reserve_gb: expected it or gpu.weights_gb" in told
    assert "found both" not in refusal(changes={"gpu.reserve_gb": 3.0, "gpu.none": 5.0})


def test_a_setup_has_the_traits_of_the_cards_architecture_and_no_empty_field():
    assert setup().card["traits"]["name"] == "ada"
    assert setup(changes={"gpu.card": "h100-sxm"}).card["traits"]["name"] == "hopper"
    assert "null" not in json.dumps(setup().preset)


def test_what_was_there_before_is_told_without_its_source():
    assert setup(changes={"dram.timing.nRTP": {"nck": 9}}).before == {"dram.timing.nRTP": {"nck": 4, "ns": 7.5}}
    assert setup(changes={"gpu.weights_gb": 0.5}).before == {"gpu.weights_gb": None}


def test_a_path_that_is_not_known_is_told_with_up_to_three_like_it_or_the_first_dozen_beside_it():
    alike = unknown("part.one9", dict.fromkeys(f"part.one{i}" for i in range(5)))
    assert alike.count("part.one") == 1 + 3
    beside = unknown("part.xyz", dict.fromkeys(f"part.{chr(97 + i) * 9}" for i in range(20)))
    assert beside.count("part.") == 1 + 12 and beside.endswith(" and 8 more (ndpsim list --paths)")
    assert "more" not in unknown("part.xyz", dict.fromkeys(f"part.{chr(97 + i) * 9}" for i in range(12)))


@pytest.mark.parametrize("text", ["[policy]\nwindow = 1\n[more]\n", "policy = 3\n"])
def test_a_policy_file_has_the_table_policy_alone(monkeypatch, tmp_path, text):
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "hermes.toml").write_text(text)
    monkeypatch.setattr("ndpsim.runs.setup_files.workloads_dir", lambda: tmp_path)
    with pytest.raises(InputError, match=r"expected the table \[policy\] and nothing else"):
        policy_content(load_system("hermes"))
