"""The training corpus is running prose, in a fixed order, and what is held out is not trained on."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
PAGE = """<html><head><title>No title of the browser window, however long it may be</title></head><body>
<div class="sphinxsidebar"><p>Navigation that stands beside every page of the documentation.</p></div>
<div class="body"><h1>Short</h1>
<p>A paragraph   with <b>bold</b> words and
a line break, long enough to be kept.</p>
<pre>code = "is left out, even where it is longer than forty characters"</pre>
<ul><li><p>An item of a list that is long enough to be kept as well.</p></li></ul>
<p>Seen on every page: a paragraph that is only kept the first time.</p></div></body></html>"""


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOLS)


def test_a_page_becomes_its_paragraphs_without_code_and_navigation(tmp_path: Path):
    from text_corpus import read_corpus

    (tmp_path / "b.html").write_text(PAGE)
    (tmp_path / "a.txt").write_text("Seen on every page: a paragraph that is only kept the first time.\n\nToo short.")
    (tmp_path / "genindex.html").write_text(PAGE)
    assert read_corpus(tmp_path) == [
        "Seen on every page: a paragraph that is only kept the first time.",
        "A paragraph with bold words and a line break, long enough to be kept.\n"
        "An item of a list that is long enough to be kept as well.",
    ]


def test_heldout_documents_are_not_trained_on_and_the_choice_repeats():
    from text_corpus import split_corpus

    documents = [f"document {i} " + "x" * (1000 * (i % 10)) for i in range(60)]
    kept, heldout = split_corpus(documents, 20_000, seed=3)
    assert (kept, heldout) == split_corpus(documents, 20_000, seed=3)
    assert 20_000 <= len(heldout) < 30_000
    taken = heldout.rstrip("\n").split("\n")
    assert sorted(kept + taken) == sorted(documents)
    assert heldout != split_corpus(documents, 20_000, seed=4)[1]
