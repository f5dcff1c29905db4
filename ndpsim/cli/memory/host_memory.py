"""`ndpsim dram`."""

import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from ndpsim.cli.command import Command, OutputPath
from ndpsim.cli.interrupt import interruptible
from ndpsim.cli.show import joules_of, json_option, percent, print_json, print_table, progress, quantity
from ndpsim.cli.timing_options import set_option, timings
from ndpsim.errors import InputError, OutputError

if TYPE_CHECKING:
    from ndpsim.dram.address_map import HostMap
    from ndpsim.dram.requests.request import Trace
    from ndpsim.dram.standard.standard import Standard

_DELAY_S = 1.0


@click.command("dram", cls=Command)
@click.argument("trace", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndpsim", "ramulator", "dramsim3"]),
    help="Form of a text trace; see below.  [default: what its first request tells]",
)
@click.option("--standard", metavar="NAME", help="A name of `ndpsim dram --list`, or FILE.toml[:NAME].")
@click.option("--list", "listed", is_flag=True, help="List the standards; with --standard, those whose names begin so.")
@click.option("--ranks", type=int, help="Ranks of a channel, a power of two.  [default: as the standard says]")
@click.option("--channels", type=int, help="Channels, a power of two.  [default: as the standard says]")
@click.option(
    "--map",
    "address_map",
    help="Address map: digits, most significant first, and hashes after a bar, as in"
    " 'row rank bank column bank_group | bank ^= row>>2'.  [default: bank groups interleaved]",
)
@click.option("--read-queue", default=32, show_default=True, help="Places for reads.")
@click.option("--write-queue", default=32, show_default=True, help="Places for writes.")
@click.option("--high", type=int, help="Queued writes at which writing begins.  [default: 4/5 of --write-queue]")
@click.option("--low", type=int, help="Queued writes at which it ends, if reads wait.  [default: 1/5 of --write-queue]")
@click.option(
    "--row-policy",
    type=click.Choice(["open", "closed", "timeout"]),
    default="open",
    show_default=True,
    help="When a row is closed that nobody waits for.",
)
@click.option("--row-timeout", default=0, show_default=True, help="Clocks, with --row-policy timeout.")
@click.option(
    "--starvation",
    type=int,
    help="Clocks after which a request goes before all others.  [default: 64 for each place of both queues]",
)
@click.option(
    "--refresh",
    type=click.Choice(["all_bank", "same_bank", "per_bank", "none"]),
    default="all_bank",
    show_default=True,
    help="Kind of refresh; the standard must have it.",
)
@click.option("--postpone", default=0, show_default=True, help="Refreshes that may be postponed.")
@click.option(
    "--ndp",
    "ndp_bytes",
    type=int,
    metavar="BYTES_PER_RANK",
    help="Meanwhile, the NDP unit of every rank reads so many bytes, in consecutive bursts from the upper half of the"
    " rank's rows. Both sides are also timed alone.",
)
@click.option(
    "--ndp-policy",
    type=click.Choice(["host_first", "ndp_first", "alternate"]),
    default="host_first",
    show_default=True,
    help="Who goes first in a rank.",
)
@click.option("--ndp-window", default=16, show_default=True, help="NDP bursts of a rank that are looked at.")
@set_option
@click.option("--threads", type=click.IntRange(min=1), help="Channels to simulate at once.  [default: one a core]")
@click.option("--log", type=OutputPath(), help="Write all DRAM commands (HDF5).")
@json_option
def dram_command(
    trace: str | None,
    form: str | None,
    standard: str | None,
    listed: bool,
    ranks: int | None,
    channels: int | None,
    overrides: tuple[str, ...],
    ndp_bytes: int | None,
    threads: int | None,
    log: Path | None,
    as_json: bool,
    **config: Any,
) -> None:
    """Time the memory requests in TRACE on a DRAM standard.

    TRACE is a text file with a line `[cycle] R|W address [@back]` for each burst (compressed, if its name ends in .gz),
    or an HDF5 file (.h5), or a synthetic trace of N requests: sequential:N, random:N, mixed:N, row-hit:N, chase:N.

    Lines of other tools are told by their words: `address R|W` as Ramulator has it, and `address READ|WRITE cycle`
    with hexadecimal addresses as DRAMsim3 has it. The result names the form.
    """
    if listed:
        from ndpsim.cli.memory.standards_table import print_standards

        print_standards(standard or "", as_json)
        return
    if trace is None:
        raise InputError(f"TRACE: expected {_expected()}, found none")
    if standard is None:
        raise InputError("--standard: expected a name of `ndpsim dram --list`, found none")

    from ndpsim.dram.address_map import host_map
    from ndpsim.dram.host.controller import HostConfig, HostResult, simulate
    from ndpsim.dram.host.shared.bursts import upper_rows
    from ndpsim.dram.requests.request import Trace
    from ndpsim.dram.standard.standard import load_standard, with_overrides

    judged = with_overrides(load_standard(standard, ranks=ranks, channels=channels), timings(overrides))
    decoder = host_map(config["address_map"], judged)
    requests = _open(trace, form, judged, decoder)
    if requests.length == 0:
        raise InputError(f"{trace}: expected at least one request, found none")
    ndp = None if ndp_bytes is None else upper_rows(judged, ndp_bytes)
    controller = HostConfig(**config)
    interrupted = Event()
    unwritten: list[OutputError] = []
    began = time.perf_counter()
    with progress("requests", requests.length, _DELAY_S) as update:

        def entered(count: int) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            update(completed=count)

        def run(trace: Trace, ndp: Any = None, log: Path | None = None) -> HostResult:
            return simulate(trace, judged, controller, ndp=ndp, log=log, threads=threads, progress=entered)

        def run_all() -> list[HostResult]:
            try:
                results = [run(requests, ndp, log)]
            except OutputError as error:  # the figures are there all the same
                unwritten.append(error)
                results = [error.result]
            if ndp is not None:
                results += [run(requests), run(Trace(0, False, False, lambda size: iter(())), ndp)]
            return results

        result, *alone = interruptible(run_all, stop=interrupted.set if log else None)
    record = {"trace": trace, "format": requests.form, "map": decoder.text, **result.summary()}
    if alone:
        host, units = (one.summary() for one in alone)
        record["alone"] = {name: host[name] for name in ("cycles", "bandwidth_gb_per_s", "read_latency_clocks")}
        record["ndp"]["alone"] = units["ndp"]
    record["wall_s"] = time.perf_counter() - began
    if as_json:
        print_json(record)
    else:
        _print(record)
    if record["requests_beyond_memory"]:
        click.echo(f"ndpsim: warning: {_beyond(record)}", err=True)
    if unwritten:
        raise unwritten[0]


