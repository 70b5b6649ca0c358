"""The columns: bits as the wire has them, features in the order of the contracts, label, condition, lead time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.dataset.columns import (
    BITS,
    FEATURE_NAMES,
    METRICS,
    bits,
    condition,
    features,
    lead_s,
)
from simulator.seeds import Floats
from simulator.wire.payloads import fire_status

NORMAL = (220.0, 220.0, 5.0, 0.5, 0.3, 1.1, 35.0, 37.0, 5.0, 50.0, 0.95, 0.0)  # of the contracts
AROUND: dict[str, list[float]] = {
    "volt": [0, 10.9, 11, 220, 234, 234.1], "ct": [0, 0.05, 0.1, 5, 100, 100.1], "zct": [0.5, 8, 8.01],
    "rzct": [0.3, 8, 8.01], "pwr": [0, 0.5, 1.1, 1.5], "pcbTemp": [35, 60, 60.1, 70.1], "sensorTemp": [37, 60, 71],
    "co": [5, 17, 17.1, 26], "voc": [50, 400, 401, 601], "pFct": [0.8, 0.9, 0.95], "aArc": [0, 1, 6],
}  # fmt: skip


def records(*rows: tuple[float, ...]) -> Floats:
    return np.array(rows, np.float64)


def changed(**values: float) -> tuple[float, ...]:
    return tuple(values.get(name, usual) for name, usual in zip(METRICS, NORMAL, strict=True))


@given(st.fixed_dictionaries({name: st.sampled_from([*values, float("nan")]) for name, values in AROUND.items()}))
def test_bits_are_those_of_the_wire(values: dict[str, float]) -> None:
    row = changed(**values)
    found = np.flatnonzero(bits(records(row))[0]).tolist()
    assert sum(1 << bit for bit in found) == fire_status(dict(zip(METRICS, row, strict=True)))


def test_features_stand_in_the_order_of_the_contracts() -> None:
    assert FEATURE_NAMES[:12] == (
        "voltage", "voltage_low", "current", "leakage_current", "resistive_leakage", "power", "pcb_temperature",
        "sensor_temperature", "co_gas", "voc", "power_factor", "arc_count",
    )  # fmt: skip
    assert FEATURE_NAMES[12:24] == tuple(f"status_{name}" for name in BITS)
    assert len(FEATURE_NAMES) == 31
    [row] = features(records(NORMAL)).tolist()
    assert row[:12] == list(NORMAL)
    assert row[12:24] == [0.0] * 12
    assert row[24:] == [37.0, 2.0, 1.045, 0.055, 44.0, 0.8, 23.0]


def test_what_was_not_said_stays_so_and_raises_nothing() -> None:
    [row] = features(records(changed(co=float("nan"), ct=float("nan"))))
    by_name = dict(zip(FEATURE_NAMES, row.tolist(), strict=True))
    unknown = [name for name, value in by_name.items() if value != value]
    assert unknown == ["current", "co_gas", "power_calculated", "power_discrepancy", "impedance", "gas_index"]
    [idle] = features(records(changed(ct=0.0, pwr=0.0)))
    assert dict(zip(FEATURE_NAMES, idle.tolist(), strict=True))["impedance"] == 0


@pytest.mark.parametrize(
    ("values", "holds"),
    [
        ({}, False), ({"pcbTemp": 70.0}, False), ({"pcbTemp": 70.1}, True), ({"sensorTemp": 70.1}, True),
        ({"aArc": 5.0}, False), ({"aArc": 6.0}, True), ({"co": 26.0}, False), ({"co": 26.0, "voc": 601.0}, True),
        ({"co": 25.0, "voc": 601.0}, False),
        ({"volt": 235.0, "zct": 9.0, "rzct": 9.0, "co": 18.0}, False),  # four bits
        ({"volt": 235.0, "zct": 9.0, "rzct": 9.0, "co": 18.0, "voc": 401.0}, True),
    ],
)  # fmt: skip
def test_fire_condition_of_the_contracts(values: dict[str, float], holds: bool) -> None:
    of = records(changed(**{"pwr": round(values.get("volt", 220) * 5 * 0.95 / 1000, 3), **values}))
    assert condition(of, bits(of)).tolist() == [holds]


def test_lead_time_counts_down_to_the_condition() -> None:
    holds = np.array([[0, 1], [0, 0], [1, 0], [0, 0]], np.bool_)
    found = lead_s(holds, 60.0, np.array([np.inf, 0.0]))
    assert found.T.tolist() == [[120.0, 60.0, 0.0, np.inf], [0.0, 180.0, 120.0, 60.0]]
