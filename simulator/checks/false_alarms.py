"""How often did the backend cry wolf?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simulator.checks import NO_API, Facts, Measured, Scoring, listed


class FalseAlarms(Scoring):
    """Alarms without a fault behind them: the devices that had one, in percent; by itself at most 5."""

    usual: ClassVar[Mapping[str, float]] = {"at_most": 5}

    kind: Literal["false_alarms"] = "false_alarms"
    per: Literal["devices", "device_day", "run"] = Field(
        "devices", description="devices: % of them that had one; device_day: how many in one; run: how many."
    )

    @property
    def title(self) -> str:
        words = {"devices": "devices with a false alarm", "device_day": "false alarms per device-day",
                 "run": "false alarms"}  # fmt: skip
        return self.about(words[self.per])

    @property
    def unit(self) -> str:
        return "%" if self.per == "devices" else ""

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        score = self.score(facts)
        who = listed(sorted(score.alarmed_falsely))
        match self.per:
            case "run":
                return Measured(score.false_alarms, who)
            case "device_day":
                return Measured(score.false_per_day, who or f"in {score.device_days:.3g} device-days")
        if not score.devices:
            return Measured(None, "there are no such devices")
        return Measured(100 * len(score.alarmed_falsely) / score.devices, who)
