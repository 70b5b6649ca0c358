"""The reserved named shadow `$package`: what may be written to it, and what the success of a job writes.

Rules: per package only `version` and `attributes`, whoever writes and by whatever way. The service itself writes it
for an execution that succeeded, if the configuration says so and its role can be assumed: the version with empty
attributes (those of the catalog are not copied), or nothing more of a package that was uninstalled.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from simulator.cloud.packages.catalog import Catalog

NAME = "$package"
_KEYS = {"version": str, "attributes": dict}
_LOG = logging.getLogger("fleetsim.cloud")


class Shadows(Protocol):
    """What the reporter needs of the emulator."""

    def role_usable(self, role_arn: str) -> bool: ...

    def update_shadow(self, thing: str, name: str, reported: dict[str, Any]) -> None: ...


class PackageReporter:
    """Writes `$package` shadows; called for each execution that succeeded."""

    def __init__(self, catalog: Catalog, shadows: Shadows, installs: Callable[[str], Mapping[str, str | None]]) -> None:
        self._catalog = catalog
        self._shadows = shadows
        self._installs = installs

    def __call__(self, thing: str, job_id: str, destinations: list[str]) -> None:
        installs = self._installs(job_id)
        if not installs or not self._catalog.update_by_jobs:
            return
        role = self._catalog.update_role_arn or ""
        if not self._shadows.role_usable(role):
            _LOG.warning("job %s: $package of %s not written: IoT cannot assume role %s", job_id, thing, role)
            return
        reported = {
            package: None if version is None else {"version": version, "attributes": {}}
            for package, version in installs.items()
        }
        self._shadows.update_shadow(thing, NAME, reported)


def problem_of(request: Any) -> str | None:
    """What is wrong with an update of `$package`, beyond what holds for every shadow."""
    state = request.get("state") if isinstance(request, dict) else None
    for section in ("desired", "reported"):
        packages = state.get(section) if isinstance(state, dict) else None
        for package, entry in (packages if isinstance(packages, dict) else {}).items():
            if entry is None:
                continue
            if not isinstance(entry, dict):
                return f"State contains an invalid node: '{package}' must be an object"
            for key, value in entry.items():
                if key not in _KEYS:
                    return f"State contains an invalid node: '{key}' of '{package}'; only version and attributes may be"
                if value is not None and not isinstance(value, _KEYS[key]):
                    kind = "a string" if _KEYS[key] is str else "an object"
                    return f"State contains an invalid node: '{key}' of '{package}' must be {kind}"
    return None


def install(iot: Any) -> None:
    """Hold every update of `$package` to it: MQTT and HTTP both end in `update_thing_shadow`."""
    original = iot.update_thing_shadow

    def update(thing_name: str, shadow_name: str, request: Any) -> tuple[int, dict[str, Any]]:
        problem = problem_of(request) if shadow_name == NAME else None
        if problem:
            return 400, {"message": problem}
        answer: tuple[int, dict[str, Any]] = original(thing_name, shadow_name, request)
        return answer

    iot.update_thing_shadow = update
