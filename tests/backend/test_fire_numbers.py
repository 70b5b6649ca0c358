"""The contract's numbers, one by one: indicators, rule, status and pattern risk, levels, confidence, alert types."""

from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.fire import alerts, realtime
from simulator.backend.fire.indicators import indicators
from simulator.backend.fire.reading import NAMES, read, values_of
from simulator.backend.fire.realtime import LEVELS, base_of, confidence_of, final, level_of
from simulator.backend.fire.stream import arc_pattern, outside
from tests.backend.fire_records import BLAZE, NORMAL, reading

# What differs from the normal record → (temperature level, temperature, electrical, gas, total)
INDICATORS: list[tuple[dict[str, Any], tuple[str, float, float, float, float]]] = [
    ({}, ("LOW", 0.1, 0.0, 0.0, 0.04)),
    ({"pcbTemp": 40.0}, ("LOW", 0.1, 0.0, 0.0, 0.04)),
    ({"pcbTemp": 40.1}, ("MEDIUM", 0.4, 0.0, 0.0, 0.16)),
    ({"sensorTemp": 50.0}, ("MEDIUM", 0.4, 0.0, 0.0, 0.16)),
    ({"sensorTemp": 50.1}, ("HIGH", 0.7, 0.0, 0.0, 0.28)),
    ({"sensorTemp": 60.0}, ("HIGH", 0.7, 0.0, 0.0, 0.28)),
    ({"sensorTemp": 60.1}, ("CRITICAL", 1.0, 0.0, 0.0, 0.4)),
    ({"status": 1 << 0}, ("LOW", 0.1, 0.15, 0.0, 0.19)),
    ({"status": 1 << 2}, ("LOW", 0.1, 0.2, 0.0, 0.24)),
    ({"status": 1 << 3}, ("LOW", 0.1, 0.25, 0.0, 0.29)),
    ({"status": 1 << 4}, ("LOW", 0.1, 0.0, 0.0, 0.04)),
    ({"arc_count": 1}, ("LOW", 0.1, 0.05, 0.0, 0.09)),
    ({"arc_count": 6}, ("LOW", 0.1, 0.3, 0.0, 0.34)),
    ({"arc_count": 99}, ("LOW", 0.1, 0.3, 0.0, 0.34)),
    ({"co": 17.0}, ("LOW", 0.1, 0.0, 0.0, 0.04)),
    ({"co": 17.1}, ("LOW", 0.1, 0.0, 0.2, 0.24)),
    ({"voc": 400.0}, ("LOW", 0.1, 0.0, 0.0, 0.04)),
    ({"voc": 401.0}, ("LOW", 0.1, 0.0, 0.15, 0.19)),
    (BLAZE | {"status": 0b1101}, ("CRITICAL", 1.0, 0.8, 0.35, 1.0)),
]


@pytest.mark.parametrize(("differs", "expected"), INDICATORS)
def test_indicators(differs: dict[str, Any], expected: tuple[str, float, float, float, float]) -> None:
    assert tuple(indicators(reading(**differs))) == expected


# What differs → rule risk in hundredths
RULE: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"pcbTemp": 40.0}, 0),
    ({"pcbTemp": 40.1}, 10),
    ({"sensorTemp": 50.1}, 30),
    ({"sensorTemp": 60.0}, 30),
    ({"sensorTemp": 60.1}, 40),
    ({"volt": 234.0}, 0),
    ({"volt": 234.1}, 15),
    ({"voltLow": 190.0}, 0),
    ({"voltLow": 189.9}, 15),
    ({"volt": 240.0, "voltLow": 180.0}, 15),
    ({"current": 100.0}, 0),
    ({"current": 100.1}, 20),
    ({"leakage_current": 8.0}, 0),
    ({"leakage_current": 8.1}, 25),
    ({"resistive_leakage": 8.1}, 25),
    ({"leakage_current": 9.0, "resistive_leakage": 9.0}, 25),
    ({"arc_count": 1}, 2),
    ({"arc_count": 9}, 18),
    ({"arc_count": 10}, 20),
    ({"arc_count": 500}, 20),
    ({"co": 17.0}, 0),
    ({"co": 17.1}, 15),
    ({"voc": 400.0}, 0),
    ({"voc": 400.1}, 10),
    ({"power_factor": 0.9}, 0),
    ({"power_factor": 0.89}, 5),
    ({"sensorTemp": 61.0, "volt": 240.0, "current": 101.0, "leakage_current": 9.0}, 100),
    ({"sensorTemp": 61.0, "volt": 240.0, "current": 101.0, "leakage_current": 9.0, "co": 99.0, "voc": 999.0}, 100),
]


