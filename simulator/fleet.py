"""The fleet: every device of a scenario, built from profiles and a seed. Pure; runtimes drive it."""

from collections.abc import Mapping, Sequence

import numpy as np

from simulator import seeds
from simulator.checks import DeviceFact
from simulator.device import Device
from simulator.plant import Plant
from simulator.profiles import Profile

Member = tuple[str, str, str | None]  # (thing, profile, firmware; None: the profile's)


class Fleet:
    """Devices by index and by name; the devices of a profile share a plant."""

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
    ) -> None:
        """`start_ms` is when the physics starts; `public_key` (32 bytes) is the manufacturer's."""
        self.profiles = dict(profiles)
        plants: dict[str, Plant] = {}
        rows: dict[str, int] = {}
        for name, profile in profiles.items():
            keys = np.array([seeds.key(seed, thing) for thing, of, _ in things if of == name], dtype=np.uint64)
            plants[name] = Plant(profile.signals, keys, start_ms, physics_speed, profile.step_s)
        self.devices: list[Device] = []
        for thing, name, firmware in things:
            profile, row = profiles[name], rows.get(name, 0)
            rows[name] = row + 1
            self.devices.append(
                Device(
                    thing, name, profile.software, firmware or profile.firmware, profile.behaviours,
                    plants[name], row, seed, env, public_key,
                )
            )  # fmt: skip
        self.by_thing = {device.thing: index for index, device in enumerate(self.devices)}
        self.faulted: set[str] = set()

    def facts(self) -> list[DeviceFact]:
        """What the checks may know of the devices."""
        return [
            DeviceFact(d.thing, d.profile, d.package, d.version, d.online, d.thing in self.faulted)
            for d in self.devices
        ]
