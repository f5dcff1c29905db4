"""`ndpsim gpu` as a user meets it."""

import gzip
import io
import json
import os

import numpy as np
import pytest
from cli_support import refused, run

from ndpsim.gpu.card import card_names, load_card
from ndpsim.gpu.kernels import COLUMNS, OPERATIONS, kernels
from ndpsim.gpu.model import PLAIN_LAUNCH_US, GpuModel
from ndpsim.gpu.validation import measurements

ROWS = [
    ("gemm", "bf16", {"m": 64, "n": 28672, "k": 4096}),
    ("gemv", "fp16", {"n": 4096, "k": 4096}),
    ("gemm", "int8-weights", {"m": 64, "n": 28672, "k": 4096}),
    ("sparse_gemm", "fp16", {"m": 1, "n": 100, "k": 4096}),
    ("gemm", "bf16", {"m": 1, "n": 64, "k": 64}),
]
HEAD = "op,dtype,m,n,k\n"


def csv_of(rows, us=None):
    lines = ["op,dtype,m,n,k" + (",us" if us is not None else "")]
    for i, (op, dtype, shape) in enumerate(rows):
        cells = [op, dtype, *(str(shape.get(name, "")) for name in "mnk")]
        lines.append(",".join([*cells, *([f"{us[i]!r}"] if us is not None else [])]))
    return "\n".join(lines) + "\n"


ZIPPED = gzip.compress(csv_of(ROWS).encode(), mtime=0)


def written(folder, content, name="shapes.csv"):
    path = folder / name
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return path


def from_stdin(monkeypatch, content):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


@pytest.fixture
def own_measurements(tmp_path):
    """A table of made-up measurements, slower by a tenth than the model says without any."""
    rng = np.random.default_rng(4)
    sizes = (2 ** rng.uniform((0, 6, 6), (12, 15, 15), (120, 3))).astype(int).tolist()
    rows = [("gemm", "fp16", dict(zip("mnk", size, strict=True))) for size in sizes]
    us = 1.1 * GpuModel.load("t4").microseconds(kernels(rows))
    return written(tmp_path, csv_of(rows, us.tolist()), "mine.csv")


def test_the_list_names_every_card_and_whether_it_was_measured(capsys):
    code, out, err = run(capsys, "gpu", "list")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()[1:] if line.split()[0] in card_names()}
    assert sorted(lines) == card_names()
    assert "predicted" in lines["t4"] and "320" in lines["t4"]
    code, out, _ = run(capsys, "gpu", "list", "--json")
    assert code == 0 and out.count("\n") == 1
    assert json.loads(out)["cards"] == {name: load_card(name).model_dump(exclude={"traits"}) for name in card_names()}


@pytest.mark.parametrize("form", ["csv", "gz", "stdin"])
def test_microseconds_come_in_the_order_of_the_table(capsys, tmp_path, monkeypatch, form):
    text = csv_of(ROWS).encode()
    source = "-"
    if form == "stdin":
        from_stdin(monkeypatch, text)
    else:
        source = written(tmp_path, gzip.compress(text) if form == "gz" else text)
    code, out, err = run(capsys, "gpu", "predict", source, "--card", "h100", "--json")
    model = GpuModel.load("h100")
    assert (code, err) == (0, "") and out.count("\n") == 1
    assert json.loads(out) == {
        "card": "H100 SXM",
        "origin": model.origin,
        "us": model.microseconds(kernels(ROWS)).tolist(),
    }


def test_without_json_a_line_for_each_kernel_and_what_they_rest_on_beside(capsys, tmp_path):
    code, out, err = run(capsys, "gpu", "predict", written(tmp_path, csv_of(ROWS)), "--card", "T4")
    model = GpuModel.load("t4")
    assert code == 0
    assert out.splitlines() == [f"{us:.3f}" for us in model.microseconds(kernels(ROWS))]
    assert err == f"us of 5 kernels on {model.origin}\n"


