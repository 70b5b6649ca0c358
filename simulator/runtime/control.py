"""What somebody does to a run by hand: look at the fleet, and play a step beside the timeline.

A step by hand is a step of the scenario language, read and checked as one of a file, and carried out by the same
conductor: what it broke is in the ground truth, and the report shows it.

Rules: answers are (status, JSON); a wrong step is 400 with one line, and nothing was done. What the account refuses is
502, and the run goes on. At most so many steps run at once.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Protocol

import yaml

from simulator import firmware, rooms
from simulator.behaviours._settings import Setting
from simulator.behaviours.shadow import Shadow
from simulator.device import Device
from simulator.errors import FleetsimError, UsageError
from simulator.faults import Fault
from simulator.faults._part import PartFault
from simulator.ledger import Event
from simulator.profiles import Profile
from simulator.runtime.timeline import Stage, Timeline
from simulator.scenarios import Scenario, misfits
from simulator.schema import OneOf, Strict, YamlProblems, json_schema, parse_marked
from simulator.steps import (
    Clear,
    Command,
    Control,
    Disturb,
    Inject,
    Job,
    Publication,
    Relieve,
    SetDesired,
    Step,
)

STEPS_MAX = 32
EVENTS_MAX = 1000
FOLLOW_S = 1.0  # so long an answer waits for what the step does at once
THINGS_SHOWN = 3

Answer = tuple[int, dict[str, Any]]


class Conducted(Stage, Protocol):
    """What is controlled."""

    scenario: Scenario
    seed: int

    @property
    def phase(self) -> str: ...

    @property
    def elapsed_s(self) -> float: ...

    @property
    def devices(self) -> Sequence[Device]: ...

    @property
    def profiles(self) -> Mapping[str, Profile]: ...

    def faults_of(self, index: int) -> list[str]: ...


class _ByHand(Strict):
    step: Annotated[Step, OneOf("steps")]


class Controls:
    """One run's."""

    def __init__(self, run: Conducted, staying: bool = False) -> None:
        self._run, self.staying = run, staying
        self.left = asyncio.Event()  # somebody said that it is enough
        self._playing: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Nothing more is done by hand."""
        for task in self._playing:
            task.cancel()

    async def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """What is asked for: `path` is below /control."""
        try:
            match method, path:
                case "GET", "run":
                    return 200, self._about()
                case "GET", "fleet":
                    return 200, self._fleet()
                case "GET", "kinds":
                    return 200, self._kinds()
                case "GET", "events":
                    return 200, self._events(_number(query, "after", 0), _number(query, "limit", EVENTS_MAX))
                case "POST", "steps":
                    return await self._step(body)
                case "POST", "end" if self.staying:
                    self.left.set()
                    return 200, {}
        except UsageError as error:
            return 400, {"error": str(error)}
        return 404, {"error": f"nothing is called '{path[:80]}' here"}

    # Looking

    def _about(self) -> dict[str, Any]:
        run, scenario = self._run, self._run.scenario
        return {
            "scenario": scenario.scenario, "title": scenario.title, "seed": run.seed, "phase": run.phase,
            "elapsed_s": round(run.elapsed_s, 1), "staying": self.staying,
        }  # fmt: skip

    def _fleet(self) -> dict[str, Any]:
        rows = [
            [entry.thing, entry.profile, entry.group, entry.channel, entry.firmware, entry.online, device.powered,
             self._run.faults_of(index)]
            for index, (entry, device) in enumerate(zip(self._run.roster(), self._run.devices, strict=True))
        ]  # fmt: skip
        return {
            "fields": ["thing", "profile", "group", "channel", "firmware", "online", "powered", "faults"], "rows": rows,
        }  # fmt: skip

    def _kinds(self) -> dict[str, Any]:
        profiles = self._run.profiles
        versions = {
            name: [one.version for one in firmware.releases() if profile.software in one.packages]
            for name, profile in profiles.items()
        }
        return {
            "faults": list(_faults(profiles)),
            "commands": {name: _commands(profile) for name, profile in profiles.items()},
            "firmware": versions,
            "signals": {name: sorted(profile.signals) for name, profile in profiles.items()},
        }

    def _events(self, after: int, limit: int) -> dict[str, Any]:
        events = self._run.ledger.events[after : after + min(limit, EVENTS_MAX)]
        found = [{"seq": after + i, **event._asdict(), "detail": dict(event.detail)} for i, event in enumerate(events)]
        return {"events": found, "next": after + len(found)}

    # Doing

    async def _step(self, body: bytes) -> Answer:
        run = self._run
        if len(self._playing) >= STEPS_MAX:
            return 429, {"error": f"{STEPS_MAX} steps are still being done: wait for one of them"}
        step = self._read(body)
        plan = step.plan(run.roster(), run.seed)
        at_ms = run.now_ms()
        run.ledger.note(Event(at_ms, "run", "step_by_hand", "", {"step": step.title}))
        playing = asyncio.create_task(Timeline(run, run.seed, lambda _: None).play([step]))
        self._playing.add(playing)
        playing.add_done_callback(self._over)
        await asyncio.wait((playing,), timeout=FOLLOW_S)
        if playing.done() and not playing.cancelled() and (error := playing.exception()):
            return 502, {"error": str(error)}
        said = step.model_dump(mode="json", exclude_unset=True)
        text = yaml.safe_dump([said], sort_keys=False, default_flow_style=None, width=100)
        return 200, {"yaml": text, "calls": [_call(command) for command in plan], "at_ms": at_ms}

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._playing.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), FleetsimError):
            self._run.ledger.note(Event(self._run.now_ms(), "run", "step_refused", "", {"error": str(error)}))

    def _read(self, body: bytes) -> Step:
        """UsageError for what is no step of this fleet's."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise UsageError("the step is not UTF-8") from None
        loaded = parse_marked('{"step": ' + text + "}", "step", _ByHand)
        run, step = self._run, loaded.value.step
        if problems := list(misfits(loaded, [(("step",), step)], run.roster(), run.profiles)):
            raise YamlProblems(problems)
        return step


