"""What a run asks of an AWS account: its quotas, and about what it costs, with the arithmetic. Pure.

An upper bound for what is known beforehand: steps that wait for something are taken to wait as long as they may, and
every device that takes jobs gets one. What follows from events (alerts, control, what the backend's rules start) is
not in it, nor is the free tier, nor S3, whose part is small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simulator.ops import rates

# List prices of us-east-1, US dollars, as of January 2025: aws.amazon.com/iot-core/pricing and
# aws.amazon.com/iot-device-management/pricing. Other regions differ by up to half.
PRICES_OF = "us-east-1 list prices, January 2025"
PRICES: dict[str, float] = {
    "connection minutes": 0.08e-6,
    "messages": 1.00e-6,  # of 5 KB
    "shadow operations": 1.25e-6,  # of 1 KB
    "registry operations": 1.25e-6,  # of 1 KB
    "job executions": 0.003,
    "index updates": 2.25e-6,  # of 1 KB, where fleet indexing is on
}

# Quotas of an account in a region. (Those of the APIs are in rates.py, and are kept.)
CONNECTIONS_MAX = 500_000
CONNECTS_PER_S_MAX = 3000
PUBLISHES_PER_S_MAX = 20_000
PUBLISHES_OF_A_SHADOW_UPDATE = 4  # update, accepted, documents, delta
CONNECTION_PUBLISHES_PER_S_MAX = 100


class Saying(NamedTuple):
    """Something that devices of a kind say again and again."""

    what: str  # "vehicle-sedan: telemetry"
    devices: int
    per_s: float  # of each device, on average
    metered: int = 1  # messages each time: with answers
    shadow: bool = False  # it is an operation of a shadow


class Once(NamedTuple):
    """Something that each of these devices does once (or so many times)."""

    what: str
    devices: int
    messages: int


@dataclass(frozen=True, slots=True)
class Use:
    """What a run does with an account."""

    duration_s: float
    connections: int
    connects_per_s: float
    things: int
    certificates: int
    thing_types: int
    managed: int  # devices that take jobs
    sayings: Sequence[Saying]
    onces: Sequence[Once]
    busiest_per_s: float  # publishes of one connection, with those of a hub's children


class Item(NamedTuple):
    """One kind of thing that is paid for."""

    what: str
    amount: int
    terms: tuple[str, ...]  # that add up to it

    @property
    def dollars(self) -> float:
        return self.amount * PRICES[self.what]


def items(use: Use) -> list[Item]:
    """What is paid for, as PRICES has it."""
    minutes = -(-int(use.duration_s) // 60)
    return [
        Item(
            "connection minutes",
            use.connections * minutes,
            (f"{use.connections:,} devices × {minutes:,} min",),
        ),
        _sum("messages", [*(_said(use, s, s.metered) for s in use.sayings), *(_once(o) for o in use.onces)]),
        _sum("shadow operations", [_said(use, s, 1) for s in use.sayings if s.shadow]),
        _sum(
            "registry operations",
            [
                (use.things, f"{use.things:,} CreateThing"),
                (use.certificates, f"{use.certificates:,} AttachThingPrincipal"),
                (use.thing_types, f"{use.thing_types:,} CreateThingType"),
            ],
        ),
        _sum("job executions", [(use.managed, f"{use.managed:,} devices × 1 job")]),
        _sum(
            "index updates",
            [
                (use.things, f"{use.things:,} things"),
                (2 * use.connections, f"{use.connections:,} connections × 2"),
                *(_said(use, s, 1) for s in use.sayings if s.shadow),
            ],
        ),
    ]


def _sum(what: str, parts: Sequence[tuple[int, str]]) -> Item:
    return Item(what, sum(count for count, _ in parts), tuple(words for count, words in parts if count))


def _said(use: Use, saying: Saying, metered: int) -> tuple[int, str]:
    count = round(saying.devices * saying.per_s * use.duration_s) * metered
    times = f" × {metered}" if metered > 1 else ""
    every = f"1 every {1 / saying.per_s:.3g} s" if saying.per_s else "never"
    return count, f"{saying.what}, {saying.devices:,} × {use.duration_s:,.0f} s × {every}{times} = {count:,}"


def _once(once: Once) -> tuple[int, str]:
    count = once.devices * once.messages
    return count, f"{once.what}, {once.devices:,} × {once.messages} = {count:,}"


class Quota(NamedTuple):
    """What is needed of something that an account has a limited amount of."""

    what: str
    needed: float
    allowed: float
    unit: str

    @property
    def kept(self) -> bool:
        return self.needed <= self.allowed


def quotas(use: Use) -> list[Quota]:
    """What the run needs, and what an account has before anybody raised it."""
    publishes = sum(s.devices * s.per_s * (PUBLISHES_OF_A_SHADOW_UPDATE if s.shadow else 1) for s in use.sayings)
    return [
        Quota("connections at a time", use.connections, CONNECTIONS_MAX, ""),
        Quota("connects", use.connects_per_s, CONNECTS_PER_S_MAX, "/s"),
        Quota("publishes of all devices", publishes, PUBLISHES_PER_S_MAX, "/s"),
        Quota("publishes of one connection", use.busiest_per_s, CONNECTION_PUBLISHES_PER_S_MAX, "/s"),
    ]


def provisioning_s(use: Use) -> tuple[float, str]:
    """The least time it takes to provision from nothing at the rates that are kept, and the slowest operation."""
    calls = {
        "CreateThing": use.things,
        "CreateCertificateFromCsr": use.certificates,
        "AttachPolicy": use.certificates,
        "AttachThingPrincipal": use.certificates,
        "CreateThingType": use.thing_types,
    }
    found = {name: count / rate.per_s for name, count in calls.items() if (rate := rates.rate("iot", name))}
    slowest = max(found, key=lambda name: found[name])
    return found[slowest], slowest


def lines(use: Use) -> list[str]:
    """Quotas and costs for a reader."""
    return [*_quota_lines(use), *_cost_lines(use)]


def _quota_lines(use: Use) -> Iterator[str]:
    yield "quotas of the account (as long as nobody had them raised):"
    for quota in quotas(use):
        needed = f"{quota.needed:,.0f}" if quota.needed >= 100 else f"{quota.needed:,.3g}"
        over = "" if quota.kept else "   MORE THAN ALLOWED"
        yield f"  {quota.what:<29}{needed + quota.unit:>12} of {quota.allowed:,.0f}{quota.unit}{over}"
    least_s, slowest = provisioning_s(use)
    rate = rates.rate("iot", slowest)
    if least_s >= 1 and rate:
        yield f"  provisioning from nothing takes at least {least_s:,.0f} s: {slowest} at {rate.per_s:g}/s"


def _cost_lines(use: Use) -> Iterator[str]:
    found = items(use)
    yield f"cost at most about ${sum(item.dollars for item in found):,.2f} ({PRICES_OF}, without free tier):"
    for item in found:
        if not item.amount:
            continue
        price = PRICES[item.what]
        per = f"${price:g}" if price >= 0.001 else f"${price * 1e6:g} per million"
        yield f"  {item.what:<20} {item.amount:>14,} × {per:<18} = ${item.dollars:,.4f}"
        yield from (f"      {term}" for term in item.terms)
    yield "  index updates only where fleet indexing is on; rules, alerts and commands as they come are not counted"
