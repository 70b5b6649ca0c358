"""Where a load went wrong: the hop follows from which times grew, and which did not."""

from collections.abc import Sequence
from math import inf

import pytest

from simulator.report.facts import FaultSpan
from simulator.report.trouble import TROUBLES_MAX, Lane, Tick, troubles

START_MS, SECONDS, SLOW = 1_000_000, 30, range(10, 18)
FAULT = FaultSpan("slow_answers of the backend's store (ms 900)", START_MS + 10_000, START_MS + 17_000)
KINDS = {"MQTT": "telemetry", "TCP": "telemetry", "REST": "telemetry", "AWS": "search", "GET": "GET alarms"}


def lane(
    method: str, slow: bool, *, until_stored: bool = False, limit_ms: float = inf, during: Sequence[int] = SLOW,
    name: str = "",
) -> Lane:  # fmt: skip
    name = name or KINDS[method] + (" → stored" if until_stored else "")
    ticks = [
        Tick(START_MS + 1000 * i, 20, 1500.0 if slow and i in during else 10.0 + i % 3 / 10) for i in range(SECONDS)
    ]  # fmt: skip
    return Lane(method, name, ticks, until_stored, limit_ms)


def fleet(
    answers: Sequence[str] = (), stored: Sequence[str] = (), of: Sequence[str] = ("MQTT", "TCP", "REST")
) -> list[Lane]:
    """Lanes of these protocols, of which some are slow to be acknowledged, and some to be stored."""
    return [lane(method, method in answers) for method in of] + [
        lane(method, method in stored, until_stored=True) for method in of
    ]


@pytest.mark.parametrize(
    ("lanes", "hop"),
    [
        (fleet(answers=["TCP", "REST"], stored=["MQTT", "TCP", "REST"]), "backend → store"),
        (fleet(stored=["MQTT"]), "broker → backend"),
        (fleet(stored=["MQTT"], of=["MQTT"]), "broker → backend → store"),
        (fleet(answers=["MQTT"], stored=["MQTT"]), "device → broker"),
        (fleet(answers=["REST"]), "device → gateway"),
        (fleet(answers=["REST"], stored=["REST"], of=["REST"]), "device → gateway"),
        (fleet(answers=["TCP", "REST"], stored=["TCP", "REST"], of=["TCP", "REST"]), "backend → store"),
        ([*fleet(), lane("GET", True)], "dashboard → read API"),
        ([*fleet(), lane("AWS", True)], "operator → cloud"),
    ],
)
def test_the_hop_is_found(lanes: list[Lane], hop: str) -> None:
    told, where = troubles(lanes, [FAULT], 1.0)
    assert where.startswith(f"{hop}, from 10.0 s to 18.0 s: ")
    assert where.endswith(f"; on then: {FAULT.words}")
    assert told[0].hop == hop
    assert {(one.since_ms - START_MS, (one.until_ms or 0) - START_MS) for one in told} == {(10_000, 18_000)}
    assert all(one.faults == [FAULT.words] for one in told)


def test_it_says_how_much_slower_and_whether_acknowledgements_were_too() -> None:
    told, _ = troubles(fleet(answers=["TCP", "REST"], stored=["MQTT", "TCP", "REST"]), [], 1.0)
    words = {one.row: one.words for one in told}
    assert words["MQTT telemetry → stored"] == "p95 up to 1.5 s, usually 10 ms; acknowledged as quickly as ever"
    assert words["TCP telemetry → stored"].endswith("; acknowledged as late")


def test_a_healthy_load_has_no_trouble_and_a_hiccup_is_none() -> None:
    assert troubles(fleet(), [FAULT], 1.0) == ([], "")
    assert troubles([lane("MQTT", True, during=[12])], [FAULT], 1.0) == ([], "")


def test_without_a_fault_it_says_so_and_to_the_end_if_it_lasts() -> None:
    told, where = troubles([lane("MQTT", True, during=range(24, SECONDS))], [FAULT], 1.0)
    assert where == (
        "device → broker, from 24.0 s to the end: MQTT telemetry (p95 up to 1.5 s, usually 10 ms); no fault was on then"
    )
    assert told[0].until_ms is None


def test_what_was_never_good_shows_by_the_bound_of_a_check() -> None:
    always = lane("MQTT", True, during=range(SECONDS), limit_ms=500)
    told, where = troubles([always], [], 1.0)
    assert "p95 up to 1.5 s, and never better" in where
    assert told[0].usual_ms is None
    assert troubles([lane("MQTT", True, during=range(SECONDS))], [], 1.0) == ([], ""), "and not without one"


def test_failures_are_trouble_too() -> None:
    ticks = [Tick(START_MS + 1000 * i, 20, 10.0, 5 if i in SLOW else 0) for i in range(SECONDS)]
    told, where = troubles([Lane("REST", "telemetry", ticks)], [], 1.0)
    assert told[0].failed == 5 * len(SLOW)
    assert "REST telemetry (40 failed)" in where


def test_only_the_worst_are_told() -> None:
    told, where = troubles([lane("AWS", True, name=f"call {i}") for i in range(TROUBLES_MAX + 9)], [], 1.0)
    assert len(told) == TROUBLES_MAX
    assert f"and {TROUBLES_MAX - 3} more" in where


def test_nothing_was_measured() -> None:
    assert troubles([Lane("MQTT", "telemetry", [])], [FAULT], 1.0) == ([], "")
