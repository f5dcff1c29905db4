"""Tables of kernels as CSV: what is read, and how every bad line is named."""

import gzip
import io
import time
from pathlib import Path

import pytest

from ndpsim.errors import InputError
from ndpsim.gpu.card import card_names, cards_dir
from ndpsim.gpu.kernels import DTYPE_NAMES, OP_NAMES
from ndpsim.gpu.measured import read_kernels, read_measurements

HEADER = "op,dtype,m,n,k,us\n"
GOOD = HEADER + "gemm,fp16,2,3,4,1.5\n"


def faults_of(text, read=read_measurements, folder=None):
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ").split("; ")


def test_a_table_is_read_with_synonyms_empty_cells_and_spaces(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("op, dtype ,m,n,k,us\ngemv,half,,3,4,2.5e1\n\n softmax ,bf16,2,3,,.5\n", encoding="utf-8-sig")
    table, us = read_measurements(path)
    assert [OP_NAMES[op] for op in table.op] == ["gemv", "softmax"]
    assert [DTYPE_NAMES[dtype] for dtype in table.dtype] == ["fp16", "bf16"]
    assert table.column("m").tolist() == [1, 2] and table.column("k").tolist() == [4, 0] and us.tolist() == [25, 0.5]


def test_gzip_stream_and_file_read_the_same(tmp_path: Path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(GOOD.encode(), mtime=0))
    (tmp_path / "t.csv").write_text(GOOD.replace("\n", "\r\n"))
    shapes = [read_kernels(source).shape.tolist() for source in (tmp_path / "t.csv.gz", tmp_path / "t.csv")]
    assert shapes[0] == shapes[1] == read_kernels(io.StringIO("\ufeff" + GOOD)).shape.tolist()
    assert read_measurements(tmp_path / "t.csv.gz")[1].tolist() == [1.5]


def test_every_bad_line_is_named_with_its_number_and_its_first_fault(tmp_path: Path):
    lines = [
        "gemm,fp16,2,3,4,1",
        "conv,fp16,2,3,4,1",
        "gemm,fp8,2,3,4,1",
        "gemm,fp16,0,3,4,1",
        "gemm,fp16,2,3,,1",
        "gemm,fp16,2,3,4",
        "gemm,fp16,2,3,4,nan",
        "gemm,fp16,2,3,4,",
        "gemm,fp16,2,3,4,-1",
        "gemm,fp16,2.5,3,4,1",
        "softmax,fp16,2,3,4,1",
        "gemm,fp16,1_0,3,4,1",
        "gemm,fp16,1e9,1e9,4,1",
        "gemm,fp16,2,3,4,1e300",
    ]
    found = faults_of(HEADER + "\n".join(lines), folder=tmp_path)
    assert [fault.split(":")[0] for fault in found] == [f"line {line}" for line in range(3, 16)]
    expected = [
        "op: expected one of gemm", "dtype: expected one of fp16", "m: expected an integer from 1 to 2^40",
        "k: expected a positive number", "expected 6 cells, found 5", "us: expected a number, found 'nan'",
        "us: expected a number above 0 and up to 1e+09, found nothing", "found -1", "found 2.5",
        "k: expected nothing for softmax", "m: expected a number, found '1_0'", "expected at most 2^40 bytes",
        "found 1e+300",
    ]  # fmt: skip
    assert all(part in fault for part, fault in zip(expected, found, strict=True)), found


def test_at_most_twenty_faults_are_listed(tmp_path: Path):
    found = faults_of(HEADER + "conv,fp16,2,3,4,1\n" * 30, folder=tmp_path)
    assert len(found) == 21 and found[-1] == "and 10 more lines"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "line 1: expected a column dtype, found none"),
        ("op,dtype,m,n,k\ngemm,fp16,2,3,4\n", "line 1: expected a column us, found none"),
        ("op,dtype,m,n,q,us\n", "found 'q'"),
        ("op,dtype,m,m,us\n", "expected the column m once, found it again"),
        (HEADER, "expected kernels below the line of columns, found none"),
        (HEADER + 'gemm,"fp16,2,3,4,1\n', "expected comma-separated values"),
        (GOOD.encode("utf-16"), "expected text in UTF-8, found other bytes"),
        (gzip.compress(GOOD.encode(), mtime=0)[:-9], "expected a whole gzip file, found a damaged or truncated one"),
        (gzip.compress(GOOD.encode(), mtime=0)[:12] + b"xxxxxxxxxxxx", "expected a whole gzip file"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str | bytes, part: str):
    assert any(part in fault for fault in faults_of(text, folder=tmp_path))


def test_predictions_need_no_times_and_pass_over_them(tmp_path: Path):
    assert len(read_kernels(io.StringIO("op,dtype,m,n\ncopy,fp16,2,3\n"))) == 1
    assert len(read_kernels(io.StringIO(HEADER + "gemm,fp16,2,3,4,bad\n"))) == 1
    with pytest.raises(InputError, match="input: line 2: k: expected a positive number for gemm, found nothing"):
        read_kernels(io.StringIO("op,dtype,m,n\ngemm,fp16,2,3\n"))


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read_kernels(tmp_path / "none.csv")


@pytest.mark.slow
def test_a_hundred_thousand_lines_take_less_than_two_seconds(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text(
        HEADER + "".join(f"gemm,fp16,{i % 999 + 1},{i % 77 + 1},{i + 1},{i + 0.5}\n" for i in range(100_000))
    )
    start = time.process_time()
    table, us = read_measurements(path)
    assert time.process_time() - start < 2
    assert table.column("k")[-1] == 100_000 and us[-1] == 99_999.5


def test_all_measurements_that_ship_are_sound_and_small():
    files = sorted((cards_dir() / "measured").glob("*.csv.gz"))
    assert len(files) >= 7 and sum(path.stat().st_size for path in files) < 600_000
    for path in files:
        table, us = read_measurements(path)
        assert len(table) == len(us) > 20
        assert any(path.name.startswith(f"{name}-") for name in card_names())