def test_plain_launches_and_measured_times_in_the_same_table(capsys, tmp_path):
    path = written(tmp_path, csv_of(ROWS, [1.0] * 5))
    code, out, _ = run(capsys, "gpu", "predict", path, "--card", "rtx4090", "--plain", "--json")
    us = GpuModel.load("rtx4090").microseconds(kernels(ROWS))
    assert code == 0 and us[4] < PLAIN_LAUNCH_US
    assert json.loads(out)["us"] == [*us[:4].tolist(), PLAIN_LAUNCH_US]


def test_an_unknown_card_lists_the_known_ones(capsys, tmp_path):
    says = refused(capsys, "gpu", "predict", written(tmp_path, csv_of(ROWS)), "--card", "rtx5090")
    assert says == f"ndpsim: card 'rtx5090': expected one of {', '.join(card_names())}, or a .toml file\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEAD + "gemm,fp16,1,2,3\ngemm,fp16,0,2,3\n", "line 3: m: expected an integer from 1 to 2^40 for gemm, fou"),
        (HEAD + f"gemm,fp16,1,{1 << 20},{1 << 20}\n", "line 2: expected at most 2^40 bytes, found 2.2e+12"),
        (HEAD + f"gemm,fp16,1,1,{1 << 41}\n", "line 2: k: expected an integer from 1 to 2^40 for gemm, found 2.199"),
        (HEAD + "conv,fp16,1,2,3\n", "line 2: op: expected one of gemm, gemv, sparse_gemm, attention, "),
        (HEAD + "gemm,fp8,1,2,3\n", "line 2: dtype: expected one of fp16, bf16, int8, "),
        (HEAD + "gemm,fp16,1,2,\n", "line 2: k: expected a positive number for gemm, found nothing"),
        (HEAD + "gemm,fp16,1,2,x\n", "line 2: k: expected a number, found 'x'"),
        (HEAD + "gemm,fp16,1,2,nan\n", "line 2: k: expected a number, found 'nan'"),
        (HEAD + "gemm,fp16,1,2\n", "line 2: expected 5 cells, found 4"),
        (HEAD + '\ngemm,fp16,1,2,3\ngemm,"fp16,1,2,3\n', "line 4: expected comma-separated values, found: "),
        (HEAD + "copy,fp16,1,2,3\n", "line 2: k: expected nothing for copy, found 3"),
        ("op,m,n,k\ngemm,1,2,3\n", "line 1: expected a column dtype, found none"),
        ("op,dtype,m,n,k,l\ngemm,fp16,1,2,3,4\n", "line 1: expected columns among op, dtype, m, n, k, "),
        ("op,dtype,m,m\ncopy,fp16,1,2\n", "line 1: expected the column m once, found it again"),
        ("", "line 1: expected a column dtype, found none; expected a column op, found none"),
        (HEAD, "expected kernels below the line of columns, found none"),
        (b"\x80\x81\xff\x00\x01", "expected text in UTF-8, found other bytes"),
        (gzip.compress(b"\x80\x81", mtime=0), "expected text in UTF-8, found other bytes"),
        (ZIPPED[:-9], "expected a whole gzip file, found a damaged or truncated one"),
        (ZIPPED[:4], "expected a whole gzip file, found a damaged or truncated one"),
        (ZIPPED + b"more", "expected a whole gzip file, found a damaged"),
    ],
)  # fmt: skip
def test_tables_that_are_none_are_refused_in_one_sentence(capsys, tmp_path, content, says):
    path = written(tmp_path, content)
    found = refused(capsys, "gpu", "predict", path, "--card", "t4", "--json")
    assert found.startswith(f"ndpsim: {path}: {says}")


def test_from_stdin_too(capsys, monkeypatch):
    from_stdin(monkeypatch, b"op,dtype\ngemm,fp16\n")
    assert refused(capsys, "gpu", "predict", "-", "--card", "t4").startswith("ndpsim: input: line 2: m: expected a ")
    from_stdin(monkeypatch, b"\xff\xfe")
    assert "input: expected text in UTF-8, found other bytes" in refused(capsys, "gpu", "predict", "-", "--card", "t4")


