"""A set of NDP-DIMMs that holds the weights of several layers, and runs their programs for numbers and for time."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.lower import LayerCompiler, layer_compiler
from ndpsim.compiler.placement import BalanceStrategy, LayerShape, memory_image
from ndpsim.dimm.config import Machine
from ndpsim.dimm.energy import NdpWork, energy_figures, ndp_work
from ndpsim.dimm.executor import DimmState, execute_resolved
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import RunTime, Timer
from ndpsim.dram.log.log import FIELDS, CommandLog
from ndpsim.errors import ProgramError


@dataclass
class DimmTotals:
    """What a set of DIMMs has done so far.

    counters: int64[DIMMs, ranks, 7] (`ndpsim.dram.ndp.rank_state.COUNTERS`); busy_ps: int64[DIMMs], time in
    stream instructions; stream_ps: time in which at least one DIMM moved matrix rows; work: that of the units.
    """

    machine: Machine
    counters: NDArray[np.int64]
    busy_ps: NDArray[np.int64]
    work: NdpWork = field(default_factory=NdpWork)
    programs: int = 0
    total_ps: int = 0
    stream_ps: int = 0
    upload_bytes: int = 0
    logs: list[CommandLog] = field(default_factory=list)

    def energy_figures(self) -> dict[str, object]:
        """Return what a report says of the energy, over the time in which programs ran."""
        return energy_figures(self.machine, self.counters, self.work, self.total_ps)


class NdpDimms:
    """The DIMMs of a machine with layers in their memory."""

    def __init__(self, machine: Machine, *, log: bool = False) -> None:
        self.machine = machine
        self.layers: list[LayerCompiler] = []
        self._images: list[list[list[NDArray[np.uint8]]]] = []
        self._buffers = [np.zeros(machine.buffer_bytes, np.uint8) for _ in range(machine.dimms)]
        self._timer = Timer(machine)
        self._log = log
        self.totals = self._nothing()

    def _nothing(self) -> DimmTotals:
        ranks = self.machine.ranks
        return DimmTotals(
            self.machine, np.zeros((self.machine.dimms, ranks, 7), np.int64), np.zeros(self.machine.dimms, np.int64)
        )

    def add_layer(
        self,
        shape: LayerShape,
        weights: dict[str, NDArray[np.generic]],
        *,
        balance: str | BalanceStrategy = "round_robin",
        frequencies: NDArray[np.float64] | None = None,
    ) -> int:
        """Store a layer behind the ones before it and return its number."""
        first = self.layers[-1].placement.end if self.layers else 0
        name = f"layer{len(self.layers)}"
        compiler = layer_compiler(
            shape, self.machine, balance=balance, frequencies=frequencies, first_atom=first, name=name
        )
        self._images.append(memory_image(compiler.placement, weights))
        self.layers.append(compiler)
        return len(self.layers) - 1

    def run(self, layer: int, x: NDArray[np.generic], active: NDArray[np.integer]) -> NDArray[np.generic]:
        """Compile, execute and time one token (or a batch) of a layer.

        x: [batch, width] of the layer's stored type; active: neuron numbers. Returns what `LayerCompiler.result` does.
        """
        compiler = self.layers[layer]
        program = compiler.compile(active, len(x))
        host_input = compiler.host_input(x, active)
        resolved = resolve(program, self.machine.buffer_bytes, [len(data) for data in host_input])
        if resolved.trap is not None:  # what the compiler writes never traps
            raise ProgramError(f"layer {layer}: {resolved.trap}")
        parts = zip(self._images[layer], self._buffers, host_input, strict=True)
        states = [DimmState(*own) for own in parts]
        for buffer in self._buffers:
            buffer[:] = 0
        execute_resolved(resolved, states)
        self._add(self._timer.run(program, resolved, log=self._log), int(program.upload_bytes().sum()))
        return compiler.result([bytes(state.host_out) for state in states], active, len(x))

    def take_totals(self) -> DimmTotals:
        """Return what was done since the last call, and start anew."""
        totals, self.totals = self.totals, self._nothing()
        return totals

    def _add(self, run: RunTime, upload_bytes: int) -> None:
        totals = self.totals
        totals.counters += run.counters
        totals.busy_ps += run.stream_ps_by_dimm()
        totals.work += ndp_work(run.resolved)
        totals.programs += 1
        totals.total_ps += run.total_ps
        totals.stream_ps += run.stream_ps()
        totals.upload_bytes += upload_bytes
        if run.log is not None:
            totals.logs.append(run.log)


def join_logs(logs: list[CommandLog]) -> CommandLog:
    """Join the logs of consecutive programs into one."""
    arrays: dict[str, Any] = {name: np.concatenate([getattr(log, name) for log in logs]) for name in FIELDS}
    return logs[0]._replace(**arrays)
