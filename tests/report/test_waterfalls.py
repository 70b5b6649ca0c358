"""Waterfalls by tables: the stories that end well, and the ones that stop half way."""

from typing import Any

import pytest

from simulator.ledger import Event
from simulator.report.facts import Waterfall, from_backend
from simulator.report.waterfall import STAGES_MAX, waterfalls

CAR = "Vehicle-VIN-001"
BAD = "fleet out_of_range"
GOOD = "fleet back_in_range"
RAISED = ["fleet fault_injected", BAD, "backend alarm_raised"]
ACTED = [
    "backend command_sent action=restart-fan",
    "fleet delta_received",
    "fleet acted",
    "backend control_result",
    GOOD,
    "backend in_range",
]
CREATED = ["backend job_created version=1.1.0", "fleet job_notified"]
INSTALLED = [
    "fleet download_started",
    "fleet downloaded",
    "fleet verified",
    "fleet installed",
    "fleet rebooting",
    "fleet disconnected",
    "fleet connected",
    "fleet version_reported version=1.1.0",
    "fleet job_succeeded",
    "backend job_succeeded",
]
TAMPERED = [
    "fleet downloaded",
    "fleet verify_failed reason=wrong sha256",
    "fleet job_failed",
    "backend job_failed",
]
CLOSED = "backend alarm_closed"
ESCALATED = ["backend alarm_escalated", "backend dispatch_opened"]


def told(lines: list[str], thing: str = CAR, every_ms: int = 6000) -> list[Event]:
    events = []
    for i, line in enumerate(lines):
        source, kind, *rest = line.split(" ", 2)
        detail = dict([rest[0].split("=")]) if rest else {}
        events.append(Event(1000 + every_ms * i, source, kind, thing, detail))
    return events


def waterfall_of(lines: list[str], *states: str, every_ms: int = 6000) -> Waterfall:
    events = told(lines, every_ms=every_ms)
    alarms: list[dict[str, Any]] = [{"thing": CAR, "state": state} for state in states]
    fleet = [event for event in events if event.source == "fleet"]
    [waterfall] = waterfalls(fleet, [event for event in events if event.source != "fleet"], alarms)
    return waterfall


def names(waterfall: Waterfall) -> list[str]:
    return [stage.name if stage.at_ms is not None else f"({stage.name})" for stage in waterfall.stages]


def test_what_was_to_be_left_alone_has_nothing_due() -> None:
    fleet = told(["fleet fault_injected", BAD, GOOD])
    [noticed] = waterfalls(fleet, [], [])
    [waterfall] = waterfalls(fleet, [], [], {CAR})
    assert (noticed.outcome, names(noticed)[-1]) == ("open", "(alarm closed)")
    assert (waterfall.outcome, waterfall.reason) == ("left_alone", "as it should be: nothing was to be noticed")
    assert names(waterfall) == ["fault injected", "first bad sample", "in range again"]


@pytest.mark.parametrize(
    ("state", "end"),
    [("closed", "it closed again"), ("open", "it is still open"), ("escalated", "it was escalated")],
)
def test_an_alarm_of_what_was_to_be_left_alone_is_a_false_one(state: str, end: str) -> None:
    events = told(RAISED)
    for alarms in ([{"thing": CAR, "state": state}], []):
        [waterfall] = waterfalls(events[:2], events[2:], alarms, {CAR})
        assert waterfall.outcome == "false_alarm"
        wanted = end if alarms else "it is still open"
        assert waterfall.reason == f"nothing was to be noticed, and an alarm was raised; {wanted}"
        assert names(waterfall)[-1] == "alarm raised"


FIRST = ["fault injected", "first bad sample", "alarm raised"]
ACTION = ["command sent", "device received", "device acted", "in range again", "recovery noticed"]
UPDATE = [
    "downloaded",
    "verified",
    "installed",
    "rebooting",
    "connected again",
    "version reported",
    "job succeeded",
]


