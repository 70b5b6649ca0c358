"""The course of many sensors of one profile: their plant in columns, and the faults of those that something befalls.

Rules: plant, signals and faults are those of the devices, and a fault is asked at every step of the physics.
Only a sensor that something befalls becomes a device, for as long as that lasts; all others are numbers in columns.
What it says to a network is nobody's business here: a record that is sent late is a record.
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator import seeds
from simulator.dataset.columns import METRICS, Flags
from simulator.dataset.mix import Event, Mix
from simulator.device import Device
from simulator.messages import Booted, Output, PowerCycle, PowerOn
from simulator.plant import Plant
from simulator.profiles import Profile
from simulator.seeds import Floats

_BURNING = 0.001  # a fire that is smaller has burnt down
_FOREVER = 1 << 62
NOTHING = 0


class Block(NamedTuple):
    """Records of all sensors at some moments."""

    at_ms: list[int]
    metrics: Floats  # [moments, sensors, 12]; NaN: not said
    there: Flags  # [moments, sensors]: was a record made at all?
    fire: Flags
    event: NDArray[np.int16]


class _Befallen:
    """A sensor with something wrong, as a device without duties."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.ends_ms = self.back_ms = 0
        self.kind = NOTHING


class Course:
    """Goes on from record to record."""

    def __init__(
        self, things: Sequence[str], profile: Profile, mix: Mix, events: Sequence[Sequence[Event]], seed: int,
        start_ms: int, period_s: float, step_s: float,
    ) -> None:  # fmt: skip
        """`events` are those of each sensor; a record comes every `period_s`, a whole number of steps."""
        self._profile, self._mix, self._things, self._seed = profile, mix, things, seed
        keys = np.array([seeds.key(seed, thing) for thing in things], dtype=np.uint64)
        self._plant = Plant(profile.signals, keys, start_ms, 1.0, step_s)
        self._start_ms, self._now_ms = start_ms, start_ms
        self._step_ms, self._steps = round(1000 * step_s), round(period_s / step_s)
        self._where = self._plant.positions(METRICS)
        self._due = [
            (start_ms + int(1000 * event.at_s), row, event.kind) for row, of in enumerate(events) for event in of
        ]
        heapq.heapify(self._due)
        self._befallen: dict[int, _Befallen] = {}
        self._injected: dict[int, Mapping[str, int]] = {}  # of sensors that something befell before
        self._size = self._plant.columns.get("fire")
        self.happened: list[tuple[str, int, int]] = []  # (sensor, kind, when)

    def block(self, moments: int) -> Block:
        """So many records more of each sensor."""
        count = len(self._things)
        shape = (moments, count)
        found = Block(
            [], np.empty((*shape, len(METRICS))), np.ones(shape, np.bool_), np.zeros(shape, np.bool_),
            np.zeros(shape, np.int16),
        )  # fmt: skip
        for place in range(moments):
            for _ in range(self._steps):
                self._step()
            found.at_ms.append(self._now_ms)
            self._read(found, place)
        return found

    def _step(self) -> None:
        now_ms = self._now_ms = self._now_ms + self._step_ms
        self._plant.advance(now_ms)
        while self._due and self._due[0][0] <= now_ms:
            _, row, kind = heapq.heappop(self._due)
            self._begin(row, kind, now_ms)
        for row, one in list(self._befallen.items()):
            device = one.device
            if one.back_ms <= now_ms and not device.powered:
                device.receive(Booted(), now_ms)
            if device.wake_at_ms <= now_ms:
                self._heed(one, device.step(now_ms), now_ms)
            if not device.faults and device.powered and now_ms >= one.ends_ms:
                self._injected[row] = device.injected
                del self._befallen[row]

    def _begin(self, row: int, kind: int, now_ms: int) -> None:
        one = self._befallen.get(row)
        if one is None:
            profile, thing = self._profile, self._things[row]
            device = Device(
                thing, profile.profile, profile.software, profile.firmware, [], self._plant, row, self._seed, "stg",
                b"", profile.thing_type,
            )  # fmt: skip
            device.injected = self._injected.get(row, device.injected)
            one = self._befallen[row] = _Befallen(device)
        what = self._mix.happenings[kind]
        one.kind, one.ends_ms = kind + 1, now_ms + int(1000 * what.lasts_s)
        self.happened.append((self._things[row], kind, now_ms))
        for fault in what.faults:
            self._heed(one, one.device.inject(fault, now_ms), now_ms)

    def _heed(self, one: _Befallen, said: Sequence[Output], now_ms: int) -> None:
        for output in said:
            if isinstance(output, PowerCycle):
                one.device.switched_off()
                one.back_ms = _FOREVER if output.off_ms is None else now_ms + output.off_ms
            elif isinstance(output, PowerOn):
                one.back_ms = now_ms

    def _read(self, into: Block, place: int) -> None:
        now_ms = self._now_ms
        np.take(self._plant.readings(now_ms), self._where, axis=1, out=into.metrics[place])
        if self._size is not None:
            into.fire[place] = self._plant.columns["fire"] > _BURNING
        for row, one in self._befallen.items():
            if one.device.powered:
                values = one.device.reading(now_ms)
                into.metrics[place, row] = [values[name] for name in METRICS]
            else:
                into.metrics[place, row], into.there[place, row] = np.nan, False
            into.event[place, row] = one.kind
            burns = any(fault.kind == "fire" for fault in one.device.faults)
            into.fire[place, row] |= burns
        infinite = np.isinf(into.metrics[place])  # a sensor that says null
        if infinite.any():
            into.metrics[place][infinite] = np.nan
