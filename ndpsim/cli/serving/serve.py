"""`ndpsim serve`: requests that arrive over time, on a machine under a system's policy."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndpsim.cli.command import Command, OutputPath
from ndpsim.cli.runs.run import changes_of, output_places
from ndpsim.cli.show import joules_of, json_option, percent, print_json, print_table, progress, quantity
from ndpsim.errors import InputError
from ndpsim.wall import ACCOUNT, STARTING, WRITING

if TYPE_CHECKING:
    from ndpsim.serving.job import ServingJob
    from ndpsim.serving.served import Served
    from ndpsim.serving.workload import Workload

_RANDOM = ("random_input_len", "random_output_len", "random_range_ratio", "random_prefix_len")


@click.command("serve", cls=Command)
@click.option("--system", default="gpu-only", show_default=True, metavar="NAME",
              help="Who computes what: a name of `ndpsim list`, or your own file.py[:Class].")  # fmt: skip
@click.option("--model", required=True, metavar="NAME", help="A model of `ndpsim list`, or a model file (.toml).")
@click.option("--machine", default="hermes", show_default=True, help="Devices and links: a name, or a .toml file.")
@click.option("--gpu", metavar="CARD", help="Another graphics card: short for --set gpu.card=CARD.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Another value, as of `ndpsim run`.")
@click.option("--requests", "source", required=True, metavar="NAME[:COUNT]",
              help="A file (Mooncake, Azure, BurstGPT, lengths), or its first ones; a profile; or random.")  # fmt: skip
@click.option("--rate", type=float, help="Requests a second, in place of the arrivals of the file; inf is all at once.")
@click.option("--burstiness", default=1.0, show_default=True, help="Shape of the gaps at --rate; 1 is Poisson.")
@click.option("--random-input-len", default=1024, show_default=True, help="Of random: tokens of a prompt.")
@click.option("--random-output-len", default=128, show_default=True, help="Of random: tokens to generate.")
@click.option("--random-range-ratio", default=0.0, show_default=True, help="Of random: by how much lengths vary.")
@click.option(
    "--random-prefix-len", default=0, show_default=True, help="Of random: tokens that all prompts begin with."
)
@click.option("--seed", default=0, show_default=True, help="Seed of what is drawn by chance.")
@click.option("--engine", default="vllm-0.19", show_default=True, help="Engine profile: a name, or a .toml file.")
@click.option("--max-num-seqs", type=int, help="Most sequences at a time. Else: the engine's.")
@click.option("--max-num-batched-tokens", type=int, help="Most new tokens of a step. Else: the engine's.")
@click.option("--kv-blocks", type=int, help="KV blocks. Else: what the system has room for.")
@click.option("--scheduling", type=click.Choice(["fcfs", "priority"]), default="fcfs", show_default=True,
              help="Who goes first: who came first, or who has the lower priority.")  # fmt: skip
@click.option("--prefix-caching/--no-prefix-caching", default=True, show_default=True,
              help="Whether prompts that begin alike share KV blocks.")  # fmt: skip
@click.option("--chunked-prefill/--no-chunked-prefill", default=True, show_default=True,
              help="Whether a prompt may take several steps.")  # fmt: skip
@click.option("--goodput", metavar="LIMITS", help="Count requests within limits in ms: ttft:2000,tpot:200,e2el:9000.")
@click.option("--capacity", "capacity_limits", metavar="LIMITS",
              help="Find the greatest rate whose 99th percentiles are within limits in ms.")  # fmt: skip
@click.option("--csv", "csv_path", type=OutputPath(), help="File to write a line of each request to.")
@json_option
@click.pass_context
def serve_command(
    context: click.Context,
    source: str,
    goodput: str | None,
    capacity_limits: str | None,
    csv_path: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Serve requests as an engine with continuous batching does, and tell rates and latencies."""
    ACCOUNT.begin()
    output_places(csv_path)
    with STARTING:
        from ndpsim.report.serving_figures import PERCENTILES, limits_of, serving_energy, serving_figures, times_of

        limits = None if goodput is None else limits_of(goodput, "--goodput")
        most = None if capacity_limits is None else limits_of(capacity_limits, "--capacity")
        typed = {name for name in context.params if _is_typed(context, name)}
        if most is not None and "rate" in typed:
            raise InputError("--capacity: expected it or --rate, found both")
        workload = _workload(source, typed, **options)
        job = _job(workload, **options)
    rate = options["rate"]
    if most is None:
        with progress("requests", len(workload)) as update:
            served, system = job.run(workload, lambda done: update(completed=done))
    else:
        import numpy as np

        from ndpsim.serving.job import capacity

        def keeps(one: "Served") -> bool:
            times = times_of(one)
            known = {name: values[~np.isnan(values)] for name, values in times.items() if name in most}
            return all(
                np.percentile(known[name], PERCENTILES[-1]) <= limit for name, limit in most.items() if known[name].size
            )

        with progress("getting ready", None) as update:
            rate, served, system = capacity(
                job, workload, keeps, options["burstiness"], options["seed"],
                lambda tried: update(description=f"{tried:.4g} requests/s"),
            )  # fmt: skip
    record = {
        "system": system.name,
        "model": system.job.shape.name,
        "gpu": system.devices.gpu.origin,
        "machine": system.devices.config.name,
        "engine": job.profile.name,
        "requests": source,
        "request_rate": rate,
        "capacity": rate if most is not None else None,
        "max_num_seqs": job.places,
        "max_num_batched_tokens": job.limits(system).max_num_batched_tokens,
        "kv_blocks": served.kv_blocks,
        "changed": {path: [job.setup.before.get(path), value] for path, value in job.setup.changes.items()},
        **serving_figures(served, limits),
        **serving_energy(served, system),
    }
    with WRITING:
        if csv_path is not None:
            _write_lines(csv_path, served)
    parts = ACCOUNT.so_far()
    record |= {"wall_s": sum(parts.values()), "wall_by_part_s": parts}
    if as_json:
        print_json({**record, "setup": job.setup.model_dump()})
    else:
        _print(record, PERCENTILES)


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _workload(
    source: str, typed: set[str], seed: int, rate: float | None, burstiness: float, **options: Any
) -> "Workload":
    """Return the requests that are asked for."""
    from ndpsim.serving.sources.files import read_workload
    from ndpsim.serving.sources.generated import RandomRequests, with_rate
    from ndpsim.serving.sources.profiles import load_request_profile, profile_names

    name, colon, number = source.rpartition(":")
    count = int(number) if colon and number.isascii() and number.isdigit() and len(number) < 10 else None
    name = source if count is None else name
    if name == "random":
        drawn = {option: options[option] for option in _RANDOM}
        workload = RandomRequests(**({} if count is None else {"num_prompts": count}), **drawn).draw(seed)
    else:
        if others := sorted(typed & {*_RANDOM}):
            raise InputError(f"--{others[0].replace('_', '-')}: expected --requests random, found {source}")
        workload = (
            load_request_profile(name).draw(count, seed) if name in profile_names() else read_workload(name, count)
        )
    if rate is None and "burstiness" in typed:
        raise InputError("--burstiness: expected --rate with it, found none")
    return workload if rate is None else with_rate(workload, rate, burstiness, seed)