def test_up_to_twenty_faulty_lines_are_named(capsys, tmp_path):
    path = written(tmp_path, HEAD + "gemm,fp16,0,1,1\n" * 25)
    found = refused(capsys, "gpu", "predict", path, "--card", "t4")
    assert found.count("line ") == 20 and "line 21: m" in found and found.endswith("; and 5 more lines\n")


def test_absent_files_are_refused(capsys, tmp_path):
    path = tmp_path / "none.csv"
    found = refused(capsys, "gpu", "predict", path, "--card", "t4")
    assert found == f"ndpsim: {path}: expected a readable file, found: No such file or directory\n"
    assert "expected a readable file, found: Is a directory" in refused(
        capsys, "gpu", "predict", tmp_path, "--card", "t4"
    )


def test_a_card_file_with_faults_is_refused_with_all_of_them(capsys, tmp_path):
    card = written(tmp_path, 'name = "X"\nsms = -1\nl2 = 3\n', "x.toml")
    found = refused(capsys, "gpu", "predict", written(tmp_path, csv_of(ROWS)), "--card", card)
    for fault in (
        "sms: expected greater than 0, found -1",
        "l2: expected only known keys",
        "clock_mhz: expected a value",
    ):
        assert fault in found
    assert found.startswith(f"ndpsim: {card}: ")


def test_a_fit_becomes_a_card_that_predicts_what_was_measured(capsys, tmp_path, own_measurements):
    output = tmp_path / "mine.toml"
    code, out, err = run(capsys, "gpu", "fit", own_measurements, "--card", "t4", "-o", output, "--origin", "ours")
    assert (code, err) == (0, "")
    card = load_card(str(output))
    assert card.fit.data == "ours" and card.fit.rows == 120 and card.fit.error["gemm"] < 0.02
    error = f"{100 * card.fit.error['gemm']:.1f} % mean absolute error on the half that the fit has not seen"
    assert [line.split() for line in out.splitlines()] == [["Tesla", "T4"], ["gemm", *error.split()]]
    code, out, _ = run(capsys, "gpu", "predict", own_measurements, "--card", output, "--json")
    measured = [float(line.split(",")[-1]) for line in own_measurements.read_text().splitlines()[1:]]
    assert json.loads(out)["us"] == pytest.approx(measured, rel=0.1)
    assert json.loads(out)["origin"].startswith("Tesla T4: fitted (gemm ")


def test_several_tables_are_fitted_together_and_named(capsys, tmp_path, own_measurements):
    text = own_measurements.read_text().splitlines()
    first = written(tmp_path, "\n".join(text[:61]) + "\n", "first.csv")
    second = written(tmp_path, gzip.compress("\n".join([text[0], *text[61:]]).encode()), "second.csv.gz")
    whole, parts = tmp_path / "whole.toml", tmp_path / "parts.toml"
    assert run(capsys, "gpu", "fit", own_measurements, "--card", "t4", "-o", whole)[0] == 0
    assert run(capsys, "gpu", "fit", first, second, "--card", "t4", "-o", parts)[0] == 0
    assert load_card(str(whole)).fit.data == "mine.csv"
    assert load_card(str(parts)).fit.data == "first.csv, second.csv.gz"
    assert load_card(str(parts)).fit.efficiencies == load_card(str(whole)).fit.efficiencies


def test_a_file_whose_name_is_no_text_is_fitted_too(capsys, tmp_path, own_measurements):
    odd, output = tmp_path / os.fsdecode(b"\xff.csv"), tmp_path / "mine.toml"
    own_measurements.rename(odd)
    assert run(capsys, "gpu", "fit", odd, "--card", "t4", "-o", output)[0] == 0
    assert load_card(str(output)).fit.data == "?.csv"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (csv_of(ROWS), "line 1: expected a column us, found none"),
        (
            csv_of(ROWS, [1.0, 0.0, 2.0, -1.0, 1e10]),
            "line 3: us: expected a number above 0 and up to 1e+09, found 0; lin",
        ),
        (
            csv_of(ROWS, [1.0] * 5).replace(",1.0\n", ",\n", 1),
            "line 2: us: expected a number above 0 and up to 1e+09, fo",
        ),
    ],
)
def test_tables_without_times_are_refused_and_no_card_is_written(capsys, tmp_path, content, says):
    path, output = written(tmp_path, content), tmp_path / "mine.toml"
    assert refused(capsys, "gpu", "fit", path, "--card", "t4", "-o", output).startswith(f"ndpsim: {path}: {says}")
    assert sorted(tmp_path.iterdir()) == [path]


