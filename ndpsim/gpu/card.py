"""A graphics card as its data sheet describes it, from `workloads/hardware/gpus/`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.tables import Table, faults_of_form, read_toml

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Fit(Table):
    """What measurements say of a card: efficiencies by family and parameter, and the error on rows left out."""

    data: str
    rows: Annotated[int, Field(gt=0)]
    error: dict[str, Annotated[float, Field(ge=0)]]
    efficiencies: dict[str, dict[str, Positive]]


class Card(Table):
    """A card: rates and sizes of the data sheet (dense, with the boost clock), and a fit if there are measurements."""

    name: str
    architecture: Literal["turing", "ampere", "ada", "hopper"]
    sms: Annotated[int, Field(gt=0, le=1024)]
    clock_mhz: Positive
    clock_headroom: Annotated[float, Field(ge=1, le=1.25)]
    power_w: Positive
    memory_gb: Positive
    memory_gb_per_s: Positive
    inline_ecc: bool
    l2_mb: Positive
    l2_bytes_per_clock: Positive
    fp16_tflops: Positive
    int8_tops: Positive
    fp32_tflops: Positive
    pcie_gb_per_s: Positive
    nvlink_gb_per_s: Annotated[float, Field(ge=0, le=1e6)]
    source: str
    fit: Fit | None = None

    @property
    def fitted(self) -> bool:
        """Whether its efficiencies come from measurements of this card, not from other cards."""
        return self.fit is not None

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
    """Load a card by name (case, spaces and dashes do not matter) or from a file.

    Raises:
        InputError: an unknown name, or a file with faults: all of them are listed.
    """
    if name.endswith(".toml"):
        return read_card(Path(name))
    wanted = _plain(name)
    for known in card_names():
        if _plain(known) == wanted:
            return read_card(cards_dir() / f"{known}.toml")
    raise InputError(f"card '{name}': expected one of {', '.join(card_names())}, or a .toml file")


def read_card(path: Path) -> Card:
    """Read a card file. Raises InputError with all faults."""
    try:
        card = Card.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(faults_of_form(error))) from None
    faults = list(_impossible(card))
    if faults:
        raise InputError(f"{path}: " + "; ".join(faults))
    return card


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _impossible(card: Card) -> Iterator[str]:
    """Yield what cannot be: rates that no clock explains, caches larger than the memory."""
    per_clock = card.fp16_tflops * 1e6 / (card.sms * card.clock_mhz)
    if not 64 <= per_clock <= 16384:
        yield f"fp16_tflops: expected 64 to 16384 operations a clock and SM, found {per_clock:.0f}"
    if not card.fp16_tflops <= card.int8_tops <= 4 * card.fp16_tflops:
        yield f"int8_tops: expected 1 to 4 times fp16_tflops {card.fp16_tflops:g}, found {card.int8_tops:g}"
    if card.fp32_tflops > card.fp16_tflops:
        yield f"fp32_tflops: expected at most fp16_tflops {card.fp16_tflops:g}, found {card.fp32_tflops:g}"
    if card.l2_mb * 1e6 >= card.memory_gb * 1e9:
        yield f"l2_mb: expected less than memory_gb {card.memory_gb:g}, found {card.l2_mb:g} MB"
    if card.l2_rate <= card.memory_rate:
        yield f"l2_bytes_per_clock: expected more than the memory's rate, found {card.l2_rate / 1e3:.0f} GB/s"
