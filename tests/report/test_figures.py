"""The figures of a run made by hand (`hand_made_run`), each beside the number that a person worked out."""

import math

import pytest
from hand_made_run import hand_made_run, machine

from ndpsim.errors import InputError
from ndpsim.report.figures import NOTE, figures_of


@pytest.fixture(scope="module")
def found():
    return figures_of(hand_made_run())


def close(wanted):
    return pytest.approx(wanted, rel=1e-12)


def test_times_and_rates_follow_from_the_prompt_and_uneven_passes(found):
    assert found["simulated_s"] == close(3.5e-6)  # 2 + 0.5 + 0.3 + 0.7 us
    assert found["time_to_first_token_s"] == close(2e-6)  # the prompt
    assert found["time_per_output_token_s"] == close(0.5e-6)  # 1.5 us by the three passes behind it
    assert found["tokens_per_s"] == close(12 / 3.5e-6)  # four tokens of three sequences
    assert found["decode_tokens_per_s"] == close(6e6)  # nine tokens in 1.5 us


def test_an_output_of_one_token_has_no_time_for_later_ones():
    found = figures_of(hand_made_run(token_ps=()))
    assert found["time_per_output_token_s"] is None and found["decode_tokens_per_s"] is None
    assert found["time_to_first_token_s"] == found["simulated_s"] == close(2e-6)
    assert found["tokens_per_s"] == close(1.5e6)  # one token of three sequences in 2 us
    assert found["output_tokens"] == 1 and found["complete"] is False


def test_there_are_no_figures_before_the_first_token():
    with pytest.raises(InputError, match=r"^run: expected at least one output token, found none$"):
        figures_of(hand_made_run(prompt_ps=None, token_ps=()))


def test_a_record_says_what_was_run(found):
    assert {name: found[name] for name in (
        "system", "model", "sequences", "prompt_tokens", "output_tokens", "complete", "gpu", "machine", "predictor"
    )} == {
        "system": "by-hand", "model": "a model", "sequences": 3, "prompt_tokens": 17, "output_tokens": 4,
        "complete": True, "gpu": "a card of 400 W", "machine": "desk", "predictor": None,
    }  # fmt: skip
    assert found["changed"] == {"gpu.card": ["theirs", "mine"], "dimm.ranks": [None, 2]}
    assert found["dimms"] == machine().summary() and found["dimms"]["dimms"] == 2
    assert found["dimms"]["ranks"] == 4 and found["dimms"]["capacity_bytes"] == 4 * 8 * 2**30  # 4 devices of 16 Gb each
    assert found["dimms"]["peak_gb_per_s"] == close(102.4)  # four ranks of 64 bits at 3200 MT/s


def test_time_on_the_critical_path_is_told_by_operation(found):
    assert found["operation_s"] == {
        "prompt": close(2e-6), "qkv": close(0.2e-6), "attention": close(0.35e-6), "ffn": close(0.95e-6)
    }  # fmt: skip


def test_busy_time_is_told_by_device_and_operation(found):
    assert found["busy_s"] == {
        "gpu": {"prompt": close(2e-6), "qkv": close(0.2e-6), "ffn": close(0.3e-6)},
        "pcie": {"prompt": close(0.4e-6), "hidden": close(0.1e-6)},
        "cpu": {"attention": close(0.35e-6)},
        "dimms": {"ffn": close(1.4e-6)},
        "dimm-link": {"remap": close(0.1e-6)},
    }


def test_use_is_the_share_of_the_whole_run(found):
    assert found["use"] == {
        "gpu": close(2.5 / 3.5), "pcie": close(0.5 / 3.5), "cpu": close(0.1), "dimms": close(0.4),
        "dimm-link": close(0.1 / 3.5),
    }  # fmt: skip


def test_bytes_of_each_link_and_events_are_counts(found):
    assert found["link_bytes"] == {"h2d": 1500, "d2h": 24, "remap": 640}
    assert found["events"] == {"swaps": 7}


def test_dimms_move_their_bytes_while_rows_move_and_the_busiest_is_set_beside_the_mean(found):
    assert found["dimm_stream_s"] == [close(1e-6), close(0.25e-6)]
    assert found["dimm_bytes"] == [25_600, 3_200]
    assert found["dimm_gb_per_s"] == [close(25.6), close(12.8)]
    assert found["dimm_imbalance"] == close(1.6)  # 1 us over a mean of 0.625 us