def _job(
    workload: "Workload", system: str, model: str, machine: str, gpu: str | None, settings: tuple[str, ...], seed: int,
    engine: str, scheduling: str, max_num_seqs: int | None, max_num_batched_tokens: int | None, kv_blocks: int | None,
    prefix_caching: bool, chunked_prefill: bool, **_others: Any,
) -> "ServingJob":  # fmt: skip
    """Return the job that the options ask for."""
    from ndpsim.runs.setup import Setup
    from ndpsim.serving.job import ServingJob
    from ndpsim.serving.profile import load_profile

    longest = workload.longest
    setup = Setup.of(
        system, model, machine, prompt=longest - 1, output=1, seed=seed, changes=changes_of(settings, gpu)
    )  # fmt: skip
    for name, value in (
        ("max-num-seqs", max_num_seqs),
        ("max-num-batched-tokens", max_num_batched_tokens),
        ("kv-blocks", kv_blocks),
    ):
        if value is not None and not 1 <= value <= 1 << 30:
            raise InputError(f"--{name}: expected 1 to {1 << 30}, found {value}")
    return ServingJob(
        setup, load_profile(engine), kv_blocks, max_num_seqs, max_num_batched_tokens, prefix_caching, chunked_prefill,
        scheduling == "priority",
    )  # fmt: skip


