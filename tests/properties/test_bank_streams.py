"""The closed form of bank-level streams and its per-cycle reference send the same commands in the same cycles."""

from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.bank_controller import BankController
from properties.drawn_standards import standards

from ndpsim.dram.banks.stream import COUNTERS, LockstepBanks
from ndpsim.dram.checker.checker import check
from ndpsim.dram.log.log import COMMANDS, joined
from ndpsim.dram.standard.standard import load_standard

ORGANIZATIONS = [{"bank_groups": groups, "banks": banks} for groups, banks in [(2, 2), (4, 4), (8, 4), (1, 4), (4, 1)]]
STREAMS = st.fixed_dictionaries({
    "trains": st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=5),
    "kind": st.sampled_from(["RD", "WR"]),
    "service": st.sampled_from([0, 300, 1000, 2500, 7001, 30_000]),
    "gap": st.sampled_from([0, 1, 13, 900, 3000]),
})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    standards(ORGANIZATIONS),
    st.lists(STREAMS, min_size=1, max_size=3),
    st.sampled_from([None, 4, 0, 1, 3, 5, 8, 16]),
    st.integers(2, 6),
    st.integers(0, 1200),
)
def test_the_closed_form_sends_the_same_commands_in_the_same_cycles(standard, streams, activates, queue, first_due):
    fast = LockstepBanks(standard, activates=activates, queue=queue, first_due=first_due)
    slow = BankController(standard, activates, queue, first_due)
    for stream in streams:
        start = fast.now + stream["gap"]
        rows, columns = [row for row, _ in stream["trains"]], [n for _, n in stream["trains"]]
        run = fast.run(rows, columns, write=stream["kind"] == "WR", service_ps=stream["service"], start=start, log=True)
        already = len(slow.log)
        end = slow.run(stream["trains"], stream["kind"], start, stream["service"])
        log = run.log
        got = zip(
            log.cycle, [COMMANDS[c] for c in log.command], log.bank_group, log.bank, log.row, log.column, strict=True
        )
        assert [tuple(int(x) if not isinstance(x, str) else x for x in entry) for entry in got] == slow.log[already:]
        assert run.end_ps == ceil(end)
        assert run.cycles == ceil(end / standard.tck_ps) - start
        counts = [sum(entry[1] == name for entry in slow.log[already:]) for name in COUNTERS[:-1]]
        assert list(run.counters.values()) == [*counts, len(stream["trains"])]


@settings(max_examples=80, deadline=None)
@given(
    standards(ORGANIZATIONS, spare=1000),
    st.lists(STREAMS, min_size=1, max_size=4),
    st.sampled_from([None, 1, 3, 4]),
    st.integers(0, 1200),
)
def test_the_independent_checker_accepts_every_log_that_keeps_tFAW(standard, streams, activates, first_due):
    banks = LockstepBanks(standard, activates=activates, first_due=first_due)
    logs = []
    for stream in streams:
        rows, columns = [row for row, _ in stream["trains"]], [n for _, n in stream["trains"]]
        write, start = stream["kind"] == "WR", banks.now + stream["gap"]
        logs.append(banks.run(rows, columns, write=write, service_ps=stream["service"], start=start, log=True).log)
    report = check(joined(logs), standard)
    assert report.legal, report.counts


def test_the_independent_checker_finds_more_activates_than_tFAW_allows():
    standard = load_standard("DDR4-3200AA")
    report = check(LockstepBanks(standard, activates=8).run([0], 1, log=True).log, standard)
    assert {rule for rule, count in report.counts.items() if count} == {"tFAW", "tRRD_S"}
