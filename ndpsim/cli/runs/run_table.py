"""The table at the end of a run."""

from typing import Any

from ndpsim.cli.show import percent, print_table, quantity


def print_run(record: dict[str, Any]) -> None:
    """Print the figures of a run, as `report.figures` has them, with `wall_s`, `wall_by_part_s` and `slowdown`."""
    tokens, simulated = record["output_tokens"], record["simulated_s"]
    rate, each = record["decode_tokens_per_s"], record["time_per_output_token_s"]
    rows = [
        ("tokens/s", f"{record['tokens_per_s']:.2f}, prompt included"),
        ("  of decoding", "none: the first token is the prompt's" if rate is None else f"{rate:.2f}"),
        ("time to first token", f"{record['time_to_first_token_s']:.4g} s"),
        ("time per output token", "none" if each is None else f"{each * 1e3:.4g} ms"),
        ("critical path", f"prompt {quantity(record['operation_s'].get('prompt', 0.0), 's')}; of each token after it"),
        *(
            (f"  {name}", f"{seconds * 1e3 / max(tokens - 1, 1):.3f} ms")
            for name, seconds in record["operation_s"].items()
            if name != "prompt"
        ),
    ]
    for device, times in record["busy_s"].items():
        rows.append(
            (f"{device} busy", f"{percent(record['use'][device])}, {quantity(record['use'][device] * simulated, 's')}")
        )
        rows += [(f"  {name}", quantity(seconds, "s")) for name, seconds in times.items()]
    rows.append(("card", record["gpu"]))
    if "dimm_gb_per_s" in record:
        rates, machine = record["dimm_gb_per_s"], record["dimms"]
        rows += [
            ("DIMMs", f"{machine['dimms']} of {machine['dimm']}, {machine['dram']}"),
            (
                "  each",
                f"{machine['ranks']} ranks, {machine['capacity_bytes'] / 2**30:g} GiB, "
                f"{machine['peak_gb_per_s']:.1f} GB/s to its unit at most",
            ),
            ("  bandwidth reached", f"{min(rates):.1f} to {max(rates):.1f} GB/s each while rows moved"),
            ("  busiest over mean", f"{record['dimm_imbalance']:.3f}"),
        ]
    rows += [(f"changed: {path}", f"{_told(old)} -> {_told(new)}") for path, (old, new) in record["changed"].items()]
    rows.append(("links", ", ".join(f"{name} {quantity(size, 'B')}" for name, size in record["link_bytes"].items())))
    rows += [(name, f"{count}") for name, count in record["events"].items()]
    if record["predictor"]:
        rows.append(("predictor", ", ".join(f"{name} {percent(share)}" for name, share in record["predictor"].items())))
    if record.get("resident_bytes") is not None:
        rows.append(("neurons in GPU memory", quantity(record["resident_bytes"], "B")))
    total = record["energy_j"]
    rows.append(("energy", "unknown" if total is None else quantity(total, "J")))
    for name, part in record["energy_by_part"].items():
        rows.append((f"  {name}", "unknown" if part is None else quantity(part["total"], "J")))
    rows.append(("  basis", record["energy_note"]))
    if "wall_s" in record:
        rows += _wall_rows(record)
    part = "" if record["complete"] else f", {tokens} tokens so far"
    print_table(f"{record['system']}: {record['model']}, batch {record['sequences']}{part}", rows)


def _told(value: Any) -> str:
    return "none" if value is None else str(value)


def _wall_rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how long the run took here, and where that time went."""
    wall, ratio = f"{record['wall_s']:.1f} s", record["slowdown"]
    parts = [
        (f"  {name.replace('_', ' ')}", f"{quantity(seconds, 's')}, {percent(seconds / record['wall_s'])}")
        for name, seconds in record["wall_by_part_s"].items()
        if seconds > 0
    ]
    return [("wall time", wall if ratio is None else f"{wall}, {ratio:.3g} times the simulated time"), *parts]
