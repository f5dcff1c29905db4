"""Hypothesis strategies for the host memory controller: standards, parameters, address maps, traces and NDP bursts.

Memories are small and their refreshes frequent, so that short traces meet row conflicts, full queues and refreshes.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate
from typing import Any

from hypothesis import strategies as st
from oracles.host_address_map import place_requests
from oracles.host_controller import Config, NdpBurst, Request, Result, run

from ndpsim.dram.standard.standard import Standard, load_standard, standard_names, with_overrides

CYCLE_LIMIT = 300_000
FIELDS = {
    "channel": "channels", "pseudo_channel": "pseudo_channels", "rank": "ranks", "bank_group": "bank_groups",
    "bank": "banks", "row": "rows", "column": "columns",
}  # fmt: skip
NOT_SCALED = {"nBL", "nCCD_S", "nCCD_L", "nCCD_R", "nCL", "nCWL", "nRTW", "nRTRS"}


@dataclass(frozen=True)
class Case:
    """A memory, a controller and a trace; `made_from` is what of the standard is worth reading in a failure.

    `config` holds the parameters of HOST_CONTROLLER.md by name; `arrivals` is None for a trace without arrival cycles;
    `ndp` has a sequence for each rank of each channel, or none at all.
    """

    standard: Standard = field(repr=False)
    made_from: dict[str, Any]
    config: dict[str, Any]
    address_map: str
    addresses: list[int]
    writes: list[bool]
    arrivals: list[int] | None
    afters: list[int]
    ndp: list[list[NdpBurst]] = field(default_factory=list)


def requests_of(case: Case) -> list[Request]:
    return place_requests(case.standard, case.address_map, case.addresses, case.writes, case.arrivals, case.afters)


def run_reference(case: Case) -> Result:
    """Run the per-cycle reference on a case; raise RuntimeError if it does not come to an end."""
    return run(case.standard, Config(**case.config), requests_of(case), CYCLE_LIMIT, case.ndp)


@st.composite
def case(draw) -> Case:
    """Draw a standard, its memory, the parameters, the address map and the trace."""
    name = draw(preset_names())
    shape = draw(shapes())
    divisor = draw(st.sampled_from([8, 3, 1]))
    standard = scaled(small(_load(name), shape), divisor)
    config = draw(configs(standard))
    interval = None
    if config["refresh"] != "none":
        standard, interval = draw(often_refreshed(standard, config["refresh"]))
    address_map = draw(address_maps(standard))
    trace = draw(traces(standard, divisor))
    made_from = {"name": name, "divisor": divisor, "interval": interval, **shape}
    return Case(standard, made_from, config, address_map, *trace)


@st.composite
def shared_case(draw) -> Case:
    """Draw a case whose ranks NDP units share."""
    host = draw(case())
    config = host.config | {
        "ndp_window": draw(st.integers(1, 8)),
        "ndp_policy": draw(st.sampled_from(["host_first", "ndp_first", "alternate"])),
    }
    shape = host.standard.organization
    pool = st.sampled_from([*draw(st.lists(ndp_sequences(host), min_size=1, max_size=4)), []])
    ndp = [draw(pool) for _ in range(shape.channels * shape.pseudo_channels * shape.ranks)]
    return replace(host, config=config, ndp=ndp)


@st.composite
def ndp_sequences(draw, host: Case) -> list[NdpBurst]:
    """Return 1 to 40 bursts: runs in rows, many of them rows or banks that the host uses, in whichever rank."""
    shape = host.standard.organization
    hot = sorted({(request.bank_group, request.bank, request.row) for request in requests_of(host)})
    bursts: list[NdpBurst] = []
    for length in draw(st.lists(st.integers(1, 10), min_size=1, max_size=10)):
        group, bank, row = draw(st.sampled_from(hot))
        where = draw(st.sampled_from(["hot bank", "hot row", "anywhere"]))
        if where == "anywhere":
            group, bank = draw(st.integers(0, shape.bank_groups - 1)), draw(st.integers(0, shape.banks - 1))
        if where != "hot row":
            row = draw(st.integers(0, shape.rows - 1))
        first = draw(st.integers(0, shape.columns - 1))
        write = {"reads": st.just(False), "writes": st.just(True), "both": st.booleans()}[
            draw(st.sampled_from(["reads", "writes", "both"]))
        ]
        bursts += [NdpBurst(group, bank, row, (first + i) % shape.columns, draw(write)) for i in range(length)]
    return bursts[:40]


@cache
def _load(name: str) -> Standard:
    return load_standard(name)


@cache
def preset_names() -> st.SearchStrategy[str]:
    """Return the names of presets, each family as likely as the others."""
    families: dict[str, list[str]] = {}
    for name in standard_names():
        families.setdefault(name.partition("-")[0], []).append(name)
    return st.one_of([st.sampled_from(names) for names in families.values()])


def shapes() -> st.SearchStrategy[dict[str, int]]:
    """Return what replaces the organization of a preset."""
    return st.fixed_dictionaries({
        "channels": st.sampled_from([1, 1, 2]),
        "ranks": st.sampled_from([1, 2, 4]),
        "bank_groups": st.sampled_from([2, 1, 4]),
        "banks": st.sampled_from([2, 1, 4]),
        "rows": st.sampled_from([4, 2, 8]),
        "columns": st.sampled_from([4, 2, 8]),
    })  # fmt: skip


def small(standard: Standard, shape: dict[str, int]) -> Standard:
    """Return the standard with another organization; a refresh covers no more bank groups than there are."""
    refresh_rows = {
        kind: row.model_copy(
            update={"covers_groups": row.covers_groups and min(row.covers_groups, shape["bank_groups"])}
        )
        for kind, row in standard.refresh_rows.items()
    }
    organization = standard.organization.model_copy(update=shape)
    return replace(standard, organization=organization, refresh_rows=refresh_rows)


def scaled(standard: Standard, divisor: int) -> Standard:
    """Return the standard with all timings but those of the data bus divided, so that rules compete and runs are short.

    Rounding up keeps which of two timings is the longer one; nRC >= nRAS + nRP is kept too.
    """
    fixed = NOT_SCALED | standard.sums.keys()
    timing = {name: -(-clocks // divisor) for name, clocks in standard.timing.items() if name not in fixed}
    if "nRC" in timing:
        timing["nRC"] = max(timing["nRC"], timing["nRAS"] + timing["nRP"])
    return with_overrides(standard, timing)


@st.composite
def often_refreshed(draw, standard: Standard, kind: str) -> tuple[Standard, int]:
    """Return the standard with a refresh interval, and that, in which a request can be served between two refreshes."""
    row = standard.refresh_rows[kind]
    busy = max(rule.gap for rule in standard.constraints if rule.earlier == row.command)
    least = busy + 2 * standard.timing["nRC"] + 20
    interval = draw(st.integers(least, 2 * least))
    return with_overrides(standard, {row.interval: interval}), interval


@st.composite
def configs(draw, standard: Standard) -> dict[str, Any]:
    write_queue = draw(st.integers(1, 8))
    high = draw(st.integers(1, write_queue))
    config = {
        "read_queue": draw(st.integers(1, 8)),
        "write_queue": write_queue,
        "high": high,
        "low": draw(st.integers(0, high - 1)),
        "row_policy": draw(st.sampled_from(["open", "closed", "timeout"])),
        "starvation": draw(st.sampled_from([4096, 1, 7, 30, 150])),
        "refresh": draw(st.sampled_from([*standard.refresh, *standard.refresh, "none"])),
    }
    if config["row_policy"] == "timeout":
        config["row_timeout"] = draw(st.integers(1, 80))
    if config["refresh"] != "none":
        refresh = standard.refresh[config["refresh"]]
        groups, banks = standard.organization.bank_groups, standard.organization.banks
        sets = 1 if config["refresh"] == "all_bank" else groups // refresh.covers_groups * banks
        limit = refresh.postpone * sets - 1
        config["postpone"] = draw(st.sampled_from([0, min(1, limit), min(2, limit), limit]))
    return config


@st.composite
def address_maps(draw, standard: Standard) -> str:
    """Return the digits in any order, a field sometimes in two parts, and sometimes hashes."""
    bits = {name: getattr(standard.organization, count).bit_length() - 1 for name, count in FIELDS.items()}
    digits = list(draw(st.permutations(list(FIELDS))))
    wide = [name for name in FIELDS if bits[name] > 1]
    if wide and draw(st.booleans()):
        part = draw(st.sampled_from(wide))
        digits.insert(draw(st.integers(0, len(digits))), f"{part}:1")
    hashes = []
    for target in FIELDS:
        source = draw(st.sampled_from([None, None, "row", "column"]))
        if source and target not in ("row", "column") and bits[target]:
            shift = draw(st.integers(0, bits[source] - 1))
            hashes.append(f"{target} ^= {source}" + (f">>{shift}" if shift else ""))
    return " ".join(digits) + (" | " + ", ".join(hashes) if hashes else "")


@st.composite
def traces(draw, standard: Standard, divisor: int) -> tuple[list[int], list[bool], list[int] | None, list[int]]:
    """Return the addresses, writes, arrivals and dependencies of 1 to 120 requests."""
    shape = standard.organization
    bursts = 1
    for count in FIELDS.values():
        bursts *= getattr(shape, count)
    burst = st.integers(0, bursts - 1)
    hot = st.sampled_from(draw(st.lists(burst, min_size=1, max_size=6)))
    write = {"reads": st.just(False), "writes": st.just(True), "both": st.booleans()}
    accesses: list[tuple[int, bool]] = []
    for length in draw(st.lists(st.integers(1, 24), min_size=1, max_size=5)):
        kind = write[draw(st.sampled_from(["both", "reads", "writes"]))]
        where = draw(st.sampled_from(["hot", "anywhere", "in sequence"]))
        if where == "in sequence":
            first = draw(burst)
            accesses += [(first + i, draw(kind)) for i in range(length)]
        else:
            place = hot if where == "hot" else burst
            accesses += [(draw(place), draw(kind)) for _ in range(length)]
    count = len(accesses)
    offset = draw(st.sampled_from([0, 1, standard.burst_bytes - 1, standard.burst_bytes * bursts]))
    addresses = [place * standard.burst_bytes + offset for place, _ in accesses]

    arrivals = None
    if draw(st.booleans()):
        gaps = st.sampled_from([0, 0, 0, 0, 1, 2, 5, 20, 400 // divisor, 2000 // divisor])
        arrivals = list(accumulate(draw(st.lists(gaps, min_size=count, max_size=count))))
    afters = [0] * count
    if draw(st.booleans()):
        back = st.sampled_from([0, 0, 0, 0, 1, 2, 7])
        afters = [min(index, draw(back)) for index in range(count)]
    return addresses, [write for _, write in accesses], arrivals, afters
