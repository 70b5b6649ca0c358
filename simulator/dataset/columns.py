"""The columns of a data set: features in the order of the contracts, the label, the truth, the lead time.

Rules: all of it on whole blocks of records, [moments, sensors, …]. What a sensor did not say is NaN, and a record that
was never made is NaN throughout; neither raises an alarm. Powers are in kW, as the record has them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.seeds import Floats

Flags = NDArray[np.bool_]

METRICS = ("volt", "voltLow", "ct", "zct", "rzct", "pwr", "pcbTemp", "sensorTemp", "co", "voc", "pFct", "aArc")
BITS = (
    "overvoltage", "power_outage", "overcurrent", "leakage_total", "leakage_resistive", "power_anomaly",
    "pcb_temperature", "sensor_temperature", "co", "voc", "power_factor", "arc",
)  # fmt: skip


class Column(NamedTuple):
    """One column, for the data card."""

    name: str
    unit: str
    about: str


_MEASURED = [
    Column("voltage", "V", "mains voltage"),
    Column("voltage_low", "V", "its minimum"),
    Column("current", "A", "current"),
    Column("leakage_current", "mA", "leakage, total"),
    Column("resistive_leakage", "mA", "leakage, resistive"),
    Column("power", "kW", "active power"),
    Column("pcb_temperature", "°C", "temperature of the board"),
    Column("sensor_temperature", "°C", "temperature of the sensor"),
    Column("co_gas", "ppm", "carbon monoxide"),
    Column("voc", "µg/m³", "organic vapours"),
    Column("power_factor", "", "power factor, 0 to 1"),
    Column("arc_count", "", "arcs in the last step of the physics"),
]
_STATUS = [Column(f"status_{name}", "", f"alarm bit {bit} of the record, 0 or 1") for bit, name in enumerate(BITS)]
_DERIVED = [
    Column("max_temperature", "°C", "the higher of the two"),
    Column("temperature_difference", "K", "|board − sensor|"),
    Column("power_calculated", "kW", "V · I · pf"),
    Column("power_discrepancy", "kW", "|V · I · pf − P|"),
    Column("impedance", "Ω", "V / I; 0 where I is not above 0.1 A"),
    Column("leakage_sum", "mA", "total + resistive"),
    Column("gas_index", "", "0.6 · co + 0.4 · voc"),
]
FEATURES = (*_MEASURED, *_STATUS, *_DERIVED)
FEATURE_NAMES = tuple(column.name for column in FEATURES)
KEYS = (
    Column("device", "", "name of the sensor"),
    Column("at_ms", "ms", "when the record was made, since the Unix epoch"),
)
OUTCOMES = (
    Column("label", "", "1: the fire condition of the contracts holds, or will within 10 minutes"),
    Column("fire", "", "1: an injected fire goes on, from its first smouldering until it has burnt down: the truth"),
    Column("lead_s", "s", "until the fire condition holds, 0 while it does; empty: it will not within the horizon"),
    Column("event", "", "what is being done to the sensor: a number of the card's list, 0 for nothing"),
)
COLUMNS = (*KEYS, *FEATURES, *OUTCOMES)
AHEAD_S = 600  # of the label
_DECIMALS = 4
_STATUS_AT = len(METRICS)
_OUTAGE_V, _ANOMALY, _ANOMALY_KW = 11, 0.2, 0.01  # as wire/payloads.py


def bits(metrics: Floats) -> Flags:
    """The status bits of records, [… , 12], by the limits of the wire (`wire.payloads.fire_status`)."""
    volt, _, ct, zct, rzct, pwr, pcb, sensor, co, voc, factor, arcs = (metrics[..., i] for i in range(len(METRICS)))
    with np.errstate(invalid="ignore"):
        expected = volt * ct * factor / 1000
        odd = np.abs(pwr - expected) > np.maximum(_ANOMALY * expected, _ANOMALY_KW)
        found = (
            volt > 234, volt < _OUTAGE_V, ct > 100, zct > 8, rzct > 8, odd, pcb > 60, sensor > 60, co > 17, voc > 400,
            factor < 0.9, arcs > 0,
        )  # fmt: skip
    return np.stack(found, axis=-1)


def features(metrics: Floats) -> Floats:
    """All features of records, [… , 31]."""
    volt, _, ct, zct, rzct, pwr, pcb, sensor, co, voc, factor, _ = (metrics[..., i] for i in range(len(METRICS)))
    calculated = volt * ct * factor / 1000
    with np.errstate(invalid="ignore", divide="ignore"):
        impedance = np.where(ct > 0.1, volt / ct, np.where(np.isnan(volt + ct), np.nan, 0.0))
    derived = np.stack(
        (
            np.maximum(pcb, sensor), np.abs(pcb - sensor), calculated, np.abs(calculated - pwr), impedance, zct + rzct,
            0.6 * co + 0.4 * voc,
        ),
        axis=-1,
    )  # fmt: skip
    np.round(derived, _DECIMALS, out=derived)
    return np.concatenate((metrics, bits(metrics), derived), axis=-1)


def condition(metrics: Floats, status: Floats | Flags) -> Flags:
    """Does the fire condition of the contracts hold?"""
    pcb, sensor, co, voc, arcs = (metrics[..., i] for i in (6, 7, 8, 9, 11))
    with np.errstate(invalid="ignore"):
        found: Flags = (pcb > 70) | (sensor > 70) | (arcs > 5) | ((co > 25) & (voc > 600)) | (status.sum(axis=-1) > 4)
    return found


def lead_s(holds: Flags, period_s: float, after: Floats) -> Floats:
    """Seconds until the condition holds, [moments, sensors]; `after`: the same at the moment behind the last one."""
    found = np.empty(holds.shape)
    left = after
    for place in range(len(holds) - 1, -1, -1):
        left = found[place] = np.where(holds[place], 0.0, left + period_s)
    return found
