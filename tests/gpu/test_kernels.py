"""The table of kernels: what a row may say, and which sizes there can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.gpu.kernels import (
    COLUMNS,
    DTYPES,
    MAX_BYTES,
    OP_NAMES,
    OPERATIONS,
    OPTIONAL,
    SYNONYMS,
    dtype_index,
    faults_of_shapes,
    kernels,
    op_index,
)

DECODE = {"heads": 32, "kv_heads": 8, "head_dim": 128, "decodes": 4, "context": 100}
SOUND = {
    "gemm": {"m": 2, "n": 3, "k": 4},
    "gemv": {"n": 3, "k": 4},
    "attention": DECODE,
    "softmax": {"m": 2, "n": 3},
    "h2d": {"bytes": 4096},
    "all_reduce": {"bytes": 4096, "gpus": 2},
}


def fault_of(op, shape, dtype="fp16"):
    with pytest.raises(InputError) as error:
        kernels([(op, dtype, shape)])
    assert str(error.value).startswith("kernel 1: ")
    return str(error.value).removeprefix("kernel 1: ")


@pytest.mark.parametrize(("op", "shape"), SOUND.items())
def test_a_row_holds_what_was_said(op, shape):
    table = kernels([(op, "int8", shape)])
    assert OP_NAMES[table.op[0]] == op and list(DTYPES)[table.dtype[0]] == "int8"
    wanted = {name: shape.get(name, 0) for name in COLUMNS} | ({"m": 1} if op == "gemv" else {})
    assert {name: table.column(name)[0] for name in COLUMNS} == wanted


def test_a_column_is_a_view_of_the_shapes():
    table = kernels([("gemv", "fp16", SOUND["gemv"])] * 3)
    table.column("k")[1] = 9
    assert len(table) == 3 and table.shape[:, COLUMNS.index("k")].tolist() == [4, 9, 4]


def test_types_have_synonyms():
    assert {name: dtype_index(name) for name in SYNONYMS} == {name: dtype_index(SYNONYMS[name]) for name in SYNONYMS}
    assert dtype_index("float16") == dtype_index("fp16") == 0
    assert dtype_index("fp8") == op_index("conv") == -1


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_needed_column_is_missed(op):
    sound = dict.fromkeys(OPERATIONS[op], 1) | ({"decodes": 1, "context": 1} if op == "attention" else {})
    kernels([(op, "fp16", sound)])
    for name in OPERATIONS[op]:
        if (op, name) != ("gemv", "m"):
            shape = {key: value for key, value in sound.items() if key != name}
            assert fault_of(op, shape) == f"{name}: expected a positive number for {op}, found nothing"


@pytest.mark.parametrize("op", OPERATIONS)
def test_columns_of_other_operations_are_refused(op):
    sound = dict.fromkeys(OPERATIONS[op], 1) | ({"decodes": 1, "context": 1} if op == "attention" else {})
    for name in set(COLUMNS) - set(OPERATIONS[op]) - set(OPTIONAL.get(op, ())):
        assert fault_of(op, sound | {name: 5}) == f"{name}: expected nothing for {op}, found 5"


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), 2.0**41])
def test_sizes_are_positive_integers_up_to_a_tebibyte(value):
    found = fault_of("gemm", {"m": value, "n": 3, "k": 4})
    assert found == f"m: expected an integer from 1 to 2^40 for gemm, found {value:g}"


@pytest.mark.parametrize("value", [-1, 0.5, float("nan"), 2.0**41])
def test_what_has_a_default_may_be_zero_but_no_less(value):
    kernels([("gemm", "fp16", SOUND["gemm"] | {"rotation": 0})])
    found = fault_of("gemm", SOUND["gemm"] | {"rotation": value})
    assert found == f"rotation: expected an integer from 0 to 2^40 for gemm, found {value:g}"


@pytest.mark.parametrize(
    ("op", "shape", "dtype", "says"),
    [
        ("conv", {}, "fp16", "op: expected one of gemm, gemv, sparse_gemm, "),
        ("gemm", SOUND["gemm"], "fp8", "dtype: expected one of fp16, bf16, int8, "),
        ("gemm", SOUND["gemm"] | {"rows": 1}, "fp16", "rows: expected columns among m, n, k, "),
        ("gemv", {"m": 2, "n": 3, "k": 4}, "fp16", "m: expected 1 for gemv, found 2"),
        ("attention", DECODE | {"heads": 30}, "fp16", "heads: expected a multiple of kv_heads 8, found 30"),
        ("attention", DECODE | {"context": 0}, "fp16", "expected prefills and queries, or decodes and context, for "),
        ("attention", DECODE | {"context": 0, "prefills": 1}, "fp16", "expected prefills and queries, or decodes and"),
    ],
)
def test_each_fault_is_told(op, shape, dtype, says):
    assert fault_of(op, shape, dtype).startswith(says)


def test_the_first_faulty_kernel_is_named():
    with pytest.raises(InputError, match=r"^kernel 3: m: expected"):
        kernels([("gemm", "fp16", SOUND["gemm"])] * 2 + [("gemm", "fp16", {"m": 0, "n": 1, "k": 1})] * 2)


@pytest.mark.parametrize(
    ("op", "shape", "dtype"),
    [
        ("gemm", {"m": 1, "n": 1 << 20, "k": 1 << 20}, "fp16"),
        ("gemm", {"m": 1 << 20, "n": 1 << 20, "k": 1}, "int4-weights"),
        ("copy", {"m": 1 << 20, "n": 1 << 20}, "fp16"),
        ("attention", DECODE | {"decodes": 1 << 20, "context": 1 << 20}, "fp16"),
        ("attention", DECODE | {"prefills": 1 << 20, "queries": 1 << 20}, "fp16"),
        ("attention", DECODE | {"prefills": 1, "queries": 1, "past": 1 << 40}, "fp16"),
    ],
)
def test_more_bytes_than_2_to_the_40_are_refused(op, shape, dtype):
    assert fault_of(op, shape, dtype).startswith("expected at most 2^40 bytes, found ")


@given(st.sampled_from(["fp16", "int8", "int4-weights", "fp32"]), *(st.integers(1, 1 << 21) for _ in range(3)))
def test_the_bytes_of_a_product_decide(dtype, m, n, k):
    kind = DTYPES[dtype]
    size = kind.activation * m * (n + k) + kind.weight * n * k
    try:
        kernels([("gemm", dtype, {"m": m, "n": n, "k": k})])
    except InputError:
        assert size > MAX_BYTES
    else:
        assert size <= MAX_BYTES


def test_exactly_2_to_the_40_bytes_pass():
    kernels([("h2d", "fp16", {"bytes": 1 << 40})])
    assert "bytes: expected an integer from 1 to 2^40" in fault_of("h2d", {"bytes": (1 << 40) + 1})


def test_one_fault_is_told_for_each_faulty_row():
    table = kernels(
        [("gemm", "fp16", SOUND["gemm"]), ("copy", "fp16", {"m": 1, "n": 1}), ("gemv", "fp16", {"n": 1, "k": 1})]
    )
    given_cells = table.shape > 0
    table.column("m")[0] = table.column("n")[0] = 0
    table.column("m")[2] = 3
    assert faults_of_shapes(table, given_cells) == {
        0: "m: expected an integer from 1 to 2^40 for gemm, found 0",
        2: "m: expected 1 for gemv, found 3",
    }


def test_rows_with_an_unknown_operation_or_type_are_passed_over():
    table = kernels([("gemm", "fp16", SOUND["gemm"])] * 2)
    table.op[0] = table.dtype[1] = -1
    assert faults_of_shapes(table, np.zeros(table.shape.shape, np.bool_)) == {}
