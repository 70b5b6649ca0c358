"""Looks at one device of a profile for a simulated day, alone and without a backend, and makes its portrait.

Rules: what it sends is what it sent in an hour of virtual time; what it measures is a day of its plant.
"""

import json
from collections.abc import Iterable
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel

from simulator import identity, seeds
from simulator.behaviours import Behaviour
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.device import Device
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Publish, Received
from simulator.plant import Plant
from simulator.profiles import Profile, family
from simulator.report.portrait import Duty, Measured, Portrait, Sent
from simulator.runtime.virtual import Virtual

DAY_S = 86_400
STEP_S = 5.0  # of the day's physics; a curve over a day shows no more
LISTEN_S = 3600
EXAMPLE_MAX = 2000
_SHOWN_MAX = 200
_ANSWER_MS = 50


def portrait(profile: Profile, seed: int) -> Portrait:
    """Everything there is to say about a device type, on its first device."""
    thing = f"{profile.profile}-001"
    fleet = Fleet([(thing, profile.profile, None)], family(profile), seed, VIRTUAL_START_MS, bytes(32))
    device = fleet.devices[0]
    shown = {name for behaviour in profile.behaviours for name in behaviour.signals()}
    facts = {
        "thing type": profile.thing_type,
        "software package": f"{profile.software}, comes with {profile.firmware}",
        "link": profile.link.kind,
    }
    return Portrait(
        profile.profile, profile.title, facts, thing, seed, identity.attributes(profile.attributes, seed, thing),
        _day(profile, seeds.key(seed, thing), shown), [name for name in profile.signals if name not in shown],
        _sent(fleet), [_duty(b, d, device) for b, d in zip(profile.behaviours, device.duties, strict=True)],
    )  # fmt: skip


def _day(profile: Profile, key: int, shown: set[str]) -> list[Measured]:
    step_s = max(STEP_S, profile.step_s)
    plant = Plant(profile.signals, np.array([key], dtype=np.uint64), 0, step_s=step_s)
    times = [int(i * step_s * 1000) for i in range(int(DAY_S / step_s) + 1)]
    days = zip(*(plant.reading(0, at_ms) for at_ms in times), strict=True)
    return [
        Measured(name, signal.unit, signal.sensor, signal.resolution, signal.limit, list(zip(times, day, strict=True)))
        for (name, signal), day in zip(profile.signals.items(), days, strict=True)
        if name in shown
    ]


def _sent(fleet: Fleet) -> list[Sent]:
    """Each kind of message by topic: how often it came, and the last one as an example."""
    heard: dict[tuple[str, str], list[int]] = {}
    latest: dict[tuple[str, str], bytes] = {}

    def record(now_ms: int, thing: str, message: Publish) -> None:
        heard.setdefault((message.kind, message.topic), []).append(now_ms)
        latest[message.kind, message.topic] = message.payload
        if message.topic.startswith("$aws/"):  # A cloud that knows nothing of it and wants nothing.
            index = fleet.by_thing[thing]
            virtual.tell(index, Received(f"{message.topic}/accepted", b"{}"), now_ms + _ANSWER_MS)

    virtual = Virtual(fleet, VirtualClock(), Ledger(), record)
    for index in range(len(fleet.devices)):
        virtual.start(index, VIRTUAL_START_MS)
    virtual.run_until(VIRTUAL_START_MS + LISTEN_S * 1000)
    return [Sent(kind, topic, _period_ms(at), _text(latest[kind, topic])) for (kind, topic), at in heard.items()]


def _period_ms(at: list[int]) -> int | None:
    """The usual time between two; None for what came once or twice."""
    return int(median(later - sooner for sooner, later in pairwise(at))) if len(at) > 2 else None


def _text(payload: bytes) -> str:
    try:
        text = json.dumps(json.loads(payload), ensure_ascii=False)  # with spaces, to break lines at
    except ValueError:
        text = payload.decode() if payload.isascii() else payload.hex(" ")
    return text if len(text) <= EXAMPLE_MAX else f"{text[:EXAMPLE_MAX]}…"


def _duty(behaviour: Behaviour, duty: Any, device: Device) -> Duty:
    words = (type(behaviour).__doc__ or "").strip().splitlines()[0]
    said = behaviour.model_dump(exclude={"kind"}, exclude_none=True)
    settings = {name: _short(value) for name, value in said.items() if not isinstance(value, dict) and value != []}
    kind = str(getattr(behaviour, "kind", ""))
    return Duty(kind, words, settings, list(duty.filters(device)), list(_offers(behaviour)))


def _offers(behaviour: Behaviour) -> Iterable[tuple[str, str]]:
    """What is declared by name, such as actions and settings."""
    for field, declared in behaviour:
        for name, one in declared.items() if isinstance(declared, dict) else ():
            how = one.model_dump(exclude_none=True) if isinstance(one, BaseModel) else one
            yield f"{field} {name}", _short(how)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name} {_short(one)}" for name, one in value.items() if one not in ({}, [], ""))
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
