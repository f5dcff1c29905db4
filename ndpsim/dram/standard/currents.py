"""What a DRAM device draws: supply currents of its data sheet, or energies per event where no currents are public.

They stand in `workloads/hardware/dram/*.toml` as `[[device.NAME.currents]]`, one entry for each data rate known.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _number(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


_Quantity = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False), BeforeValidator(_number)]
_Positive = Annotated[_Quantity, Field(gt=0)]
_Count = Annotated[int, Field(strict=True, ge=1, le=1 << 20)]
_Text = Annotated[str, Field(strict=True, min_length=1)]


class _CurrentsTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rail(_CurrentsTable):
    """The currents of one supply in mA, by the loops of the data sheet (IDD0 is I0 of VDD, IPP0 is I0 of VPP).

    None: not in the source, and taken as no more than the standby current of that loop. I5B is the current of
    refreshes back to back, every tRFC; I5R that of refreshes spread out, every tREFI.
    """

    volts: _Positive
    I0: _Quantity | None = None
    I2N: _Quantity
    I3N: _Quantity
    I4R: _Quantity | None = None
    I4W: _Quantity | None = None
    I5B: _Quantity | None = None
    I5R: _Quantity | None = None
    source: _Text


class Interface(_CurrentsTable):
    """What the drivers and the termination of the data bus take, in pJ for each bit moved."""

    read_pj_per_bit: _Quantity
    write_pj_per_bit: _Quantity
    source: _Text


class DeviceCurrents(_CurrentsTable):
    """Currents of a device at one data rate, and the lengths of the loops in which they were measured.

    `I3N_banks`: banks that are open in the I3N loop. `bank_refreshes`: how many REFsb or REFpb do the work of one
    REF. The rail VDDQ, if there is one, feeds the data bus: what it draws beyond standby is I/O.
    """

    kind: Literal["currents"]
    data_rate_mtps: _Count
    tRC_ns: _Positive
    tRAS_ns: _Positive
    tRFC_ns: _Positive
    tREFI_ns: _Positive
    I3N_banks: _Count
    bank_refreshes: _Count | None = None
    rails: Annotated[dict[str, Rail], Field(min_length=1)]
    interface: Interface | None = None
    source: _Text

    @model_validator(mode="after")
    def _loops_fit(self) -> "DeviceCurrents":
        if self.tRAS_ns >= self.tRC_ns:
            raise ValueError("tRAS_ns less than tRC_ns")
        if any(rail.I5B is not None and rail.I5R is not None for rail in self.rails.values()):
            raise ValueError("I5B or I5R, not both")
        for name, rail in self.rails.items():
            loops = {"I0": rail.I2N, "I4R": rail.I3N, "I4W": rail.I3N, "I5B": rail.I2N, "I5R": rail.I2N}
            if low := [loop for loop, standby in loops.items() if (getattr(rail, loop) or standby) < standby]:
                raise ValueError(f"currents of {name} no lower than its standby (see {', '.join(low)})")
        return self


class DeviceEnergies(_CurrentsTable):
    """Energies of a device (or pseudo-channel of a stack) per event, where nobody publishes its currents."""

    kind: Literal["energies"]
    data_rate_mtps: _Count
    activate_pj: _Quantity
    read_pj_per_bit: _Quantity
    write_pj_per_bit: _Quantity
    refresh_pj: _Quantity
    bank_refreshes: _Count | None = None
    precharged_mw: _Quantity
    active_mw: _Quantity
    interface: Interface | None = None
    source: _Text


Currents = Annotated[DeviceCurrents | DeviceEnergies, Field(discriminator="kind")]
"""An entry of `[[device.NAME.currents]]`."""


class CurrentScale(NamedTuple):
    """Factors that turn the maxima of a data sheet into what devices were seen to draw, by loop."""

    label: str
    I0: float = 1.0
    I2N: float = 1.0
    I3N: float = 1.0
    I4R: float = 1.0
    I4W: float = 1.0
    I5: float = 1.0


SCALES = {
    "maximum": CurrentScale("data-sheet maximum"),
    # Shi et al., arXiv 2411.17960: measured over data sheet; refresh was not measured and stays at its maximum.
    "ddr4_measured": CurrentScale(
        "data-sheet maximum times measured/maximum of DDR4-2133 (arXiv 2411.17960)",
        I0=0.54, I2N=0.58, I3N=0.35, I4R=0.55, I4W=0.43,
    ),
    # Ghose et al., SIGMETRICS 2018 (arXiv 1807.05102), 50 modules.
    "ddr3l_measured": CurrentScale(
        "data-sheet maximum times measured/maximum of DDR3L (arXiv 1807.05102)",
        I0=0.43, I2N=0.57, I3N=0.37, I4R=0.74, I4W=0.54, I5=0.83,
    ),
}  # fmt: skip
"""By name: the maxima themselves, and two published ratios, which hold for the devices that they were measured on."""


def nearest_currents(
    entries: Sequence[DeviceCurrents | DeviceEnergies], data_rate_mtps: Fraction | int
) -> DeviceCurrents | DeviceEnergies | None:
    """Return the entry of the nearest data rate (the lower one of two), or None if there is no entry."""
    return min(
        entries, key=lambda entry: (abs(entry.data_rate_mtps - data_rate_mtps), entry.data_rate_mtps), default=None
    )
