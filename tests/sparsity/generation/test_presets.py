"""The presets can be generated for every model, hold the published counts, and faulty ones are refused."""

import csv
from pathlib import Path

import pytest

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape, shape_names
from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.generation.hotness import gini_of, hotness, share_of_80, solve_skew
from ndpsim.sparsity.generation.presets import load_preset, preset_names, read_changes

COUNTS = Path(__file__).parents[4] / "shared" / "data" / "sparsity"
COUNTED = {"relu-llama-7b": ("", 11008), "relu-llama-13b": ("13b_", 13824), "relu-llama-70b": ("70b_", 28672)}


@pytest.mark.parametrize("model", shape_names())
@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_can_be_met_for_every_model(preset: str, model: str):
    shape, loaded = load_shape(model), load_preset(preset)
    neurons = NeuronShape(shape.layers, shape.hidden, shape.ffn)
    generator = ActivationGenerator(
        neurons, loaded.parameters(shape.layers, model), run_tokens=loaded.run_tokens.value, seed=1
    )
    for kind, groups in loaded.parameters(shape.layers, model).items():
        for chances, asked in zip(generator.chances[kind], groups, strict=True):
            assert chances.p.mean() == pytest.approx(asked.density, abs=1e-3)
            assert share_of_80(chances.p) == pytest.approx(asked.share_for_80, abs=5e-3)
            for distance in (1, 25):
                if (similarity := getattr(asked, f"similarity_{distance}")) is not None:
                    assert chances.similarity(distance) == pytest.approx(similarity, abs=1e-3)


def test_a_model_has_its_own_values_before_those_of_its_family_and_of_the_preset():
    paper = load_preset("paper")
    densities = {m: paper.parameters(2, m)["ffn"][0].density for m in ("llama2-70b", "opt-66b", "falcon-40b", "other")}
    assert densities == {"llama2-70b": 0.18, "opt-66b": 0.03, "falcon-40b": 0.05, "other": 0.2}
    measured = load_preset("measured")
    attention = {m: measured.parameters(2, m)["attention"][0].density for m in ("llama2-70b", "llama2", "llama2x")}
    assert attention == {"llama2-70b": 0.49, "llama2": 0.49, "llama2x": 0.47}


def test_the_skew_of_a_layer_is_the_counted_one_and_lies_between_two_at_other_depths():
    measured = load_preset("measured")
    counts = measured.profiles["relu-llama-70b"]["share_for_80"]
    assert [g.share_for_80 for g in measured.parameters(80, "llama2-70b")["ffn"]] == list(counts)
    halfway = measured.parameters(159, "llama2-70b")["ffn"]
    assert halfway[2].share_for_80 == counts[1]
    assert halfway[1].share_for_80 == pytest.approx((counts[0] + counts[1]) / 2)
    assert measured.parameters(1, "llama2-70b")["ffn"][0].share_for_80 == counts[0]


@pytest.mark.parametrize("profile", COUNTED)
def test_the_family_of_skews_meets_the_gini_that_was_counted_beside_the_share(profile: str):
    columns = load_preset("measured").profiles[profile]
    worst = 0.0
    for share, gini in zip(columns["share_for_80"], columns["gini"], strict=True):
        p = hotness(2048, *solve_skew(0.1, share, None))
        assert share_of_80(p) == pytest.approx(share, abs=2e-3)
        worst = max(worst, abs(gini_of(p) - gini))
    assert worst < 0.05


@pytest.mark.parametrize("profile", COUNTED)
def test_the_profiles_are_the_counts_that_powerinfer_ships(profile: str):
    name, neurons = COUNTED[profile]
    path = COUNTS / f"powerinfer_course_phase2_profiling_{name}layer_summary.csv"
    if not path.is_file():
        pytest.skip("the counts do not lie beside this checkout")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    columns = load_preset("measured").profiles[profile]
    assert {int(row["Neurons"]) for row in rows} == {neurons}
    assert columns["share_for_80"] == pytest.approx([float(row["Hot@80% %"]) / 100 for row in rows], abs=5.1e-5)
    assert columns["gini"] == pytest.approx([float(row["Gini"]) for row in rows], abs=5.1e-5)


