"""The model of a card: which family times a kernel, and what its figures rest on."""

import time

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.gpu import efficiency
from ndpsim.gpu.card import Fit, load_card
from ndpsim.gpu.efficiency import prior
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.fit import of_family, rows, to_toml
from ndpsim.gpu.gemm import GEMM
from ndpsim.gpu.kernels import OPERATIONS, Kernels, kernels
from ndpsim.gpu.model import PLAIN_LAUNCH_US, GpuModel

BARE = load_card("a100-80").model_copy(update={"fit": None})
GEMM_FIT = dict(zip([parameter.name for parameter in GEMM.parameters], prior(GEMM, BARE).tolist(), strict=True))
FITTED = BARE.model_copy(
    update={"fit": Fit(data="made up", rows=40, error={"gemm": 0.0512}, efficiencies={"gemm": GEMM_FIT})}
)
MIXED = kernels([
    ("gemm", "fp16", {"m": 64, "n": 4096, "k": 4096}),
    ("rmsnorm", "fp16", {"m": 64, "n": 4096}),
    ("attention", "fp16", {"heads": 32, "kv_heads": 8, "head_dim": 128, "decodes": 64, "context": 500}),
    ("h2d", "fp16", {"bytes": 1 << 20}),
    ("gemv", "int8-weights", {"n": 28672, "k": 4096}),
    ("sparse_gemm", "fp16", {"m": 4, "n": 500, "k": 4096}),
    ("softmax", "fp16", {"m": 64, "n": 1000}),
])  # fmt: skip


def test_every_operation_belongs_to_one_family():
    assert sorted(op for family in FAMILIES for op in family.operations) == sorted(OPERATIONS)


def test_each_kernel_is_timed_by_its_family_in_the_order_of_the_table():
    model = GpuModel.of(FITTED)
    found = model.microseconds(MIXED)
    for family in FAMILIES:
        mine = of_family(MIXED, family)
        assert mine.any()
        wanted = family.times(rows(MIXED, mine), FITTED, model.efficiencies[family.name])
        assert found[mine].tolist() == wanted.tolist()
    order = np.array([3, 5, 0, 1, 6, 2, 4])
    assert model.microseconds(rows(MIXED, order)).tolist() == found[order].tolist()
    assert (found > 0).all()


def test_a_table_of_one_family_and_an_empty_one():
    model = GpuModel.of(FITTED)
    products = rows(MIXED, np.array([0, 4, 5]))
    assert model.microseconds(products).tolist() == model.microseconds(MIXED)[[0, 4, 5]].tolist()
    nothing = Kernels(MIXED.op[:0], MIXED.dtype[:0], MIXED.shape[:0])
    assert model.microseconds(nothing).shape == model.plain(nothing).shape == (0,)


def test_short_kernels_wait_for_the_host_if_they_are_launched_one_by_one():
    model = GpuModel.of(FITTED)
    table = kernels([("gemm", "fp16", {"m": 1, "n": n, "k": 64}) for n in (64, 1 << 20)])
    in_graph, plain = model.microseconds(table), model.plain(table)
    assert in_graph[0] < PLAIN_LAUNCH_US < in_graph[1]
    assert plain.tolist() == [PLAIN_LAUNCH_US, in_graph[1]]


def test_figures_say_whether_the_card_was_measured():
    assert GpuModel.of(FITTED).origin == "A100 SXM 80 GB: fitted (gemm 5.1%)"
    assert GpuModel.of(BARE).origin == "A100 SXM 80 GB: predicted from other cards"


def test_own_fits_are_used_and_the_rest_is_predicted(monkeypatch):
    slow = FITTED.model_copy(
        update={"fit": FITTED.fit.model_copy(update={"efficiencies": {"gemm": GEMM_FIT | {"launch_us": 7.5}}})}
    )
    monkeypatch.setattr(efficiency, "measured_cards", lambda: [])
    fitted, bare = GpuModel.of(slow), GpuModel.of(BARE)
    assert fitted.efficiencies["gemm"].tolist() == [7.5, *list(GEMM_FIT.values())[1:]]
    for family in FAMILIES:
        assert bare.efficiencies[family.name] == pytest.approx(prior(family, BARE))
        if family is not GEMM:
            assert fitted.efficiencies[family.name].tolist() == bare.efficiencies[family.name].tolist()


def test_a_fit_of_another_model_is_refused_with_the_name_of_its_file(tmp_path):
    wrong = {name: value for name, value in GEMM_FIT.items() if name != "launch_us"} | {"start_us": 1.0, "ramp": 0.9}
    card = FITTED.model_copy(update={"fit": FITTED.fit.model_copy(update={"efficiencies": {"gemm": wrong}})})
    path = tmp_path / "own.toml"
    path.write_text(to_toml(card))
    with pytest.raises(InputError) as error:
        GpuModel.load(str(path))
    assert str(error.value) == (
        f"{path}: fit.efficiencies.gemm.launch_us: expected a value for each parameter, found nothing; "
        "fit.efficiencies.gemm.start_us: expected a value for each parameter, found an unknown name; "
        "fit.efficiencies.gemm.ramp: expected 0.002 to 0.5, found 0.9"
    )


@pytest.mark.slow
def test_a_million_mixed_shapes_take_seconds_at_most():
    model = GpuModel.of(BARE)
    table = rows(MIXED, np.tile(np.arange(len(MIXED)), 10_000))
    model.microseconds(table)
    began = time.process_time()
    model.microseconds(table)
    assert len(table) / (time.process_time() - began) > 200_000