@pytest.mark.parametrize(
    ("lines", "state", "reason", "stages"),
    [
        pytest.param(
            ["fleet connected", *RAISED, *ACTED, CLOSED],
            "closed",
            "cured by restart-fan",
            [*FIRST, *ACTION, "alarm closed"],
            id="cured by the action",
        ),
        pytest.param(
            [
                *RAISED,
                *ACTED,
                BAD,
                "backend relapsed",
                *CREATED,
                *INSTALLED,
                GOOD,
                "backend in_range",
                CLOSED,
            ],
            "closed",
            "cured by the update to 1.1.0",
            [
                *FIRST,
                *ACTION,
                "climbed again",
                "relapse noticed",
                "job created",
                "device notified",
                *UPDATE,
                "in range again (2)",
                "recovery noticed (2)",
                "alarm closed",
            ],
            id="cured by the update",
        ),
        pytest.param(
            [*RAISED, *ACTED, BAD, "backend relapsed", *CREATED, *INSTALLED, "backend relapsed", *ESCALATED],
            "escalated",
            "restart-fan did not hold; the update to 1.1.0 did not cure it; a field dispatch was opened",
            [
                *FIRST,
                *ACTION,
                "climbed again",
                "relapse noticed",
                "job created",
                "device notified",
                *UPDATE,
                "relapse noticed (2)",
                "alarm escalated",
                "field dispatch opened",
            ],
            id="escalated",
        ),
        pytest.param(
            [*RAISED, GOOD, "backend in_range", CLOSED],
            "closed",
            "back in range by itself",
            [*FIRST, "in range again", "recovery noticed", "alarm closed"],
            id="cured by itself",
        ),
        pytest.param(
            [*RAISED, *CREATED, *TAMPERED, *ESCALATED],
            "escalated",
            "the update to 1.1.0 failed: wrong sha256; a field dispatch was opened",
            [
                *FIRST,
                "job created",
                "device notified",
                "downloaded",
                "verification failed",
                "job failed",
                "alarm escalated",
                "field dispatch opened",
            ],
            id="a tampered artifact, then a dispatch",
        ),
    ],
)
def test_a_story_that_ended(lines: list[str], state: str, reason: str, stages: list[str]) -> None:
    waterfall = waterfall_of(lines, state)
    assert (waterfall.outcome, waterfall.reason) == (state, reason)
    assert names(waterfall) == stages


@pytest.mark.parametrize(
    ("lines", "states", "outcome", "reason", "ending"),
    [
        (RAISED[:1], [], "open", "no sample left its range", ["(first bad sample)", "(alarm closed)"]),
        (RAISED[:2], [], "open", "the backend raised no alarm", ["(alarm raised)", "(alarm closed)"]),
        (RAISED, ["open"], "open", "no action followed the alarm", ["alarm raised", "(alarm closed)"]),
        (
            [*RAISED, GOOD, RAISED[1]],
            ["open"],
            "open",
            "no action followed the alarm",
            ["climbed again", "(alarm closed)"],
        ),
        (
            [*RAISED, *ACTED[:1]],
            ["acting"],
            "open",
            "the device did not receive the command",
            ["command sent", "(device received)", "(alarm closed)"],
        ),
        (
            [*RAISED, *ACTED[:3]],
            ["verifying"],
            "open",
            "the action did not bring the value back",
            ["device acted", "(in range again)", "(alarm closed)"],
        ),
        (
            [*RAISED, *ACTED],
            ["verifying"],
            "open",
            "the run ended before the alarm could close",
            ["recovery noticed", "(alarm closed)"],
        ),
        (
            [*RAISED, *CREATED, "fleet download_started"],
            ["updating"],
            "open",
            "the download did not finish",
            ["device notified", "(downloaded)", "(alarm closed)"],
        ),
        (
            [*RAISED, *CREATED, *INSTALLED[:6]],
            ["updating"],
            "open",
            "the device did not come back from its reboot",
            ["rebooting", "(connected again)", "(alarm closed)"],
        ),
        (
            [*RAISED, *CREATED, *TAMPERED],
            ["updating"],
            "job_failed",
            "the update to 1.1.0 failed: wrong sha256",
            ["job failed", "(installed)", "(alarm closed)"],
        ),
        (
            [],
            ["open"],
            "open",
            "the ledger has no event of this device",
            ["(fault injected)", "(alarm closed)"],
        ),
    ],
)
def test_a_story_that_stopped_half_way(
    lines: list[str], states: list[str], outcome: str, reason: str, ending: list[str]
) -> None:
    waterfall = waterfall_of(lines, *states)
    assert (waterfall.outcome, waterfall.reason) == (outcome, reason)
    assert names(waterfall)[-len(ending) :] == ending


