"""A device: the duties and faults of one thing, as a pure state machine.

`step(now_ms)` when `wake_at_ms` has come, `receive(said, now_ms)` when something was heard; both return what
the device says and does. It sleeps nowhere, reads no clock and touches no socket, so the same device runs
live, and with a virtual clock a day in seconds.
"""

from collections.abc import Mapping
from typing import Any

from simulator import seeds
from simulator.behaviours import NEVER_MS, Behaviour, Outputs
from simulator.faults import Active, Fault
from simulator.messages import Booted, Connected, Disconnected, Input, Note, PowerCycle, Subscribe
from simulator.plant import Plant


class Device:
    """One thing of the fleet."""

    __slots__ = (
        "_bad", "_env", "_seed", "duties", "faults", "flash", "online", "package", "plant",
        "powered", "profile", "public_key", "row", "thing", "version", "wake_at_ms",
    )  # fmt: skip

    def __init__(
        self, thing: str, profile: str, package: str, version: str, behaviours: list[Behaviour],
        plant: Plant, row: int, seed: int, env: str, public_key: bytes,
    ) -> None:  # fmt: skip
        self.thing, self.profile, self.package, self.version = thing, profile, package, version
        self.plant, self.row = plant, row
        self.public_key = public_key
        self.flash: dict[str, Any] = {"version": version}
        self.duties = [behaviour.duty() for behaviour in behaviours]
        self.faults: list[Active] = []
        self.online = False
        self.powered = True
        self.wake_at_ms = NEVER_MS
        self._seed, self._env = seed, env
        self._bad: set[str] = set()

    # What its duties and faults may use (behaviours.Body)

    def topic(self, template: str) -> str:
        return template.replace("{env}", self._env).replace("{thing}", self.thing)

    def draw(self, *names: str | int) -> float:
        return seeds.fraction(self._seed, self.thing, *names)

    def reading(self, now_ms: int) -> dict[str, float]:
        return dict(zip(self.plant.names, self.plant.reading(self.row, now_ms), strict=True))

    def hold(self, part: str, value: float | None, now_ms: int) -> None:
        self.plant.hold(self.row, part, value, now_ms)

    def restart_part(self, part: str, now_ms: int) -> None:
        for fault in self.faults:
            fault.restarted(self, part, now_ms)

    def out_of_range(self, reading: dict[str, float], now_ms: int) -> Outputs:
        notes: Outputs = []
        for name, (low, high) in self.plant.limits.items():
            value = reading[name]
            if (bad := not low <= value <= high) == (name in self._bad):
                continue
            (self._bad.add if bad else self._bad.discard)(name)
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
                if duty.wake_at_ms <= now_ms:
                    said += duty.step(self, now_ms)
        return self._settle(said)

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
                answers.append(Subscribe(tuple(f for duty in self.duties for f in duty.filters(self))))
            case Disconnected():
                self.online = False
        for duty in self.duties:
            answers += duty.receive(self, said, now_ms)
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
        if any(type(output) is PowerCycle for output in said):
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
