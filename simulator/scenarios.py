"""Scenarios: a fleet, what happens to it, and what must be shown. The one reader of the folder `scenarios/`.

Everything that can be wrong in a scenario and its profiles is found here, before anything starts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from simulator import parameters, profiles
from simulator.behaviours import Channel
from simulator.behaviours.telemetry import PERIOD_S
from simulator.checks import Check
from simulator.errors import UsageError, did_you_mean
from simulator.faults import Fault
from simulator.fleet import Fleet, Member
from simulator.folders import folder
from simulator.parameters import Value
from simulator.profiles import NAME, VERSION, Profile
from simulator.schema import Loaded, Loc, Marks, OneOf, Prepare, Problem, Strict, YamlProblems, load_marked
from simulator.steps import Entry, Step
from simulator.steps._choosing import Choosing
from simulator.steps.connect import Connect
from simulator.steps.inject import Inject
from simulator.steps.parallel import Parallel
from simulator.steps.publish_firmware import PublishFirmware
from simulator.steps.ramp import Ramp
from simulator.words import WORDS
from simulator.workload import Workload

FLEET_MAX = 100_000
RESOLVED = "scenario.yaml"  # in the folder of a run, whatever its name
_THING = r"[a-zA-Z0-9:_-]{1,128}"


class Group(Strict):
    """Devices of one profile."""

    profile: str = Field(pattern=NAME)
    count: int = Field(ge=1, le=FLEET_MAX)
    name: str = Field(
        "{profile}-{n}", pattern=r"^[a-zA-Z0-9:_{}-]{1,128}$",
        description="Names of the things: {n} counts over all groups with the same name, {profile} is the profile's.",
    )  # fmt: skip
    group: str = Field("", max_length=64, description="A name for these devices, to choose them by in steps.")
    firmware: str | None = Field(None, pattern=VERSION, description="Installed version; absent: the profile's.")
    channel: Channel | None = Field(None, description="mqtt, tcp or rest; absent: the profile's.")
    every_s: float | None = Field(
        None, ge=PERIOD_S.low, le=PERIOD_S.high,
        description="Seconds between two telemetry messages; it looks less often, too. Absent: the profile's.",
    )  # fmt: skip

    @property
    def variant_name(self) -> str:
        """What the profile is called on the group's channel, at its pace."""
        name = f"{self.profile}-over-{self.channel}" if self.channel else self.profile
        return name if self.every_s is None else f"{name}-every-{self.every_s:g}s"

    def variant(self) -> Profile:
        """The profile as the group has it; UsageError or YamlProblems when there is no such profile."""
        found = profiles.profile(self.profile)
        found = found.over(self.channel or found.channel, self.variant_name)
        return found if self.every_s is None else found.every(self.every_s)

    @property
    def pattern(self) -> str:
        """The name with the profile's filled in."""
        return self.name.replace("{profile}", self.profile)


class Sandbox(Strict):
    """What the embedded backend is told. Another target has its own rules, and does not read this."""

    rules: list[dict[str, Any]] = Field([], max_length=1000, description="Rules of the backend.")
    fire: bool = Field(True, description="Does the backend predict fires from what fire sensors say?")
    formulas: list[dict[str, Any]] = Field([], max_length=1000, description="Formulas: formulaId, productId, formula.")
    master: dict[str, Any] = Field({}, description="Master data: devices and sites, and whose they are.")
    escalation: dict[str, Any] = Field({}, description="Seconds after which an open alarm of a class rises a level.")
    dispatch: dict[str, Any] | None = Field(None, description="Field engineers who go by themselves: assign_after_s …")
    notifications: dict[str, Any] = Field({}, description="Which channels hear of which class, and how often.")

    @property
    def told(self) -> dict[str, Any]:
        """What the backend's configuration says of it, beside the rules."""
        return self.model_dump(exclude={"rules"}, exclude_unset=True)


class Scenario(Strict):
    """A fleet, a timeline and checks."""

    scenario: str = Field(pattern=NAME, description="Its name: that of the file.")
    parameters: dict[str, str | float | int | bool] = Field(
        {},
        max_length=100,
        description="Values for ${name}: as they stand, or drawn, such as {uniform: [1, 5]} or {choice: [a, b]}.",
    )
    title: str = Field("", max_length=200)
    seed: int = Field(1, ge=0, le=(1 << 63) - 1, description="Everything random comes from it.")
    env: str = Field("stg", pattern=r"^(dev|stg|prd)$", description="First part of the platform's topics.")
    physics_speed: float = Field(1.0, gt=0, le=3600, description="Simulated seconds of physics in a second.")
    physics_step_s: float | None = Field(
        None, gt=0, le=60, description="Simulated seconds in a step of the physics, at least; absent: the profile's."
    )
    fleet: list[Group] = Field(min_length=1, max_length=100)
    sandbox: Sandbox = Sandbox()
    load: Workload | None = Field(None, description="What `fleetsim load` and Locust do with it.")
    timeline: list[Annotated[Step, OneOf("steps")]] = Field(
        [], max_length=1000, description="What happens, step by step; a `load` switches devices on and off by itself."
    )
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

    def groups(self) -> Iterator[tuple[str, str]]:
        """(thing, name of its group) of every device, in order."""
        names = iter(thing for thing, _, _ in self.things())
        for group in self.fleet:
            for _ in range(group.count):
                yield next(names), group.group

    def steps(self) -> Iterator[tuple[Loc, Step]]:
        """Every step with its place, those inside of blocks too, in order."""

        def below(at: Loc, steps: Sequence[Step]) -> Iterator[tuple[Loc, Step]]:
            for i, step in enumerate(steps):
                yield (*at, i), step
                for j, inner in enumerate(step.within()):
                    key = (*at, i, "branches", j) if isinstance(step, Parallel) else (*at, i, "steps")
                    yield from below(key, inner)

        yield from below(("timeline",), self.timeline)

    def children(self, profiles: Mapping[str, Profile]) -> list[Member]:
        """The same of every device that speaks through one of these."""
        return [(child, of, None) for thing, name, _ in self.things() for child, of in profiles[name].children(thing)]

    def build(self, profiles: Mapping[str, Profile], seed: int, start_ms: int, public_key: bytes) -> Fleet:
        """The fleet, switched off (see Fleet)."""
        return Fleet(
            self.things(), profiles, seed, start_ms, public_key, env=self.env, physics_speed=self.physics_speed,
            physics_step_s=self.physics_step_s or 0.0,
        )  # fmt: skip