def _faults(profiles: Mapping[str, Profile]) -> Iterator[dict[str, Any]]:
    """Every kind of fault, with what it can be told and which of these profiles can have it by its look."""
    for kind, cls in rooms.members("faults").items():
        schema: dict[str, Any] = json_schema(cls, kind)
        needed = set(schema.get("required", ()))
        example = getattr(cls, "example", "")
        befalls = "sandbox" if issubclass(cls, PartFault) else "device"
        yield {
            "kind": kind, "family": getattr(cls, "family", ""), "about": (cls.__doc__ or "").strip().splitlines()[0],
            "befalls": befalls, "example": example,
            "fits": _fits(cls, example, profiles) if befalls == "device" else [],
            "fields": [
                {"name": name, "type": field.get("type", "any"), "default": field.get("default"),
                 "required": name in needed, "about": field.get("description", "")}
                | ({"enum": field["enum"]} if "enum" in field else {})
                for name, field in schema.get("properties", {}).items() if name != "kind"
            ],
        }  # fmt: skip


def _fits(cls: type[Strict], example: str, profiles: Mapping[str, Profile]) -> list[str]:
    """The profiles that can have the fault as its example tells it."""
    fault = cls.model_validate(yaml.safe_load(example))
    return [name for name, profile in profiles.items() if isinstance(fault, Fault) and not fault.unfit(profile.subject)]


def _commands(profile: Profile) -> dict[str, Any]:
    """What the shadow of such a device can be told: actions, and settings with what they take."""
    shadow = next((behaviour for behaviour in profile.behaviours if isinstance(behaviour, Shadow)), None)
    if shadow is None:
        return {"actions": [], "settings": {}}
    return {
        "actions": sorted(shadow.actions),
        "settings": {name: _takes(setting) for name, setting in shadow.settings.items()},
    }


def _takes(setting: Setting) -> dict[str, Any]:
    return {"start": setting.start, "min": setting.min, "max": setting.max, "one_of": list(setting.one_of or ())}


def _call(command: Command) -> str:
    """The call that a command is, in a line."""
    match command:
        case Inject(fault, things):
            return f"fleet: inject {fault.params['kind']} into {_several(things)}"
        case Clear(fault, things):
            return f"fleet: clear {fault or 'all faults'} of {_several(things)}"
        case SetDesired(state, things):
            return f"iot-data: UpdateThingShadow {_several(things)} state.desired = {dict(state)}"
        case Control(name, value, things):
            said = name if value is None else f"{name} {value}"
            return f"iot-data: Publish control_request '{said}' to {_several(things)}"
        case Publication(version, packages, signed):
            of = ", ".join(packages) or "all packages"
            return f"s3: PutObject, iot: CreatePackageVersion {version} of {of}{'' if signed else ', wrongly signed'}"
        case Job(version, things):
            return f"iot: CreateJob, firmware {version} for {_several(things)}"
        case Disturb(fault):
            return f"sandbox: {fault.params['kind']} of the {fault.befalls}"
        case Relieve(fault):
            return f"sandbox: end of {fault or 'all its faults'}"
        case _:
            return f"fleet: {type(command).__name__.lower()}"


def _several(things: Sequence[str]) -> str:
    shown = ", ".join(things[:THINGS_SHOWN])
    return shown if len(things) <= THINGS_SHOWN else f"{shown} and {len(things) - THINGS_SHOWN} more"


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise UsageError(f"{name}: '{text[:40]}' is not a whole number")
    return int(text)
