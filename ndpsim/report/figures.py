"""The figures of a run: rates and latencies, where the time went, who was busy, bytes, joules."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from ndpsim.dimm.energy import energy_figures
from ndpsim.errors import InputError
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.runs.run import Run
from ndpsim.systems.catalog import plugin_errors
from ndpsim.systems.system import Devices, System

S_PER_PS = 1e-12
NOTE = "GPU and CPU: their power limit while busy, an upper bound. PCIe and what idles are not included"


def figures_of(run: Run) -> dict[str, Any]:
    """Return the figures of a run, times in seconds; `None` where nothing is known.

    Latencies are those of vLLM's benchmark: the first token comes at the end of the prompt's pass, and the time per
    output token is that of all later ones by their number, none if there are none. Raises InputError before the first
    token.
    """
    if not run.tokens:
        raise InputError("run: expected at least one output token, found none")
    with plugin_errors(run.plugin):
        return _collected(run)


def _collected(run: Run) -> dict[str, Any]:
    setup, meter, devices = run.setup, run.system.meter, run.devices
    simulated, decode = run.now_ps * S_PER_PS, sum(run.token_ps) * S_PER_PS
    passes = len(run.token_ps)
    busy: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (device, operation), time in meter.busy.items():
        busy[device][operation] = time * S_PER_PS
    spent = {device: sum(times.values()) for device, times in busy.items()}
    found: dict[str, Any] = {
        "system": run.system.name,
        "model": run.job.shape.name,
        "sequences": setup.batch,
        "prompt_tokens": setup.prompt,
        "output_tokens": run.tokens,
        "complete": run.complete,
        "gpu": devices.gpu.origin,
        "machine": devices.config.name,
        "dimms": devices.dimms.summary(),
        "changed": {path: [setup.before.get(path), value] for path, value in setup.changes.items()},
        "tokens_per_s": run.tokens * setup.batch / simulated,
        "decode_tokens_per_s": passes * setup.batch / decode if passes else None,
        "simulated_s": simulated,
        "time_to_first_token_s": (run.prompt_ps or 0) * S_PER_PS,
        "time_per_output_token_s": decode / passes if passes else None,
        "operation_s": {name: time * S_PER_PS for name, time in meter.operation.items()},
        "busy_s": dict(busy),
        "use": {device: time / simulated for device, time in spent.items()},
        "link_bytes": dict(meter.link),
        "events": dict(meter.events),
    }
    if run.system.ndp is not None:
        found |= _dimm_figures(run.system.ndp)
    return found | energy_of(run.system, devices, spent, run.now_ps) | {"predictor": None} | run.system.figures()


def _dimm_figures(ndp: NdpModel) -> dict[str, Any]:
    """Return what the DIMMs did, one value each: seconds in which they moved rows, their rates, and how even it was."""
    streams, moved = ndp.stream_ps * S_PER_PS, ndp.dram_bytes
    rates = np.divide(moved, streams * 1e9, out=np.zeros(len(streams)), where=streams > 0)
    return {
        "dimm_stream_s": streams.tolist(),
        "dimm_bytes": moved.tolist(),
        "dimm_gb_per_s": rates.tolist(),
        "dimm_imbalance": float(streams.max() / streams.mean()) if streams.any() else 1.0,
    }


def energy_of(system: System, devices: Devices, busy: Mapping[str, float], total_ps: int) -> dict[str, Any]:
    """Return joules by part; the total is None if a part is not known.

    busy: seconds of each device; total_ps: how long all of it took.
    """
    ndp, parts, notes = system.ndp, dict[str, Any](), []
    if ndp is not None:
        energy: Any = energy_figures(devices.dimms, ndp.counters, ndp.work, total_ps)
        parts |= {name: part for name, part in energy["energy_j"].items() if name != "total"}
        notes.append(energy["energy_note"])
        per_bit = devices.dimms.config.energy
        moved = system.meter.link.get("remap", 0)
        parts["dimm_link"] = None if per_bit is None else {"total": moved * 8 * per_bit.link_bit.value * 1e-12}
    parts["gpu"] = {"total": busy.get("gpu", 0.0) * devices.gpu.card.power_w * devices.config.gpu.count.value}
    if "cpu" in busy:
        parts["cpu"] = {"total": busy["cpu"] * devices.config.cpu.power_w.value}
    totals = [part and part["total"] for part in parts.values()]
    known = [total for total in totals if total is not None]
    return {
        "energy_j": sum(known) if len(known) == len(totals) else None,
        "energy_by_part": parts,
        "energy_note": ". ".join([*notes, NOTE]),
    }
