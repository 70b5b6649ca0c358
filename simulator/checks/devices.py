"""How many devices are connected. The smallest check: copy this one."""

from typing import Literal

from simulator.checks import Check, Facts, Measured, listed


class Devices(Check):
    """Counts the devices that are connected."""

    kind: Literal["devices"] = "devices"

    @property
    def title(self) -> str:
        return "devices connected"

    def measure(self, facts: Facts) -> Measured:
        away = [device.thing for device in facts.devices if not device.online]
        return Measured(len(facts.devices) - len(away), f"away: {listed(away)}" if away else "")
