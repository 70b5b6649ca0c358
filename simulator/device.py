"""A device: the duties and faults of one thing, as a pure state machine.

`step(now_ms)` when `wake_at_ms` has come, `receive(said, now_ms)` when something was heard; both return what
the device says and does. It sleeps nowhere, reads no clock and touches no socket, so the same device runs
live, and with a virtual clock a day in seconds.
"""

import heapq
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, cast

from simulator import seeds
from simulator.behaviours import NEVER_MS, Behaviour, Outputs
from simulator.faults import Active, Disguise, Fault
from simulator.messages import (
    Answered,
    Booted,
    Connected,
    Disconnected,
    Input,
    Later,
    Note,
    Output,
    Piece,
    PowerCycle,
    PowerOn,
    Publish,
    Subscribe,
    Told,
    Turn,
)
from simulator.plant import Plant
from simulator.signals import Range, Signal
from simulator.wire.spec import ProductSpec

NO_HUB = "nohub"  # stands for the hub of a device that has none
_NEVER: Mapping[str, int] = {}
_NONE: frozenset[str] = frozenset()  # shared: an empty set is as big as a duty
LATER_MAX = 10_000  # things that a device may have put off
_INPUTS = Input.__args__


class Device:
    """One thing of the fleet."""

    __slots__ = (
        "_bad", "_dark", "_env", "_held", "_later", "_put_off", "_seed", "children", "duties", "faults", "flash", "hub",
        "in_turn", "injected",
        "online", "package", "plant", "powered", "product", "profile", "public_key", "row", "said_ms", "spec",
        "thing", "version", "wake_at_ms",
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
        # What a hub's child says is answered to the hub, so a child keeps to its periods.
        self.in_turn = hub in (NO_HUB, thing) and any(duty.in_turn for duty in self.duties)
        self.faults: list[Active] = []
        self._later: list[tuple[int, int, Output | Input]] | None = (
            None  # (at_ms, order, what), a heap; made when needed
        )
        self._put_off = 0
        self.online = False
        self.powered = True
        self._dark = False  # until PowerOn
        self.wake_at_ms = NEVER_MS
        self.said_ms = 0
        self._seed, self._env = seed, env
        self._bad = _NONE  # of its signals are out of range
        self._held = _NONE  # of its parts are held by a fault
        self.injected: Mapping[str, int] = _NEVER

    # What its duties and faults may use (behaviours.Body)

    @property
    def limits(self) -> Mapping[str, Range]:
        return self.plant.limits

    @property
    def signals(self) -> Mapping[str, Signal]:
        return self.plant.signals

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
        values = dict(zip(self.plant.names, self.plant.reading(self.row, now_ms), strict=True))
        for fault in self.faults:
            fault.reading(self, values, now_ms)
        return values

    def sensed(self, now_ms: int) -> int:
        if self.faults or self.hub != NO_HUB:
            return -1
        plant = self.plant
        if now_ms >= plant.next_ms:
            plant.advance(now_ms)
        return plant.step

    def healthy(self, names: tuple[str, ...], now_ms: int) -> dict[str, float] | None:
        return None if self._bad or self.faults else self.plant.healthy(self.row, names, now_ms)

    def truth(self, signal: str, now_ms: int) -> float:
        self.plant.advance(now_ms)
        return float(self.plant.columns[signal][self.row])

    def clock_ms(self, now_ms: int) -> int:
        for fault in self.faults:
            now_ms = fault.clock_ms(self, now_ms)
        return now_ms

    def obstacle(self, point: str, now_ms: int) -> str | None:
        return next((why for fault in self.faults if (why := fault.obstacle(self, point, now_ms))), None)

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
            if (bad := not low <= value <= high) == (name in self._bad) or not isfinite(value):
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
        if not self.faults and not self._later and self.powered:  # as good as always, and quick
            wake_at_ms = NEVER_MS
            for duty in self.duties:
                at_ms = duty.wake_at_ms
                if at_ms <= now_ms:
                    if outputs := duty.step(self, now_ms):
                        said = said + outputs if said else outputs
                        if type(outputs[-1]) is Publish:  # Now, because a duty after this one may want to know.
                            self.said_ms = now_ms
                    at_ms = duty.wake_at_ms
                if at_ms < wake_at_ms:
                    wake_at_ms = at_ms
            if len(said) == 1 and type(said[0]) is Publish:  # So no duty told another one anything.
                self.wake_at_ms = wake_at_ms
                return said
            return self._settle(said)
        for fault in self.faults:
            if fault.until_ms <= now_ms and not fault.over:
                said += fault.end(self, now_ms)
                fault.over = True
            elif fault.wake_at_ms <= now_ms:
                said += fault.step(self, now_ms)
        if self.faults:
            said += self._forget()  # Now, so that a fault whose time is up changes nothing of this moment.
        if self._later:
            said += self._due(now_ms)
        if self.powered and not (said and any(type(output) is PowerCycle for output in said)):
            own: Outputs = []
            for duty in self.duties:
                if duty.wake_at_ms <= now_ms and (outputs := duty.step(self, now_ms)):
                    own += outputs
                    if type(outputs[-1]) is Publish:  # Now, because a duty after this one may want to know.
                        self.said_ms = now_ms
            said += self._passed(own, now_ms) if self.faults else own
        return self._settle(said)

    def filters(self) -> tuple[str, ...]:
        """What its duties want to hear."""
        return tuple(dict.fromkeys(f for duty in self.duties for f in duty.filters(self)))

    def receive(self, said: Input, now_ms: int) -> Outputs:
        """Hear something; while the power is off only its return is heard."""
        if type(said) is Answered:
            return self._answered(said, now_ms)
        if type(said) is Booted:
            self._boot(now_ms)
        elif not self.powered:
            return []
        if not self.faults:
            return self._settle(self._hear(said, now_ms))
        answers: Outputs = []
        for heard in self._reaching(said, now_ms):
            answers += self._hear(heard, now_ms)
        return self._settle(self._passed(answers, now_ms))

    def _answered(self, said: Answered, now_ms: int) -> Outputs:
        """A message of its own came to its end: what was waiting for that may be said at once."""
        if not self.powered:
            return []
        answers: Outputs = []
        wake_at_ms = NEVER_MS
        for duty in self.duties:
            if duty.in_turn and (outputs := duty.receive(self, said, now_ms)):
                answers = answers + outputs if answers else outputs
            if duty.wake_at_ms < wake_at_ms:
                wake_at_ms = duty.wake_at_ms
        if answers and now_ms < wake_at_ms and not self.faults and not self._later:  # as good as always, and quick
            self.said_ms, self.wake_at_ms = now_ms, wake_at_ms
            return answers
        return (self._passed(answers, now_ms) if answers else answers) + Device.step(self, now_ms)

    def turn(self, now_ms: int) -> Turn | None:
        """What it says from now on whenever its last message is answered: nobody need ask it. None: ask it."""
        if self.faults or self._later or not self.powered:
            return None
        takers = [duty for duty in self.duties if duty.in_turn]
        turn = takers[0].turn(self, now_ms) if len(takers) == 1 else None
        return turn and turn._replace(until_ms=self.plant.next_ms)

    def turned(self, said_ms: int) -> None:
        """It took its turns until then, and is asked again from now on."""
        self.said_ms = said_ms
        for duty in self.duties:
            if duty.in_turn:
                duty.turned(said_ms)
        self.wake_at_ms = min(duty.wake_at_ms for duty in self.duties)

    def _hear(self, said: Input, now_ms: int) -> Outputs:
        """What the duties answer to something that reached them."""
        answers: Outputs = []
        match said:
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
        return answers

    def inject(self, fault: Fault, now_ms: int) -> Outputs:
        """Break it."""
        params = fault.params
        kind = str(params["kind"])
        self.injected = {**self.injected, kind: self.injected.get(kind, 0) + 1}
        active = fault.start(self, now_ms)
        active.number = self.injected[kind]
        self.faults.append(active)
        return self._settle([Note("fault_injected", {"fault": params.get("kind", ""), "params": params})])

    def clear(self, kind: str | None, now_ms: int) -> Outputs:
        """Take away its faults of a kind, or all."""
        said: Outputs = []
        for fault in self.faults:
            if kind in (None, fault.kind) and not fault.over:
                said += fault.end(self, now_ms)
                fault.over = True
        return self._settle(said)

    def switched_off(self) -> None:
        """Its power was taken away from outside; the next thing that it hears is `Booted`."""
        self.powered = self.online = False

    def cut_off(self) -> None:
        """Its connection was given up from outside, without a word."""
        self.online = False

    # What its link asks while it has faults

    def carry(self, data: bytes, up: bool, now_ms: int) -> list[Piece]:
        """What becomes of bytes on its connection."""
        pieces = [Piece(data)]
        for fault in self.faults:
            if fault.network:
                fault.swap_draws()
                pieces = [after for piece in pieces for after in fault.carry(self, piece, up, now_ms)]
                fault.swap_draws()
        return pieces

    def reach(self, now_ms: int) -> str | None:
        """Why it cannot connect now; None when it can."""
        for fault in self.faults:
            if fault.network:
                fault.swap_draws()
                why = fault.reach(self, now_ms)
                fault.swap_draws()
                if why:
                    return why
        return None

    def disguise(self) -> Disguise | None:
        """Whom it connects as; None: itself."""
        return next((found for fault in self.faults if (found := fault.disguise())), None)

    def not_disguised(self, why: str) -> None:
        """It could not connect as `disguise` says, and connects as itself."""
        for fault in self.faults:
            fault.not_disguised(why)
            self.wake_at_ms = min(self.wake_at_ms, fault.wake_at_ms)

    # What becomes of what is said and heard

    def _passed(self, outputs: Outputs, now_ms: int) -> Outputs:
        """What is left of outputs after all faults."""
        for fault in self.faults:
            outputs = [
                cast(Output, now)
                for said in outputs
                for after in fault.say(self, said, now_ms)
                for now in self._put_aside(after, now_ms)
            ]
        return outputs

    def _reaching(self, said: Input, now_ms: int) -> list[Input]:
        """What is left of an input after all faults, the last one first: it stands next to the world."""
        heard = [said]
        for fault in reversed(self.faults):
            heard = [
                cast(Input, now)
                for one in heard
                for after in fault.hear(self, one, now_ms)
                for now in self._put_aside(after, now_ms)
            ]
        return heard

    def _put_aside(self, what: Output | Input | Later, now_ms: int) -> tuple[Output | Input, ...]:
        """What is left of it for now. Nothing gets lost: when no more can be put off, it is not."""
        if type(what) is not Later:
            return (cast(Output | Input, what),)
        if self._later is None:
            self._later = []
        if len(self._later) >= LATER_MAX:
            return (what.what,)
        self._put_off += 1
        heapq.heappush(self._later, (now_ms + what.after_ms, self._put_off, what.what))
        return ()

    def _due(self, now_ms: int) -> Outputs:
        """What was put off until now: said as it is, or heard at last."""
        said: Outputs = []
        if not self.powered:
            self._later = None  # it went with the power
        while self._later and self._later[0][0] <= now_ms:
            at_ms, _, what = heapq.heappop(self._later)
            if not isinstance(what, _INPUTS):
                # What was held back is late by a fault's will, not by whoever runs the device or by the backend.
                said.append(what._replace(due_ms=at_ms) if isinstance(what, Publish) else cast(Output, what))
            else:
                said += self._passed(self._hear(what, now_ms), now_ms)
        return said

    def _boot(self, now_ms: int) -> None:
        self.powered, self._dark = True, False
        self._later = None
        self.version = self.flash["version"]
        for fault in self.faults:
            fault.booted(self, now_ms)

    def _forget(self) -> Outputs:
        """Drop faults that are over."""
        over = [fault for fault in self.faults if fault.over]
        if over:
            self.faults = [fault for fault in self.faults if not fault.over]
        return [Note("fault_cleared", {"fault": fault.kind}) for fault in over]

    def _settle(self, said: Outputs) -> Outputs:
        """Drop faults that are over, go dark on a power cycle, and set the alarm for the next thing to do."""
        if self.faults:
            said += self._forget()
        for i, output in enumerate(said):
            if type(output) is PowerCycle:
                if not self.powered:
                    said = said[:i] + [other for other in said[i:] if type(other) is not PowerCycle]
                    break  # it is dark already, and comes back when it was told to
                self.powered = self.online = False
                self._dark = output.off_ms is None
                self._later = None
            elif type(output) is PowerOn and not self._dark:
                said = [other for other in said if type(other) is not PowerOn]
                break
        wake_at_ms = NEVER_MS
        if self.powered:
            for duty in self.duties:
                if duty.wake_at_ms < wake_at_ms:
                    wake_at_ms = duty.wake_at_ms
        for fault in self.faults:
            wake_at_ms = min(wake_at_ms, fault.wake_at_ms, fault.until_ms)
        if self._later:
            wake_at_ms = min(wake_at_ms, self._later[0][0])
        self.wake_at_ms = wake_at_ms
        return said