@pytest.mark.parametrize(("differs", "points"), RULE)
def test_rule_risk(differs: dict[str, Any], points: int) -> None:
    assert realtime.rule_points(reading(**differs)) == points


BITS = (10, 15, 20, 25, 20, 10, 30, 30, 20, 15, 5, 25)


@pytest.mark.parametrize(
    ("status", "points"),
    [
        *[(1 << bit, points) for bit, points in enumerate(BITS)],
        (0, 0),
        (0b11, 25),
        (0b111, 45 + 10),  # three alarms: one over two
        (0b1111, 70 + 20),
        (0b1_0010_0010, 45 + 10),
        (4095, 100),
        (4096, 80),
        (65_535, 80),
    ],
)
def test_status_risk(status: int, points: int) -> None:
    assert realtime.status_points(status) == points


# What differs → pattern risk in hundredths. 220 V × 5 A × 0.95 = 1.045 kW.
PATTERN: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"pcbTemp": 30.0, "sensorTemp": 40.0}, 0),
    ({"pcbTemp": 30.0, "sensorTemp": 40.1}, 5),
    ({"pcbTemp": 50.1, "sensorTemp": 40.0}, 5),
    ({"pcbTemp": 30.0, "sensorTemp": 50.0}, 5),
    ({"pcbTemp": 30.0, "sensorTemp": 50.1}, 15),
    ({"power": 0.87}, 10),  # 1.045 is 20.1 % more than it
    ({"power": 0.88}, 0),
    ({"power": 1.3}, 0),
    ({"power": 1.31}, 10),
    ({"power": 1045.0}, 10),  # watts, where kilowatts are agreed
    ({"power": 0.0}, 10),
    ({"power": 0.0, "current": 0.0}, 0),
    ({"current": 0.1, "volt": 1.0, "power": 0.000095}, 0),  # not more than 0.1 A: not asked
    ({"current": 2.0, "volt": 1.9, "power": 0.00361}, 10),  # 0.95 Ω
    ({"current": 2.0, "volt": 2.0, "power": 0.0038}, 0),  # 1 Ω
    ({"current": 0.2, "volt": 200.0, "power": 0.038}, 0),  # 1000 Ω
    ({"current": 0.19, "volt": 200.0, "power": 0.0361}, 10),
]


@pytest.mark.parametrize(("differs", "points"), PATTERN)
def test_pattern_risk(differs: dict[str, Any], points: int) -> None:
    assert realtime.pattern_points(reading(**differs)) == points


@pytest.mark.parametrize(
    ("risk", "level"),
    [(0, "NORMAL"), (1999, "NORMAL"), (2000, "LOW"), (3999, "LOW"), (4000, "MEDIUM"), (5999, "MEDIUM"),
     (6000, "HIGH"), (7999, "HIGH"), (8000, "CRITICAL"), (10_000, "CRITICAL")],
)  # fmt: skip
def test_levels(risk: int, level: str) -> None:
    assert LEVELS[level_of(risk)] == level


@pytest.mark.parametrize(
    ("differs", "base", "modifier", "risk"),
    [
        ({}, 0, 10, 0),
        ({"status": 4095, "current": 101.0, "power": 21.0}, 4 * 20 + 3 * 100, 10, 3800),
        ({"sensorTemp": 61.0, "pcbTemp": 35.0, "status": 0b1000_0000}, 4 * 40 + 3 * 30 + 3 * 15, 10, 2950),
        ({"sensorTemp": 61.0, "pcbTemp": 35.0, "status": 0b1000_0000}, 4 * 40 + 3 * 30 + 3 * 15, 16, 4720),
        (BLAZE, 4 * 98 + 3 * 100, 10, 6920),
        (BLAZE, 4 * 98 + 3 * 100, 12, 8304),
        (BLAZE, 4 * 98 + 3 * 100, 16, 10_000),
    ],
)
def test_the_final_risk_is_met_exactly(differs: dict[str, Any], base: int, modifier: int, risk: int) -> None:
    assert base_of(reading(**differs)) == base
    assert final(base, modifier) == risk