def test_changes_replace_values_and_what_stands_for_the_same():
    changes = read_changes(["ffn.density=0.1", "ffn.gini = [0.2, 0.4]", "attention.persistence_1=0", "run=x"])
    assert changes == {"ffn.density": 0.1, "ffn.gini": [0.2, 0.4], "attention.persistence_1": 0, "run": "x"}
    changes.pop("run")
    found = load_preset("paper").parameters(3, "llama2-70b", changes)
    assert [(g.density, g.gini, g.share_for_80) for g in found["ffn"]] == [
        (0.1, 0.2, None),
        (0.1, pytest.approx(0.3), None),
        (0.1, 0.4, None),
    ]
    assert (found["attention"][0].persistence_1, found["attention"][0].similarity_1) == (0.0, None)


def test_a_profile_can_be_asked_for_by_name():
    measured = load_preset("measured")
    found = measured.parameters(32, "llama2-70b", read_changes(["ffn.gini=relu-llama-7b"]))["ffn"]
    assert [g.gini for g in found] == list(measured.profiles["relu-llama-7b"]["gini"])
    assert found[0].share_for_80 is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("density=1", "density: expected attention or ffn, a point and one of density, share_for_80, gini"),
        ("ffn.width=1", "ffn.width: expected attention or ffn, a point and one of density"),
        ("ffn.density=2", "ffn.density: expected a share of 0 to 1, a list of them, or a profile, found 2"),
        ("ffn.density=[]", r"ffn.density: expected a share of 0 to 1, a list of them, or a profile, found \[\]"),
        ("ffn.density=true", "ffn.density: expected a share of 0 to 1, a list of them, or a profile, found True"),
        ("ffn.gini=none", r"ffn.gini: expected numbers or a profile with gini \(relu-llama-7b, .*\), found 'none'"),
        ("ffn.density=relu-llama-7b", r"ffn.density: expected numbers or a profile with density \(none\), found"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change: str, says: str):
    with pytest.raises(InputError, match=says):
        load_preset("measured").parameters(2, "", read_changes([change]))


@pytest.mark.parametrize("text", ["", "ffn.density", "=1", "ffn.density="])
def test_a_change_without_name_or_value_is_refused(text: str):
    with pytest.raises(InputError, match="change: expected NAME=VALUE, found"):
        read_changes([text])


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"preset 'x': expected one of measured, paper, or a .toml file"):
        load_preset("x")
    with pytest.raises(InputError, match=r"nowhere\.toml: expected a readable file"):
        load_preset("nowhere.toml")


def test_all_faults_of_a_preset_file_are_told_at_once(tmp_path: Path):
    text = (workloads_dir() / "sparsity" / "paper.toml").read_text()
    path = tmp_path / "mine.toml"
    text = text.replace("density = { value = 0.2,", "densty = { value = 0.2,", 1).replace(
        "value = 256", "value = -1", 1
    )
    path.write_text(text.replace('{ value = 0.2, source = "as for ffn', '{ value = 1.5, source = "as for ffn', 1))
    with pytest.raises(InputError) as caught:
        load_preset(str(path))
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ") and "\n" not in sentence
    for fault in (
        "ffn.densty: expected only known keys",
        "run_tokens.value: expected greater than or equal to 1, found -1",
        "attention.share_for_80.value",
    ):
        assert fault in sentence


def test_a_preset_that_says_too_little_is_refused(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nsummary = "s"\nrun_tokens = { value = 9, source = "s" }\n'
        '[attention]\ndensity = { value = 0.1, source = "s" }\n[ffn]\n'
    )
    with pytest.raises(InputError, match=r"ffn\.density: expected a value, found none") as caught:
        load_preset(str(path)).parameters(1)
    assert "attention.share_for_80 or gini: expected a value, found none" in str(caught.value)
    assert "attention.density" not in str(caught.value)
