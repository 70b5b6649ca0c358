"""A recorded run again: the same devices, made anew, are given the same things at the same times.

Rules: virtual time only, and nothing but what was recorded and the code of today. What a device says is compared byte
for byte with what it said then, or with its digest. Devices do not depend on each other, so some of them may be
replayed without the others. Pure.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from simulator import tape
from simulator.device import Device
from simulator.fleet import Fleet
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.tape import Call, Plain

Before = Callable[[Device, Call], None]


class Played(NamedTuple):
    """A call, made again."""

    thing: str
    call: Call
    said: list[Plain]  # now

    @property
    def same(self) -> bool:
        """Did it say the same?"""
        if self.call.said is None:
            return tape.digest(self.said).hex() == self.call.digest
        said, recorded = tape.dumps(self.said), tape.dumps(self.call.said)
        # A number of more than 64 bits comes back as the nearest that there is.
        return said == recorded or tape.dumps(tape.loads(said)) == recorded


def fleet(
    scenario: Scenario, profiles: Mapping[str, Profile], seed: int, start_ms: int, public_key: bytes,
    things: Iterable[str],
) -> Fleet:  # fmt: skip
    """Some of the scenario's devices, as they were at its beginning."""
    wanted = set(things)
    members = [member for member in scenario.things() if member[0] in wanted]
    return Fleet(
        members, profiles, seed, start_ms, public_key, env=scenario.env, physics_speed=scenario.physics_speed
    )  # fmt: skip


def play(fleet: Fleet, calls: Mapping[str, Iterable[Call]], before: Before | None = None) -> Iterator[Played]:
    """Every call of these devices in its order; `before` is asked just before each."""

    def named(thing: str, of: Iterable[Call]) -> Iterator[tuple[int, str, Call]]:
        for call in of:
            yield call.n, thing, call

    for _, thing, call in heapq.merge(*(named(thing, of) for thing, of in calls.items()), key=lambda one: one[0]):
        device = fleet.devices[fleet.by_thing[thing]]
        if before:
            before(device, call)
        yield Played(thing, call, tape.perform(device, call))
