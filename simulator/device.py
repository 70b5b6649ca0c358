"""A device: the duties and faults of one thing, as a pure state machine.

`step(now_ms)` when `wake_at_ms` has come, `receive(said, now_ms)` when something was heard; both return what
the device says and does. It sleeps nowhere, reads no clock and touches no socket, so the same device runs
live, and with a virtual clock a day in seconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from simulator import seeds
from simulator.behaviours import NEVER_MS, Behaviour, Outputs
from simulator.faults import Active, Fault
from simulator.messages import Booted, Connected, Disconnected, Input, Note, PowerCycle, Publish, Subscribe, Told
from simulator.plant import Plant
from simulator.signals import Range
from simulator.wire.spec import ProductSpec

NO_HUB = "nohub"  # stands for the hub of a device that has none
_NONE: frozenset[str] = frozenset()  # shared: an empty set is as big as a duty


class Device:
    """One thing of the fleet."""

    __slots__ = (
        "_bad", "_env", "_held", "_seed", "children", "duties", "faults", "flash", "hub", "online", "package",
        "plant", "powered", "product", "profile", "public_key", "row", "said_ms", "spec", "thing", "version",
        "wake_at_ms",
    )  # fmt: skip

    def __init__(
        self, thing: str, profile: str, package: str, version: str, behaviours: list[Behaviour],
        plant: Plant, row: int, seed: int, env: str, public_key: bytes,
        product: str = "", hub: str = NO_HUB, children: "Sequence[Device]" = (), spec: ProductSpec | None = None,
    ) -> None:  # fmt: skip
        """`hub` is the device that it speaks through: itself when it is a hub, with its `children`."""
        self.thing, self.profile, self.package, self.version = thing, profile, package, version
        self.plant, self.row = plant, row
        self.public_key = public_key
        self.product, self.hub, self.children = product or package, hub, children
        self.spec = spec
        self.flash: dict[str, Any] = {"version": version}
        self.duties = [behaviour.duty() for behaviour in behaviours]
        self.faults: list[Active] = []
        self.online = False
        self.powered = True
        self.wake_at_ms = NEVER_MS
        self.said_ms = 0
        self._seed, self._env = seed, env
        self._bad = _NONE  # of its signals are out of range
        self._held = _NONE  # of its parts are held by a fault

    # What its duties and faults may use (behaviours.Body)

    @property
    def limits(self) -> Mapping[str, Range]:
        return self.plant.limits

    def topic(self, template: str) -> str:
        if self.hub != NO_HUB:  # A profile that names no hub is right behind one, too.
            template = template.replace(f"/{NO_HUB}/", "/{hub}/")
        return template.replace("{env}", self._env).replace("{hub}", self.hub).replace("{thing}", self.thing)

    def envelope(self, now_ms: int) -> dict[str, Any]:
        if self.hub == NO_HUB:
            return {}
        if self.hub != self.thing:
            return {"hub_timestamp": now_ms}
        nodes = [{"device_id": c.thing, "role": "EndDevice", "parent": self.thing} for c in self.children if c.online]
        return {"hub_timestamp": now_ms, "nodes": nodes}

    def draw(self, *names: str | int) -> float:
        return seeds.fraction(self._seed, self.thing, *names)

    def reading(self, now_ms: int) -> dict[str, float]:
        return dict(zip(self.plant.names, self.plant.reading(self.row, now_ms), strict=True))

    def hold(self, part: str, value: float | None, now_ms: int) -> None:
        self._held = self._held | {part} if value is not None else self._held - {part}
        self.plant.hold(self.row, part, self._set_to(part) if value is None else value, now_ms)

    def set_part(self, part: str, value: float | None, now_ms: int) -> None:
        self.flash["parts"] = {**self.flash.get("parts", {}), part: value}
        if part not in self._held:
            self.plant.hold(self.row, part, value, now_ms)

    def _set_to(self, part: str) -> float | None:
        value: float | None = self.flash.get("parts", {}).get(part)
        return value

    def tell(self, what: str, value: Any, now_ms: int) -> Outputs:
        said = Told(what, value)
        return [output for duty in self.duties for output in duty.receive(self, said, now_ms)]

    def restart_part(self, part: str, now_ms: int) -> None:
        for fault in self.faults:
            fault.restarted(self, part, now_ms)

    def out_of_range(self, reading: dict[str, float], now_ms: int) -> Outputs:
        notes: Outputs = []
        for name, (low, high) in self.plant.limits.items():
            value = reading[name]
            if (bad := not low <= value <= high) == (name in self._bad):
                continue
            self._bad = self._bad | {name} if bad else self._bad - {name}
            limit = high if value > low else low
            notes.append(
                Note(
                    "out_of_range" if bad else "back_in_range",
                    {"metric": name, "value": value, "limit": limit},
                )
            )
        return notes

    # What a runtime uses

    def step(self, now_ms: int) -> Outputs:
        """Do what is due."""
        said: Outputs = []
        for fault in self.faults:
            if fault.wake_at_ms <= now_ms:
                fault.step(self, now_ms)
        if self.powered:
            for duty in self.duties:
                if duty.wake_at_ms <= now_ms and (outputs := duty.step(self, now_ms)):
                    said += outputs
                    if type(outputs[-1]) is Publish:  # Now, because a duty after this one may want to know.
                        self.said_ms = now_ms
        return self._settle(said)

    def filters(self) -> tuple[str, ...]:
        """What its duties want to hear."""
        return tuple(dict.fromkeys(f for duty in self.duties for f in duty.filters(self)))

    def receive(self, said: Input, now_ms: int) -> Outputs:
        """Hear something; while the power is off only its return is heard."""
        answers: Outputs = []
        match said:
            case Booted():
                self._boot(now_ms)
            case _ if not self.powered:
                return []
            case Connected():
                self.online = True
                if filters := self.filters():
                    answers.append(Subscribe(filters))
            case Disconnected():
                self.online = False
        for duty in self.duties:
            answers += duty.receive(self, said, now_ms)
        if answers and type(answers[-1]) is Publish:
            self.said_ms = now_ms
        return self._settle(answers)

    def inject(self, fault: Fault, now_ms: int) -> Outputs:
        """Break it."""
        self.faults.append(fault.start(self, now_ms))
        params: Mapping[str, Any] = fault.model_dump(exclude_none=True)
        return self._settle([Note("fault_injected", {"fault": params.get("kind", ""), "params": params})])

    def _boot(self, now_ms: int) -> None:
        self.powered = True
        self.version = self.flash["version"]
        for fault in self.faults:
            fault.booted(self, now_ms)

    def _settle(self, said: Outputs) -> Outputs:
        """Drop faults that are over, go dark on a power cycle, and set the alarm for the next thing to do."""
        if self.faults:
            over = [fault for fault in self.faults if fault.over]
            if over:
                self.faults = [fault for fault in self.faults if not fault.over]
                said += [Note("fault_cleared", {"fault": fault.kind}) for fault in over]
        for output in said:
            if type(output) is PowerCycle:
                self.powered = self.online = False
        wake_at_ms = NEVER_MS
        if self.powered:
            for duty in self.duties:
                if duty.wake_at_ms < wake_at_ms:
                    wake_at_ms = duty.wake_at_ms
        for fault in self.faults:
            wake_at_ms = min(wake_at_ms, fault.wake_at_ms)
        self.wake_at_ms = wake_at_ms
        return said
