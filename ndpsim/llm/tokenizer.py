"""Text to token ids and back: a thin front of sentencepiece, which is imported only when a tokenizer is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ndpsim.errors import InputError
from ndpsim.llm.model import LanguageModel


class Tokenizer:
    """A sentencepiece model with byte fallback, so that every text can be encoded."""

    def __init__(self, path: Path, vocab: int | None = None) -> None:
        """Open a tokenizer.

        Args:
            path: the sentencepiece model file.
            vocab: how many pieces it must have, or None to take what it has.

        Raises:
            InputError: the file is missing, corrupt, or has another number of pieces.
        """
        import sentencepiece

        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: expected a sentencepiece model, found {str(error.strerror).lower()}") from None
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            whole = bool(content) and self._pieces.LoadFromSerializedProto(content)
        except RuntimeError:
            whole = False
        if not whole:
            raise InputError(f"{path}: expected a sentencepiece model, found {len(content)} other bytes")
        self.vocab: int = self._pieces.get_piece_size()
        if vocab is not None and self.vocab != vocab:
            raise InputError(f"{path}: expected {vocab} pieces as in model.toml, found {self.vocab}")
        self.begin: int = self._pieces.bos_id()

    @classmethod
    def of(cls, model: LanguageModel) -> Tokenizer:
        """The tokenizer that belongs to ``model``."""
        return cls(model.folder / model.card.tokenizer, model.card.vocab)

    def encode(self, text: str, begin: bool = True) -> list[int]:
        """Token ids of ``text``, behind the token that begins a document unless ``begin`` is false."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError("text: expected UTF-8, found other bytes") from None
        ids: list[int] = self._pieces.encode(text)
        return [self.begin, *ids] if begin else ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._pieces.decode(list(ids))
        return text

    def stream(self, ids: Iterable[int], prompt: Sequence[int] = ()) -> Iterator[str]:
        """Yield the text of each token as it comes, holding back bytes until their character is whole.

        ``prompt`` is what came before and is not repeated; without it a space before the first word would be lost.
        """
        seen = list(prompt)
        sent = len(self.decode(seen).rstrip("\ufffd"))
        for token in ids:
            seen.append(token)
            text = self.decode(seen)
            if not text.endswith("\ufffd"):
                if text[sent:]:
                    yield text[sent:]
                sent = len(text)
        if text_left := self.decode(seen)[sent:]:
            yield text_left
