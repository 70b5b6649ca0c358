"""Faults as spans of time, and how quickly alarms are answered."""

from simulator.ledger import Event
from simulator.report.facts import FaultSpan
from simulator.runtime.answers import OPEN_MAX, Answers
from simulator.runtime.spans import SPANS_MAX, Spans

STORE = {"kind": "slow_answers", "part": "backend", "of": ["store"], "ms": 900.0, "jitter_ms": 0.0, "for_s": 5}


def told(at_ms: int, kind: str, thing: str = "", source: str = "run", **detail: object) -> Event:
    return Event(at_ms, source, kind, thing, detail)


def test_devices_that_are_hit_together_share_a_span_until_the_last_is_well() -> None:
    spans = Spans()
    bias = {"kind": "bias", "signal": "temp_c", "by": 60}
    spans.take(told(1000 + 10 * i, "fault_injected", f"d-{i}", fault="bias", params=bias) for i in (1, 0, 2))
    spans.take(told(5000 + 100 * i, "fault_cleared", f"d-{i}", fault="bias") for i in range(2))
    assert spans.now() == ["bias of 3 devices (signal temp_c, by 60)"]
    spans.take([told(7000, "fault_cleared", "d-2", fault="bias")])
    assert spans.told() == [FaultSpan("bias of 3 devices (signal temp_c, by 60)", 1000, 7000)]
    assert spans.now() == []


def test_a_fault_of_a_part_says_what_of_it() -> None:
    spans = Spans()
    spans.take([told(1000, "fault_injected", fault="slow_answers", params=STORE)])
    assert spans.told() == [FaultSpan("slow_answers of the backend's store (ms 900)", 1000, None)]


def test_a_part_that_is_away_is_one_span_whoever_did_it() -> None:
    spans = Spans()
    pause = {"kind": "part_pause", "part": "backend"}
    events = [
        told(1000, "fault_injected", fault="part_pause", params=pause), told(1001, "part_pause", part="backend"),
        told(3000, "part_back", part="backend"), told(3001, "fault_cleared", fault="part_pause"),
        told(5000, "part_restart", part="cloud"), told(6000, "part_back", part="cloud"),
    ]  # fmt: skip
    spans.read(events)
    spans.read(events)  # it only reads what is new
    assert spans.told() == [
        FaultSpan("part_pause of the backend", 1000, 3000), FaultSpan("part_restart of the cloud", 5000, 6000)
    ]  # fmt: skip


def test_spans_have_a_bound_and_the_rest_is_counted() -> None:
    spans = Spans()
    for i in range(SPANS_MAX + 7):
        params = {"kind": "bias", "by": i + 1}
        spans.take([told(i * 10_000, "fault_injected", "d", fault="bias", params=params)])
    assert (len(spans.told()), spans.left_out) == (SPANS_MAX, 7)


def test_an_alarm_is_answered_by_the_first_command_for_it() -> None:
    answers = Answers()
    events = [
        told(1000, "alarm_raised", "d", "backend", alarm_id="a1"),
        told(1000, "alarm_raised", "e", "backend", alarm_id="a2"),
        told(1040, "command_sent", "d", "backend", alarm_id="a1"),
        told(1500, "job_created", "d", "backend", alarm_id="a1"),
    ]
    (row,) = answers.read(events)
    assert (row.method, row.name, row.latency.count, row.latency.high) == ("BACKEND", "alarm → command", 1, 40_000_000)
    assert answers.read(events) == []
    events.append(told(3000, "command_failed", "e", "backend", alarm_id="a2"))
    (row,) = answers.read(events)
    assert (row.latency.count, row.failed.total()) == (1, 1)


def test_alarms_that_nobody_answers_are_forgotten_at_last() -> None:
    answers = Answers()
    many = [told(1, "alarm_raised", "d", "backend", alarm_id=f"a{i}") for i in range(OPEN_MAX + 1)]
    assert answers.read([*many, told(9, "command_sent", "d", "backend", alarm_id="a0")]) == []
