"""The fleet: every device of a scenario, built from profiles and a seed. Pure; runtimes drive it.

A hub's children are devices of their own physics, but not of the runtime: they live inside their hub.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simulator import seeds
from simulator.behaviours import Behaviour
from simulator.checks import DeviceFact
from simulator.device import Device
from simulator.plant import Plant
from simulator.profiles import Profile

Member = tuple[str, str, str | None]  # (thing, profile, firmware; None: the profile's)


class Fleet:
    """Devices by index and by name; the devices of a profile, children too, share a plant."""

    __slots__ = ("by_thing", "devices", "faulted", "profiles")

    def __init__(
        self,
        things: Sequence[Member],
        profiles: Mapping[str, Profile],
        seed: int,
        start_ms: int,
        public_key: bytes,
        *,
        env: str = "stg",
        physics_speed: float = 1.0,
        physics_step_s: float = 0.0,
    ) -> None:
        """`start_ms` is when the physics starts; `public_key` (32 bytes) is the manufacturer's.

        A step of the physics is no shorter than `physics_step_s`.
        """
        self.profiles = dict(profiles)
        families = [(member, profiles[member[1]].children(member[0])) for member in things]
        everyone = [(thing, name) for thing, name, _ in things] + [child for _, family in families for child in family]
        plants: dict[str, Plant] = {}
        rows: dict[str, int] = {}
        for name, profile in profiles.items():
            of = [thing for thing, whose in everyone if whose == name]
            rows |= {thing: row for row, thing in enumerate(of)}
            keys = np.array([seeds.key(seed, thing) for thing in of], dtype=np.uint64)
            step_s = max(profile.step_s, physics_step_s)
            plants[name] = Plant(profile.signals, keys, start_ms, physics_speed, step_s)

        def device(thing: str, name: str, firmware: str | None, behaviours: list[Behaviour], **more: Any) -> Device:
            profile = profiles[name]
            return Device(
                thing, name, profile.software, firmware or profile.firmware, behaviours,
                plants[name], rows[thing], seed, env, public_key, profile.thing_type, spec=profile.payload, **more,
            )  # fmt: skip

        self.devices: list[Device] = []
        for (hub, name, firmware), family in families:
            children = [
                device(thing, of, None, [b for b in profiles[of].behaviours if b.through_hub], hub=hub)
                for thing, of in family
            ]
            more = {"hub": hub, "children": children} if children else {}
            self.devices.append(device(hub, name, firmware, profiles[name].behaviours, **more))
        self.by_thing = {device.thing: index for index, device in enumerate(self.devices)}
        self.faulted: set[str] = set()

    def speaker(self, index: int, topic: str) -> str:
        """Whose message on a topic it is that a device says: its own, or a child's."""
        device = self.devices[index]
        parts = set(topic.split("/")) if device.children else ()
        return next((child.thing for child in device.children if child.thing in parts), device.thing)

    def carriers(self) -> dict[str, str]:
        """Child → the device that it speaks through."""
        return {child.thing: device.thing for device in self.devices for child in device.children}

    def facts(self) -> list[DeviceFact]:
        """What the checks may know of the devices."""
        return [
            DeviceFact(
                d.thing,
                d.profile,
                d.package,
                d.version,
                d.online,
                d.thing in self.faulted,
                self.profiles[d.profile].managed,
            )
            for d in self.devices
        ]
