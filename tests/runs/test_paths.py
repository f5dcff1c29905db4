"""Paths that can be set are listed, each with its unit, range, value and source."""

import json

import pytest

from ndpsim.cli.main import cli
from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.runs.paths import paths_of
from ndpsim.runs.setup import Setup
from ndpsim.systems.catalog import SYSTEMS, load_system
from ndpsim.systems.system import is_ignored


def by_path(system="hermes", **options):
    entries = paths_of(system, **options)
    assert len({entry.path for entry in entries}) == len(entries)
    return {entry.path: entry for entry in entries}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_path_has_a_range_and_every_value_a_source(system):
    for entry in by_path(system).values():
        assert entry.range, entry
        assert entry.value is None or entry.source, entry
        assert not is_ignored(entry.path, load_system(system).ignores)


def test_units_ranges_values_and_sources_are_those_of_the_files():
    found = by_path()
    assert found["pcie.gb_per_s"] == (
        "pcie.gb_per_s", "GB/s", "a number of 0.01 to 1e+09", 64.0, "section V-A1, between DIMMs and GPU"
    )  # fmt: skip
    assert found["dimm.unit.return_queue"][1:4] == ("burst", "2 to 4096", 16)
    assert found["dimm.count"][2:] == ("1 to 256", 8, "table II")
    assert found["policy.predictor"][2:4] == ("one of both, token, layer", "both")
    assert found["dram.timing.nRCD.nck"][1:] == ("clock", "1 to 1073741824", 24, "Table II")
    assert found["gpu.memory_gb_per_s"][1] == "GB/s" and found["gpu.memory_mib"][1] == "MiB"
    assert found["gpu.fit.efficiencies.gemm.launch_us"][2] == "a number of 0.3 to 8"
    assert found["model.layers"].value == 80 and by_path(model="llama2-7b")["model.layers"].value == 32


def test_a_path_that_is_listed_can_be_set_and_one_that_is_ignored_is_not_listed():
    for path in by_path("gpu-only", model="relu-lm"):
        with pytest.raises(InputError) as caught:
            Setup.of("gpu-only", "relu-lm", prompt=4, output=2, changes={path: {"a": 1}})
        assert "known path" not in str(caught.value) and "ignores" not in str(caught.value), path
    assert not [path for path in by_path("gpu-only") if path.startswith(("dimm", "dram", "pcie", "preset"))]


def test_the_list_is_one_json_object_by_system(capsys):
    cli.main(["list", "--paths", "flexgen", "gpu-only", "--model", "opt-13b", "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)["paths"]
    assert list(found) == ["flexgen", "gpu-only"]
    assert {entry["path"]: entry for entry in found["flexgen"]}["policy.link_gb_per_s"]["value"] == 12.0


@pytest.mark.parametrize("arguments", [("hermes",), ("--model", "opt-13b")])
def test_what_only_paths_have_is_refused_without_them(arguments):
    with pytest.raises(InputError, match=r": expected it with --paths, found it without"):
        cli.main(["list", *arguments], standalone_mode=False)


EXPECTED_ONLY = ("gpu.clock_headroom", "gpu.inline_ecc", "gpu.traits.pj_per_flop")


def test_what_only_predicts_efficiencies_is_listed_and_set_for_cards_without_measurements(tmp_path):
    measured, other = by_path("gpu-only"), by_path("gpu-only", machine=machine(tmp_path, "rtx3090"))
    for path, value in zip(EXPECTED_ONLY, (1.2, True, 1.5), strict=True):
        assert path not in measured and path in other
        with pytest.raises(InputError, match=f"{path}: expected a value that changes the run"):
            Setup.of("gpu-only", "relu-lm", prompt=4, output=2, changes={path: value})
    assert Setup.of("gpu-only", "relu-lm", prompt=4, output=2, changes={"gpu.card": "rtx3090", "gpu.inline_ecc": True})


def links(system, folder, card, cards):
    """The paths of links between cards that are listed, of all of NVLink its beginning."""
    found = [path for path in by_path(system, machine=machine(folder, card, cards)) if path.startswith("gpu.")]
    names = {"gpu.traits.nvlink" if path.startswith("gpu.traits.nvlink") else path for path in found}
    return {name for name in names if "nvlink" in name or "pcie" in name}


def test_links_between_cards_are_listed_where_they_are_used(tmp_path):
    assert not links("hermes", tmp_path, "h100", 1)
    assert not links("tensor-parallel", tmp_path, "h100", 1)
    assert links("tensor-parallel", tmp_path, "h100", 2) == {"gpu.nvlink_gb_per_s", "gpu.traits.nvlink"}
    peers, host = links("tensor-parallel", tmp_path, "l40s", 2), links("tensor-parallel", tmp_path, "l40s", 4)
    assert {"gpu.pcie_gb_per_s", "gpu.traits.pcie.ring_us"} < peers & host
    assert peers - host == {"gpu.traits.pcie.peer_share"}
    assert host - peers == {"gpu.traits.pcie.host_share", "gpu.traits.pcie.ring_gpu_us"}
    bridge = "gpu.traits.pcie.bridge_gb_per_s"
    assert bridge in links("tensor-parallel", tmp_path, "a6000", 4)
    assert bridge not in peers | host | links("tensor-parallel", tmp_path, "a6000", 2)


def test_reserve_and_size_for_weights_exclude_each_other():
    with pytest.raises(InputError, match=r"gpu\.reserve_gb: expected it or gpu\.weights_gb"):
        Setup.of("hermes-base", "relu-lm", prompt=4, output=2, changes={"gpu.reserve_gb": 3, "gpu.weights_gb": 2})


def machine(folder, card, cards=1):
    """A machine with other cards."""
    text = (workloads_dir() / "hardware" / "machines" / "hermes.toml").read_text(encoding="utf-8")
    path = folder / "machine.toml"
    text = text.replace('"rtx4090"', f'"{card}"').replace("count = { value = 1,", f"count = {{ value = {cards},")
    path.write_text(text, encoding="utf-8")
    return str(path)