def test_times_add_up() -> None:
    stages = waterfall_of([*RAISED, *ACTED, CLOSED], "closed").stages
    times = [(stage.at_ms, stage.since_previous_ms) for stage in stages]
    assert times[:3] == [(1000, 0), (7000, 6000), (13_000, 6000)]
    assert times[-1] == (1000 + 6000 * 9, 6000)
    assert sum(since or 0 for _, since in times) == 6000 * 9


def test_both_sources_are_put_in_one_order() -> None:
    backend = from_backend(
        [
            {
                "seq": 2,
                "at_ms": 31,
                "kind": "command_sent",
                "thing": CAR,
                "alarm_id": "a1",
                "detail": {"action": "x"},
            },
            {
                "seq": 1,
                "at_ms": 20,
                "kind": "alarm_raised",
                "thing": CAR,
                "alarm_id": "a1",
                "detail": {"value": 111},
            },
        ]
    )
    fleet = [Event(31, "fleet", "acted", CAR, {}), Event(20, "fleet", "out_of_range", CAR, {})]
    [waterfall] = waterfalls(fleet, backend, [])
    assert [(stage.name, stage.source, stage.detail) for stage in waterfall.stages[:4]] == [
        ("first bad sample", "fleet", ""),
        ("alarm raised", "backend", "111"),
        ("command sent", "backend", "x"),
        ("device acted", "fleet", ""),
    ]


def test_without_the_backends_alarms_its_events_tell_the_outcome() -> None:
    assert waterfall_of([*RAISED, *ACTED, CLOSED]).outcome == "closed"
    assert waterfall_of([*RAISED, *ESCALATED]).outcome == "escalated"
    assert waterfall_of([*RAISED, *ACTED]).outcome == "open"


def test_noise_at_the_limit_is_no_stage() -> None:
    noisy = [*RAISED, GOOD, BAD, GOOD, BAD, "backend command_sent"]
    assert names(waterfall_of(noisy, "acting", every_ms=1000))[:4] == [*FIRST, "command sent"]
    assert "climbed again" in names(waterfall_of(noisy, "acting", every_ms=10_000))


def test_a_story_is_about_one_metric_and_starts_with_its_cause() -> None:
    raised = Event(4, "backend", "alarm_raised", CAR, {"metric": "engine_temp_c", "value": 111.0})
    fleet = [
        Event(1, "fleet", "out_of_range", CAR, {"metric": "oil_bar"}),
        Event(2, "fleet", "out_of_range", CAR, {"metric": "engine_temp_c"}),
        Event(9000, "fleet", "back_in_range", CAR, {"metric": "oil_bar"}),
    ]
    fault = Event(3, "fleet", "fault_injected", CAR, {})
    assert names(waterfalls(fleet, [raised], [])[0])[:-1] == ["first bad sample", "alarm raised"]
    assert names(waterfalls([fault, *fleet], [raised], [])[0])[:-1] == ["fault injected", "alarm raised"]


def test_an_alarm_that_was_escalated_and_then_closed_is_closed() -> None:
    waterfall = waterfall_of([*RAISED, *ESCALATED, GOOD, "backend in_range", CLOSED], "closed")
    assert (waterfall.outcome, waterfall.reason) == ("closed", "cured after it was escalated")


def test_only_affected_devices_have_one_and_it_is_bounded() -> None:
    bystander = told(["fleet connected", BAD, GOOD], "Vehicle-VIN-002")
    restless = told(["fleet fault_injected", *[BAD, GOOD] * STAGES_MAX])
    [waterfall] = waterfalls([*bystander, *restless], [], [])
    assert waterfall.thing == CAR
    assert len(waterfall.stages) == STAGES_MAX + 2
    assert waterfall.reason.endswith(f"({STAGES_MAX + 1} steps in the middle are left out)")
    assert waterfall.stages[STAGES_MAX - 1].at_ms == restless[-1].at_ms
    assert len({stage.name for stage in waterfall.stages}) == len(waterfall.stages)
