"""The timeline for Perfetto, whose times are in microseconds: event by event."""

import json

from ndpsim.machine.meter import Meter, Span
from ndpsim.report.timeline import write_timeline


def events_of(path, spans):
    write_timeline(path, spans)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written.keys() == {"displayTimeUnit", "traceEvents"} and written["displayTimeUnit"] == "ns"
    return written["traceEvents"]


def test_each_span_is_an_event_in_microseconds_on_the_line_of_its_device(tmp_path):
    spans = [
        Span("gpu", "qkv", 0, 0, 1_500_000),
        Span("dimms", "ffn", -1, 2_000_001, 3_000_000),
        Span("gpu", "head", 7, 3_000_000, 3_250_000),
    ]
    assert events_of(tmp_path / "timeline.json", spans) == [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "gpu"}},
        {"name": "qkv", "ph": "X", "ts": 0.0, "dur": 1.5, "pid": 1, "tid": 1, "args": {"layer": 0}},
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 2, "args": {"name": "dimms"}},
        {"name": "ffn", "ph": "X", "ts": 2.000001, "dur": 0.999999, "pid": 1, "tid": 2},
        {"name": "head", "ph": "X", "ts": 3.0, "dur": 0.25, "pid": 1, "tid": 1, "args": {"layer": 7}},
        {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "ndpsim"}},
    ]


def test_a_run_without_spans_has_an_empty_timeline(tmp_path):
    assert [one["name"] for one in events_of(tmp_path / "timeline.json", [])] == ["process_name"]


def test_a_meter_keeps_spans_as_they_were_said_and_sums_them_by_device_and_operation():
    meter = Meter()
    meter.work("gpu", "qkv", 5, 25, 3)
    meter.work("gpu", "qkv", 30, 31)
    meter.work("gpu", "head", 40, 40)  # takes no time
    meter.work("dimms", "qkv", 10, 17, 2)
    assert list(meter.spans) == [
        ("gpu", "qkv", 3, 5, 25), ("gpu", "qkv", -1, 30, 31), ("dimms", "qkv", 2, 10, 17)
    ]  # fmt: skip
    assert len(meter.spans) == 3
    assert dict(meter.busy) == {("gpu", "qkv"): 21, ("dimms", "qkv"): 7}
    assert (meter.device_ps("gpu"), meter.device_ps("dimms"), meter.device_ps("cpu")) == (21, 7, 0)
    assert meter.device_ps("dimm") == 0  # a device is known by its whole name: there is a `dimm-link`, too


def test_a_meter_adds_up_times_bytes_and_events():
    meter = Meter()
    for operation, time in (("ffn", 3), ("qkv", 4), ("ffn", 5)):
        meter.spend(operation, time)
    for link, size in (("h2d", 10), ("d2h", 1), ("h2d", 7)):
        meter.move(link, size)
    meter.count("swaps")
    meter.count("swaps", 4)
    meter.count("moves", 0)
    assert (meter.operation, meter.link, meter.events) == ({"ffn": 8, "qkv": 4}, {"h2d": 17, "d2h": 1}, {"swaps": 5})


def test_timelines_are_equal_if_all_their_spans_are():
    first, second = Meter(), Meter()
    for meter in (first, second):
        meter.work("gpu", "qkv", 0, 5)
    assert first.spans == second.spans
    second.work("gpu", "qkv", 5, 6)
    assert first.spans != second.spans and first.spans != 3
