"""History, alerts and the stream analysis, each number of the contract by a little story."""

from math import sin, tau
from typing import Any

import orjson
import pytest

from simulator.backend.fire import alerts
from simulator.backend.fire.history import Log, entry_of
from simulator.backend.fire.outcomes import SaveFinding
from simulator.backend.fire.periodicity import period_of
from simulator.backend.fire.state import QUIET
from tests.backend.fire_records import BLAZE, HOT, NORMAL, SMOKE, START_MS, Analysis, Kept, metrics, reading, series

Changes = dict[str, Any]


def modifier(*records: tuple[Changes, int], every_s: float = 60) -> float:
    """What a history of records, each with its risk in hundredths, makes of the next one."""
    log, at_ms = Log(), START_MS
    for idx, (changes, risk) in enumerate(records):
        at_ms = START_MS + int(1000 * every_s * idx)
        log.aim(at_ms)
        log.push(entry_of(at_ms, idx, idx, reading(**changes)), 100 * risk, QUIET)
    log.aim(at_ms + int(1000 * every_s))
    return log.modifier() / 10


def rising(by: float, count: int) -> list[tuple[Changes, int]]:
    return [({"sensorTemp": 37 + by * i}, 0) for i in range(count)]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], 1.0),
        ([({}, 0)] * 60, 1.0),
        (rising(0.5, 4), 1.0),  # fewer than five
        (rising(0.5, 5), 1.2),
        (rising(0.1, 20), 1.0),  # not more than 0.1 a sample
        (rising(0.101, 20), 1.2),
        (rising(0.5, 20) + [({"sensorTemp": 46.5}, 0)] * 20, 1.0),  # the last 20 only
        ([({}, 61)] * 5, 1.1),
        ([({}, 60)] * 5, 1.0),
        ([({}, 90)] * 30 + [({}, 10)] * 20, 1.0),
        ([({"arc_count": 2}, 0)] * 5, 1.0),
        ([({"arc_count": 11}, 0)] + [({}, 0)] * 50, 1.3),  # in the whole hour
        ([({"arc_count": 11}, 0)] + [({}, 0)] * 60, 1.0),  # an hour ago
        ([({"arc_count": 3, "sensorTemp": 37 + i}, 70) for i in range(20)], 1.6),
    ],
)
def test_the_history_modifier(records: list[tuple[Changes, int]], expected: float) -> None:
    assert modifier(*records) == expected


def alerts_of(kept: Kept) -> list[tuple[float, str, str, float | None]]:
    """(when, level, type, when resolved) in seconds from the start."""
    return [
        ((one.raised_ms - START_MS) / 1000, one.level, one.type,
         None if one.resolved_ms is None else (one.resolved_ms - START_MS) / 1000)
        for one in sorted(kept.alerts.values(), key=lambda one: one.raised_ms)
    ]  # fmt: skip


def test_an_alert_is_raised_quieted_and_resolved() -> None:
    analysis = Analysis()
    news = 0
    for one in series("a", 10, {}, BLAZE, BLAZE, BLAZE, *[{}] * 10):
        taken = analysis.fire.take(one.thing, one.at_ms, one.idx, one.key, one.metrics)
        assert taken is not None
        news += taken.news
        analysis.kept.write(taken.writes)
    assert news == 1
    assert alerts_of(analysis.kept) == [(10, "HIGH", "TEMPERATURE_CRITICAL", 100)]  # a minute after 40
    (row,) = analysis.kept.alerts.values()
    alert = row.alert
    assert alert.values == metrics(**BLAZE)
    assert alert.message == "HIGH fire risk: 95.0 °C on the board"
    assert alert.actions == ("cool and ventilate", "consider cutting the power")
    assert alerts.from_document(orjson.loads(orjson.dumps(alerts.document_of(alert)))) == alert


def test_it_escalates_when_the_level_rises_and_does_not_fall_again() -> None:
    blazing: list[Changes] = [BLAZE | {"sensorTemp": 80.0 + i} for i in range(8)]
    analysis = Analysis().hear(*series("a", 10, *blazing, BLAZE, *[{}] * 3))
    assert alerts_of(analysis.kept) == [(0, "CRITICAL", "TEMPERATURE_CRITICAL", None)]
    (row,) = analysis.kept.alerts.values()
    assert (row.alert.raised_level, row.alert.risen_ms) == ("HIGH", START_MS + 50_000)  # five records are a history
    assert row.alert.actions[-1] == "inspect at once"