def _expected() -> str:
    from ndpsim.dram.requests.synthetic import NAMES

    return f"a file with a request trace, or one of {', '.join(f'{name}:N' for name in NAMES)}"


def _open(trace: str, form: str | None, standard: "Standard", decoder: "HostMap") -> "Trace":
    from ndpsim.dram.requests.synthetic import MAX_REQUESTS, NAMES, synthetic
    from ndpsim.dram.requests.trace import open_trace

    name, _, count = trace.partition(":")
    if name in NAMES and not Path(trace).exists():
        if not count.isdecimal() or len(count) > len(str(MAX_REQUESTS)):
            raise InputError(f"TRACE: expected {name}:N with N from 1 to {MAX_REQUESTS}, found '{trace}'")
        if form is not None:
            raise InputError(f"--format: expected none with a synthetic trace, found '{form}'")
        return synthetic(name, int(count), standard, decoder)
    if not Path(trace).exists():
        raise InputError(f"TRACE: expected {_expected()}, found '{trace}', which is neither")
    return open_trace(trace, form)


def _print(record: dict[str, Any]) -> None:
    energy = record["energy_j"] or {}
    rows = [
        ("trace", f"{record['trace']} ({record['format']})"),
        ("standard", f"{record['standard']}, {_counted(record, 'channel')}, {_counted(record, 'rank')} in each"),
        ("address map", record["map"]),
        ("requests", f"{record['reads']} reads ({record['forwarded']} from queued writes), {record['writes']} writes"),
        ("time", f"{record['cycles']} clocks, {quantity(record['seconds'], 's')}"),
        ("bandwidth", f"{record['bandwidth_gb_per_s']:.2f} GB/s, the peak is {record['peak_gb_per_s']:.2f}"),
        ("data bus", f"{percent(record['bus_use'])} used"),
        ("read latency", _latencies(record["read_latency_clocks"], 0, "no reads")),
        ("the same in ns", _latencies(record["read_latency_ns"], 1, "no reads")),
        ("write latency", _latencies(record["write_latency_clocks"], 0, "no writes")),
        ("the same in ns", _latencies(record["write_latency_ns"], 1, "no writes")),
        (
            "row buffer",
            f"{record['row_hits']} hits ({percent(record['row_hit_rate'])}), {record['row_misses']} misses, "
            f"{record['row_conflicts']} conflicts",
        ),
        ("refresh", f"{percent(record['refresh_share'])} of the time of the banks"),
        ("commands", ", ".join(f"{name} {count}" for name, count in record["commands"].items() if count) or "none"),
        ("energy", ", ".join(f"{name} {joules_of(joules)}" for name, joules in energy.items()) or "not known"),
        ("energy basis", record["energy_note"]),
        ("wall time", quantity(record["wall_s"], "s")),
    ]
    if record["requests_beyond_memory"]:
        rows.insert(4, ("beyond the memory", _beyond(record)))
    if "ndp" in record:
        rows[-1:-1] = _of_ndp(record)
    print_table("", rows)