@pytest.mark.parametrize(
    ("differs", "confidence"),
    [({}, 1.0), ({"status": 1 << 6}, 0.85), ({"sensorTemp": 61.0, "status": 1 << 7}, 0.95), ({"status": 4095}, 0.5),
     ({"status": 0b1111}, 0.55)],
)  # fmt: skip
def test_confidence(differs: dict[str, Any], confidence: float) -> None:
    assert confidence_of(reading(**differs)) == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("differs", "kind", "actions"),
    [
        ({"status": 4095, "arc_count": 3}, "TEMPERATURE_CRITICAL", 2),
        ({"status": 1 << 6}, "TEMPERATURE_CRITICAL", 2),
        ({"status": 0b1111_0011_1111}, "ARC_DETECTED", 1),
        ({"status": 1 << 3, "arc_count": 1}, "ARC_DETECTED", 1),
        ({"status": 0b0011_0001_0100}, "ELECTRICAL_LEAKAGE", 1),
        ({"status": 0b0011_0000_1100}, "ELECTRICAL_LEAKAGE", 1),
        ({"status": 0b0011_0000_0100}, "OVERCURRENT", 1),
        ({"status": 1 << 8}, "GAS_DETECTION", 1),
        ({"status": 1 << 9}, "GAS_DETECTION", 1),
        ({"status": 0b0100_0010_0011}, "GENERAL_RISK", 1),
        ({}, "GENERAL_RISK", 1),
    ],
)
def test_alert_types_and_what_to_do(differs: dict[str, Any], kind: str, actions: int) -> None:
    record = reading(**differs)
    assert alerts.type_of(record) == kind
    high, critical = alerts.actions_for(kind, "HIGH"), alerts.actions_for(kind, "CRITICAL")
    assert len(high) == actions
    assert critical[-1] == "inspect at once"
    assert alerts.message_of(kind, "HIGH", record).startswith("HIGH fire risk: ")


@pytest.mark.parametrize(("arcs", "name"), [(1, "LOW"), (5, "LOW"), (6, "MODERATE"), (10, "MODERATE"),
                                            (11, "HIGH_FREQUENCY"), (500, "HIGH_FREQUENCY")])  # fmt: skip
def test_arc_patterns(arcs: int, name: str) -> None:
    assert arc_pattern(arcs) == name


@pytest.mark.parametrize(
    ("name", "field", "low", "high"),
    [("sensorTemp", "temperature", None, 60), ("volt", "volt", 200, 250), ("current", "current", 0, 120),
     ("co", "co", 0, 20), ("voc", "voc", 0, 500), ("power_factor", "power_factor", 0.8, 1.0)],
)  # fmt: skip
def test_normal_ranges(name: str, field: str, low: float | None, high: float) -> None:
    assert outside(reading()) == []
    assert outside(reading(**{name: high})) == []
    assert outside(reading(**{name: high + 0.01})) == [field]
    if low is not None:
        assert outside(reading(**{name: low})) == []
        assert outside(reading(**{name: low - 0.01})) == [field]
    else:
        assert outside(reading(pcbTemp=19.9, sensorTemp=19.9)) == ["temperature"]


def test_what_is_missing_is_as_on_a_sound_sensor() -> None:
    few = read({name: NORMAL[name] for name in ("volt", "current", "pcbTemp", "sensorTemp")})
    assert (few.volt_low, few.co, few.arcs, few.status, few.power_factor) == (220.0, 0.0, 0, 0, 1.0)
    assert isnan(few.power)
    assert base_of(few) == 0
    assert list(values_of(few)) == list(NAMES)
    odd = read(NORMAL | {"co": "much", "voc": True, "arc_count": -3, "status": 2.5, "power": None})
    assert base_of(odd) == 0
    assert odd.status == 0
    assert read(NORMAL | {"arc_count": 1e15}).arcs == 1_000_000


numbers = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6)


@given(st.fixed_dictionaries({name: numbers | st.text() | st.booleans() | st.none() for name in NAMES[:-1]}),
       st.integers(0, 4095))  # fmt: skip
def test_any_record_has_a_risk(values: dict[str, Any], status: int) -> None:
    record = read(values | {"status": status})
    assert 0 <= final(base_of(record), 20) <= 10_000
    assert 0.5 <= confidence_of(record) <= 1
    found = indicators(record)
    assert 0 <= found.total <= 1
