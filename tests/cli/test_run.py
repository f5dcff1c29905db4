"""`ndpsim run` as a user meets it."""

import json

import pytest
from cli_support import run

SMALL = ("run", "--model", "relu-lm", "--input", "16", "--output", "2", "--set", "machine.gpu_weights_gb=0.002")


def test_a_run_ends_with_a_table(capsys):
    code, out, _ = run(capsys, *SMALL)
    assert code == 0
    for row in (
        "tokens/s",
        "time to first token",
        "busiest over mean",
        "predictor",
        "energy of the DIMMs",
        "wall time",
    ):
        assert row in out


@pytest.mark.parametrize("system", ["hermes", "hermes-base"])
def test_the_record_has_all_figures_and_the_parameters(capsys, system):
    code, out, _ = run(capsys, *SMALL, "--system", system, "--batch", "2", "--json")
    record = json.loads(out)
    assert code == 0 and record["system"] == system and record["sequences"] == 2
    for name in ("tokens_per_s", "time_to_first_token_s", "time_per_output_token_s", "simulated_s", "wall_s"):
        assert record[name] > 0
    assert record["energy_j"]["total"] > 0
    assert record["config"]["machine"]["gpu_weights_gb"] == {"value": 0.002, "source": "asked for"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--batch", "0"), "--batch: expected 1 to 255, found 0"),
        (("--set", "machine.gpu"), "--set: expected PATH=VALUE, found 'machine.gpu'"),
        (("--set", "machine.gpus=2"), "machine.gpus: expected one of machine.gpu"),
        (("--set", "machine.gpu=gtx"), "card 'gtx': expected one of"),
        (("--preset", "none"), "preset 'none': expected one of"),
        (("--trace", "absent.h5"), "absent.h5"),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, wanted):
    code, _, error = run(capsys, *SMALL, *arguments)
    assert code == 2 and wanted in error and error.count("\n") == 1 and "Traceback" not in error
