"""Words for events and numbers, by tables."""

from typing import Any

import pytest

from simulator.report.svg import clock, moments, scale
from simulator.words import DETAIL_CHARS_MAX, detail_text, number, printable, span, word


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ({}, ""),
        ({"metric": "engine_temp_c", "value": 112.31, "limit": 110}, "engine_temp_c 112.3 > 110"),
        ({"metric": "engine_temp_c", "value": 109.2, "limit": 110.0}, "engine_temp_c 109.2 ≤ 110"),
        (
            {
                "fault": "hang",
                "params": {"kind": "hang", "part": "fan_level", "at": 0.0, "recurs_after_s": 3},
            },
            "hang, part fan_level, at 0, recurs after 3 s",
        ),
        ({"job": "ota-1", "size": 262_144}, "262,144 bytes"),
        ({"job_id": "ota-1", "package": "SedanVehicle", "version": "1.1.0"}, "1.1.0, package SedanVehicle"),
        (
            {"after": "action", "reason": "in range for 15 s", "open_ms": 25_800},
            "in range for 15 s, after action, open 25.8 s",
        ),
        ({"job": "ota-1", "percent": 50}, "50 %"),
        ({"off_ms": 2500, "raised_at_ms": 1_767_225_600_000}, "off 2.5 s"),
        ({"session_present": False, "reason": None}, "session present no"),
        ({"action": {"name": "restart-fan", "id": "a1-1"}}, "restart-fan"),
        ({"why": "x" * 500}, "x" * (DETAIL_CHARS_MAX - 1) + "…"),
    ],
)
def test_detail_text(detail: dict[str, Any], text: str) -> None:
    assert detail_text(detail) == text


def test_a_kind_without_words_is_told_by_its_name() -> None:
    assert word("moon_rose").name == "moon rose"
    assert not word("moon_rose").routine


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 s"),
        (40, "40 ms"),
        (12_400, "12.4 s"),
        (59_999, "1 min 00 s"),
        (185_000, "3 min 05 s"),
        (7_620_000, "2 h 07 min"),
    ],
)
def test_span(ms: int, text: str) -> None:
    assert span(ms) == text


def test_number() -> None:
    assert [number(value) for value in (3, 1200, 88.44, 0.0351, 2.0, float("inf"))] == [
        "3",
        "1,200",
        "88.4",
        "0.0351",
        "2",
        "inf",
    ]


def test_printable() -> None:
    assert printable("car\x1b[2J — ≥") == "car?[2J — ≥"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (86.2, 117.9, [80, 90, 100, 110, 120]),
        (0, 3, [0, 1, 2, 3]),
        (5, 5, [4, 4.5, 5, 5.5, 6]),
        (0, 0, [0, 0.5, 1]),
        (-0.003, 0.001, [-0.003, -0.002, -0.001, 0, 0.001]),
    ],
)
def test_scale(low: float, high: float, ticks: list[float]) -> None:
    bottom, top, found = scale(low, high)
    assert bottom <= low <= high <= top
    assert found[0] == bottom
    assert found[-1] == top
    assert len(found) <= 7
    assert found == ticks


def test_moments_and_their_names() -> None:
    assert moments(-10_000, 50_000, 0) == [i * 10_000 for i in range(-1, 6)]
    assert len(moments(0, 86_400_000 * 30, 0)) <= 9
    assert [clock(ms) for ms in (0, 500, 90_000, 750_000, 10_800_000)] == [
        "0 s",
        "0.5 s",
        "90 s",
        "12:30",
        "3:00:00",
    ]
