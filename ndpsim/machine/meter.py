"""What a run takes: when each device worked at what, where the time went, and the bytes over each link."""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """A device works at an operation of a layer (-1: of none) from start to end, in picoseconds."""

    device: str
    operation: str
    layer: int
    start: int
    end: int


class Timeline:
    """All spans of a run, in 26 bytes each: a long run has millions.

    names: of devices and operations, in the order in which they came up; columns, in the order of `Span`, have their
    places there.
    """

    def __init__(self) -> None:
        self.names: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.columns = tuple(array(code) for code in "HHiqq")

    def append(self, device: str, operation: str, layer: int, start: int, end: int) -> None:
        """Add a span."""
        devices, operations = self.names
        to_device, to_operation, to_layer, to_start, to_end = self.columns
        to_device.append(devices.setdefault(device, len(devices)))
        to_operation.append(operations.setdefault(operation, len(operations)))
        to_layer.append(layer)
        to_start.append(start)
        to_end.append(end)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[Span]:
        devices, operations = (list(names) for names in self.names)
        for device, operation, *numbers in zip(*self.columns, strict=True):
            yield Span(devices[device], operations[operation], *numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timeline) and (self.names, self.columns) == (other.names, other.columns)

    __hash__ = None  # type: ignore[assignment]


class Meter:
    """The accounts of a run; all times in picoseconds.

    spans: the timeline; busy: time by device and operation, the sum of all spans; operation: time on the critical path
    (the parts add up to the length of the run); link: bytes; events: other counts.
    """

    def __init__(self) -> None:
        self.spans = Timeline()
        self.busy: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.operation: defaultdict[str, int] = defaultdict(int)
        self.link: defaultdict[str, int] = defaultdict(int)
        self.events: defaultdict[str, int] = defaultdict(int)

    def work(self, device: str, operation: str, start: int, end: int, layer: int = -1) -> None:
        """Record a span of a device; ignored if empty."""
        if end > start:
            self.spans.append(device, operation, layer, start, end)
            self.busy[device, operation] += end - start

    def spend(self, operation: str, time: int) -> None:
        """Add to the time that an operation has on the critical path, overlap left out."""
        self.operation[operation] += time

    def move(self, link: str, size: int) -> None:
        """Add bytes that went over a link."""
        self.link[link] += size

    def count(self, event: str, times: int = 1) -> None:
        """Increment a counter; ignored if zero."""
        if times:
            self.events[event] += times

    def device_ps(self, device: str) -> int:
        """Return the time that a device was busy."""
        return sum(time for (name, _), time in self.busy.items() if name == device)
