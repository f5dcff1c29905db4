"""Requests from files in the forms that their publishers use; each fault is one sentence with its line."""

# ruff: noqa: E501 - tables of whole sentences

import json
from pathlib import Path

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.serving.sources.files import MAX_BYTES, read_workload

TRACES = Path(__file__).parents[4] / "shared" / "data" / "traces"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
)
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n45.5,GPT-4,1087,230,1317,API log\n"
MOONCAKE = [
    {"timestamp": 27000, "input_length": 513, "output_length": 5, "hash_ids": [7, 9]},
    {"timestamp": 30001, "input_length": 512, "output_length": 6, "hash_ids": [7]},
]


def written(tmp_path, text):
    path = tmp_path / "requests"
    path.write_text(text if isinstance(text, str) else "".join(json.dumps(one) + "\n" for one in text), "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "arrivals", "prompts", "outputs"),
    [
        (AZURE, [0, 52 * 10**9], [4808, 3180], [10, 8]),
        ("\ufeff" + AZURE.replace("\n", "\r\n"), [0, 52 * 10**9], [4808, 3180], [10, 8]),
        (BURSTGPT, [0, 40_500 * 10**9], [472, 1087], [18, 230]),
        (MOONCAKE, [0, 3001 * 10**9], [513, 512], [5, 6]),
        ("arrival_ns,input_tokens,output_tokens\n46926808,2358,531\n347938951,1034,769\n", [0, 301012143000], [2358, 1034], [531, 769]),
        ("arrival_ms,input_tokens,output_tokens\n1.5,1,2\n3,3,4\n", [0, 1500 * 10**6], [1, 3], [2, 4]),
        ("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n3772,54,3826,69.8\n", [0], [3772], [54]),
        (json.dumps([{"prompt": 269, "max_tokens": 42}, {"prompt": 270, "max_tokens": 52}]), [0, 0], [269, 270], [42, 52]),
        ([{"request_id": "a", "input_toks": 3, "output_toks": 4, "arrival_time": 1787267980.25},
          {"request_id": "b", "input_toks": 5, "output_toks": 6, "arrival_time": 1787267980.5}], [0, 25 * 10**10], [3, 5], [4, 6]),
    ],
)  # fmt: skip
def test_each_published_form_is_known_by_its_content(tmp_path, text, arrivals, prompts, outputs):
    workload = read_workload(written(tmp_path, text))
    assert workload.arrivals.tolist() == arrivals
    assert workload.prompts.tolist() == prompts
    assert workload.outputs.tolist() == outputs
    assert workload.priorities.tolist() == [0] * len(prompts)


def test_hash_ids_are_the_prefixes_of_512_tokens_each(tmp_path):
    workload = read_workload(written(tmp_path, MOONCAKE))
    assert workload.prefix_tokens == 512
    assert workload.prefixes.tolist() == [7, 9, 7]
    assert workload.prefix_starts.tolist() == [0, 2, 3]


def test_priorities_are_read(tmp_path):
    assert read_workload(
        written(tmp_path, "priority,input_tokens,output_tokens\n3,1,1\n0,1,1\n")
    ).priorities.tolist() == [3, 0]


def test_the_first_requests_alone_are_read_if_asked(tmp_path):
    path = written(tmp_path, MOONCAKE)
    workload = read_workload(path, first=1)
    assert len(workload) == 1 and workload.prefixes.tolist() == [7, 9]
    with pytest.raises(InputError, match="expected 1 to 2 of its requests, found 3"):
        read_workload(path, first=3)


