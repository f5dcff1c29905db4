"""`ndpsim trace generate` and `ndpsim trace info` as a user meets them."""

import json
from pathlib import Path

import pytest
from cli_support import refused, run

SHAPE = ("--layers", 3, "--attention", 300, "--ffn", 2000)


def generated(capsys, path: Path, *options: object) -> dict[str, object]:
    code, out, _ = run(capsys, "trace", "generate", "-o", path, *options, "--json")
    assert code == 0 and out.count("\n") == 1
    return json.loads(out)


def info(capsys, path: Path) -> dict[str, object]:
    code, out, _ = run(capsys, "trace", "info", path, "--json")
    assert code == 0
    return json.loads(out)


def test_what_is_asked_for_is_generated_and_measured(capsys, tmp_path: Path):
    path = tmp_path / "t.h5"
    changes = ("--set", "ffn.density=0.1", "--set", "ffn.similarity_1=0.8", "--set", "ffn.similarity_25=[0.5, 0.6]")
    record = generated(capsys, path, *SHAPE, "--batch", 3, "--tokens", 200, "--prompt", 50, "--seed", 7, *changes)
    assert record["bytes"] == path.stat().st_size
    found = info(capsys, path)
    assert (found["tokens"], found["sequences"], found["prompt_tokens"], found["seed"]) == (200, 3, 50, 7)
    assert found["source"] == "preset paper, ffn.density=0.1, ffn.similarity_1=0.8, ffn.similarity_25=[0.5, 0.6]"
    groups = found["groups"]
    assert [(g["layer"], g["kind"], g["neurons"], g["preceding"]) for g in groups] == [
        (layer, kind, neurons, 2 * (layer - 1) + at if layer else -1)
        for layer in range(3)
        for at, (kind, neurons) in enumerate((("attention", 300), ("ffn", 2000)))
    ]
    for layer, far in enumerate((0.5, 0.55, 0.6)):
        ffn = groups[2 * layer + 1]
        assert ffn["density"] == pytest.approx(0.1, abs=0.02)
        assert ffn["similarity_1"] == pytest.approx(0.8, abs=0.04)
        assert ffn["similarity_25"] == pytest.approx(far, abs=0.06)


def test_a_model_brings_its_shape_and_its_own_values(capsys, tmp_path: Path):
    record = generated(capsys, tmp_path / "t.h5", "--model", "smollm2-135m", "--preset", "measured", "--tokens", 20)
    assert (record["layers"], record["attention"], record["ffn"], record["sequences"]) == (30, 576, 1536, 1)
    assert info(capsys, tmp_path / "t.h5")["model"] == "smollm2-135m"


def test_another_seed_or_first_sequence_gives_another_trace_and_the_same_ones_the_same(capsys, tmp_path: Path):
    contents = []
    for options in ((), (), ("--seed", 1), ("--first-sequence", 1), ("--run-tokens", 200)):
        generated(capsys, tmp_path / "t.h5", *SHAPE, "--tokens", 30, *options)
        contents.append((tmp_path / "t.h5").read_bytes())
    assert contents[0] == contents[1]
    assert len(set(contents)) == 4


def test_the_table_has_a_line_for_each_group(capsys, tmp_path: Path):
    code, out, _ = run(capsys, "trace", "generate", "-o", tmp_path / "t.h5", *SHAPE, "--tokens", 40)
    assert code == 0
    assert out.startswith("wrote ") and "40 tokens, 1 sequences, 3 layers of 300 attention and 2000 ffn neurons" in out
    code, out, _ = run(capsys, "trace", "info", tmp_path / "t.h5")
    assert code == 0
    lines = out.splitlines()
    assert any(line.split()[:1] == ["source"] and "preset paper" in line for line in lines)
    assert [line.split()[:3] for line in lines[-6:]] == [
        [str(layer), kind, neurons] for layer in range(3) for kind, neurons in (("attention", "300"), ("ffn", "2000"))
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--model: expected it, or all of --layers, --attention and --ffn"),
        (("--layers", 3, "--ffn", 5), "--model: expected it, or all of"),
        (
            ("--model", "llama2-70b", "--layers", 3),
            "--model: expected it or --layers, --attention and --ffn, found both",
        ),
        (("--model", "gpt-9"), "model 'gpt-9': expected one of"),
        ((*SHAPE, "--preset", "x"), "preset 'x': expected one of measured, paper"),
        ((*SHAPE, "--tokens", 0), "tokens: expected 1 to"),
        ((*SHAPE, "--batch", 0), "sequences: expected 1 to"),
        ((*SHAPE, "--seed", -1), "seed: expected 0 to"),
        ((*SHAPE, "--prompt", 300), "prompt_tokens: expected 0 to 256, found 300"),
        ((*SHAPE, "--set", "ffn.density=0.3"), "ffn: layer 0: share_for_80: expected 0.240 to 0.800"),
        ((*SHAPE, "--set", "ffn.colour=1"), "ffn.colour: expected attention or ffn, a point and one of"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence_and_leaves_no_file(capsys, tmp_path: Path, options: tuple, says: str):
    assert says in refused(capsys, "trace", "generate", "-o", tmp_path / "t.h5", *options)
    assert not list(tmp_path.iterdir())