def test_too_few_rows_leave_the_card_as_it_was(capsys, tmp_path):
    path, output = written(tmp_path, csv_of(ROWS, [1.0] * 5)), written(tmp_path, "as it was", "mine.toml")
    found = refused(capsys, "gpu", "fit", path, "--card", "t4", "-o", output)
    assert found.startswith("ndpsim: shapes.csv: expected 20 rows of one kind of kernel")
    assert output.read_text() == "as it was" and sorted(tmp_path.iterdir()) == [output, path]


def test_an_interrupted_write_leaves_nothing(capsys, tmp_path, own_measurements, monkeypatch):
    def interrupted(card):
        raise KeyboardInterrupt

    monkeypatch.setattr("ndpsim.gpu.fit.to_toml", interrupted)
    code, out, err = run(capsys, "gpu", "fit", own_measurements, "--card", "t4", "-o", tmp_path / "mine.toml")
    assert (code, out, err) == (130, "", "\nndpsim: interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == [own_measurements]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("mine.txt", "mine.txt: expected a name that ends in .toml"),
        ("no/mine.toml", "no/mine.toml: expected a place that can be written, found: No such file or directory"),
    ],
)
def test_where_the_card_cannot_lie_is_told_before_the_fit(capsys, tmp_path, output, says):
    assert says in refused(capsys, "gpu", "fit", "absent.csv", "--card", "t4", "-o", tmp_path / output)


def test_the_validation_has_rows_for_every_measured_card(capsys):
    code, out, err = run(capsys, "gpu", "validate", "--json")
    rows = json.loads(out)["rows"]
    assert (code, err) == (0, "") and out.count("\n") == 1
    measured = {(one.card, one.origin) for one in measurements()}
    predicted = [row for row in rows if row["basis"] == "predicted from the other cards"]
    assert {(row["card"], row["origin"]) for row in predicted} == measured
    fitted = {row["card"] for row in rows if row["basis"] == "fitted to the other half of these"}
    assert fitted == {name for name in card_names() if load_card(name).fitted} == {card for card, _ in measured}
    assert len({(row["card"], row["origin"], row["kind"], row["basis"]) for row in rows}) == len(rows)
    alone = {row["card"]: row["basis"] for row in rows if row["basis"].endswith("alone")}
    assert alone == {"a100-80": "predicted from the rtx4090 alone", "rtx4090": "predicted from the a100-80 alone"}
    for row in rows:
        assert set(row["errors"]) == {"rows", "mean", "p95", "bias"}
        assert row["errors"]["rows"] > 0 and abs(row["errors"]["bias"]) <= row["errors"]["mean"] + 1e-12


@pytest.mark.slow
def test_the_validation_for_people_and_its_plot(capsys, tmp_path):
    plot = tmp_path / "plot.svg"
    code, out, _ = run(capsys, "gpu", "validate", "-o", plot)
    assert code == 0 and "<svg" in plot.read_text()
    for heading in ("Efficiencies predicted from the other cards", "mean error", "95th percentile", "bias"):
        assert heading in out
    assert "rtx4090" in out and "l40s" in out


def test_every_operation_and_every_column_is_explained(capsys):
    code, out, _ = run(capsys, "gpu", "operations", "--json")
    record = json.loads(out)
    assert code == 0 and list(record["operations"]) == list(OPERATIONS) and set(record["columns"]) == set(COLUMNS)
    code, out, _ = run(capsys, "gpu", "operations")
    assert code == 0 and "\ngemv: m, n, k [rotation]\n" in out and all(f"\n  {name}: " in out for name in COLUMNS)
