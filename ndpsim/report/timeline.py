"""The timeline of a run in the form that Perfetto and chrome://tracing show: one line a device, in simulated time."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ndpsim.files import appearing
from ndpsim.machine.meter import Span
from ndpsim.wall import WRITING


@WRITING
def write_timeline(path: Path, spans: Iterable[Span]) -> None:
    """Write a timeline; the file appears whole or not at all. Raises InputError if it cannot be written."""
    devices: dict[str, int] = {}
    with appearing(path) as part, part.open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
        for span in spans:
            if span.device not in devices:
                devices[span.device] = len(devices) + 1
                file.write(_line({"name": "thread_name", "ph": "M", **_thread(devices, span.device),
                                  "args": {"name": span.device}}) + ",\n")  # fmt: skip
            event = {"name": span.operation, "ph": "X", "ts": span.start / 1e6, "dur": (span.end - span.start) / 1e6}
            event |= _thread(devices, span.device)
            file.write(_line(event | ({"args": {"layer": span.layer}} if span.layer >= 0 else {})) + ",\n")
        file.write(_line({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "ndpsim"}}) + "\n]}\n")


def _thread(devices: dict[str, int], device: str) -> dict[str, Any]:
    return {"pid": 1, "tid": devices[device]}


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"))
