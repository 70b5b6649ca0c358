"""What is called harmless is to be left alone; `rise` moves the world; a fault draws the same whenever it began."""

from typing import Any

import pytest

from simulator import profiles
from simulator.faults import Expected
from simulator.faults._event import Event
from simulator.ledger import Event as Happening
from simulator.truth import Evidence, truth
from tests.core.fleets import START_MS, fleet
from tests.core.test_faults_physical import life
from tests.core.test_faults_sensor import fault

PROFILES = ("fire-sensor", "fire-sensor-panel")
COOKING: dict[str, Any] = {"kind": "rise", "signal": "voc_air", "by": [400, 600], "ramp_s": 60, "for_s": 600}


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_harmless_is_to_be_left_alone(name: str) -> None:
    subject = profiles.profile(name).subject
    what, harmless = fault(**COOKING), fault(**COOKING, harmless=True)
    assert (what.expected(subject).notice, what.expected(subject).signal) == ("alarm", "voc")
    assert what.expected(subject) == what.expects(subject)
    left_alone = harmless.expected(subject)
    assert left_alone == Expected("voc", f"{what.expects(subject).words}; and no harm in it", "nothing")
    assert harmless.params["harmless"] is True
    assert "harmless" not in what.params


@pytest.mark.parametrize("harmless", [False, True])
def test_an_alarm_of_something_harmless_is_false(harmless: bool) -> None:
    subject = profiles.profile("fire-sensor").subject
    params = fault(**COOKING, harmless=harmless).params
    events = [
        Happening(1000, "fleet", "fault_injected", "x", {"fault": "rise", "params": params}),
        Happening(601_000, "fleet", "fault_cleared", "x", {"fault": "rise"}),
    ]
    alarm = {"thing": "x", "raised_at_ms": 70_000, "metric": "risk", "rule_id": "fire-risk", "rule_type": "fire"}
    found = truth(
        Evidence(events, {"x": "fire-sensor"}, {"fire-sensor": subject}, [alarm], 0, 3_600_000)
    ).score()  # fmt: skip
    expected = (0, 1, 1, 0) if harmless else (1, 0, 0, 1)
    assert (found.alarms, found.false_alarms, found.left_alone, found.noticed) == expected


@pytest.mark.parametrize(
    ("late_ms", "why"),
    [(None, "rise, no alarm, with voc out of range"), (660_000, "rise, 299 s overdue")],
)  # fmt: skip
def test_why_it_was_missed_is_said(late_ms: int | None, why: str) -> None:
    subject = profiles.profile("fire-sensor").subject
    params = fault(**{**COOKING, "for_s": 3000}).params
    events = [
        Happening(1000, "fleet", "fault_injected", "x", {"fault": "rise", "params": params}),
        Happening(61_000, "fleet", "out_of_range", "x", {"metric": "voc", "value": 450.0, "limit": 400.0}),
    ]
    alarms = [] if late_ms is None else [{"thing": "x", "raised_at_ms": late_ms, "metric": "risk", "rule_id": "r"}]
    found = truth(
        Evidence(events, {"x": "fire-sensor"}, {"fire-sensor": subject}, alarms, 0, 3_600_000)
    ).score()  # fmt: skip
    assert found.missed == [f"x ({why})"]


@pytest.mark.parametrize("name", PROFILES)
def test_a_rise_comes_lasts_and_goes(name: str) -> None:
    found = life(name, 2600, **COOKING)
    before, height, after = (found.range("voc", *span) for span in ((0, 100), (250, 690), (2300, 2600)))
    assert before[1] < 200
    assert height[0] > 380
    assert height[1] < 800
    assert after[1] < 250


def test_a_rise_may_fall() -> None:
    found = life("fire-sensor", 600, kind="rise", signal="load_share", by=-0.5, ramp_s=0, for_s=300)
    assert found.range("ct", 120, 390)[1] < 0.75 * found.range("ct", 0, 100)[0]


def test_wrong_rises() -> None:
    with pytest.raises(ValueError, match="must rise from low to high"):
        fault(**{**COOKING, "by": [5, 1]})
    what = fault(**{**COOKING, "signal": "vocs"})
    assert str(what.unfit(profiles.profile("fire-sensor").subject)).startswith("has no signal 'vocs'")


def test_a_fault_draws_the_same_whenever_it_began() -> None:
    """So that a live run draws as one in virtual time does, whatever the clock says."""
    drawn = []
    for later_ms in (0, 60_123):
        device = fleet(profiles.profile("fire-sensor"), ["device-01"], 1).devices[0]
        for n in range(2):
            device.inject(fault(kind="fire"), START_MS + later_ms + n)
        device.inject(fault(**COOKING), START_MS + later_ms + 2)
        paces = [one.pace for one in device.faults if isinstance(one, Event)]
        assert len(paces) == len(set(paces)) == 3
        drawn.append((paces, [one.number for one in device.faults], dict(device.injected)))
    assert drawn[0] == drawn[1]
    assert drawn[0][1:] == ([1, 2, 1], {"fire": 2, "rise": 1})
