"""Where something does not fit, the message says which field at which value would be enough, and it is."""

import re
from types import SimpleNamespace as Names

import pytest

from ndpsim.errors import InputError
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.systems.parts.host_weights import Sizes
from ndpsim.systems.parts.room import card_enough


def refused(system, model, prompt=16, batch=1, **changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    with pytest.raises(InputError) as caught:
        Run(Setup.of(system, model, prompt=prompt, output=1, batch=batch, changes=changes))
    return str(caught.value)


def made(system, model, prompt=16, batch=1, **changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return Run(Setup.of(system, model, prompt=prompt, output=1, batch=batch, changes=changes))


@pytest.mark.parametrize(
    ("system", "model", "changes", "field"),
    [
        ("gpu-only", "llama2-13b", {}, "gpu.memory_mib"),
        ("gpu-only", "llama2-7b", {"policy__memory_share": 0.5}, "policy.memory_share"),
        ("tensor-parallel", "llama2-70b", {"gpu__count": 2}, "gpu.count"),
        ("accelerate", "opt-66b", {"dimm__count": 2}, "dimm.count"),
        ("flexgen", "opt-66b", {"dimm__count": 2}, "dimm.count"),
        ("accelerate", "opt-66b", {"gpu__weights_gb": 1}, "gpu.weights_gb"),
    ],
)
def test_the_least_value_that_a_message_names_is_enough_and_one_less_is_not(system, model, changes, field):
    text = refused(system, model, **changes)
    least = re.search(rf"{re.escape(field)}: at least ([\d.]*\d)", text)
    assert least, text
    key, value = field.replace(".", "__"), float(least[1])
    whole = field != "policy.memory_share" and field != "gpu.weights_gb"
    step = 1 if whole else 0.01
    enough = int(value) if whole else value
    assert made(system, model, **changes | {key: enough}).system is not None
    refused(system, model, **changes | {key: enough - step})


def test_a_reserve_that_is_too_large_names_the_most():
    text = refused("accelerate", "opt-66b", gpu__reserve_gb=24)
    most = re.search(r"gpu\.reserve_gb: at most ([\d.]*\d)", text)
    assert most and "less gpu.reserve_gb" in text, text
    assert made("accelerate", "opt-66b", gpu__reserve_gb=float(most[1]))
    refused("accelerate", "opt-66b", gpu__reserve_gb=float(most[1]) + 0.02)


def test_a_placement_that_another_dimm_has_names_the_field_and_where_it_comes_from():
    text = refused("hermes", "relu-lm", dimm__name="ddr5")
    assert text.startswith("dimm.placement: expected one of interleaved, row, striped, which ")
    assert re.search(r"ddr5\.toml has, or an address map, found hashed, which .*machines/hermes\.toml has$", text)
    assert refused("hermes", "relu-lm", dimm__placement="x").endswith(", found x, as asked for")
    assert made("hermes-base", "relu-lm", dimm__name="ddr5", dimm__placement="row")


def card(memory, weights_gb=None, reserve_gb=2.0):
    reserve = Names(value=reserve_gb)
    return Names(
        config=Names(gpu=Names(weights_gb=weights_gb, reserve_gb=reserve)),
        gpu=Names(card=Names(memory_bytes=memory, name="X")),
    )


def test_a_reserve_is_named_as_long_as_it_leaves_ten_megabytes_rounded_down():
    assert card_enough(23_500_000_000, card(24_000_000_000)) == "gpu.reserve_gb: at most 0.50, of the 24.00 GB of X"
    assert card_enough(24 * 10**9 - 29_999_999, card(24 * 10**9)).startswith("gpu.reserve_gb: at most 0.02, ")
    assert card_enough(24 * 10**9 - 10**7, card(24 * 10**9)).startswith("gpu.reserve_gb: at most 0.01, ")
    assert card_enough(24 * 10**9 - 10**7 + 1, card(24 * 10**9)).startswith("gpu.memory_mib: at least ")


def test_a_card_with_enough_memory_is_named_in_whole_mib_with_the_reserve_if_there_is_one():
    mib = 1 << 20
    told = "gpu.memory_mib: at least {}, as another gpu.card may have".format
    assert card_enough(24000 * mib, card(mib, weights_gb=1.0)) == told(24000)
    assert card_enough(24000 * mib + 1, card(mib, weights_gb=1.0)) == told(24001)
    assert card_enough(24000 * mib, card(mib, reserve_gb=2.0)) == told(24000 + 1908)  # 1907.3 MiB are 2 GB
    assert card_enough(24000 * mib, card(mib, reserve_gb=1048.576e-3)) == told(25000)  # exactly 1000 MiB


def test_weights_that_take_the_last_byte_of_the_host_fit():
    job = made("accelerate", "relu-lm").job
    whole = job.shape.weight_bytes()
    for host, fits in ((whole, True), (whole - 64, False)):
        dimms = Names(atoms=host // 64, dimms=1)
        devices = Names(dimms=dimms, weight_bytes=10**9)
        if fits:
            assert Sizes.of(job, devices).host == host
        else:
            with pytest.raises(InputError, match=r"dimm\.count: expected DIMMs with room for the weights"):
                Sizes.of(job, devices)
