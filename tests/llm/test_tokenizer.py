"""The tokenizer takes every text, streams whole characters, and refuses what is no tokenizer."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.model import LanguageModel
from ndpsim.llm.tokenizer import Tokenizer

MODEL = LanguageModel.load(workloads_dir() / "models" / "relu-lm")
TOKENIZER = Tokenizer.of(MODEL)
# U+2581 stands for the space inside sentencepiece, so it comes back as one; NUL ends a text there
TEXTS = st.text(st.characters(exclude_characters="\u2581\ufffd\x00", exclude_categories=["Cs"]), max_size=40)


@given(TEXTS)
def test_every_text_comes_back_from_its_tokens(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(TEXTS, st.integers(0, 10))
def test_streamed_pieces_join_to_the_text(text: str, cut: int):
    ids = TOKENIZER.encode(text)
    prompt, rest = ids[:cut], ids[cut:]
    told = TOKENIZER.decode(prompt).rstrip("\ufffd")
    assert told + "".join(TOKENIZER.stream(rest, prompt)) == text


def test_a_character_of_several_bytes_is_streamed_whole():
    ids = TOKENIZER.encode("a \U0001f600 b")
    assert len(ids) > 6
    assert "\U0001f600" in list(TOKENIZER.stream(ids))


def test_a_text_begins_with_the_begin_token_unless_told_otherwise():
    assert TOKENIZER.encode("module")[0] == TOKENIZER.begin
    assert TOKENIZER.encode("module")[1:] == TOKENIZER.encode("module", begin=False)


@pytest.mark.parametrize("content", [b"", b"not a model", (MODEL.folder / "tokenizer.model").read_bytes()[:9000]])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.model: expected "):
        Tokenizer(path, MODEL.card.vocab)


def test_a_missing_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="expected a sentencepiece model, found no such file"):
        Tokenizer(tmp_path / "none.model")


def test_a_tokenizer_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"expected 99 pieces as in model\.toml, found 2048"):
        Tokenizer(MODEL.folder / "tokenizer.model", 99)
