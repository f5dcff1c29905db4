"""Energy of NDP units by hand, and of the ranks behind them from counters and from the log."""

import dataclasses
import json

import numpy as np
import pytest
from cli_support import run
from hand_made_run import machine as hand_made_machine

from ndpsim.cli.show import energy_rows, quantity
from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.placement import LayerShape
from ndpsim.data import workloads_dir
from ndpsim.dimm.config import load_machine, machine_from_json
from ndpsim.dimm.energy import NdpWork, energy_figures, ndp_energy, ndp_work, stream_activity
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import Timer, time_program
from ndpsim.dram.energy.counts import activity_of_log
from ndpsim.dram.energy.energy import dram_energy
from ndpsim.dram.ndp.rank_state import COUNTERS
from ndpsim.errors import InputError
from ndpsim.functional.dimms import NdpDimms
from ndpsim.isa.assembly import assemble
from ndpsim.isa.encoding import words_to_array
from ndpsim.isa.program import DimmProgram, Program, Region

REGION = Region("r", 0, 1 << 20, writable=True)
HERMES = (workloads_dir() / "hardware" / "dimms" / "hermes.toml").read_text(encoding="utf-8")
LISTS = [9, 1, 3, 2, 3, 1, 0xFFFFFFFF, 0x80000001, 0x7FFFFFFF, 0xAAAAAAAA, 0xFFFF0001]


def program(*texts):
    """A program with one assembly text a DIMM; `;` stands between instructions."""
    return Program.of("{}", tuple(
        DimmProgram(words_to_array(assemble(text.replace(";", "\n"))), np.array(LISTS, np.uint32), (REGION,))
        for text in texts
    ))  # fmt: skip


def work(*texts):
    return ndp_work(resolve(program(*texts), 1 << 18).require_clean())


SET = "mat.{} m0, 0, 8, 96, 3; range l0, 1, 5; "  # five rows of 96


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 5 * 96 * 2 products, each with 2 bytes of x; 5 * 2 results of 4 bytes
        (SET.format("f16") + "dot m0, l0, [0], [4096], 2", NdpWork(macs_f16=960, buffer_bytes=960 * 2 + 40)),
        (SET.format("bf16") + "dot m0, l0, [0], [4096], 1", NdpWork(macs_bf16=480, buffer_bytes=480 * 2 + 20)),
        (SET.format("i8") + "dot m0, l0, [0], [4096], 1", NdpWork(macs_i8=480, buffer_bytes=480 + 20)),
        # each product reads and writes 4 bytes of y; 5 * 2 factors of 2 bytes
        (SET.format("f16") + "axpy m0, l0, [0], [4096], 2", NdpWork(macs_f16=960, buffer_bytes=960 * 8 + 20)),
        (SET.format("i8") + "axpy m0, l0, [0], [4096], 3", NdpWork(macs_i8=1440, buffer_bytes=1440 * 8 + 15)),
        (SET.format("f16") + "ld m0, l0, [0]", NdpWork(buffer_bytes=5 * 96 * 2)),
        (SET.format("i8") + "st m0, l0, [0]", NdpWork(buffer_bytes=5 * 96)),
        ("cvt.f32.f16 [0], [4096], 100", NdpWork(buffer_bytes=600, vector_operations=100)),
        ("cvt.i8.f32 [0], [4096], 100", NdpWork(buffer_bytes=500, vector_operations=100)),
        ("fill [0], 1.0, 100", NdpWork(buffer_bytes=400, vector_operations=100)),
        ("add.i32 [0], [512], [1024], 100", NdpWork(buffer_bytes=1200, vector_operations=100)),
        ("mul [0], [512], [1024], 100", NdpWork(buffer_bytes=1200, vector_operations=100)),
        ("relu [0], [0], 100", NdpWork(buffer_bytes=800, vector_operations=100)),
        ("silu [0], [0], 100", NdpWork(buffer_bytes=800, vector_operations=3 * 100 + 100)),
        ("gelu [0], [0], 100", NdpWork(buffer_bytes=800, vector_operations=9 * 100 + 100)),
        ("softmax [0], [0], 100, 3", NdpWork(buffer_bytes=2400, vector_operations=5 * 300 + 3)),
        ("sum [0], [4096], 100, 3", NdpWork(buffer_bytes=1212, vector_operations=300)),
        ("max [0], [4096], 100, 3", NdpWork(buffer_bytes=1212, vector_operations=300)),
        # scores and weights, and of each vector two numbers of its state read and four written
        ("softpart [0], [4096], [0], 100, 3", NdpWork(buffer_bytes=2400 + 72, vector_operations=4 * 300 + 3)),
        ("softpart [0], [4096], [0], 100, 1", NdpWork(buffer_bytes=800 + 24, vector_operations=4 * 100 + 1)),
        ("scale [0], [4096], [0], 100, 3", NdpWork(buffer_bytes=2400 + 12, vector_operations=300)),
        ("hin [0], 128; hout [64], 64", NdpWork(buffer_bytes=192)),
        ("range l0, 0, 5", NdpWork()),
        (SET.format("f16") + "range l1, 0, 0; dot m0, l1, [0], [4096], 2", NdpWork()),
        # bits of LISTS: 1 + 2 + 1 + 2 + 1 = 7 pairs of a row and a sequence; results for all 10, factors for those 7
        (
            SET.format("f16") + "mask l0, 1; dot m0, l0, [0], [4096], 2",
            NdpWork(macs_f16=672, buffer_bytes=672 * 2 + 40),
        ),
        # 2 + 1 + 2 + 1 + 2 = 8 pairs
        (
            SET.format("f16") + "mask l0, 0; dot m0, l0, [0], [4096], 4",
            NdpWork(macs_f16=768, buffer_bytes=768 * 2 + 80),
        ),
        (SET.format("i8") + "mask l0, 1; axpy m0, l0, [0], [4096], 2", NdpWork(macs_i8=672, buffer_bytes=672 * 8 + 7)),
        (SET.format("f16") + "mask l0, 6; dot m0, l0, [0], [8192], 32", NdpWork(macs_f16=9408, buffer_bytes=19456)),
        (SET.format("f16") + "mask l0, 1; ld m0, l0, [0]", NdpWork(buffer_bytes=5 * 96 * 2)),
        ("range l0, 0, 5; mask l0, 1", NdpWork()),
    ],
)
def test_an_instruction_does_the_work_counted_by_hand(text, expected):
    assert work(text + "; end") == expected


