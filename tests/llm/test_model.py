"""The model folder: the shipped one is whole, and a damaged one is refused in one sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.model import LanguageModel, read_card

SHIPPED = workloads_dir() / "models" / "relu-lm"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        LanguageModel.load(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(folder) in sentence
    return sentence


def test_the_shipped_model_has_the_parameters_that_its_card_says():
    model = LanguageModel.load(SHIPPED)
    assert sum(w.size for w in model.weights.values()) == model.card.parameters
    assert 1_300_000 <= model.card.parameters <= 3_000_000
    assert all(w.dtype == np.float32 and w.flags.c_contiguous for w in model.weights.values())


def test_the_shipped_weights_are_float16_and_small():
    weights = load_file(SHIPPED / "weights.safetensors")
    assert {w.dtype for w in weights.values()} == {np.dtype(np.float16)}
    assert (SHIPPED / "weights.safetensors").stat().st_size < 12_000_000


def test_the_shipped_model_says_where_its_text_came_from_and_carries_the_licence():
    card = read_card(SHIPPED / "model.toml")
    assert "Python" in card.source
    assert card.licence == "PSF-2.0"
    assert "PYTHON SOFTWARE FOUNDATION LICENSE" in (SHIPPED / "LICENSE.txt").read_text()


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("layers = 4", "layers = -3", "layers: expected greater than 0, found -3"),
        ("layers = 4", 'layers = "4"', "layers: expected a valid integer, found '4'"),
        ("layers = 4\n", "", "layers: expected a value, found none"),
        ("layers = 4", "layers = 5", "parameters: expected"),
        ("heads = 4", "heads = 3", "d_model: expected a multiple of 2 * heads = 6, found 128"),
        ('"relu"', '"gelu"', "activation: expected 'relu', found 'gelu'"),
        ('"weights.safetensors"', '"../weights.safetensors"', "weights: expected string to match"),
        ("layers = 4", "layers = 4\ndepth = 4", "depth: expected only known keys, found this one"),
        ("layers = 4", "layers = ", "expected a readable TOML file"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found(folder: Path, before: str, after: str, says: str):
    card = folder / "model.toml"
    text = card.read_text()
    assert before in text
    card.write_text(text.replace(before, after, 1))
    assert says in refusal(folder)


def test_a_missing_card_is_refused(folder: Path):
    (folder / "model.toml").unlink()
    assert "model.toml: expected a readable TOML file, found no such file" in refusal(folder)


@pytest.mark.parametrize("size", [0, 7, 100, 5_000, 1_000_000])
def test_truncated_weights_are_refused(folder: Path, size: int):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "weights.safetensors: expected a whole safetensors file" in refusal(folder)


def test_missing_weights_are_refused(folder: Path):
    (folder / "weights.safetensors").unlink()
    assert "weights.safetensors: expected a whole safetensors file" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        ("final_norm", None, "final_norm: expected the tensors that model.toml asks for, found no such tensor"),
        (
            "head",
            np.zeros(3, np.float16),
            "head: expected the tensors that model.toml asks for, found an unknown tensor",
        ),
        ("layers.0.w1", np.zeros((3, 5), np.float16), "layers.0.w1: expected shape (1024, 128), found (3, 5)"),
        ("final_norm", np.zeros(128, np.int16), "final_norm: expected weights of type F16 or F32, found I16"),
        ("final_norm", np.full(128, np.nan, np.float32), "final_norm: expected finite weights"),
    ],
)
def test_a_wrong_tensor_is_named(folder: Path, name: str, tensor: np.ndarray | None, says: str):
    path = folder / "weights.safetensors"
    weights = load_file(path)
    if tensor is None:
        del weights[name]
    else:
        weights[name] = tensor
    save_file(weights, path)
    assert says in refusal(folder)


def test_a_heldout_text_that_is_not_utf8_is_refused(folder: Path):
    (folder / "heldout.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"heldout\.txt: expected a readable UTF-8 text"):
        LanguageModel.load(folder).heldout_text()