def _beyond(record: dict[str, Any]) -> str:
    """Say how many requests the memory is too small for, and what becomes of them."""
    count, size = record["requests_beyond_memory"], record["memory_bytes"]
    return (
        f"{count} of {record['requests']} requests have addresses beyond the {_bytes(size)} of memory, the first"
        f" {record['first_beyond_memory']:#x}; they wrap to its start, so that different addresses share a cell"
    )


def _bytes(size: int) -> str:
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):g} {unit}"
    return f"{size} bytes"


def _latencies(latency: dict[str, float | None], decimals: int, without: str) -> str:
    return ", ".join(f"{name} {one:.{decimals}f}" for name, one in latency.items() if one is not None) or without


def _of_ndp(record: dict[str, Any]) -> list[tuple[str, str]]:
    ndp = record["ndp"]
    rates, alone = ndp["bandwidth_gb_per_s"], ndp["alone"]["bandwidth_gb_per_s"]
    host, host_alone = record["bandwidth_gb_per_s"], record["alone"]["bandwidth_gb_per_s"]
    latency, latency_alone = record["read_latency_clocks"]["mean"], record["alone"]["read_latency_clocks"]["mean"]
    reads = latency is not None and latency_alone is not None
    return [
        ("host alone", f"{host_alone:.2f} GB/s" + (f", read latency {latency_alone:.0f}" if reads else "")),
        (
            "host loses",
            f"{percent(1 - host / host_alone)} of its bandwidth"
            + (f", {latency - latency_alone:+.0f} clocks" if reads else ""),
        ),
        ("NDP of each rank", ", ".join(f"{rate:.2f}" for rate in rates) + " GB/s"),
        ("NDP alone", ", ".join(f"{rate:.2f}" for rate in alone) + " GB/s"),
        ("NDP loses", f"{percent(1 - sum(rates) / sum(alone))} of its bandwidth"),
        ("NDP row buffer", f"{sum(ndp['row_hits'])} hits of {sum(ndp['bursts'])} bursts"),
        ("all done", f"after {record['end']} clocks"),
    ]


def _counted(record: dict[str, Any], level: str) -> str:
    count = record[f"{level}s"]
    return f"{count} {level}" if count == 1 else f"{count} {level}s"
