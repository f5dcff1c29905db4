"""DRAM energy by the current method of the data sheets: commands and open clocks of a rank times what each one takes.

One formula serves all standards. An activate (with its precharge) is what the I0 loop draws beyond standby with one
bank open: I2N + (I3N - I2N) / banks open in the I3N loop. The classic formula takes I3N itself; as most sheets
measure that with all banks open, it subtracts too much, and on DDR5 it comes out negative. Active standby costs I3N
whenever at least one bank of the rank is open, so that few open banks are charged as many: an upper bound. A burst
between a bank and a unit at it costs what it costs inside the device on its way to the pins, an upper bound as well,
and nothing on the bus.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ndpsim.dram.energy.counts import RankActivity
from ndpsim.dram.standard.currents import SCALES, CurrentScale, DeviceCurrents, DeviceEnergies, Rail
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

Joules = float | npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DramEnergy:
    """Joules by component, float or float64 of the activity's shape; `basis` says what figures they rest on.

    Without public figures all joules are NaN and `basis` says so. activate: with its precharge; read, write: inside the
    devices; io: drivers and termination of the data bus, None where no source is known.
    """

    activate: Joules
    read: Joules
    write: Joules
    refresh: Joules
    precharged_standby: Joules
    active_standby: Joules
    io: Joules | None
    basis: str

    @property
    def total(self) -> Joules:
        """All components together, as far as they are known."""
        parts = (getattr(self, name) for name in _COMPONENTS)
        return sum((part for part in parts if part is not None), 0.0)

    def summary(self) -> dict[str, Any]:
        """Return the joules of all ranks by component (None: not known), the total of those known, and the basis."""
        parts: dict[str, float | None] = {}
        for name in _COMPONENTS:
            joules = getattr(self, name)
            parts[name] = None if joules is None else float(np.sum(joules))
        return {**parts, "total": float(np.sum(self.total)), "basis": self.basis}


_COMPONENTS = tuple(field.name for field in fields(DramEnergy) if field.name != "basis")


class EventEnergy(NamedTuple):
    """What one rank takes: picojoules for each event, milliwatts of standby."""

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    bank_refresh_pj: float
    precharged_mw: float
    active_mw: float
    read_io_pj: float
    write_io_pj: float


def dram_energy(standard: Standard, activity: RankActivity, scale: str = "maximum") -> DramEnergy:
    """Return the energy of what ranks of this standard did.

    `scale` is a name of `SCALES`. Raises InputError if it is not, or if the activity has REFsb or REFpb that the
    standard's currents do not know.
    """
    if scale not in SCALES:
        raise InputError(f"scale of currents: expected one of {', '.join(SCALES)}, found {scale!r}")
    if standard.currents is None:
        nothing = dict.fromkeys(_COMPONENTS, activity.clocks * math.nan)
        return DramEnergy(**nothing, basis=f"no energy: no public currents for {standard.name}")
    if standard.currents.bank_refreshes is None and np.any(activity.bank_refreshes):
        raise InputError(f"{standard.name}: bank refreshes: expected none, as its currents give no bank_refreshes")
    event = event_energy(standard, scale)
    io = activity.reads * (event.read_io_pj * 1e-12) + activity.writes * (event.write_io_pj * 1e-12)
    clock_mw = float(standard.tck_ps) * 1e-15  # joules of one milliwatt in one clock
    return DramEnergy(
        activate=activity.activates * (event.activate_pj * 1e-12),
        read=(activity.reads + activity.bank_reads) * (event.read_pj * 1e-12),
        write=(activity.writes + activity.bank_writes) * (event.write_pj * 1e-12),
        refresh=activity.refreshes * (event.refresh_pj * 1e-12)
        + activity.bank_refreshes * (event.bank_refresh_pj * 1e-12),
        precharged_standby=(activity.clocks - activity.open_clocks) * (event.precharged_mw * clock_mw),
        active_standby=activity.open_clocks * (event.active_mw * clock_mw),
        io=io if _knows_io(standard.currents) or not np.any(activity.reads + activity.writes) else None,
        basis=_basis(standard, standard.currents, SCALES[scale]),
    )


def event_energy(standard: Standard, scale: str = "maximum") -> EventEnergy:
    """Return what one rank of a standard with known currents takes for each event.

    Energies of events are those of the sheet's own loops: a changed timing or data rate changes how often things
    happen and how long standby lasts, not what a command costs. Raises InputError if the scale makes one negative.
    """
    currents = standard.currents
    if currents is None:
        raise InputError(f"{standard.name}: expected a device with currents, found none")
    bits = standard.burst_bytes * 8
    devices = standard.bus_bits // standard.organization.width
    interface = currents.interface
    read_io = interface.read_pj_per_bit * bits if interface else 0.0
    write_io = interface.write_pj_per_bit * bits if interface else 0.0
    sets = currents.bank_refreshes or 1
    if isinstance(currents, DeviceEnergies):
        refresh = currents.refresh_pj * devices
        return EventEnergy(
            activate_pj=currents.activate_pj * devices,
            read_pj=currents.read_pj_per_bit * bits,
            write_pj=currents.write_pj_per_bit * bits,
            refresh_pj=refresh,
            bank_refresh_pj=refresh / sets,
            precharged_mw=currents.precharged_mw * devices,
            active_mw=currents.active_mw * devices,
            read_io_pj=read_io,
            write_io_pj=write_io,
        )
    parts = {
        name: _of_rail(currents, rail, SCALES[scale], standard.burst_length) for name, rail in currents.rails.items()
    }
    activate, read, write, refresh, precharged, active = (
        devices * sum(one, 0.0) for one in zip(*parts.values(), strict=True)
    )
    if "VDDQ" in parts:
        bus = parts["VDDQ"]
        read, read_io = read - devices * bus.read, read_io + devices * bus.read
        write, write_io = write - devices * bus.write, write_io + devices * bus.write
    event = EventEnergy(activate, read, write, refresh, refresh / sets, precharged, active, read_io, write_io)
    if min(event) < 0:  # differences of currents that were scaled apart
        name = EventEnergy._fields[event.index(min(event))]
        raise InputError(
            f"scale of currents: expected one that fits {standard.name}, found {scale}, with which {name} falls below 0"
        )
    return event


class _RailEnergy(NamedTuple):
    activate: float
    read: float
    write: float
    refresh: float
    precharged: float
    active: float


def _of_rail(currents: DeviceCurrents, rail: Rail, scale: CurrentScale, transfers: int) -> _RailEnergy:
    """Return pJ by event and mW of standby of one supply of one device (mA * V * ns = pJ)."""
    precharged, active = rail.I2N * scale.I2N, rail.I3N * scale.I3N
    one_bank = precharged + (active - precharged) / currents.I3N_banks
    burst_ns = transfers * 1000 / currents.data_rate_mtps

    standby = one_bank * currents.tRAS_ns + precharged * (currents.tRC_ns - currents.tRAS_ns)
    activate = 0.0 if rail.I0 is None else rail.I0 * scale.I0 * currents.tRC_ns - standby
    read = 0.0 if rail.I4R is None else (rail.I4R * scale.I4R - active) * burst_ns
    write = 0.0 if rail.I4W is None else (rail.I4W * scale.I4W - active) * burst_ns
    refresh = 0.0
    if rail.I5B is not None:
        refresh = (rail.I5B * scale.I5 - precharged) * currents.tRFC_ns
    elif rail.I5R is not None:
        refresh = (rail.I5R * scale.I5 - precharged) * currents.tREFI_ns
    return _RailEnergy(*(rail.volts * one for one in (activate, read, write, refresh, precharged, active)))


def _knows_io(currents: DeviceCurrents | DeviceEnergies) -> bool:
    """Tell whether the energy of the data bus is known: from a source of its own, or as what its supply draws."""
    return currents.interface is not None or (isinstance(currents, DeviceCurrents) and "VDDQ" in currents.rails)


def _basis(standard: Standard, currents: DeviceCurrents | DeviceEnergies, scale: CurrentScale) -> str:
    kind = "estimated energies per event" if isinstance(currents, DeviceEnergies) else scale.label
    speed = "" if currents.data_rate_mtps == standard.data_rate_mtps else f", figures of {currents.data_rate_mtps} MT/s"
    bus = "" if _knows_io(currents) else "; I/O and termination not included"
    return f"{kind}{speed} ({currents.source}){bus}"
