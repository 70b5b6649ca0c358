"""Do device, `$package` shadow and job agree on the version at the end?"""

from typing import Literal

from simulator.checks import Check, Facts, Measured, listed


class Disagreements(Check):
    """Counts devices whose version differs from their `$package` shadow or their last succeeded job."""

    kind: Literal["disagreements"] = "disagreements"

    @property
    def title(self) -> str:
        return "devices whose version, $package and job disagree"

    def measure(self, facts: Facts) -> Measured:
        if not facts.packages:
            return Measured(None, "the cloud's $package shadows were not to be had")
        by_job = {e["thing"]: e["version"] for e in facts.executions if e["status"] == "SUCCEEDED"}
        wrong: list[str] = []
        for device in facts.devices:
            if not device.managed:
                continue
            shadow, job = facts.packages.get(device.thing), by_job.get(device.thing, device.version)
            if not device.version == shadow == job:
                wrong.append(f"{device.thing} runs {device.version}, $package {shadow or 'empty'}, job {job}")
        return Measured(len(wrong), listed(wrong, 3))
