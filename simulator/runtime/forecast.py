"""What a scenario will ask of an AWS account, from its text alone: intervals × devices × duration. Pure."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from simulator.behaviours import Behaviour
from simulator.behaviours.heartbeat import Heartbeat
from simulator.behaviours.provisioning import Provisioning
from simulator.behaviours.shadow import Shadow
from simulator.behaviours.telemetry import Telemetry
from simulator.behaviours.upload import Upload
from simulator.ops.quotas import Once, Saying, Use
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.shapes import LASTS_MAX_S, Shape
from simulator.signals import Range
from simulator.steps import Connect, Entry, Step

CONNECTING = 2  # CONNECT and SUBSCRIBE
SHADOW_ANSWERS = 1  # accepted, which the device hears
SHADOW_START = 2  # the GET after a connect, and its answer
UPLOAD_MESSAGES = 3  # request, URLs, complete
LOOKS = 5000  # at a shape


class Load(NamedTuple):
    """What a load makes of a fleet."""

    devices: int  # that are on at the most
    per_s: float  # that come in a second
    lasts_s: float


def load(shape: Shape) -> Load:
    """What a shape makes of it, if no level fails."""
    low_s, high_s = 0.0, 1.0
    while shape.users(high_s) is not None and high_s < LASTS_MAX_S:
        low_s, high_s = high_s, 2 * high_s
    for _ in range(40):
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (middle_s, high_s) if shape.users(middle_s) is not None else (low_s, middle_s)
    look_s = max(1.0, high_s / LOOKS)
    levels = [0, *(shape.users(n * look_s) or 0 for n in range(int(high_s / look_s) + 1))]
    return Load(shape.most, max(b - a for a, b in pairwise(levels)) / look_s, high_s)


def forecast(
    scenario: Scenario, profiles: Mapping[str, Profile], seed: int, load: Load | None = None
) -> Use:  # fmt: skip
    """What it comes to when every step that waits waits as long as it may, or under a load.

    A load has the profiles in equal parts; all of the fleet is there, if not on.
    """
    members = [(thing, name) for thing, name, _ in scenario.things() if profiles[name].channel == "mqtt"]
    children = [name for _, name, _ in scenario.children(profiles)]
    own, through = Counter(name for _, name in members), Counter(children)
    roster = [Entry(thing, name, False) for thing, name, _ in scenario.things()]
    everybody = own + through
    connections = len(members)
    if load:
        share = min(1.0, load.devices / max(1, len(roster)))
        own, through = (Counter({name: ceil(n * share) for name, n in of.items()}) for of in (own, through))
        connections = own.total()
    connects_per_s = load.per_s if load else _connects_per_s(scenario.timeline, roster, seed)
    return Use(
        duration_s=load.lasts_s if load else longest_s(scenario.timeline),
        connections=connections,
        connects_per_s=min(connects_per_s, connections),
        things=len(members) + len(children),
        certificates=len(members),
        thing_types=len({profiles[name].thing_type for name in everybody}),
        managed=sum(count for name, count in own.items() if profiles[name].managed),
        sayings=[
            *(saying for name, count in own.items() for saying in _says(profiles[name], count)),
            *(saying for name, count in through.items() for saying in _says(profiles[name], count, as_child=True)),
        ],
        onces=[
            Once("CONNECT and SUBSCRIBE", connections, CONNECTING),
            *(once for name, count in own.items() for once in _once(profiles[name], count)),
            *(once for name, count in through.items() for once in _once(profiles[name], count, as_child=True)),
        ],
        busiest_per_s=max((_busy(profiles, thing, name) for thing, name in members), default=0.0),
    )


def longest_s(timeline: Sequence[Step]) -> float:
    """How long the steps take when each that waits for something waits as long as it may."""
    now_s = 0.0
    for step in timeline:
        waited_s = now_s + (step.patience_s if step.after else 0.0)
        now_s = max(waited_s, step.at_s or 0.0) + step.delay_s + step.lasts_s()[1]
    return now_s


def _connects_per_s(timeline: Sequence[Step], roster: Sequence[Entry], seed: int) -> float:
    """The quickest that devices are switched on; branches side by side could add up, and are not."""
    most = 0.0
    for step in timeline:
        for inner in step.within():
            most = max(most, _connects_per_s(inner, roster, seed))
        for command in () if step.within() else step.plan(roster, seed):
            if isinstance(command, Connect):
                most = max(most, len(command.things) / max(1.0, command.over_s))
    return most


def _lived(profile: Profile, as_child: bool) -> tuple[str, list[Behaviour]]:
    """What to call such devices, and what they do: through a hub, only what needs no connection of their own."""
    if as_child:
        return f"{profile.profile} behind hubs:", [one for one in profile.behaviours if one.through_hub]
    return f"{profile.profile}:", list(profile.behaviours)


def _says(profile: Profile, devices: int, as_child: bool = False) -> Iterator[Saying]:
    whose, behaviours = _lived(profile, as_child)
    for behaviour in behaviours:
        name = f"{whose} {behaviour.model_dump().get('kind')}"
        if per_s := _per_s(behaviour, behaviours):
            metered, shadow = _metered(behaviour)
            yield Saying(name, devices, per_s, metered, shadow)


def _per_s(behaviour: Behaviour, beside: list[Behaviour]) -> float:
    """How often a device does that, on average over devices."""
    match behaviour:
        case Telemetry():
            return mean_rate(behaviour.period_s)
        case Heartbeat():
            # Only after a silence: who sends telemetry more often never has one.
            talks = any(isinstance(one, Telemetry) and one.period_s.high <= behaviour.every_s for one in beside)
            return 0.0 if talks else 1 / behaviour.every_s
        case Shadow():
            return 1 / behaviour.report_every_s if behaviour.reports else 0.0
        case Upload():
            return 1 / behaviour.every_s if behaviour.every_s else 0.0
    return 0.0


def _metered(behaviour: Behaviour) -> tuple[int, bool]:
    match behaviour:
        case Shadow():
            return 1 + SHADOW_ANSWERS, True
        case Upload():
            return UPLOAD_MESSAGES, False
    return 1, False


def _once(profile: Profile, devices: int, as_child: bool = False) -> Iterator[Once]:
    whose, behaviours = _lived(profile, as_child)
    for behaviour in behaviours:
        match behaviour:
            case Provisioning():
                yield Once(f"{whose} provisioning_complete", devices, 1)
            case Shadow():
                yield Once(f"{whose} GET of its shadow", devices, SHADOW_START)


def _busy(profiles: Mapping[str, Profile], thing: str, name: str) -> float:
    """The publishes a second of one connection."""
    of = profiles[name]
    carried = Counter(child for _, child in of.children(thing))
    said = [*_says(of, 1)]
    for child, count in carried.items():
        said += _says(profiles[child], count, as_child=True)
    return sum(one.devices * one.per_s for one in said)


def mean_rate(period_s: Range) -> float:
    """Mean of 1/period when each device draws its own period evenly from a range."""
    low, high = period_s
    return 1 / high if high - low < 1e-9 else math.log(high / low) / (high - low)
