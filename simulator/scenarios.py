"""Scenarios: a fleet, what happens to it, and what must be shown. The one reader of the folder `scenarios/`.

Everything that can be wrong in a scenario and its profiles is found here, before anything starts.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from simulator import profiles
from simulator.behaviours import Channel
from simulator.checks import Check
from simulator.errors import UsageError
from simulator.fleet import Fleet, Member
from simulator.folders import folder
from simulator.profiles import NAME, VERSION, Profile
from simulator.schema import Loaded, OneOf, Problem, Strict, YamlProblems, load_marked
from simulator.steps import Entry, Step
from simulator.steps.connect import Connect
from simulator.steps.inject import Inject

FLEET_MAX = 100_000
_THING = r"[a-zA-Z0-9:_-]{1,128}"


class Group(Strict):
    """Devices of one profile."""

    profile: str = Field(pattern=NAME)
    count: int = Field(ge=1, le=FLEET_MAX)
    name: str = Field(
        "{profile}-{n}", pattern=r"^[a-zA-Z0-9:_{}-]{1,128}$",
        description="Names of the things: {n} counts over all groups with the same name, {profile} is the profile's.",
    )  # fmt: skip
    firmware: str | None = Field(None, pattern=VERSION, description="Installed version; absent: the profile's.")
    channel: Channel | None = Field(None, description="mqtt, tcp or rest; absent: the profile's.")

    @property
    def variant_name(self) -> str:
        """What the profile is called on the group's channel."""
        return f"{self.profile}-over-{self.channel}" if self.channel else self.profile

    def variant(self) -> Profile:
        """The profile on the group's channel; UsageError or YamlProblems when there is no such profile."""
        found = profiles.profile(self.profile)
        return found.over(self.channel or found.channel, self.variant_name)

    @property
    def pattern(self) -> str:
        """The name with the profile's filled in."""
        return self.name.replace("{profile}", self.profile)


class Sandbox(Strict):
    """What the embedded backend is told. Another target has its own rules, and does not read this."""

    rules: list[dict[str, Any]] = Field([], max_length=1000, description="Rules of the backend.")


class Scenario(Strict):
    """A fleet, a timeline and checks."""

    scenario: str = Field(pattern=NAME, description="Its name: that of the file.")
    title: str = Field("", max_length=200)
    seed: int = Field(1, ge=0, le=(1 << 63) - 1, description="Everything random comes from it.")
    env: str = Field("stg", pattern=r"^(dev|stg|prd)$", description="First part of the platform's topics.")
    physics_speed: float = Field(1.0, gt=0, le=3600, description="Simulated seconds of physics in a second.")
    fleet: list[Group] = Field(min_length=1, max_length=100)
    sandbox: Sandbox = Sandbox()
    timeline: list[Annotated[Step, OneOf("steps")]] = Field(min_length=1, max_length=1000)
    checks: list[Annotated[Check, OneOf("checks")]] = Field(min_length=1, max_length=200)

    def things(self) -> list[Member]:
        """(thing, profile, firmware) of every device, in order."""
        totals: dict[str, int] = {}
        for group in self.fleet:
            totals[group.pattern] = totals.get(group.pattern, 0) + group.count
        counted: dict[str, int] = {}
        found: list[Member] = []
        for group in self.fleet:
            pattern = group.pattern
            width, of = max(3, len(str(totals[pattern]))), group.variant_name
            for _ in range(group.count):
                counted[pattern] = counted.get(pattern, 0) + 1
                thing = pattern.replace("{n}", f"{counted[pattern]:0{width}}")
                found.append((thing, of, group.firmware))
        return found

    def children(self, profiles: Mapping[str, Profile]) -> list[Member]:
        """The same of every device that speaks through one of these."""
        return [(child, of, None) for thing, name, _ in self.things() for child, of in profiles[name].children(thing)]

    def build(self, profiles: Mapping[str, Profile], seed: int, start_ms: int, public_key: bytes) -> Fleet:
        """The fleet, switched off (see Fleet)."""
        return Fleet(
            self.things(), profiles, seed, start_ms, public_key, env=self.env, physics_speed=self.physics_speed
        )


