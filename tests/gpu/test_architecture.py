"""An architecture is a file: one that is made up is used in all that depends on it, and none is named in the code."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ndpsim.gpu
from ndpsim.errors import InputError
from ndpsim.gpu import attention, gemm, links
from ndpsim.gpu.architecture import architecture_names, load_architecture
from ndpsim.gpu.card import load_card, read_card
from ndpsim.gpu.kernels import kernels
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup

MADE_UP = """
like = "hopper"
name = "next"
pj_per_flop = { value = 2.0, unit = "pJ", source = "made up" }

[attention]
step = { value = 0.25, source = "made up" }

[nvlink]
one_share = { value = 0.9, source = "made up" }
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "next.toml"
    file.write_text(MADE_UP)
    return str(file)


def test_the_shipped_architectures_have_the_numbers_that_the_model_was_fitted_with():
    found = {name: load_architecture(name) for name in architecture_names()}
    assert {name: one.pj_per_flop.value for name, one in found.items()} == {
        "ada": 1.0, "ampere": 1.0, "blackwell-rtx": 1.0, "hopper": 0.6, "turing": 1.6
    }  # fmt: skip
    assert {name: one.shared_memory_kib.value for name, one in found.items()} == {
        "ada": 100, "ampere": 100, "blackwell-rtx": 100, "hopper": 228, "turing": 64
    }  # fmt: skip
    assert {name: one.flash_attention.value for name, one in found.items() if one.flash_attention.value == 3} == {
        "hopper": 3
    }
    assert found["turing"].nvlink == found["ampere"].nvlink != found["hopper"].nvlink
    assert [name for name, one in found.items() if one.attention] == ["hopper", "turing"]
    assert (load_card("a100-40").shared_memory_kib, load_card("a40").shared_memory_kib) == (164, None)


def test_a_made_up_architecture_is_used_wherever_it_counts(path):
    h100 = load_card("h100")
    card = h100.model_copy(update={"architecture": path})
    at = [parameter.name for parameter in gemm.PARAMETERS].index("matrix_share")
    watts = h100.fp16_tflops * 2.0  # of the made-up energy
    assert gemm.expected(card)[at] == pytest.approx(0.75 * h100.power_w / watts)
    at = [parameter.name for parameter in attention.PARAMETERS].index("step")
    assert (attention.expected(card)[at], attention.expected(h100)[at]) == (0.25, 0.4)
    assert np.count_nonzero(attention.expected(card) != 1) == 1  # what a file gives of attention, it gives as a whole
    reduce = kernels([("all_reduce", "fp16", {"bytes": 2**20, "gpus": 4})])
    start, rate = 4.16 + 0.09 * 4, h100.nvlink_gb_per_s * 1e3
    assert links.times(reduce, card, np.empty(0)) == pytest.approx([start + 3 * 2**20 / (0.9 * rate)])


def test_a_run_takes_an_architecture_by_path_and_keeps_it_in_its_setup(path):
    def prompt(**changes):
        setup = Setup.of("gpu-only", "relu-lm", prompt=64, output=1, changes={"gpu.card": "a40", **changes})
        run = Run(Setup.from_json(setup.to_json()))
        run.advance()
        return figures_of(run)["simulated_s"], setup

    before, _ = prompt()
    made_up, setup = prompt(**{"gpu.architecture": path})
    assert made_up != before
    Path(path).unlink()  # a setup can be run again without the file
    load_architecture.cache_clear()
    run = Run(Setup.from_json(setup.to_json()))
    run.advance()
    assert figures_of(run)["simulated_s"] == made_up
    assert json.loads(setup.to_json())["card"]["traits"]["name"] == "next"


def test_what_is_wrong_with_a_file_is_named(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text(MADE_UP.replace("2.0", "-2.0").replace("step", "stride"))
    with pytest.raises(InputError) as caught:
        load_architecture(str(file))
    assert "pj_per_flop.value: expected greater than or equal to 0.01, found -2.0" in str(caught.value)
    assert "attention.stride: expected 'launch', 'step'" in str(caught.value)
    file.write_text('like = "volta"')
    load_architecture.cache_clear()
    with pytest.raises(
        InputError, match=r"like: expected one of ada, ampere, blackwell-rtx, hopper, turing, found 'volta'"
    ):
        load_architecture(str(file))


def test_a_card_file_names_an_architecture_that_there_is(tmp_path, path):
    from ndpsim.gpu.fit import to_toml

    text = to_toml(load_card("t4"))
    file = tmp_path / "card.toml"
    file.write_text(text.replace('"turing"', json.dumps(path)))
    assert read_card(file).common.name == "next"
    file.write_text(text.replace('"turing"', '"volta"'))
    with pytest.raises(
        InputError, match=r"architecture: expected one of ada, ampere, blackwell-rtx, hopper, turing, or a \.toml file"
    ):
        read_card(file)


def test_no_architecture_is_named_in_the_code():
    for file in Path(ndpsim.gpu.__file__).parent.glob("*.py"):
        code = re.sub(r'""".*?"""|#.*', "", file.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"turing|ampere|hopper|\bada\b", code, re.IGNORECASE), file.name
