"""The alarms of a run, from its report: how well the backend that was there noticed the fires.

Rules: a fire is a fault of the kind `fire`; every alarm counts for precision, and a device with a false one as false.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from simulator.errors import UsageError
from simulator.scoring.bounds import Bound, measures


class Finished(NamedTuple):
    """What a run says of itself."""

    scenario: str
    seed: int
    fires: int
    noticed: int
    alarms: int
    false_alarms: int
    devices: int
    devices_alarmed: int
    false_per_device_day: float | None
    detect_s: dict[str, float] | None
    missed: list[str]

    def bounds(self) -> list[Bound]:
        every = self.alarms + self.false_alarms
        return measures(
            self.alarms / every if every else None,
            self.noticed / self.fires if self.fires else None,
            self.devices_alarmed / self.devices if self.devices else None,
        )


def finished(folder: Path) -> Finished:
    """The figures of a run's folder, or of its report.json; UsageError."""
    path = folder / "report.json" if folder.is_dir() else folder
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
        scores = report["scores"]
        if scores is None:
            raise UsageError(f"{path}: this run has no scores; its target has no read API for alarms")
        total = scores["total"]
        fire = next((row for row in scores["by_fault"] if row["of"] == "fire"), None)
        devices = sum(int(profile["count"]) for profile in report["fleet"]["profiles"])
        false = int(total["false_alarms"])
        return Finished(
            str(report["scenario"]), int(report["seed"]), int(fire["faults"]) if fire else 0,
            int(fire["noticed"]) if fire else 0, int(total["alarms"]), false, devices,
            min(false, int(total.get("devices_alarmed_falsely", false)), devices), total["false_per_device_day"],
            fire["detect_s"] if fire else None, list(fire["missed"]) if fire else [],
        )  # fmt: skip
    except FileNotFoundError:
        raise UsageError(f"'{folder}' is no run: it has no report.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is no report of a run ({type(error).__name__}: {error})") from None
