"""A trace comes back from its file bit for bit, and a damaged file is refused in one sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader, pack
from ndpsim.sparsity.trace_writer import TraceWriter

HEADER = TraceHeader("model", (13, 64), "rule", "source", seed=5, thresholds=(0.25, 0.5))


def random_fired(header: TraceHeader, tokens: int, seed: int = 0) -> list[np.ndarray]:
    """One bool[tokens, neurons] a group, or bool[tokens, sequences, neurons] where there are several sequences."""
    rng = np.random.default_rng(seed)
    fired = [rng.random((tokens, header.sequences, n)) < 0.3 for n in header.neurons]
    return [f[:, 0] for f in fired] if header.sequences == 1 else fired


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trace.h5"
    ids = np.arange(700, dtype=np.int32)
    ActivationTrace.of(HEADER, random_fired(HEADER, 700), ids).write(path)
    return path


@st.composite
def headers(draw: st.DrawFn) -> TraceHeader:
    layers = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
    every = [(layer, kind) for layer in sorted(layers) for kind in ("attention", "ffn")]
    places = draw(st.lists(st.sampled_from(every), min_size=1, unique=True).map(sorted))
    count = len(places)
    text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=9)
    return TraceHeader(
        draw(text),
        tuple(draw(st.integers(1, 40)) for _ in places),
        draw(text),
        draw(text),
        draw(st.none() | st.integers(0, 2**63 - 1)),
        draw(st.none() | st.just(tuple(0.5 * i for i in range(count)))),
        tuple(layer for layer, _ in places),
        tuple(kind for _, kind in places),
        draw(st.just(()) | st.tuples(*(st.integers(-1, i - 1) for i in range(count)))),
        draw(st.integers(1, 3)),
    )


@st.composite
def traces(draw: st.DrawFn) -> tuple[TraceHeader, list[np.ndarray], np.ndarray | None]:
    header = draw(headers())
    tokens = draw(st.integers(0, 1100))
    header = replace(header, prompt_tokens=draw(st.integers(0, tokens)))
    ids = np.arange(tokens, dtype=np.int32) * 7 if header.sequences == 1 and draw(st.booleans()) else None
    return header, random_fired(header, tokens, draw(st.integers(0, 99))), ids


@given(traces())
def test_what_is_written_is_read(given_trace: tuple[TraceHeader, list[np.ndarray], np.ndarray | None]):
    header, fired, ids = given_trace
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.h5"
        ActivationTrace.of(header, fired, ids).write(path)
        with ActivationTrace.read(path) as trace:
            assert trace.header == header
            assert trace.tokens == len(fired[0])
            for group, activity in enumerate(fired):
                for sequence in range(header.sequences):
                    expected = activity if activity.ndim == 2 else activity[:, sequence]
                    np.testing.assert_array_equal(trace.fired(group, 0, trace.tokens, sequence), expected)
            if ids is None:
                assert trace.token_ids is None
            else:
                np.testing.assert_array_equal(trace.token_ids, ids)
        assert [p.name for p in Path(folder).iterdir()] == ["t.h5"]


def test_a_trace_without_more_said_is_of_feed_forward_blocks_each_preceded_by_the_one_before():
    assert HEADER.places() == [(0, "ffn"), (1, "ffn")]
    assert HEADER.preceding == (-1, 0)


def test_a_group_is_found_by_layer_and_kind_and_preceded_by_the_latest_of_its_kind():
    header = TraceHeader("m", (1, 2, 3, 4), "r", "s", layer=(0, 0, 5, 5), kind=("attention", "ffn") * 2)
    assert header.preceding == (-1, -1, 0, 1)
    assert header.group(5, "attention") == 2
    with pytest.raises(InputError, match="group: expected a layer of the trace and one of attention, ffn, found ffn"):
        header.group(1, "ffn")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"layer": (0, 0)}, "layer: expected groups in rising order of layers and of attention, ffn, each once"),
        ({"layer": (1, 0)}, "layer: expected groups in rising order"),
        ({"layer": (-1, 0)}, "layer: expected groups in rising order"),
        ({"layer": (0, 0), "kind": ("ffn", "attention")}, "layer: expected groups in rising order"),
        ({"kind": ("ffn", "other")}, "layer: expected groups in rising order"),
        ({"kind": ("ffn",)}, "kind: expected one for each of 2 groups, found 1"),
        ({"preceding": (-1, 1)}, "preceding: expected -1 or an earlier group than 1, found 1"),
        ({"preceding": (-2, 0)}, "preceding: expected -1 or an earlier group than 0, found -2"),
        ({"sequences": 0}, "sequences: expected 1 to 4096, found 0"),
    ],
)
def test_groups_that_no_token_passes_in_this_order_are_refused(fields: dict[str, object], says: str):
    with pytest.raises(InputError, match=says):
        TraceHeader("m", (3, 3), "r", "s", **fields)


@given(traces(), st.integers(1, 300))
def test_groups_written_one_after_another_give_the_same_trace(given_trace: tuple, step: int):
    header, fired, _ = given_trace
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.h5"
        with TraceWriter(path, header, with_token_ids=False) as writer:
            for group, rows in enumerate(pack(header, fired)):
                for start in range(0, len(rows), step):
                    writer.extend(group, rows[start : start + step])
        with ActivationTrace.read(path) as trace:
            assert trace.header == header
            for group, rows in enumerate(pack(header, fired)):
                np.testing.assert_array_equal(trace.packed(group, 0, trace.tokens), rows)


def test_groups_of_different_lengths_are_refused_and_leave_no_file(tmp_path: Path):
    says = "the same number of tokens in all groups, found 0 to 3"
    with pytest.raises(InputError, match=says), TraceWriter(tmp_path / "t.h5", HEADER, with_token_ids=False) as writer:
        writer.extend(1, np.zeros((3, 1, 8), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_rows_of_a_group_in_another_form_are_refused(tmp_path: Path):
    with TraceWriter(tmp_path / "t.h5", HEADER, with_token_ids=False) as writer:
        for rows in (np.zeros((3, 1, 7), dtype=np.uint8), np.zeros((3, 2, 8), dtype=np.uint8), np.zeros((3, 1, 8))):
            with pytest.raises(InputError, match=r"rows: expected uint8\[tokens, 1, 8\] for group 1, found"):
                writer.extend(1, rows)


def test_a_prompt_longer_than_the_trace_is_refused(tmp_path: Path):
    header = replace(HEADER, prompt_tokens=3)
    with pytest.raises(InputError, match="prompt_tokens: expected at most 2, found 3"):
        ActivationTrace.of(header, random_fired(header, 2)).write(tmp_path / "t.h5")


def test_token_ids_of_several_sequences_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="token_ids: expected none in a trace of 2 sequences"):
        TraceWriter(tmp_path / "t.h5", replace(HEADER, sequences=2))


def test_active_neurons_come_as_rising_indices(path: Path):
    fired = random_fired(HEADER, 700)
    with ActivationTrace.read(path) as trace:
        for token in (0, 511, 512, 699, 3):
            for layer in (0, 1):
                found = trace.active(token, layer)
                assert found.dtype == np.int32
                assert list(found) == [n for n in range(HEADER.neurons[layer]) if fired[layer][token, n]]


def test_a_run_of_tokens_may_cross_chunks(path: Path):
    with ActivationTrace.read(path) as trace:
        np.testing.assert_array_equal(trace.fired(1, 500, 600), random_fired(HEADER, 700)[1][500:600])


def test_a_file_has_the_statistics_of_the_trace_in_memory(path: Path):
    with ActivationTrace.read(path) as trace:
        assert trace.statistics() == ActivationTrace.of(HEADER, random_fired(HEADER, 700)).statistics()


def test_appending_token_by_token_gives_the_same_bytes_as_writing_at_once(path: Path, tmp_path: Path):
    fired = random_fired(HEADER, 700)
    with TraceWriter(tmp_path / "slow.h5", HEADER) as writer:
        for t in range(700):
            writer.append([f[t : t + 1] for f in fired], np.array([t], dtype=np.int32))
    assert (tmp_path / "slow.h5").read_bytes() == path.read_bytes()


def test_an_interrupted_writer_leaves_nothing_behind_and_an_older_file_alone(path: Path):
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, HEADER) as writer:
        writer.append(random_fired(HEADER, 600), np.zeros(600, dtype=np.int32))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="expected a place that can be written, found: No such file or directory"):
        ActivationTrace.of(HEADER, random_fired(HEADER, 2)).write(tmp_path / "none" / "t.h5")


@pytest.mark.parametrize(("token", "layer"), [(-1, 0), (700, 0), (0, 2), (0, -1)])
def test_a_token_or_group_outside_the_trace_is_refused(path: Path, token: int, layer: int):
    with ActivationTrace.read(path) as trace, pytest.raises(InputError, match=r"(token|group): expected 0 to"):
        trace.active(token, layer)


def test_a_sequence_outside_the_trace_is_refused(path: Path):
    with ActivationTrace.read(path) as trace, pytest.raises(InputError, match="sequence: expected 0 to 0, found 1"):
        trace.active(0, 0, sequence=1)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught, ActivationTrace.read(path) as trace:
        trace.statistics()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith(f"{path}: ")
    return sentence


def test_a_missing_file_is_refused(tmp_path: Path):
    assert "no such file" in refusal(tmp_path / "none.h5")


def test_every_truncation_is_refused(path: Path):
    content = path.read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        refusal(path)


def test_a_flipped_byte_is_refused_or_changes_nothing(path: Path):
    content = path.read_bytes()
    with ActivationTrace.read(path) as trace:
        whole = trace.header, trace.statistics()
    rng = np.random.default_rng(1)
    for at in rng.integers(0, len(content), 300):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            with ActivationTrace.read(path) as trace:
                assert (trace.header, trace.statistics()) == whole
        except InputError as error:
            assert "\n" not in str(error)


def set_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def drop(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__delitem__(name)


def replace_layer(data: np.ndarray | None) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["active/001"]
        if data is not None:
            file.create_dataset("active/001", data=data, chunks=data.shape)

    return change


def never_written(file: h5py.File) -> None:
    del file["active/001"]
    file.create_dataset("active/001", shape=(700, 1, 8), dtype=np.uint8, chunks=(512, 1, 8))


def a_bit_too_far(file: h5py.File) -> None:
    file["active/000"][600, 0, 1] = 0xFF


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("format"), "format: expected a text attribute, found None"),
        (
            set_attribute("format", np.bytes_("other")),
            "expected the attribute 'ndpsim-activation-trace', found 'other'",
        ),
        (set_attribute("format", "other"), "format: expected numbers or a text of fixed length"),
        (set_attribute("format", np.arange(3)), "format: expected a text attribute, found array"),
        (set_attribute("version", 1), "version: expected 2, found 1"),
        (set_attribute("version", np.bytes_("1")), "version: expected an integer attribute"),
        (drop("model"), "model: expected a text attribute, found None"),
        (set_attribute("neurons", 64), "neurons: expected an attribute with a number for each layer"),
        (set_attribute("neurons", [13, 0]), "neurons: expected 1 to 16777216 in each group, found 0"),
        (set_attribute("neurons", [13, 80]), "active/001: expected uint8[700, 1, 10], found uint8[700, 1, 8]"),
        (set_attribute("groups", 3), "groups: expected 2 as many as neurons has, found 3"),
        (set_attribute("kind", [1, 2]), "kind: expected 0 to 1 for each group, found [1, 2]"),
        (set_attribute("layer", [0, 0]), "layer: expected groups in rising order"),
        (set_attribute("preceding", [0, 0]), "preceding: expected -1 or an earlier group than 0, found 0"),
        (set_attribute("prompt_tokens", 701), "prompt_tokens: expected at most 700, found 701"),
        (set_attribute("sequences", 2), "active/000: expected uint8[700, 2, 2], found uint8[700, 1, 2]"),
        (set_attribute("tokens", 701), "active/000: expected uint8[701, 1, 2], found uint8[700, 1, 2]"),
        (set_attribute("tokens", -1), "tokens: expected an integer attribute of at least 0"),
        (set_attribute("seed", 0.5), "seed: expected an integer attribute"),
        (set_attribute("thresholds", [0.5]), "thresholds: expected one for each of 2 groups, found 1"),
        (replace_layer(None), "active/001: expected a dataset, found nothing"),
        (
            replace_layer(np.zeros((700, 1, 8), dtype=np.int16)),
            "active/001: expected uint8[700, 1, 8], found int16[700, 1, 8]",
        ),
        (never_written, "active/001: expected 2 stored chunks, found 0"),
        (a_bit_too_far, "active/000: expected 13 neurons, found activity beyond the last one"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found(path: Path, change: Callable[[h5py.File], None], says: str):
    with h5py.File(path, "r+") as file:
        change(file)
    assert says in refusal(path)


def test_a_file_in_the_older_form_without_checksums_is_refused(path: Path):
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        file.attrs["format"] = np.bytes_("ndpsim-activation-trace")
    assert "expected an activation trace (HDF5 with checksums)" in refusal(path)


def test_rows_of_another_width_or_length_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"fired: expected \(13, 64\) neurons by group, found \(13, 8\)"):
        ActivationTrace.of(HEADER, [np.zeros((1, 13), dtype=bool), np.zeros((1, 8), dtype=bool)])
    with pytest.raises(InputError, match="fired: expected 1 sequences, found 2"):
        ActivationTrace.of(HEADER, [np.zeros((1, 2, 13), dtype=bool), np.zeros((1, 2, 64), dtype=bool)])
    with TraceWriter(tmp_path / "t.h5", HEADER, with_token_ids=False) as writer:
        with pytest.raises(InputError, match="rows: expected 1 tokens in each of 2 groups"):
            writer.append([np.zeros((1, 13), dtype=bool), np.zeros((2, 64), dtype=bool)])
        with pytest.raises(InputError, match="token_ids: expected none in this trace"):
            writer.append(random_fired(HEADER, 1), np.zeros(1, dtype=np.int32))
