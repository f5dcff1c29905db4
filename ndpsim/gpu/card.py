"""A graphics card as its data sheet describes it, from `workloads/hardware/gpus/`."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.gpu.architecture import Architecture, architecture_names, load_architecture
from ndpsim.kinds import Words
from ndpsim.tables import Table, read_toml, table_from

MOST: Final = 1e9
Positive = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]


def _known(name: str) -> str:
    if not name.endswith(".toml") and name not in architecture_names():
        raise ValueError(f"one of {', '.join(architecture_names())}, or a .toml file")
    return name


class Fit(Table, strict=True):
    """What measurements say of a card: efficiencies by family and parameter, and the error on rows left out."""

    data: str
    rows: Annotated[int, Field(gt=0)]
    error: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    efficiencies: dict[str, dict[str, Positive]]


class Card(Table, strict=True):
    """A card: rates and sizes of the data sheet (dense, with the boost clock), and a fit if there are measurements."""

    name: str
    architecture: Annotated[str, AfterValidator(_known), Words("a name of an architecture that ships, or a .toml file")]
    sms: Annotated[int, Field(gt=0, le=1024)]
    clock_mhz: Annotated[Positive, Field(description="boost clock of the data sheet; rates are dense, at this clock")]
    clock_headroom: Annotated[
        float, Field(ge=1, le=1.25, description="sustained over boost clock: GeForce cards raise theirs by themselves")
    ]
    power_w: Annotated[Positive, Field(description="limit of the whole card")]
    memory_mib: Annotated[int, Field(gt=0, le=1 << 30, description="what nvidia-smi shows as the total")]
    memory_gb_per_s: Positive
    inline_ecc: Annotated[bool, Field(description="check bits take a sixteenth of the memory's rate (GDDR with ECC)")]
    l2_mb: Positive
    l2_bytes_per_clock: Annotated[Positive, Field(description="of all slices together")]
    shared_memory_kib: Annotated[
        int | None, Field(gt=0, le=1 << 20, description="of an SM, where it is not that of the architecture")
    ] = None
    fp16_tflops: Annotated[Positive, Field(description="matrix units, accumulating in FP32")]
    int8_tops: Annotated[Positive, Field(description="matrix units")]
    fp32_tflops: Annotated[Positive, Field(description="vector units")]
    pcie_gb_per_s: Annotated[Positive, Field(description="each way, raw")]
    nvlink_gb_per_s: Annotated[float, Field(ge=0, le=1e6, description="each way, all links; 0: none")]
    source: str
    traits: Annotated[
        Architecture | None,
        Field(description="what it has in common with other cards, if not as its architecture says"),
    ] = None
    fit: Fit | None = None

    @property
    def common(self) -> Architecture:
        """What it has in common with the cards of its architecture."""
        return self.traits or load_architecture(self.architecture)

    @property
    def fitted(self) -> bool:
        """Whether its efficiencies come from measurements of this card, not from other cards."""
        return self.fit is not None

    @property
    def memory_bytes(self) -> int:
        """Bytes of the card's memory."""
        return self.memory_mib << 20

    @property
    def memory_rate(self) -> float:
        """DRAM bytes per microsecond at the data sheet's rate."""
        return self.memory_gb_per_s * 1e3

    @property
    def l2_rate(self) -> float:
        """L2 bytes per microsecond at the boost clock."""
        return self.l2_bytes_per_clock * self.clock_mhz

    def rate(self, kind: str) -> float:
        """Floating-point (or integer) operations per microsecond of a rate: fp16, int8, fp32."""
        return {"fp16": self.fp16_tflops, "int8": self.int8_tops, "fp32": self.fp32_tflops}[kind] * 1e6


def cards_dir() -> Path:
    """Return the folder of the cards that ship with ndpsim."""
    return workloads_dir() / "hardware" / "gpus"


def card_names() -> list[str]:
    """Return the names of the cards that ship with ndpsim."""
    return sorted(path.stem for path in cards_dir().glob("*.toml"))


def load_card(name: str) -> Card:
    """Load a card by name or from a file.

    Case, spaces and dashes of a name do not matter; the full name does as well, and so does a part that no other card
    has.

    Raises:
        InputError: an unknown or ambiguous name, or a file with faults: all of them are listed.
    """
    if name.endswith(".toml"):
        return read_card(Path(name))
    wanted = _plain(name)
    for known in card_names():
        if _plain(known) == wanted:
            return read_card(cards_dir() / f"{known}.toml")
    cards = [read_card(cards_dir() / f"{known}.toml") for known in card_names()]
    whole = [card for card in cards if _plain(card.name) == wanted]
    parts = whole or [card for card in cards if wanted and wanted in _plain(card.name)]
    if len(parts) != 1:
        raise InputError(f"card '{name}': expected one of {', '.join(card_names())}, or a .toml file")
    return parts[0]


def read_card(path: Path) -> Card:
    """Read a card file. Raises InputError with all faults."""
    return card_from(read_toml(path), str(path))


def card_from(content: Mapping[str, Any], where: str) -> Card:
    """Return the card that the content of a card file describes. Raises InputError with all faults after `where`."""
    return table_from(Card, content, where, _impossible(content))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _impossible(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what cannot be, whatever the form of the others: rates that no clock explains, too large caches."""
    sms, mhz, fp16, int8, fp32, memory_mib, memory_gb_per_s, l2_mb, l2_bytes_per_clock = (
        _number(content, name)
        for name in (
            "sms", "clock_mhz", "fp16_tflops", "int8_tops", "fp32_tflops", "memory_mib", "memory_gb_per_s", "l2_mb",
            "l2_bytes_per_clock",
        )
    )  # fmt: skip
    per_clock, l2_gb_per_s = fp16 * 1e6 / (sms * mhz), l2_bytes_per_clock * mhz / 1e3
    if per_clock < 64 or per_clock > 16384:
        yield f"fp16_tflops: expected 64 to 16384 operations a clock and SM, found {per_clock:.0f}"
    if int8 < fp16 or int8 > 4 * fp16:
        yield f"int8_tops: expected 1 to 4 times fp16_tflops {fp16:g}, found {int8:g}"
    if fp32 > fp16:
        yield f"fp32_tflops: expected at most fp16_tflops {fp16:g}, found {fp32:g}"
    if l2_mb >= memory_mib:
        yield f"l2_mb: expected less than memory_mib {memory_mib:g}, found {l2_mb:g} MB"
    if l2_gb_per_s <= memory_gb_per_s:
        yield f"l2_bytes_per_clock: expected more than the memory's rate, found {l2_gb_per_s:.0f} GB/s"


def _number(content: Mapping[str, Any], name: str) -> float:
    """Return a positive number of the content; if there is none, not-a-number, which no comparison holds for."""
    value: Any = content.get(name)
    return float(value) if type(value) in (int, float) and 0 < value <= MOST else math.nan