def test_dimms_that_moved_nothing_have_no_rate_and_are_even():
    run = hand_made_run()
    run.system.ndp.stream_ps[:], run.system.ndp.dram_bytes[:] = 0, 0
    found = figures_of(run)
    assert found["dimm_gb_per_s"] == [0, 0] and found["dimm_imbalance"] == 1
    run.system.ndp.stream_ps[1], run.system.ndp.dram_bytes[1] = 250_000, 3_200
    found = figures_of(run)
    assert found["dimm_gb_per_s"] == [0, close(12.8)] and found["dimm_imbalance"] == 2


def test_every_joule_is_worked_out_by_hand(found):
    # 3.5 us are 5600 clocks. The two ranks that work are open for 5600 - (22 + 560) and for 5600 clocks, 10,618 in all;
    # of the 44,800 clocks of eight ranks 34,182 are left. A rank has four devices, a burst 512 bits.
    parts = found["energy_by_part"]
    assert parts["dram"] == {
        "activate": close(20e-9),  # 5 * 4 * 1000 pJ
        "read": close(409.6e-9),  # 400 * 512 * 2 pJ
        "write": close(76.8e-9),  # 50 * 512 * 3 pJ
        "refresh": close(32e-9),  # 4 * 8000 pJ
        "precharged_standby": close(4272.75e-9),  # 34,182 * 0.625 ns * 4 * 50 mW
        "active_standby": close(1592.7e-9),  # 10,618 * 0.625 ns * 4 * 60 mW
        "io": close(108.8e-9),  # 400 * 512 * 0.5 pJ + 50 * 512 * 0.25 pJ
        "total": close(6512.65e-9),
    }
    assert parts["ndp"] == {
        "mac": close(600e-9),  # 1e6 * 0.5 + 2e5 * 0.25 + 4e5 * 0.125 pJ
        "buffer": close(1500e-9),  # 1e6 * 1.5 pJ
        "vector": close(600e-9),  # 3e5 * 2 pJ
        "link": close(0.8e-9),  # 80 * 8 * 1.25 pJ
        "static": close(700e-9),  # 2 * 100 mW * 3.5 us
        "total": close(3400.8e-9),
    }
    assert parts["dimm_link"] == {"total": close(6.4e-9)}  # 640 * 8 * 1.25 pJ
    assert parts["gpu"] == {"total": close(2e-3)}  # 2.5 us * 400 W * 2 cards
    assert parts["cpu"] == {"total": close(52.5e-6)}  # 0.35 us * 150 W
    assert list(parts) == ["dram", "ndp", "dimm_link", "gpu", "cpu"]
    assert found["energy_j"] == close(2_062_419.85e-9)
    assert found["energy_note"].startswith(
        "dram: estimated energies per event (made up). ndp: figures of DIMM hermes. "
    )
    assert found["energy_note"].endswith("The memory channel to the host is not included. " + NOTE)


def test_dimms_without_energies_leave_their_parts_and_the_total_unknown():
    found = figures_of(hand_made_run(dimms=machine(energies=None)))
    parts = found["energy_by_part"]
    assert found["energy_j"] is None and parts["ndp"] is None and parts["dimm_link"] is None
    assert parts["dram"]["total"] == close(6512.65e-9) and parts["gpu"]["total"] == close(2e-3)


def test_dram_without_currents_leaves_its_part_and_the_total_unknown():
    found = figures_of(hand_made_run(dimms=machine(currents=None)))
    parts = found["energy_by_part"]
    assert found["energy_j"] is None and parts["dram"] is None
    assert parts["ndp"]["total"] == close(3400.8e-9) and parts["dimm_link"]["total"] == close(6.4e-9)


def test_a_system_without_dimms_or_cpu_has_only_its_cards():
    run = hand_made_run(has_ndp=False)
    del run.system.meter.busy["cpu", "attention"]
    found = figures_of(run)
    assert found["energy_by_part"] == {"gpu": {"total": close(2e-3)}} and found["energy_j"] == close(2e-3)
    assert found["energy_note"] == NOTE
    assert not any(name.startswith("dimm_") for name in found)


def test_cards_that_never_work_take_nothing():
    run = hand_made_run(has_ndp=False)
    for device, operation in list(run.system.meter.busy):
        if device == "gpu":
            del run.system.meter.busy[device, operation]
    assert figures_of(run)["energy_by_part"]["gpu"] == {"total": 0}


def test_without_neurons_that_move_the_link_between_dimms_takes_nothing():
    run = hand_made_run()
    del run.system.meter.link["remap"]
    assert figures_of(run)["energy_by_part"]["dimm_link"] == {"total": 0}


def test_figures_of_the_system_itself_come_along():
    found = figures_of(hand_made_run(figures={"predictor": {"accuracy": 0.5}, "resident_bytes": 4096}))
    assert found["predictor"] == {"accuracy": 0.5} and found["resident_bytes"] == 4096
    assert not any(isinstance(one, float) and math.isnan(one) for one in found.values())
