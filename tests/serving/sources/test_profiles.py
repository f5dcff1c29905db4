"""Profiles of published traces: what is drawn has their quantiles, rate and spread of gaps."""

from pathlib import Path

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.serving.sources import profiles
from ndpsim.serving.sources.files import read_workload
from ndpsim.serving.sources.profiles import load_request_profile, profile_names

TRACES = Path(__file__).parents[4] / "shared" / "data" / "traces"
FILES = {
    "azure-code": "azure2023_code.csv", "azure-conv": "azure2023_conv.csv",
    "mooncake-conversation": "mooncake_conversation.jsonl", "mooncake-synthetic": "mooncake_synthetic.jsonl",
    "sharegpt": "lss_sharegpt_llama31-8b_300_lengths.csv", "arxiv-summarization": "vidur_arxiv_summarization.csv",
    "arxiv-long": "vattention_arxiv_long_online.csv", "osc": "neo_osc_llama2_7b.json",
}  # fmt: skip


def test_the_profiles_that_ship_are_those_of_the_published_traces():
    assert profile_names() == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_lengths_that_are_drawn_have_the_quantiles_of_the_profile(name):
    profile = load_request_profile(name)
    drawn = profile.draw(60_000, seed=4)
    for lengths, table in ((drawn.prompts, profile.input_tokens), (drawn.outputs, profile.output_tokens)):
        assert table[0] <= lengths.min() and lengths.max() <= table[-1]
        for share in (0.1, 0.5, 0.9, 0.99):
            expected = np.interp([share - 0.005, share + 0.005], profile.shares, table)
            assert expected[0] - 1 <= np.quantile(lengths, share) <= expected[1] + 1
    assert abs(np.corrcoef(drawn.prompts, drawn.outputs)[0, 1]) < 0.02


def test_arrivals_have_the_rate_and_the_spread_of_the_trace():
    profile = load_request_profile("azure-conv")
    gaps = np.diff(profile.draw(60_000, seed=4).arrivals) * 1e-12
    assert 1 / gaps.mean() == pytest.approx(profile.rate_per_s, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(profile.gap_cv, rel=0.03)
    assert not load_request_profile("osc").draw(5, seed=0).arrivals.any()


def test_a_trace_is_drawn_as_long_as_it_is_and_from_a_seed():
    profile = load_request_profile("sharegpt")
    assert len(profile.draw(None, seed=0)) == profile.requests == 300
    assert profile.draw(9, seed=1).prompts.tolist() == profile.draw(9, seed=1).prompts.tolist()
    assert profile.draw(9, seed=1).prompts.tolist() != profile.draw(9, seed=2).prompts.tolist()
    with pytest.raises(InputError, match="sharegpt: expected 1 to 10000000 requests, found 0"):
        profile.draw(0, seed=0)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces lie in the shared folder only")
@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_means_of_what_is_drawn_are_within_a_twentieth_of_the_file(name, file):
    found, drawn = read_workload(TRACES / file), load_request_profile(name).draw(60_000, seed=4)
    assert drawn.prompts.mean() == pytest.approx(found.prompts.mean(), rel=0.05)
    assert drawn.outputs.mean() == pytest.approx(found.outputs.mean(), rel=0.05)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("shares = [0, 0.5]", "shares: expected values that rise from 0 to 1"),
        ("shares = [0, 0.5, 0.4, 1]", "input_tokens: expected 4 values that do not fall"),
        ("input_tokens = [5, 3]", "input_tokens: expected 2 values that do not fall"),
        ("output_tokens = [0, 3]", "output_tokens"),
    ],
)
def test_a_profile_with_a_fault_is_told_by_its_field(monkeypatch, tmp_path, line, sentence):
    lines = {
        "shares": "shares = [0, 1]",
        "input_tokens": "input_tokens = [1, 3]",
        "output_tokens": "output_tokens = [1, 3]",
    }
    lines[line.split()[0]] = line
    head = 'name = "x"\nsource = "a test"\nlicence = "none"\nrequests = 3\n'
    (tmp_path / "x.toml").write_text(head + "\n".join(lines.values()))
    monkeypatch.setattr(profiles, "_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=sentence):
        load_request_profile("x")