def test_one_risky_record_in_between_begins_the_clearing_again() -> None:
    analysis = Analysis().hear(*series("a", 10, BLAZE, *[{}] * 5, BLAZE, *[{}] * 5))
    assert alerts_of(analysis.kept) == [(0, "HIGH", "TEMPERATURE_CRITICAL", None)]
    analysis.hear(*series("a", 10, *[{}] * 3, from_s=120, idx=50))
    assert alerts_of(analysis.kept) == [(0, "HIGH", "TEMPERATURE_CRITICAL", 130)]


def test_a_late_record_takes_a_resolution_back() -> None:
    said = series("a", 10, BLAZE, *[{}] * 4, BLAZE, *[{}] * 4)
    analysis = Analysis().hear(*said[:5], *said[6:])
    assert alerts_of(analysis.kept)[0][3] == 70
    analysis.hear(said[5])
    assert alerts_of(analysis.kept) == [(0, "HIGH", "TEMPERATURE_CRITICAL", None)]


def test_a_late_record_may_be_the_beginning_of_an_alert() -> None:
    said = series("a", 10, {}, BLAZE, BLAZE, {})
    analysis = Analysis().hear(said[0], said[2], said[3], said[1])
    assert alerts_of(analysis.kept) == [(10, "HIGH", "TEMPERATURE_CRITICAL", None)]


def findings(kept: Kept) -> list[tuple[str, str, float]]:
    """(kind, level, when it began) in seconds."""
    found = sorted(kept.findings.values(), key=lambda one: (one.begin_ms, one.kind))
    return [(one.kind, one.level, (one.begin_ms - START_MS) / 1000) for one in found]


def heat(celsius: float) -> Changes:
    return {"sensorTemp": celsius, "pcbTemp": celsius - 2}


@pytest.mark.parametrize(
    ("before", "now", "level"),
    [(40, 50.0, None), (40, 50.1, "HIGH"), (40, 65.0, "HIGH"), (40, 65.1, "CRITICAL"), (64, 66.0, "CRITICAL")],
)
def test_temperature_spikes(before: float, now: float, level: str | None) -> None:
    """Above the mean of the hour by two standard deviations, and hot."""
    quiet = [heat(before + (i % 2) / 2) for i in range(30)]
    found = Analysis().hear(*series("a", 60, *quiet, heat(now))).kept
    spikes = [one for one in findings(found) if one[0] == "TEMPERATURE_SPIKE"]
    assert spikes == ([("TEMPERATURE_SPIKE", level, 1800)] if level else [])


def test_a_sensor_that_is_always_hot_has_no_spike() -> None:
    quiet = [heat(58 + i % 5) for i in range(60)]
    assert not [one for one in findings(Analysis().hear(*series("a", 60, *quiet)).kept) if "SPIKE" in one[0]]


# Bits and values that come to a known risk without a history: (changes, risk)
STEPS: dict[float, Changes] = {
    0.165: {"status": 0b1100, "power": 0.8},
    0.3: {"status": 0b1111_1111_1111},
    0.34: {"status": 0b1111_1111_1111, "sensorTemp": 41.0},
    0.42: {"status": 0b1111_1111_1111, "sensorTemp": 50.1, "pcbTemp": 45.0},
    0.692: BLAZE,
}


def test_the_steps_are_what_they_say() -> None:
    for risk, changes in STEPS.items():
        taken = Analysis().fire.take("a", START_MS, 1, 1, metrics(**changes))
        assert taken is not None
        assert taken.risk / 10_000 == risk


@pytest.mark.parametrize(
    ("first", "then", "after_s", "expected"),
    [
        (0.0, 0.3, 60, []),
        (0.0, 0.34, 60, [("RAPID_RISK_CHANGE", "HIGH", 60), ("RISK_SPIKE", "HIGH", 60)]),
        (0.0, 0.34, 600, [("RAPID_RISK_CHANGE", "HIGH", 600), ("RISK_SPIKE", "HIGH", 600)]),
        (0.0, 0.34, 601, []),  # not within ten minutes
        (0.0, 0.692, 60, [("RAPID_RISK_CHANGE", "HIGH", 60), ("RISK_SPIKE", "EMERGENCY", 60)]),
        (0.692, 0.0, 60, [("RAPID_RISK_CHANGE", "HIGH", 60)]),  # a fall is a change, and no spike
        (0.165, 0.42, 60, []),
    ],
)
def test_risk_spikes_and_rapid_changes(
    first: float, then: float, after_s: float, expected: list[tuple[str, str, float]]
) -> None:
    kept = Analysis().hear(*series("a", after_s, STEPS.get(first, {}), STEPS.get(then, {}))).kept
    assert [one for one in findings(kept) if "RISK" in one[0]] == expected


