"""The baseline is the risk that the platform works out, record by record."""

from pathlib import Path

import numpy as np
import pytest

from simulator.backend.fire.analysis import Fire
from simulator.backend.fire.reading import NAMES
from simulator.backend.fire.realtime import ONE
from simulator.dataset import mix, reading
from simulator.dataset.columns import METRICS
from simulator.errors import UsageError
from simulator.scoring.baseline import Baseline
from simulator.scoring.bounds import bounds, passed
from simulator.scoring.figures import figures
from simulator.scoring.known import known
from tests.dataset.small_sets import BUSY, made


def test_the_baseline_is_the_platforms_risk(tmp_path: Path) -> None:
    made(tmp_path)
    [table] = reading.tables(tmp_path / "data.csv")
    platform, expected = Fire(), []
    for place, (device, at_ms) in enumerate(zip(table.devices, table.at_ms.tolist(), strict=True)):
        values = table.features[place].tolist()
        status = sum(1 << bit for bit in range(12) if values[12 + bit])
        metrics = dict(zip(NAMES, (*values[:11], int(values[11]), status), strict=True))
        taken = platform.take(device, at_ms, place, place, metrics)
        assert taken is not None
        expected.append(taken.risk / ONE)
    assert Baseline()(table).tolist() == expected
    assert max(expected) > 0.8


def test_a_record_that_the_contract_refuses_brings_no_new_risk(tmp_path: Path) -> None:
    dropped = mix.Mix.model_validate(
        {"happenings": [{"name": "x", "per_day": 30, "fault": {"kind": "drop_out", "signal": "pcbTemp", "for_s": 600}}]}
    )
    made(tmp_path, mix=dropped, days=0.1)
    [table] = reading.tables(tmp_path / "data.csv")
    unsaid = np.isnan(table.features[:, METRICS.index("pcbTemp")])
    assert unsaid.any()
    risks = Baseline()(table)
    last: dict[str, float] = {}
    for device, risk, is_unsaid in zip(table.devices, risks.tolist(), unsaid, strict=True):
        if is_unsaid:
            assert risk == last.get(device, 0)
        last[device] = risk


def test_the_baseline_meets_the_minimum_by_alerts(tmp_path: Path) -> None:
    made(tmp_path, devices=40, profiles=("fire-sensor", "fire-sensor-panel"), days=0.5, mix=BUSY.scaled(1.5, 1.0))
    found = figures(known(tmp_path / "data.csv", Baseline(), lambda done: None), 0.6)
    assert found.fires > 10
    assert passed(bounds(found, "alerts")), found


def test_the_baseline_wants_records(tmp_path: Path) -> None:
    made(tmp_path, forms=("npz",), days=0.05)
    with pytest.raises(UsageError, match="not on windows"):
        known(tmp_path / "data.npz", Baseline(), lambda done: None)
