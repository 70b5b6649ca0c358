"""The real-time analysis of one record: rule, status and pattern risk, and what they come to.

Rules: points are whole hundredths and a risk is whole ten-thousandths, so that a limit is met exactly where the
contract has it. Active power is in kW, and so is what volts, amperes and power factor make of it.
"""

from bisect import bisect_right

from simulator.backend.fire.indicators import CO_LIMIT, HOT, MILD, VOC_LIMIT, WARM
from simulator.backend.fire.reading import Reading

ONE = 10_000  # a risk of 1
MODIFIER_ONE, MODIFIER_MAX = 10, 20  # in tenths
COMMUNICATION_FAULT = 4096
LEVELS = ("NORMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
HIGH = LEVELS.index("HIGH")

_LEVELS_FROM = (2000, 4000, 6000, 8000)
_BIT_POINTS = (10, 15, 20, 25, 20, 10, 30, 30, 20, 15, 5, 25)
_FAULT_POINTS = 80


def rule_points(reading: Reading) -> int:
    """The rule risk, in hundredths."""
    volt, volt_low, current, leakage, resistive, _, pcb_c, sensor_c, co, voc, factor, arcs, _ = reading
    celsius = pcb_c if pcb_c > sensor_c else sensor_c
    points = 0
    if celsius > MILD:
        points = 40 if celsius > HOT else 30 if celsius > WARM else 10
    if volt > 234 or volt_low < 190:
        points += 15
    if current > 100:
        points += 20
    if leakage > 8 or resistive > 8:
        points += 25
    if arcs:
        points += min(20, 2 * arcs)
    if co > CO_LIMIT:
        points += 15
    if voc > VOC_LIMIT:
        points += 10
    if factor < 0.9:
        points += 5
    return min(100, points)


def _points_of_status(status: int) -> int:
    points = sum(points for bit, points in enumerate(_BIT_POINTS) if status >> bit & 1)
    return min(100, points + 10 * max(0, status.bit_count() - 2))


_STATUS_POINTS = tuple(_points_of_status(status) for status in range(COMMUNICATION_FAULT))


def status_points(status: int) -> int:
    """The status risk, in hundredths."""
    return _STATUS_POINTS[status] if status < COMMUNICATION_FAULT else _FAULT_POINTS


def pattern_points(reading: Reading) -> int:
    """The pattern risk, in hundredths: values that do not go together."""
    volt, _, current, _, _, power, pcb_c, sensor_c, _, _, factor, _, _ = reading
    apart = abs(pcb_c - sensor_c)
    points = 0
    if apart > 10:
        points = 15 if apart > 20 else 5
    if abs(volt * current * factor / 1000 - power) > 0.2 * power:
        points += 10
    if current > 0.1 and not current <= volt <= 1000 * current:
        points += 10
    return points


def base_of(reading: Reading) -> int:
    """The risk before the history is asked, in thousandths."""
    return 4 * rule_points(reading) + 3 * status_points(reading.status) + 3 * pattern_points(reading)


def final(base: int, modifier: int) -> int:
    """The risk, in ten-thousandths; the modifier in tenths."""
    risk = base * modifier
    return risk if risk < ONE else ONE


def level_of(risk: int) -> int:
    """The place of a risk's level among LEVELS."""
    return bisect_right(_LEVELS_FROM, risk)


def confidence_of(reading: Reading) -> float:
    """How much rule and status say the same, 0.5 to 1."""
    return 1 - min(100, abs(rule_points(reading) - status_points(reading.status))) / 200
