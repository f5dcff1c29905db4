"""A trace comes back from its file bit for bit, and a damaged file is refused in one sentence."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader
from ndpsim.sparsity.trace_writer import TraceWriter

HEADER = TraceHeader("model", (13, 64), "rule", "source", seed=5, thresholds=(0.25, 0.5))


def random_fired(header: TraceHeader, tokens: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.random((tokens, n)) < 0.3 for n in header.neurons]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trace.h5"
    ids = np.arange(700, dtype=np.int32)
    ActivationTrace.of(HEADER, random_fired(HEADER, 700), ids).write(path)
    return path


@st.composite
def traces(draw: st.DrawFn) -> tuple[TraceHeader, list[np.ndarray], np.ndarray | None]:
    neurons = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=4)))
    text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=9)
    thresholds = draw(st.none() | st.just(tuple(0.5 * i for i in range(len(neurons)))))
    seed = draw(st.none() | st.integers(0, 2**63 - 1))
    header = TraceHeader(draw(text), neurons, draw(text), draw(text), seed, thresholds)
    tokens = draw(st.integers(0, 1100))
    ids = np.arange(tokens, dtype=np.int32) * 7 if draw(st.booleans()) else None
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
            for layer, activity in enumerate(fired):
                np.testing.assert_array_equal(trace.fired(layer, 0, trace.tokens), activity)
            if ids is None:
                assert trace.token_ids is None
            else:
                np.testing.assert_array_equal(trace.token_ids, ids)
        assert [p.name for p in Path(folder).iterdir()] == ["t.h5"]


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
def test_a_token_or_layer_outside_the_trace_is_refused(path: Path, token: int, layer: int):
    with ActivationTrace.read(path) as trace, pytest.raises(InputError, match=r"(token|layer): expected 0 to"):
        trace.active(token, layer)


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
    file.create_dataset("active/001", shape=(700, 8), dtype=np.uint8, chunks=(512, 8))


def a_bit_too_far(file: h5py.File) -> None:
    file["active/000"][600, 1] = 0xFF


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
        (set_attribute("version", 2), "version: expected 1, found 2"),
        (set_attribute("version", np.bytes_("1")), "version: expected an integer attribute"),
        (drop("model"), "model: expected a text attribute, found None"),
        (set_attribute("neurons", 64), "neurons: expected an attribute with a number for each layer"),
        (set_attribute("neurons", [13, 0]), "neurons: expected 1 to 16777216 in each layer, found 0"),
        (set_attribute("neurons", [13, 80]), "active/001: expected uint8[700, 10], found uint8[700, 8]"),
        (set_attribute("layers", 3), "layers: expected 2 as many as neurons has, found 3"),
        (set_attribute("tokens", 701), "active/000: expected uint8[701, 2], found uint8[700, 2]"),
        (set_attribute("tokens", -1), "tokens: expected an integer attribute of at least 0"),
        (set_attribute("seed", 0.5), "seed: expected an integer attribute"),
        (set_attribute("thresholds", [0.5]), "thresholds: expected one for each of 2 layers, found 1"),
        (replace_layer(None), "active/001: expected a dataset, found nothing"),
        (replace_layer(np.zeros((700, 8), dtype=np.int16)), "active/001: expected uint8[700, 8], found int16[700, 8]"),
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
    with pytest.raises(InputError, match=r"fired: expected \(13, 64\) neurons by layer, found \(13, 8\)"):
        ActivationTrace.of(HEADER, [np.zeros((1, 13), dtype=bool), np.zeros((1, 8), dtype=bool)])
    with TraceWriter(tmp_path / "t.h5", HEADER, with_token_ids=False) as writer:
        with pytest.raises(InputError, match="rows: expected 1 tokens in each of 2 layers"):
            writer.append([np.zeros((1, 13), dtype=bool), np.zeros((2, 64), dtype=bool)])
        with pytest.raises(InputError, match="token_ids: expected none in this trace"):
            writer.append(random_fired(HEADER, 1), np.zeros(1, dtype=np.int32))