def test_a_message_is_read_sent_and_written():
    assert work("send [0], 640, 1; bar; end", "recv [0], 640, 0; bar; end") == NdpWork(
        buffer_bytes=1280, link_bytes=640
    )


def test_only_instructions_that_run_count():
    assert work("relu [0], [0], 100; end; relu [0], [0], 100; end") == work("relu [0], [0], 100; end")


def test_work_adds_up():
    once = work(SET.format("f16") + "dot m0, l0, [0], [4096], 2; silu [0], [0], 8; end")
    assert once + once == NdpWork(**{name: 2 * count for name, count in dataclasses.asdict(once).items()})


def test_each_thing_costs_what_the_description_says():
    done = NdpWork(macs_f16=1000, macs_bf16=100, macs_i8=10, buffer_bytes=5000, vector_operations=300, link_bytes=70)
    energy = ndp_energy(load_machine(dimms=2), done, 1000)
    assert energy.mac == pytest.approx((1000 * 0.50 + 100 * 0.32 + 10 * 0.10) * 1e-12)
    assert energy.buffer == pytest.approx(5000 * 1.4e-12)
    assert energy.vector == pytest.approx(300 * 1.31e-12)
    assert energy.link == pytest.approx(70 * 8 * 1.17e-12)
    assert energy.static == 0
    assert energy.total == pytest.approx(energy.mac + energy.buffer + energy.vector + energy.link)
    assert energy.basis == "figures of DIMM hermes; static power not included"


def described(tmp_path, old, new):
    assert HERMES.count(old) == 1, old
    path = tmp_path / "other.toml"
    path.write_text(HERMES.replace(old, new), encoding="utf-8")
    return load_machine(str(path), dimms=2)


STATIC = 'static = { value = 0.0, unit = "mW"'


def test_static_power_is_drawn_by_every_dimm_all_the_time(tmp_path):
    machine = described(tmp_path, STATIC, 'static = { value = 100, unit = "mW"')
    energy = ndp_energy(machine, NdpWork(), 5_000_000)
    assert energy.total == energy.static == pytest.approx(0.1 * 2 * 5e-6)
    assert energy.basis == "figures of DIMM hermes"


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ('static = { value = 0.0, unit = "W"', "energy.static.unit: expected mW, found W"),
        ('static = { value = -1.0, unit = "mW"', "energy.static.value: expected greater than or equal to 0, found -1"),
        ('static = { value = nan, unit = "mW"', "energy.static.value: expected a finite number, found nan"),
    ],
)
def test_a_faulty_energy_is_refused_by_its_name(tmp_path, new, message):
    with pytest.raises(InputError, match=message):
        described(tmp_path, STATIC, new)


