"""Who is to be provisioned: things with their types, attributes and first shadows. Pure; the seed decides who is whose.

Rules: a member is a function of its name, its type and the seed, so that a second run wants exactly the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from simulator import identity, profiles, seeds
from simulator.errors import UsageError
from simulator.ops import countries, mark
from simulator.profiles import Profile

DEVICES_MAX = 100_000
SEARCHABLE = ("country", "customerId", "manufacturingDate")
_PAPERS = {"customerId": "{customer}", "country": "{country}", "manufacturingDate": "{manufactured}", "vin": "{vin}"}


class Member(NamedTuple):
    """A thing as it is to be."""

    name: str
    type: str
    attributes: Mapping[str, str]
    certificate: bool = True  # children of hubs, and devices of other channels, have none to connect with
    reported: Mapping[str, Any] | None = None  # the classic shadow at first
    software: tuple[str, str] | None = None  # package and version in the shadow `$package` at first


def vehicles(
    count: int, types: Sequence[str], seed: int, *, version: str = "1.0.0", codes: Sequence[str] = ()
) -> list[Member]:
    """Vehicles in VIN style, of the types in turn, in these countries (none: where their customers are)."""
    how_many(count)
    by_type = {found.thing_type: found for found in map(profiles.profile, profiles.names())}
    width = max(3, len(str(count)))
    found = []
    for number in range(1, count + 1):
        name, kind = f"Vehicle-VIN-{number:0{width}}", types[(number - 1) % len(types)]
        profile = by_type.get(kind)
        attributes = _attributes(profile.attributes if profile else _PAPERS, seed, name)
        if codes:
            attributes["country"] = countries.country(codes, seed, name)
        software = (profile.software if profile else kind, version)
        found.append(Member(name, kind, attributes, True, _reported(seed, name), software))
    return found


def how_many(count: int | str) -> int:
    """A number of devices; UsageError or ValueError for one that there cannot be."""
    if not 1 <= int(count) <= DEVICES_MAX:
        raise UsageError(f"{count} devices: 1 to {DEVICES_MAX} can be provisioned")
    return int(count)


def of_profiles(
    wanted: Iterable[tuple[str, Profile]], children: Iterable[tuple[str, Profile]], seed: int, *, shadows: bool = False
) -> list[Member]:
    """The members of a scenario: devices with certificates, children of hubs without; `shadows`: with first ones."""
    pairs = [(name, profile, True) for name, profile in wanted] + [(name, profile, False) for name, profile in children]
    return [
        Member(
            name, profile.thing_type, _attributes(profile.attributes, seed, name), certificate,
            _reported(seed, name) if shadows else None,
            (profile.software, profile.firmware) if shadows else None,
        )
        for name, profile, certificate in pairs
    ]  # fmt: skip


def searchable(members: Iterable[Member]) -> dict[str, list[str]]:
    """Type → the attributes that its things are found by: three at most."""
    found: dict[str, list[str]] = {}
    for member in members:
        if member.type not in found:
            names = sorted(set(member.attributes) - {mark.KEY})
            known = [name for name in names if name in SEARCHABLE]
            found[member.type] = sorted([*known, *(name for name in names if name not in known)][:3])
    return found


def _attributes(declared: Mapping[str, str], seed: int, name: str) -> dict[str, str]:
    return {**identity.attributes(declared, seed, name), mark.KEY: mark.FLEET}


def _reported(seed: int, name: str) -> dict[str, Any]:
    return {"batteryStatus": int(seeds.fraction(seed, "battery", name) * 101)}
