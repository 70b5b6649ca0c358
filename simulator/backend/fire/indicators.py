"""The risk indicators of one message by itself."""

from typing import NamedTuple

from simulator.backend.fire.reading import Reading

OVERVOLTAGE, OUTAGE, OVERCURRENT, LEAKAGE, RESISTIVE, POWER, PCB, SENSOR, CO, VOC, FACTOR, ARC = (
    1 << bit for bit in range(12)
)
CO_LIMIT, VOC_LIMIT = 17.0, 400.0
HOT, WARM, MILD = 60.0, 50.0, 40.0


class Indicators(NamedTuple):
    """Scores from 0 to 1; the sum of electrical and gas may be more than one."""

    temperature_level: str
    temperature: float
    electrical: float
    gas: float
    total: float


def indicators(reading: Reading) -> Indicators:
    """What one record says of the risk."""
    level, temperature = _temperature(reading.temperature)
    status = reading.status
    electrical = (
        15 * bool(status & OVERVOLTAGE)
        + 20 * bool(status & OVERCURRENT)
        + 25 * bool(status & LEAKAGE)
        + min(30, 5 * reading.arcs)
    )
    gas = 20 * (reading.co > CO_LIMIT) + 15 * (reading.voc > VOC_LIMIT)
    total = min(100, 4 * temperature // 10 + electrical + gas)
    return Indicators(level, temperature / 100, electrical / 100, gas / 100, total / 100)


def _temperature(celsius: float) -> tuple[str, int]:
    if celsius > HOT:
        return "CRITICAL", 100
    if celsius > WARM:
        return "HIGH", 70
    return ("MEDIUM", 40) if celsius > MILD else ("LOW", 10)