def test_three_in_a_row_are_sustained() -> None:
    blazing = [BLAZE | {"sensorTemp": 80.0 + i} for i in range(12)]  # above 0.7 from the sixth on
    assert ("SUSTAINED_HIGH_RISK", "CRITICAL", 70) in findings(Analysis().hear(*series("a", 10, *blazing)).kept)
    assert "SUSTAINED" not in str(findings(Analysis().hear(*series("a", 10, *blazing[:7])).kept))


def test_arcs_in_ten_minutes() -> None:
    one: Changes = {"arc_count": 1, "status": 1 << 11}
    assert findings(Analysis().hear(*series("a", 60, {}, one)).kept) == [("ARC_PATTERN", "LOW", 60)]
    assert findings(Analysis().hear(*series("a", 60, *[one] * 6)).kept) == [("ARC_PATTERN", "MODERATE", 0)]
    kept = Analysis().hear(*series("a", 60, *[one] * 11)).kept
    assert findings(kept) == [("ARC_PATTERN", "HIGH_FREQUENCY", 0)]
    assert next(iter(kept.findings.values())).detail == {"value": 11, "advice": "schedule maintenance"}
    assert findings(Analysis().hear(*series("a", 150, *[one] * 9)).kept) == [("ARC_PATTERN", "LOW", 0)]


def test_a_finding_ends_when_nothing_shows_it_for_two_minutes() -> None:
    kept = Analysis().hear(*series("a", 60, {}, SMOKE | HOT | BLAZE, {}, {}, {}, {})).kept
    ended = {one.kind: one.ended_ms for one in kept.findings.values()}
    assert ended["RISK_SPIKE"] == START_MS + 60_000
    assert ended["ARC_PATTERN"] is None  # ten minutes long


def test_windows_of_five_minutes() -> None:
    warm = [heat(40.0), heat(42.0), heat(44.0) | {"arc_count": 2}, {"current": 7.0, "power": 1.4}]
    said = [*series("a", 60, *warm), *series("a", 60, {}, from_s=300, idx=9)]
    kept = Analysis().hear(*said).kept
    (window,) = kept.windows.values()
    assert window.start_ms == START_MS
    assert window.records == 4
    assert window.temperature_mean == pytest.approx((40 + 42 + 44 + 37) / 4)
    assert (window.temperature_min, window.temperature_max) == (37, 44)
    assert window.temperature_sigma == pytest.approx(2.586, abs=1e-3)
    assert window.arcs == 2
    assert window.current_mean == pytest.approx(5.5)
    assert window.risk_mean == pytest.approx((0 + 0.04 + 0.056 + 0) / 4)
    assert window.risk_max == 0.056
    assert window.period_s is None
    assert len(Analysis().hear(*said).end().windows) == 2  # the last one by time


def cluster(kept: Kept, kind: str) -> list[SaveFinding]:
    return [one for one in kept.findings.values() if one.kind == kind]


def blaze(thing: str, from_s: float, count: int = 9) -> list[Any]:
    """Above 0.7 from the sixth record, 50 s after its beginning, on."""
    return series(thing, 10, *[BLAZE | {"sensorTemp": 70.0 + i, "pcbTemp": 69.0} for i in range(count)], from_s=from_s)


@pytest.mark.parametrize(("apart_s", "expected"), [(0, True), (110, True), (150, True), (200, False)])
def test_two_neighbours_at_high_risk_are_a_cluster(apart_s: float, expected: bool) -> None:
    """The first is above 0.7 from 50 to 80 s; the other so much later."""
    said = sorted([*blaze("a", 0), *blaze("b", apart_s)], key=lambda one: one.at_ms)
    kept = Analysis(a="s", b="s").hear(*said).kept
    found = cluster(kept, "HIGH_RISK_CLUSTER")
    assert bool(found) == expected
    if found:
        assert (found[0].site, found[0].thing) == ("s", "")
        assert found[0].detail == {"things": ["a", "b"]}
        assert found[0].begin_ms == START_MS + 1000 * (apart_s + 50)
    apart = Analysis(a="s", b="t").hear(*said).kept
    assert not cluster(apart, "HIGH_RISK_CLUSTER")
    assert not cluster(Analysis().hear(*said).kept, "HIGH_RISK_CLUSTER")


@pytest.mark.parametrize(("celsius", "after_s", "expected"), [(57.0, 60, []), (57.1, 60, ["b"]), (57.1, 121, []),
                                                              (16.9, 60, ["a"])])  # fmt: skip