def test_a_description_without_energies_is_timed_and_says_that_it_has_none(tmp_path):
    start, end = HERMES.index("[energy]"), HERMES.index("# How a linear address falls")
    machine = described(tmp_path, HERMES[start:end], "")
    summary = time_program(program("relu [0], [0], 100; end", "end"), machine).summary()
    assert summary["energy_j"]["ndp"] is None and summary["energy_j"]["total"] is None
    assert summary["energy_j"]["dram"]["total"] > 0
    assert "no energy: the description of DIMM hermes gives none" in summary["energy_note"]


def test_a_standard_without_currents_has_no_dram_energy_and_says_so(tmp_path):
    machine = load_machine(dimms=1)
    bare = dataclasses.replace(machine, standard=dataclasses.replace(machine.standard, currents=None))
    summary = time_program(program("relu [0], [0], 100; end"), bare).summary()
    assert summary["energy_j"]["dram"] is None and summary["energy_j"]["total"] is None
    assert summary["energy_j"]["ndp"]["vector"] == pytest.approx(100 * 1.31e-12)
    assert "no public currents for DDR4-3200-Hermes" in summary["energy_note"]


def test_energies_travel_with_the_program():
    machine = load_machine()
    assert machine_from_json(machine.to_json(), "x").config.energy == machine.config.energy


def layer(machine, neurons=512):
    compiler = layer_compiler(LayerShape(neurons, 1024, activation="relu"), machine)
    return compiler.compile(np.arange(0, neurons, 3), 1)


