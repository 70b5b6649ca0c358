"""What we merge into Locust's statistics at once is what Locust comes to when it is told one by one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("locust_statistics.py")


@pytest.fixture(scope="module")
def both() -> Any:
    """Statistics after merging and after logging the same 5000 samples, from 10 µs to minutes."""
    dice = random.Random(7)  # noqa: S311 - samples
    samples: list[tuple[str, int | None, str | None, int]] = []
    for _ in range(5000):
        name = dice.choice(["telemetry", "connect", "shadow_update"])
        latency_ns = int(dice.lognormvariate(15, 3))
        reason = dice.choice(["refused", "dropped"]) if dice.random() < 0.1 else None
        samples.append((name, None if reason == "dropped" else latency_ns, reason, dice.randrange(500)))
    asked = json.dumps({"samples": samples, "batches": 20})
    done = subprocess.run(
        [sys.executable, SCRIPT], input=asked, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_rows_are_by_kind_of_message(both: Any) -> None:
    assert set(both["merged"]["rows"]) == {"telemetry", "connect", "shadow_update", "Aggregated"}


@pytest.mark.parametrize("name", ["telemetry", "connect", "shadow_update", "Aggregated"])
def test_each_row_is_what_locust_would_have_made_of_it(both: Any, name: str) -> None:
    merged, logged = both["merged"]["rows"][name], both["logged"]["rows"][name]
    nearly = ("total_response_time", "min_response_time", "max_response_time")
    for field in nearly:
        assert merged[field] == pytest.approx(logged[field], rel=1e-9), field
    times = {"response_times", "median_response_time", *nearly}
    assert {k: v for k, v in merged.items() if k not in times} == {k: v for k, v in logged.items() if k not in times}
    assert merged["median_response_time"] == pytest.approx(logged["median_response_time"], rel=0.1)


@pytest.mark.parametrize("name", ["telemetry", "connect", "shadow_update", "Aggregated"])
def test_response_times_differ_only_where_a_thousandth_changes_how_locust_rounds(both: Any, name: str) -> None:
    merged = dict(both["merged"]["rows"][name]["response_times"])
    logged = dict(both["logged"]["rows"][name]["response_times"])
    assert sum(merged.values()) == sum(logged.values())
    moved = sum(abs(merged.get(key, 0) - logged.get(key, 0)) for key in merged.keys() | logged.keys()) / 2
    assert moved <= 0.05 * sum(logged.values())


def test_errors_are_counted_by_row_and_reason(both: Any) -> None:
    assert both["merged"]["errors"] == both["logged"]["errors"]
    assert len(both["merged"]["errors"]) == 6