def find(name: str) -> Path:
    """The file of a scenario, given by path or by the name of a shipped one."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    return folder("scenarios") / f"{name}.yaml"


def read(
    path: Path, given: Mapping[str, Value] | None = None, seed: int | None = None
) -> tuple[Scenario, dict[str, Profile]]:
    """A scenario and its profiles, checked against each other; YamlProblems with all that is wrong.

    `given` are values of its parameters; those that it draws come from the seed, by itself the file's own.
    """
    loaded = load_marked(path, Scenario, filled(given, seed))
    scenario = loaded.value
    problems = list(_problems(loaded, path))
    if problems:
        raise YamlProblems(problems)
    found: dict[str, Profile] = {}
    for group in scenario.fleet:
        found |= profiles.family(group.variant())
    return scenario, found


def filled(given: Mapping[str, Value] | None, seed: int | None) -> Prepare:
    """What puts the values of parameters into a scenario as it is read."""
    return lambda marks: parameters.fill(marks, given or {}, _seed(marks, seed))


def _seed(marks: Marks, seed: int | None) -> int:
    """The seed that parameters are drawn by."""
    own = marks.node(("seed",))
    if seed is None and own is not None and isinstance(own.value, int):
        return own.value
    return 1 if seed is None else seed


def _problems(loaded: Loaded[Scenario], path: Path) -> Iterator[Problem]:
    scenario = loaded.value
    if scenario.scenario != path.stem and path.name != RESOLVED:
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
    if scenario.load:
        shape = scenario.load.shape
        if shape and shape.most > total:
            yield loaded.problem(
                ("load", "shape", "to"), f"{shape.most} devices are more than the {total} of the fleet"
            )
    elif not scenario.timeline:
        yield loaded.problem((), "missing key 'timeline': nothing would happen (or 'load', for `fleetsim load`)")
    elif not isinstance(scenario.timeline[0], (Connect, Ramp, PublishFirmware)):
        yield loaded.problem(
            ("timeline", 0), "the first step must be 'connect' or 'ramp': nothing happens to a fleet that is off"
        )
    yield from _waiting(loaded)
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


def _waiting(loaded: Loaded[Scenario]) -> Iterator[Problem]:
    """Steps that wait for what never comes."""
    steps = list(loaded.value.steps())
    names = {step.name for _, step in steps if step.name}
    for loc, step in steps:
        if step.after is None or step.after in names or step.after.strip().replace(" ", "_") in WORDS:
            continue
        known = [*sorted(names), *(kind.replace("_", " ") for kind in sorted(WORDS))]
        yield loaded.problem(
            (*loc, "after"), f"no step and no event is called '{step.after}'{did_you_mean(step.after, known)}"
        )


def _misfits(loaded: Loaded[Scenario], fleet: dict[str, Profile]) -> Iterator[Problem]:
    scenario = loaded.value
    members = zip(scenario.things(), scenario.groups(), strict=True)
    roster = [
        Entry(thing, profile, False, group, firmware or fleet[profile].firmware, fleet[profile].channel)
        for (thing, profile, firmware), (_, group) in members
    ]
    yield from misfits(loaded, scenario.steps(), roster, fleet)


def misfits(
    loaded: Loaded[Any], steps: Iterable[tuple[Loc, Step]], roster: Sequence[Entry], fleet: Mapping[str, Profile]
) -> Iterator[Problem]:
    """Steps that choose nobody, and injections of a fault that a device cannot have."""
    for loc, step in steps:
        if not isinstance(step, Choosing):
            continue
        matching = [entry for entry in roster if step.may_match(entry)]
        if len(matching) < (step.count or 1):
            wanted = f"{step.count} devices" if step.count else "a device"
            yield loaded.problem(loc, f"wants {wanted}, but only {len(matching)} of the fleet match")
        if isinstance(step, Ramp) and step.to > len(matching):
            yield loaded.problem((*loc, "to"), f"{step.to} devices are more than the {len(matching)} that match")
        if isinstance(step, Inject):
            yield from _unfit(loaded, loc, step, {entry.profile for entry in matching}, fleet)


def _unfit(
    loaded: Loaded[Any], loc: Loc, step: Inject, hit: Set[str], fleet: Mapping[str, Profile]
) -> Iterator[Problem]:
    spots: list[tuple[Loc, Fault]] = [((*loc, "fault"), step.fault)]
    spots += [((*loc, "also", i), fault) for i, fault in enumerate(step.also)]
    for at, fault in spots:
        for name in sorted(hit):
            if why := fault.unfit(fleet[name].subject):
                kind = fault.params["kind"]
                yield loaded.problem(at, f"profile '{name}' cannot have the fault '{kind}': it {why}")