def _write_lines(path: Path, served: "Served") -> None:
    """Write a line of each request: times in seconds from the first arrival, and milliseconds."""
    import csv

    from ndpsim.files import appearing
    from ndpsim.report.serving_figures import PS_PER_S, times_of

    times = times_of(served)
    columns = {
        "arrival_s": served.arrival / PS_PER_S,
        "input_tokens": served.prompts,
        "output_tokens": served.outputs,
        "cached_tokens": served.cached,
        "preemptions": served.preemptions,
        "first_scheduled_s": served.first_scheduled / PS_PER_S,
        "first_token_s": served.first_token / PS_PER_S,
        "last_token_s": served.last_token / PS_PER_S,
        **{f"{name}_ms": values for name, values in times.items()},
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    with appearing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["request", *columns])
        for number, row in enumerate(rows, 1):
            writer.writerow([number, *("" if isinstance(one, float) and math.isnan(one) else one for one in row)])


def _print(record: dict[str, Any], percents: tuple[int, ...]) -> None:
    """Print the table at the end."""
    rows = [
        (
            "requests/s",
            f"{record['request_throughput']:.4g}, {record['completed']} in {quantity(record['duration'], 's')}",
        ),
        ("tokens/s", f"{record['output_throughput']:.1f}, with prompts {record['total_token_throughput']:.1f}"),
    ]
    if record["capacity"] is not None:
        rows.insert(0, ("capacity", f"{record['capacity']:.4g} requests/s; all below is at this rate"))
    if record["request_goodput"] is not None:
        rows.append(("goodput", f"{record['request_goodput']:.4g} requests/s within the limits"))
    for name, title in (
        ("ttft", "time to first token"), ("tpot", "time per output token"), ("itl", "time between tokens"),
        ("e2el", "end to end"),
    ):  # fmt: skip
        if record[f"mean_{name}_ms"] is not None:
            shares = ", ".join(f"{one} % {_ms(record[f'p{one}_{name}_ms'])}" for one in percents)
            rows.append((title, f"mean {_ms(record[f'mean_{name}_ms'])}; {shares}"))
    kv = percent(record["mean_kv_use"]), percent(record["max_kv_use"])
    rows += [
        ("running", f"mean {record['mean_running']:.1f}, most {record['max_running']} of {record['max_num_seqs']}"),
        ("waiting", f"most {record['max_waiting']}"),
        ("KV blocks", f"{kv[0]} on average, {kv[1]} at most, of {record['kv_blocks']}"),
        ("prompt tokens found cached", percent(record["prefix_hit_rate"])),
        ("preemptions", f"{record['preemptions']}"),
        ("steps", f"{record['steps']}, in which devices were busy {percent(record['device_use'])} of the time"),
        ("energy", joules_of(record["energy_j"])),
        ("  of a generated token", joules_of(record["joules_per_output_token"])),
        ("  basis", record["energy_note"]),
        ("card", record["gpu"]),
        ("engine", record["engine"]),
    ]  # fmt: skip
    rows += [(f"changed: {path}", f"{old} -> {new}") for path, (old, new) in record["changed"].items()]
    rows.append(("wall time", quantity(record["wall_s"], "s")))
    print_table(f"{record['system']}: {record['model']}, {record['requests']}", rows)


def _ms(value: float) -> str:
    return quantity(value * 1e-3, "s")
