"""`ndpsim model` as a user meets it."""

import json

import pytest
from cli_support import refused, run

from ndpsim.llm.catalog import load_shape, shape_names

CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
}


def test_the_list_has_a_row_for_each_model(capsys):
    code, out, err = run(capsys, "model", "--list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert sorted(rows) == shape_names()
    assert (
        "68,976,648,192" in rows["llama2-70b"] and "138 GB" in rows["llama2-70b"] and "327.7 kB" in rows["llama2-70b"]
    )


def test_the_list_as_json(capsys):
    code, out, _ = run(capsys, "model", "--list", "--json")
    models = {record["name"]: record for record in json.loads(out)["models"]}
    assert code == 0 and out.count("\n") == 1 and sorted(models) == shape_names()
    assert models["llama2-7b"]["weight_bytes"]["fp16"] == 2 * 6_738_415_616


@pytest.mark.parametrize("show", [(), ("show",)])
def test_a_model_is_described_and_its_steps_are_tables(capsys, show):
    code, out, err = run(capsys, "model", *show, "llama2-70b", "--prefill", 128, "--decode", 256, "--batch", 4)
    assert (code, err) == (0, "")
    assert "64 heads of 128, 8 KV heads, rotary" in out and "28672, gated, silu" in out
    assert "prefill: 4 sequences, 128 tokens, weights fp16" in out
    assert "decode: 4 sequences, 256 tokens in the KV cache, weights fp16" in out
    gate_up = [line.split() for line in out.splitlines() if line.startswith("gate_up")]
    assert [row[1:8] for row in gate_up] == [
        ["80", "m", "512,", "n", "57344,", "k", "8192"],
        ["80", "m", "4,", "n", "57344,", "k", "8192"],
    ]
    assert out.count("all, all layers") == 2


def test_operators_as_json(capsys):
    arguments = ("opt-13b", "--decode", 100, "--weights", "int4", "--kv", "int8", "--json")
    code, out, _ = run(capsys, "model", *arguments)
    record = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert record["name"] == "opt-13b" and record["weights"] == "int4" and "prefill" not in record
    operators = {one["name"]: one for one in record["decode"]["operators"]}
    assert operators["up"]["shape"] == {"m": 1, "n": 20480, "k": 5120}
    assert operators["up"]["weight_bytes"] == 20480 * (2560 + 2 * 40 + 2)
    assert operators["attention"]["shape"]["contexts"] == [101]
    total = sum(one["repeat"] * one["kv_read_bytes"] for one in operators.values())
    assert (
        record["decode"]["totals"]["kv_read_bytes"] == total == 100 * load_shape("opt-13b").kv_bytes_per_token("int8")
    )


def test_entries_can_be_replaced(capsys):
    settings = ("--set", "activation=relu", "--set", "context=8192", "--set", 'name="long"')
    code, out, _ = run(capsys, "model", "llama2-7b", *settings, "--prefill", 8000, "--json")
    shape = json.loads(out)["shape"]
    assert code == 0
    assert (shape["activation"], shape["context"], shape["name"]) == ("relu", 8192, "long")


def test_an_imported_model_is_a_model_file(capsys, tmp_path):
    config, model = tmp_path / "config.json", tmp_path / "my-model.toml"
    config.write_text(json.dumps(CONFIG))
    code, out, err = run(capsys, "model", "import", config, "-o", model)
    assert (code, err) == (0, "") and "6,738,415,616 parameters" in out
    shape = load_shape(str(model))
    assert shape == load_shape("llama2-7b").with_overrides(name="my-model", source=shape.source)
    code, out, _ = run(capsys, "model", model, "--decode", 0)
    assert code == 0 and "my-model" in out


def test_a_refused_config_leaves_no_file(capsys, tmp_path):
    config, model = tmp_path / "config.json", tmp_path / "my-model.toml"
    config.write_text(json.dumps({**CONFIG, "vocab_size": -1}))
    says = refused(capsys, "model", "import", config, "-o", model)
    assert f"{config}: vocab_size: expected 1 to 16777216, found -1" in says
    assert not model.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("llama9",), "model 'llama9': expected one of chinchilla-70b, falcon-40b"),
        (("none.toml",), "none.toml: expected a readable file, found: No such file or directory"),
        (("llama2-7b", "--prefill", 0), "--prefill: expected 1 or more, found 0"),
        (("llama2-7b", "--decode", -1), "--decode: expected 0 or more, found -1"),
        (("llama2-7b", "--batch", 0), "--batch: expected 1 to 65536, found 0"),
        (("llama2-7b", "--decode", 4096), "at most 4096 tokens in a sequence, the context of llama2-7b, found 4097"),
        (("llama2-7b", "--set", "activation"), "--set: expected FIELD=VALUE, found 'activation'"),
        (("llama2-7b", "--set", "activation=tanh"), "model llama2-7b: activation: expected 'relu', 'gelu' or 'silu'"),
        (("import", "c.json", "-o", "x.json"), "x.json: expected a name that ends in .toml"),
        (("import", "c.json", "-o", "x.toml"), "c.json: expected a readable file, found: No such file"),
        (("import", "c.json", "-o", "/nowhere/x.toml"), "/nowhere/x.toml: expected a place that can be written"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, arguments, says):
    assert says in refused(capsys, "model", *arguments)


def test_all_faults_of_a_file_are_shown(capsys, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "bad"\nlayers = -3\n')
    code, out, err = run(capsys, "model", path)
    assert (code, out) == (2, "") and "Traceback" not in err
    assert f"{path}: layers: expected greater than or equal to 1, found -3" in err
    assert f"{path}: heads: expected a value, found none" in err


@pytest.mark.parametrize("arguments", [("--json",), ("--list", "opt-13b"), ("--json", "opt-13b")])
def test_options_in_the_wrong_place_are_refused(capsys, arguments):
    code, out, err = run(capsys, "model", *arguments)
    assert code == 2 and out == "" and "expected --list, or the name of a model" in err


def test_help_shows_both_forms(capsys):
    code, out, _ = run(capsys, "model", "--help")
    assert code == 0 and "[NAME | COMMAND]" in out and "--list" in out and "import" in out
