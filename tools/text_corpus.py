"""Turn a folder of documentation (HTML, reStructuredText, plain text) into running prose, one paragraph a line."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

SUFFIXES = (".html", ".htm", ".rst", ".txt")
_BLOCKS = {"p", "li", "dd", "dt", "dl", "ul", "ol", "div", "section", "h1", "h2", "h3", "h4", "h5", "table", "tr", "td"}
_SKIPPED = {"script", "style", "pre", "nav", "dt", "table", "head", "footer"}
_GENERATED = re.compile(r"(genindex|search|py-modindex|changelog|contents)", re.IGNORECASE)


class _Prose(HTMLParser):
    """Collects the text of the main part of a page, paragraph by paragraph, without code, tables and navigation."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self._text: list[str] = []
        self._skipping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = dict(attrs).get("class") or ""
        if tag in _BLOCKS:
            self._end_paragraph()
        if tag in _SKIPPED or "sphinxsidebar" in classes or "related" in classes or self._skipping[-1:] == [tag]:
            self._skipping.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._end_paragraph()
        if self._skipping and self._skipping[-1] == tag:
            self._skipping.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._text.append(data)

    def _end_paragraph(self) -> None:
        self.paragraphs.append("".join(self._text))
        self._text = []


def _paragraphs(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in (".html", ".htm"):
        page = _Prose()
        page.feed(text)
        return page.paragraphs
    return re.split(r"\n\s*\n", text)


def read_corpus(folder: Path) -> list[str]:
    """Read all documents below ``folder``, in the order of their names.

    Returns:
        One string a document, its paragraphs separated by a newline. Paragraphs shorter than 40 characters and
        paragraphs that have been seen before (page furniture) are left out.
    """
    seen: set[str] = set()
    documents = []
    files = [f for f in folder.rglob("*") if f.suffix in SUFFIXES and f.is_file() and not _GENERATED.search(f.name)]
    for path in sorted(files, key=lambda f: f.relative_to(folder).as_posix()):
        if "_sources" in path.relative_to(folder).parts:
            continue  # Sphinx ships each page's source beside the page
        kept = []
        for raw in _paragraphs(path):
            line = re.sub(r"\s+", " ", raw.replace("\u00b6", "")).strip()
            if len(line) >= 40 and line not in seen:
                seen.add(line)
                kept.append(line)
        if kept:
            documents.append("\n".join(kept))
    return documents


def split_corpus(documents: list[str], heldout_bytes: int, seed: int) -> tuple[list[str], str]:
    """Hold out whole documents of middling length until they have ``heldout_bytes`` bytes together.

    Returns:
        The documents to train on, and the held-out text, cut at a paragraph so that it is not much longer than asked.
    """
    order = np.random.default_rng(seed).permutation(len(documents))
    middling = [int(i) for i in order if 1_500 <= len(documents[i]) <= 8_000]
    taken: list[int] = []
    size = 0
    for i in middling:
        if size >= heldout_bytes:
            break
        taken.append(i)
        size += len(documents[i].encode()) + 1
    kept = [text for i, text in enumerate(documents) if i not in taken]
    return kept, "\n".join(documents[i] for i in taken) + "\n"