def find(name: str) -> Path:
    """The file of a scenario, given by path or by the name of a shipped one."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    return folder("scenarios") / f"{name}.yaml"


def read(path: Path) -> tuple[Scenario, dict[str, Profile]]:
    """A scenario and its profiles, checked against each other; YamlProblems with all that is wrong."""
    loaded = load_marked(path, Scenario)
    scenario = loaded.value
    problems = list(_problems(loaded, path))
    if problems:
        raise YamlProblems(problems)
    found: dict[str, Profile] = {}
    for group in scenario.fleet:
        found |= profiles.family(group.variant())
    return scenario, found


def _problems(loaded: Loaded[Scenario], path: Path) -> Iterator[Problem]:
    scenario = loaded.value
    if scenario.scenario != path.stem:
        yield loaded.problem(("scenario",), f"the name must be the file's: '{path.stem}', is '{scenario.scenario}'")
    fleet: dict[str, Profile] = {}
    missing = False
    for i, group in enumerate(scenario.fleet):
        try:
            fleet |= profiles.family(group.variant())
        except YamlProblems:
            raise
        except UsageError as error:
            missing = True
            yield loaded.problem(("fleet", i, "profile"), str(error))
        if group.count > 1 and "{n}" not in group.name:
            yield loaded.problem(("fleet", i, "name"), "needs {n}, or all devices of the group have the same name")
        elif not re.fullmatch(_THING, group.pattern.replace("{n}", "0" * len(str(FLEET_MAX)))):
            yield loaded.problem(
                ("fleet", i, "name"),
                f"'{group.pattern}' gives no thing name: at most 128 characters, and only {{n}}, {{profile}} in braces",
            )
    if (total := sum(group.count for group in scenario.fleet)) > FLEET_MAX:
        yield loaded.problem(("fleet",), f"{total} devices are more than {FLEET_MAX}", at_key=True)
        return
    if not isinstance(scenario.timeline[0], Connect):
        yield loaded.problem(
            ("timeline", 0), "the first step must be 'connect': nothing happens to a fleet that is off"
        )
    if not missing:
        yield from _duplicates(loaded, fleet)
        yield from _misfits(loaded, fleet)


def _duplicates(loaded: Loaded[Scenario], fleet: dict[str, Profile]) -> Iterator[Problem]:
    children = [thing for thing, _, _ in loaded.value.children(fleet)]
    for thing in children:
        if not re.fullmatch(_THING, thing):
            yield loaded.problem(("fleet",), f"a hub's child would be named '{thing}', which is no name", at_key=True)
            return
    seen: set[str] = set()
    for thing in [*(thing for thing, _, _ in loaded.value.things()), *children]:
        if thing in seen:
            yield loaded.problem(("fleet",), f"two devices would be named '{thing}'", at_key=True)
            return
        seen.add(thing)


def _misfits(loaded: Loaded[Scenario], fleet: dict[str, Profile]) -> Iterator[Problem]:
    """Injections that hit nobody, or a device that cannot have the fault."""
    roster = [Entry(thing, profile, False) for thing, profile, _ in loaded.value.things()]
    for i, step in enumerate(loaded.value.timeline):
        if not isinstance(step, Inject):
            continue
        hit = {entry.profile for entry in roster if step.matches(entry)}
        matching = sum(step.matches(entry) for entry in roster)
        if matching < (step.count or 1):
            wanted = f"{step.count} devices" if step.count else "a device"
            yield loaded.problem(("timeline", i), f"wants {wanted}, but only {matching} of the fleet match")
        for name in sorted(hit):
            if why := step.fault.unfit(fleet[name].subject):
                kind = step.fault.model_dump().get("kind")
                yield loaded.problem(
                    ("timeline", i, "fault"), f"profile '{name}' cannot have the fault '{kind}': it {why}"
                )
