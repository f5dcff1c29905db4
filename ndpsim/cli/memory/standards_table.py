"""The table of DRAM standards that `ndpsim dram --list` prints."""

import re
from typing import Any

from ndpsim.cli.show import print_json
from ndpsim.data import workloads_dir
from ndpsim.dram.standard.standard import Standard, read_standards
from ndpsim.errors import InputError

_WIDTH = 110
_OTHER_DEVICE = re.compile(r"-\d+Gb_")  # in names of presets that are not of their speed's default device


def print_standards(beginning: str, as_json: bool) -> None:
    """Print the shipped standards whose names begin so; raises InputError if there are none."""
    paths = sorted((workloads_dir() / "hardware" / "dram").glob("*.toml"))
    shipped = [standard for path in paths for standard in read_standards(path).values()]
    records = [_record(standard) for standard in shipped if standard.name.startswith(beginning)]
    if not records:
        families = ", ".join(dict.fromkeys(standard.family for standard in shipped))
        raise InputError(f"--standard: expected the beginning of a name, such as {families}, found {beginning!r}")
    if as_json:
        print_json({"standards": records})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("standard", style="bold", no_wrap=True)
    for title in ("MT/s", "tCK ns", "channels", "ranks", "banks", "rows", "row bytes", "CL-RCD-RP", "GB/s"):
        table.add_column(title, justify="right")
    hidden = [] if beginning else [record["name"] for record in records if _OTHER_DEVICE.search(record["name"])]
    for record in records:
        if record["name"] not in hidden:
            table.add_row(record["name"], *_cells(record))
    console = Console(width=max(Console().width, _WIDTH))
    console.print(table)
    if hidden:
        console.print(f"and {len(hidden)} of other devices, such as {hidden[0]}: add --standard DDR4 for those of DDR4")


def _record(standard: Standard) -> dict[str, Any]:
    organization, timing = standard.organization, standard.timing
    busses = organization.channels * organization.pseudo_channels
    return {
        "name": standard.name,
        "family": standard.family,
        "data_rate_mtps": float(standard.data_rate_mtps),
        "tck_ns": float(standard.tck_ps) / 1000,
        "channels": organization.channels,
        "pseudo_channels": organization.pseudo_channels,
        "ranks": organization.ranks,
        "bank_groups": organization.bank_groups,
        "banks": organization.banks,
        "rows": organization.rows,
        "row_bytes": organization.columns * standard.burst_bytes,
        "burst_bytes": standard.burst_bytes,
        "density_gbit": organization.density_gbit,
        "width": organization.width,
        "cl_rcd_rp": [timing["nCL"], timing.get("nRCD", timing.get("nRCDRD")), timing["nRP"]],
        "peak_gb_per_s": busses * standard.bus_bits / 8 * float(standard.data_rate_mtps) / 1000,
    }


def _cells(record: dict[str, Any]) -> list[str]:
    pseudo = record["pseudo_channels"]
    return [
        f"{record['data_rate_mtps']:.0f}",
        f"{record['tck_ns']:.3f}",
        f"{record['channels']} x {pseudo}" if pseudo > 1 else f"{record['channels']}",
        f"{record['ranks']}",
        f"{record['bank_groups']} x {record['banks']}",
        f"{record['rows']}",
        f"{record['row_bytes']}",
        "-".join(map(str, record["cl_rcd_rp"])),
        f"{record['peak_gb_per_s']:.1f}",
    ]
