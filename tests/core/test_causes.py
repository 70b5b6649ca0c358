"""What explains that a message went astray, by table: faults, absences, the sandbox; and what does not."""

from typing import Any

import pytest

from simulator.audit import Subject
from simulator.causes import GRACE_MS, RECOVERS_MS, Causes, spells, stands_on_the_way
from simulator.ledger import Event
from simulator.matching import Fate

END_MS = 1_000_000
HUB = {"child": "hub"}


def event(at_s: float, what: str, thing: str = "a", source: str = "fleet", /, **detail: Any) -> Event:
    return Event(int(1000 * at_s), source, what, thing, detail)


def began(at_s: float, fault: str, thing: str = "a") -> Event:
    return event(at_s, "fault_injected", thing, fault=fault, params={"kind": fault})


def part_fault(at_s: float, of: list[str]) -> Event:
    params = {"kind": "slow_answers", "part": "cloud", "of": of}
    return event(at_s, "fault_injected", "", "run", fault="slow_answers", params=params)


def over(at_s: float, fault: str, thing: str = "a") -> Event:
    return event(at_s, "fault_cleared", thing, fault=fault)


def away(at_s: float, until_s: float | None, reason: str, thing: str = "a") -> list[Event]:
    back = [] if until_s is None else [event(until_s, "connected", thing)]
    return [event(at_s, "disconnected", thing, reason=reason), *back]


LATENCY = [began(100, "latency"), over(200, "latency")]
KILLED = [event(100, "part_restart", "", "run", part="backend"), event(110, "part_back", "", "run", part="backend")]
NOTE = [event(100, "disturbed", fault="loss", what="dropped", kind="telemetry", stamp=7)]

# events, of whom, its fate, its life in seconds, what explains it
TABLE: list[tuple[list[Event], str, Fate, tuple[float, float], str]] = [
    ([], "a", "lost", (0, 1), ""),
    (LATENCY, "a", "late", (150, 160), "latency"),
    (LATENCY, "a", "late", (90, 101), "latency"),
    (LATENCY, "a", "late", (203, 300), "latency"),  # the grace
    (LATENCY, "a", "late", (206, 300), ""),
    (LATENCY, "a", "late", (50, 94), ""),
    (LATENCY, "b", "late", (150, 160), ""),
    (LATENCY[:1], "a", "lost", (900, 901), "latency"),  # never cleared
    ([began(100, "hang")], "a", "lost", (150, 151), ""),  # a fan stands on no message's way
    ([began(100, "bias")], "a", "lost", (150, 151), ""),
    ([began(100, "bias")], "a", "refused", (150, 151), "bias"),  # but its reading may break the contract
    ([began(100, "something new")], "a", "lost", (150, 151), "something new"),
    ([began(10, "bias"), began(100, "latency"), over(120, "latency")], "a", "lost", (110, 111), "latency"),
    (NOTE, "a", "lost", (900, 900), "loss dropped it"),
    (NOTE, "b", "lost", (100, 100), ""),
    # the same fault twice, one inside of the other
    ([began(100, "loss"), began(150, "loss"), over(160, "loss"), over(300, "loss")], "a", "lost", (250, 251), "loss"),
    # absences
    (away(100, 200, "the server closed the connection"), "a", "lost", (150, 151), ""),  # the backend's own doing
    (away(100, 200, "switched off"), "a", "late", (150, 151), "device switched off"),
    (away(100, None, "severed"), "a", "lost", (900, 901), "device severed"),
    ([began(95, "power_cut"), *away(100, 200, "severed"), over(101, "power_cut")], "a", "lost", (190, 191),
     "power_cut"),
    ([*LATENCY, *away(180, 300, "connection reset")], "a", "late", (290, 291), "latency"),  # it took until it was back
    ([*LATENCY, *away(400, 500, "connection reset")], "a", "late", (450, 451), ""),
    # the sandbox
    (KILLED, "a", "late", (105, 106), "backend restarted"),
    (KILLED, "b", "duplicate", (0, 101), "backend restarted"),
    (KILLED, "b", "late", (110 + RECOVERS_MS / 1000, 200), "backend restarted"),
    (KILLED, "b", "late", (111 + (RECOVERS_MS + GRACE_MS) / 1000, 200), ""),
    (KILLED[:1], "b", "lost", (900, 901), "backend restarted"),
    ([*KILLED, *away(102, 160, "the server closed the connection")], "a", "late", (150, 151), "backend restarted"),
    ([began(100, "slow_answers", "")], "b", "late", (500, 501), "slow_answers"),
    ([part_fault(100, ["s3", "iot:*"])], "b", "late", (500, 501), ""),  # no message goes there
    ([part_fault(100, ["s3", "mqtt"])], "b", "late", (500, 501), "slow_answers"),
    # a child, by its hub
    ([began(100, "latency", "hub"), over(200, "latency", "hub")], "child", "late", (150, 151), "latency"),
    ([event(1, "disturbed", "hub", fault="loss", what="dropped", kind="telemetry", stamp=7)], "child", "lost", (9, 9),
     "loss dropped it"),
]  # fmt: skip


@pytest.mark.parametrize(("events", "thing", "fate", "life", "why"), TABLE)
def test_what_explains_what(events: list[Event], thing: str, fate: Fate, life: tuple[float, float], why: str) -> None:
    causes = Causes(events, END_MS, HUB)
    begin_ms, end_ms = (int(1000 * at_s) for at_s in life)
    assert causes.explain(fate, Subject("telemetry", thing), 7, begin_ms, end_ms) == why
    backwards = Causes(events[::-1], END_MS, HUB)  # of different times, so their order in the ledger says nothing
    assert backwards.explain(fate, Subject("telemetry", thing), 7, begin_ms, end_ms) == why


def test_a_note_is_of_one_message() -> None:
    causes = Causes(NOTE, END_MS)
    assert causes.explain("lost", Subject("telemetry", "a"), 7, 0, 0)
    assert not causes.explain("lost", Subject("alert_report", "a"), 7, 0, 0)
    assert not causes.explain("lost", Subject("telemetry", "a"), 8, 0, 0)


def test_spells_of_faults() -> None:
    events = [began(1, "bias"), began(2, "bias"), over(3, "bias"), began(4, "bias", "b"), over(9, "loss")]
    assert [(s.thing, s.begin_ms, s.end_ms) for s in spells(events, END_MS)] == [
        ("a", 1000, 3000), ("a", 2000, END_MS), ("b", 4000, END_MS),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "stands"),
    [("latency", True), ("loss", True), ("malformed_json", True), ("slow", True), ("clock_jump", True), ("hang", False),
     ("bias", False), ("stuck", False), ("forgets_shadow", False), ("reject", False), ("duplicate_client_id", True)],
)  # fmt: skip
def test_which_faults_stand_on_the_way_of_messages(kind: str, stands: bool) -> None:
    assert stands_on_the_way(kind) == stands