HEAD = "arrival_s,input_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected requests, found none"),
        (HEAD, "expected requests, found none"),
        ("[]", "expected requests, found none"),
        ("input,output\n1,2\n", "line 1: column 1: expected one of .*input_tokens.*, found 'input'"),
        ("input_tokens\n1\n", "line 1: expected one column of .*output_tokens, found none"),
        ("input_tokens,input_length,output_tokens\n", "line 1: expected one column of .*, found input_tokens, input_length|none"),
        ("input_tokens,input_tokens,output_tokens\n1,1,1\n", "line 1: expected one column of .*"),
        (HEAD + "0,1,2\n\n5,3\n", "line 4: expected 3 columns, found 2: '5,3'"),
        (HEAD + "0,1,2\n5,3.5,4\n", "line 3: input_tokens: expected a whole number from 1 to 1048576, found '3.5'"),
        (HEAD + "0,1,0\n", "line 2: output_tokens: expected a whole number from 1 to 1048576, found '0'"),
        (HEAD + "0,1,1048577\n", "line 2: output_tokens: expected a whole number from 1 to 1048576, found '1048577'"),
        (HEAD + "0,1,1\n5,1,1\n4,1,1\n", "line 4: arrival_s: expected no time before the one ahead, 5, found 4"),
        (HEAD + "0,1,1\nnan,1,1\n", "line 3: arrival_s: expected s from 0 on, found 'nan'"),
        (HEAD + "-1,1,1\n", "line 2: arrival_s: expected s from 0 on, found '-1'"),
        (HEAD + "0,1,1\n1e300,1,1\n", "line 3: arrival_s: expected at most 9000000 s behind the first, found 1e300"),
        (AZURE.replace("18:17:04", "18:17:02"), "line 3: TIMESTAMP: expected no time before the one ahead"),
        (AZURE.replace("2023-11-16 18:17:04.0319600", "yesterday"), "line 3: TIMESTAMP: expected a date such as .*, found 'yesterday'"),
        ('{"timestamp": 1, "input_le', "line 1: expected a JSON object, found: Unterminated string"),
        ('{"input_length": 5, "output_length": 1}\n{"input_length": 5}\n', "line 2: expected an object with input_length, output_length"),
        ('{"input_length": true, "output_length": 1}\n', "line 1: input_length: expected a whole number from 1 to 1048576, found True"),
        ('[{"prompt": 1, "max_tokens": 2}, 5]', "entry 2: expected an object with prompt, max_tokens, found 5"),
        ('[{"prompt": 1, ', "expected a JSON list of objects, found"),
        ([MOONCAKE[0] | {"hash_ids": [1]}], "line 1: hash_ids: expected 2 for 513 tokens, found 1"),
        ([MOONCAKE[0] | {"hash_ids": [1, -2]}], "line 1: hash_ids: expected whole numbers from 0 on, found -2"),
        ([MOONCAKE[0] | {"hash_ids": "ab"}], "line 1: hash_ids: expected 2 for 513 tokens, found 'ab'"),
        ("[" * 100_000, "expected a JSON list of objects, found"),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_with_file_line_and_value(tmp_path, text, sentence):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=f"^{path}: {sentence}") as told:
        read_workload(path)
    assert "\n" not in str(told.value)


def test_what_is_not_a_text_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a file of requests, found: no such file"):
        read_workload(tmp_path / "none")
    with pytest.raises(InputError, match="found: a folder"):
        read_workload(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected text in UTF-8"):
        read_workload(tmp_path / "bytes")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match=f"expected at most {MAX_BYTES} bytes"):
        read_workload(tmp_path / "large")


@pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces lie in the shared folder only")
@pytest.mark.parametrize(
    ("name", "requests", "prompt", "output", "per_s"),
    [
        ("azure2023_code.csv", 8819, 2048, 28, 2.57),
        ("azure2023_conv.csv", 19366, 1155, 211, 5.53),
        ("mooncake_conversation.jsonl", 12031, 12035, 343, 3.4),
        ("mooncake_synthetic.jsonl", 3993, 15325, 149, 3.9),
        ("neo_osc_llama2_7b.json", 2000, 373, 45, None),
    ],
)
def test_public_traces_have_the_figures_that_are_known_of_them(name, requests, prompt, output, per_s):
    workload = read_workload(TRACES / name)
    assert len(workload) == requests
    assert round(workload.prompts.mean()) == prompt and round(workload.outputs.mean()) == output
    if per_s is not None:
        assert requests / (workload.arrivals[-1] / 1e12) == pytest.approx(per_s, rel=0.02)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces lie in the shared folder only")
def test_as_many_blocks_of_mooncake_repeat_as_is_known():
    workload = read_workload(TRACES / "mooncake_conversation.jsonl")
    assert 1 - len(np.unique(workload.prefixes)) / len(workload.prefixes) == pytest.approx(0.37, abs=0.005)