def test_neighbours_far_apart_in_temperature(celsius: float, after_s: float, expected: list[str]) -> None:
    said = [*series("a", 60, {}), *series("b", 60, {"sensorTemp": celsius, "pcbTemp": celsius}, from_s=after_s)]
    found = cluster(Analysis(a="s", b="s").hear(*said).kept, "TEMP_DIVERGENCE")
    assert [one.detail["things"] for one in found] == ([expected] if expected else [])


def test_a_cluster_ends() -> None:
    said = [*series("a", 60, *[{}] * 9), *series("b", 60, heat(60.0), *[{}] * 8, from_s=1)]
    kept = Analysis(a="s", b="s").hear(*sorted(said, key=lambda one: one.at_ms)).kept
    (found,) = cluster(kept, "TEMP_DIVERGENCE")
    assert (found.begin_ms, found.ended_ms) == (START_MS + 1000, START_MS + 60_000)


def test_a_site_compares_only_so_many() -> None:
    said = [one for n in range(250) for one in series(f"d{n:03}", 1, {} if n < 249 else heat(90.0), from_s=n / 10)]
    analysis = Analysis(**{f"d{n:03}": "s" for n in range(250)}).hear(*said)
    assert not cluster(analysis.kept, "TEMP_DIVERGENCE")


def test_a_sensor_moves_to_another_site() -> None:
    analysis = Analysis(a="s", b="s").hear(*series("a", 1, {}), *series("b", 1, {}))
    analysis.fire.place("b", "t")
    analysis.hear(*series("b", 1, heat(90.0), from_s=5))
    assert not analysis.kept.findings.keys() & {("", "s"), ("", "t")}
    analysis.fire.place("b", "s")
    analysis.hear(*series("b", 1, heat(91.0), from_s=6, idx=5))
    assert [one.detail["things"] for one in cluster(analysis.kept, "TEMP_DIVERGENCE")] == [["b"]]


@pytest.mark.parametrize("period_s", [120, 300, 900])
@pytest.mark.parametrize("every_s", [5, 20])
def test_periods_are_found(period_s: float, every_s: float) -> None:
    at_ms = range(0, 3_600_000, int(1000 * every_s))
    noise = [((i * 7919) % 101 - 50) / 250 for i in range(len(at_ms))]
    warm = [40 + 2 * sin(tau * at / 1000 / period_s) + at / 2e6 + n for at, n in zip(at_ms, noise, strict=True)]
    found = period_of(at_ms, warm)
    assert found is not None
    assert found.period_s == pytest.approx(period_s, rel=0.1)
    assert found.share > 0.8
    assert period_of(at_ms, noise) is None
    assert period_of(at_ms, [at / 1e5 for at in at_ms]) is None
    assert period_of(at_ms[:20], warm[:20]) is None
    assert period_of([0] * 40, warm[:40]) is None


def test_a_window_knows_the_period_of_the_hour_before_its_end() -> None:
    swing: list[Changes] = [heat(40 + 3 * sin(tau * i / 30)) for i in range(380)]  # every 10 s, a period of 300 s
    kept = Analysis().hear(*series("a", 10, *swing)).kept
    last = max(kept.windows.values(), key=lambda one: one.start_ms)
    assert last.period_s == pytest.approx(300, rel=0.1)


def test_the_state_of_a_sensor() -> None:
    state = Analysis(a="s").hear(*series("a", 10, {}, BLAZE)).kept.states["a"]
    assert state["device_id"] == "a"
    assert state["site"] == "s"
    assert state["risk"] == 0.692
    assert (state["rule_risk"], state["status_risk"], state["pattern_risk"], state["modifier"]) == (0.98, 1.0, 0.0, 1.0)
    assert state["level"] == "HIGH"
    assert state["alert"]["type"] == "TEMPERATURE_CRITICAL"
    assert state["values"] == metrics(**BLAZE)
    assert state["outside_normal"] == ["temperature", "co", "voc"]
    assert {one["kind"] for one in state["findings"]} == {"RISK_SPIKE", "RAPID_RISK_CHANGE", "ARC_PATTERN"}
    assert orjson.loads(orjson.dumps(state))


def test_the_series_of_risks_has_a_point_a_minute_and_one_for_each_change() -> None:
    kept = Analysis().hear(*series("a", 10, *[{}] * 13, SMOKE, *[{}] * 2)).kept
    found = [((one.at_ms - START_MS) // 1000, one.risk) for one in kept.risks.values()]
    assert found == [(0, 0), (60, 0), (120, 0), (130, 0.205), (140, 0)]


def test_normal_records_raise_nothing() -> None:
    kept = Analysis(a="s", b="s").hear(*series("a", 5, *[NORMAL] * 2000), *series("b", 5, *[NORMAL] * 2000)).end()
    assert not kept.alerts
    assert not kept.findings
