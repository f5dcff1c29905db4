"""The closed form of bank-level streams and its per-cycle reference send the same commands in the same cycles."""

from dataclasses import replace
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.bank_controller import BankController

from ndpsim.dram.bank_stream import COUNTERS, LockstepBanks
from ndpsim.dram.log import COMMANDS
from ndpsim.dram.standard import load_standard, with_overrides

PRESETS = ["DDR4-3200AA", "DDR5-4800B", "DDR5-6400B-16Gb_x4", "LPDDR5X-8533", "HBM2E-3200", "HBM3-6400"]
STANDARDS = {name: load_standard(name) for name in PRESETS}

KEPT = ("nBL", "nCL", "nCWL", "nRC", "nRTW", "nREFI")  # the data bus, sums, and what is drawn below


@st.composite
def standards(draw):
    """A preset, often with other timings, smaller or larger, and fewer banks."""
    standard = STANDARDS[draw(st.sampled_from(PRESETS))]
    some = draw(st.lists(st.sampled_from([n for n in standard.timing if n not in KEPT]), max_size=6))
    changes = {}
    for name in some:
        changes[name] = max(1, ceil(standard.timing[name] * draw(st.sampled_from([0, 0.3, 0.8, 1.3, 3]))))
    standard = with_overrides(standard, changes)
    standard = with_overrides(standard, {"nREFI": standard.timing["nRFC"] + draw(st.integers(1, 1500))})
    groups, banks = draw(st.sampled_from([(2, 2), (4, 4), (8, 4), (1, 4), (4, 1)]))
    return replace(
        standard, organization=standard.organization.model_copy(update={"bank_groups": groups, "banks": banks})
    )


STREAMS = st.fixed_dictionaries({
    "trains": st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=5),
    "kind": st.sampled_from(["RD", "WR"]),
    "service": st.sampled_from([0, 300, 1000, 2500, 7001, 30_000]),
    "gap": st.sampled_from([0, 1, 13, 900, 3000]),
})  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    standards(),
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