@pytest.mark.parametrize("dimm", ["hermes", "ddr5"])
@pytest.mark.parametrize("placement", ["interleaved", "row"])
def test_counters_give_the_energy_of_the_log_and_bound_its_open_clocks(dimm, placement):
    machine = load_machine(dimm, placement=placement)
    timed = time_program(layer(machine), machine, log=True)
    counted = stream_activity(machine, timed.counters, timed.total_ps)
    clocks = -(-timed.total_ps // machine.standard.tck_ps)
    logged = activity_of_log(timed.log, machine.standard, end=clocks)
    for name in ("activates", "reads", "writes", "refreshes", "bank_refreshes", "clocks"):
        assert getattr(counted, name).ravel().tolist() == getattr(logged, name).tolist(), name
    assert (counted.open_clocks.ravel() >= logged.open_clocks).all()
    assert counted.open_clocks.sum() < 1.1 * logged.open_clocks.sum()
    bound = dram_energy(machine.standard, counted).summary()
    exact = dram_energy(machine.standard, logged).summary()
    assert exact["total"] < bound["total"] < 1.02 * exact["total"]
    for name in ("activate", "read", "write", "refresh", "io"):
        assert bound[name] == pytest.approx(exact[name])


def counted(total_ps, ranks):
    """What ranks of one DIMM did, by (ACT, RD, WR, REF); a clock of 625 ps, tRP of 22 and tRFC of 560 clocks."""
    machine = hand_made_machine()
    counters = np.zeros((1, len(ranks), len(COUNTERS)), np.int64)
    for rank, (acts, reads, writes, refreshes) in enumerate(ranks):
        counters[0, rank] = [
            acts,
            77,
            78,
            reads,
            writes,
            refreshes,
            79,
        ]  # the other three take no energy
    return stream_activity(machine, counters, total_ps)


def test_open_clocks_are_all_but_those_of_refreshes_and_their_precharge():
    found = counted(625 * 10_000, [(3, 40, 5, 2), (1, 0, 9, 0), (0, 0, 0, 2), (1, 1, 0, 20)])
    assert found.open_clocks.tolist() == [[10_000 - 2 * (22 + 560), 10_000, 0, 0]]  # 20 refreshes take 11,640 clocks
    assert found.clocks.tolist() == [[10_000] * 4]
    assert found.activates.tolist() == [[3, 1, 0, 1]]
    assert found.reads.tolist() == [[40, 0, 0, 1]] and found.writes.tolist() == [[5, 9, 0, 0]]
    assert found.refreshes.tolist() == [[2, 0, 2, 20]] and found.bank_refreshes.tolist() == [[0] * 4]
    assert not np.any(found.bank_reads) and not np.any(found.bank_writes)


def test_a_clock_that_has_begun_counts_as_a_whole_one():
    for total_ps, clocks in ((0, 0), (1, 1), (625, 1), (626, 2), (1250, 2)):
        found = counted(total_ps, [(1, 1, 0, 0)])
        assert found.clocks.tolist() == found.open_clocks.tolist() == [[clocks]]


def test_the_energy_of_ranks_is_that_of_their_open_and_closed_clocks():
    """A rank has four devices: 200 mW closed, 240 mW open. 10,000 clocks are 6.25 us, 8,836 are 5.5225 us."""
    machine = hand_made_machine()
    counters = np.zeros((1, 2, len(COUNTERS)), np.int64)
    counters[0, 0, [COUNTERS.index("RD"), COUNTERS.index("REF")]] = 1, 2
    found = energy_figures(machine, counters, NdpWork(), 625 * 10_000)["energy_j"]
    assert found["dram"]["active_standby"] == pytest.approx(5.5225e-6 * 0.24)
    assert found["dram"]["precharged_standby"] == pytest.approx((0.7275e-6 + 6.25e-6) * 0.2)
    assert found["dram"]["refresh"] == pytest.approx(2 * 4 * 8000e-12)
    assert found["ndp"]["total"] == pytest.approx(2 * 0.1 * 6.25e-6)  # static power of two DIMMs
    assert found["total"] == pytest.approx(found["dram"]["total"] + 1.25e-6)


def test_the_command_line_gives_the_joules_of_a_run(tmp_path, capsys):
    path = tmp_path / "layer.ndp"
    assert run(capsys, "compile", "--neurons", 60, "--width", 70, "-o", path)[0] == 0
    record = json.loads(run(capsys, "exec", path, "--json")[1])
    joules = record["energy_j"]
    assert joules["total"] == pytest.approx(joules["dram"]["total"] + joules["ndp"]["total"])
    assert joules["dram"]["read"] == pytest.approx(record["commands"]["RD"] * 4 * 738e-12)  # 246 mA * 1.2 V * 2.5 ns
    text = " ".join(run(capsys, "exec", path)[1].split())
    assert "energy " + quantity(joules["total"], "J") in text
    assert "activate " + quantity(joules["dram"]["activate"], "J") in text
    assert "mac " + quantity(joules["ndp"]["mac"], "J") in text
    assert "data-sheet maximum" in text and "The memory channel to the host is not included" in text


def test_a_table_says_that_an_energy_is_unknown():
    figures = {"energy_j": {"dram": None, "ndp": {"mac": 0.0, "total": 0.0}, "total": None}, "energy_note": "why"}
    assert energy_rows(figures) == [("energy", "unknown"), ("  ndp", "none"), ("  basis", "why")]


def test_generation_adds_up_the_energy_of_its_programs():
    machine = load_machine(dimms=2)
    dimms = NdpDimms(machine)
    weights = {name: np.ones((64, 96), np.float16) for name in ("up", "down")}
    dimms.add_layer(LayerShape(64, 96, activation="relu"), weights)
    x = np.ones((1, 96), np.float16)
    for active in ([1, 2, 3], [5]):
        dimms.run(0, x, np.array(active))
    totals = dimms.take_totals()
    assert totals.work.macs_f16 == 2 * 96 * 4
    joules = totals.energy_figures()["energy_j"]
    assert joules["ndp"]["mac"] == pytest.approx(2 * 96 * 4 * 0.5e-12)
    assert joules["dram"]["activate"] > 0
    assert dimms.totals.energy_figures()["energy_j"]["total"] == 0


def test_an_idle_dimm_stands_by_with_its_rows_closed():
    dram = time_program(program("end"), load_machine(dimms=1)).summary()["energy_j"]["dram"]
    assert dram["precharged_standby"] == dram["total"] > 0


def test_runs_one_after_the_other_take_the_energy_of_their_sum():
    machine = load_machine()
    one = layer(machine)
    resolved = resolve(one, machine.buffer_bytes)
    timer = Timer(machine)
    runs = [timer.run(one, resolved) for _ in range(3)]
    counters = sum(timed.counters for timed in runs)
    done = NdpWork() + NdpWork()
    for timed in runs:
        done += ndp_work(timed.resolved)
    whole = energy_figures(machine, counters, done, sum(timed.total_ps for timed in runs))["energy_j"]
    parts = [timed.summary()["energy_j"] for timed in runs]
    assert whole["total"] == pytest.approx(sum(part["total"] for part in parts), rel=1e-4)
    assert whole["total"] == pytest.approx(whole["dram"]["total"] + whole["ndp"]["total"])
