"""Does a smaller scenario still fail as the run did? Asked by `fleetsim shrink`, of the twin or of a sandbox.

Rules: it must fail the same check, and for the same reason as far as can be told: what was measured stays measurable;
the devices and faults that the check names are of the kinds that it named first; and where a bound counts what the
scenario itself makes (devices, alarms), a candidate may not miss it by more, since less of that is nobody's failure.
"""

import re
import tempfile
from collections.abc import Callable
from math import inf
from pathlib import Path

from simulator import resolved, scenarios
from simulator.checks import Check
from simulator.errors import FleetsimError, UsageError, did_you_mean
from simulator.profiles import Profile
from simulator.report.facts import Check as Result
from simulator.report.facts import Report
from simulator.scenarios import Scenario
from simulator.shrinking import Data, steps
from simulator.targets import SANDBOX

COUNTS = ("devices", "detected", "alarms", "jobs")  # checks of what a scenario makes
Perform = Callable[[Scenario, dict[str, Profile], int], Report]


def failed(report: Report, wanted: str | None) -> Result | None:
    """The check that the run failed, by its name or the first; None when a device failed; UsageError."""
    found = [check for check in report.checks if not check.passed]
    if wanted is not None:
        named = next((check for check in found if check.name == wanted), None)
        if named is None:
            names = [check.name for check in found]
            raise UsageError(f"the run failed no check '{wanted}'{did_you_mean(wanted, names)}")
        return named
    if not found and (report.verdict != "failed" or report.checks):
        raise UsageError(f"the run failed no check: it {report.verdict}; nothing to look for")
    return found[0] if found else None


def alone(data: Data, scenario: Scenario, check: Result | None) -> Data:
    """The scenario with the one check, if it is one of its own."""
    own = next((i for i, one in enumerate(scenario.checks) if check and (one.name or one.title) == check.name), None)
    return data if own is None else {**data, "checks": [data["checks"][own]]}


class Smaller:
    """What a candidate is asked."""

    def __init__(self, perform: Perform, check: Result | None, reason: str, seed: int) -> None:
        """`reason` is why the run ended, where no check failed."""
        self._perform, self._check, self._seed = perform, check, seed
        self._reason = _why(reason)
        self._gap = inf  # by how much the run missed its bound, once it is known
        self._named: frozenset[str] | None = None  # the kinds of devices and faults that the check names, likewise
        self._read: tuple[Data, tuple[Scenario, dict[str, Profile]]] | None = None
        self.report: Report | None = None  # of the latest try

    def valid(self, data: Data) -> bool:
        """Could it be run at all?"""
        try:
            self._scenario(data)
        except UsageError:
            return False
        return True

    def fails(self, data: Data) -> bool:
        """Does it fail as the run did?"""
        scenario, profiles = self._scenario(data)
        try:
            self.report = report = self._perform(scenario, profiles, self._seed)
        except FleetsimError:
            return False
        if self._check is None:
            return report.verdict == "failed" and not report.checks and _why(report.reason) == self._reason
        found = next((one for one in report.checks if one.name == self._check.name), None)
        if found is None or found.passed or (found.measured is None) != (self._check.measured is None):
            return False
        own = next((one for one in scenario.checks if (one.name or one.title) == found.name), None)
        gap = miss(own, found.measured) if own and str(own.model_dump()["kind"]) in COUNTS else 0.0
        names = kinds_named(found.why, report)
        if self._named is None:  # the scenario as it is: it sets the measure
            self._gap, self._named = gap, names
        return gap <= self._gap and names <= self._named and bool(names) == bool(self._named)

    def _scenario(self, data: Data) -> tuple[Scenario, dict[str, Profile]]:
        if self._read is None or self._read[0] != data:
            with tempfile.TemporaryDirectory(prefix="fleetsim-") as folder:
                path = Path(folder) / scenarios.RESOLVED
                path.write_text(resolved.text(data))
                self._read = data, scenarios.read(path)
        return self._read[1]


def kinds_named(why: str, report: Report) -> frozenset[str]:
    """The profiles and faults of which a check speaks."""
    words = set(re.findall(r"[\w:-]+", why))
    profiles = {device.profile for device in report.fleet.devices if device.thing in words}
    return frozenset(profiles | (words & {fault.fault for fault in report.faults}))


def miss(check: Check, measured: float | int | str | None) -> float:
    """By how much a number misses the bounds of a check."""
    wide = [0.0]
    if not isinstance(measured, (int, float)):
        return inf
    if check.at_least is not None:
        wide.append(check.at_least - measured)
    if check.at_most is not None:
        wide.append(measured - check.at_most)
    if check.equals is not None:
        wide.append(abs(measured - check.equals))
    return max(wide)


def _why(reason: str) -> str:
    """What kind of end it was, without whose."""
    return reason.rpartition(" failed: ")[2].partition(":")[0]


def in_sandbox(scenario: Scenario, profiles: dict[str, Profile], seed: int) -> Report:
    """A run at a sandbox of its own, of which only the report is kept."""
    from simulator.runtime.run import Plan, run

    with tempfile.TemporaryDirectory(prefix="fleetsim-") as folder:
        plan = Plan(scenario, profiles, seed, SANDBOX, Path(folder) / "out", record="none")
        return run(plan, lambda line: None)[0]


def counted(data: Data) -> str:
    """`3 devices, 5 steps`."""
    devices, parts = sum(int(group["count"]) for group in data["fleet"]), len(list(steps(data)))
    return f"{devices} {'device' if devices == 1 else 'devices'}, {parts} {'step' if parts == 1 else 'steps'}"
