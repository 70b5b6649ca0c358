"""The mix: what befalls fire sensors, and how often. A file of it looks like `mix.yaml`, which is the usual one."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from simulator import seeds
from simulator.errors import UsageError
from simulator.faults import Fault, Subject
from simulator.faults._part import PartFault
from simulator.schema import OneOf, Strict, YamlProblems, load_marked

USUAL = Path(__file__).parent / "mix.yaml"
DAY_S = 86_400
REST_S = 3_600  # between two happenings of a sensor, at least: what one did to it is over then
EVENTS_MAX = 1_000_000


class Happening(Strict):
    """A kind of fire or disturbance."""

    name: str = Field(min_length=1, max_length=80)
    per_day: float = Field(gt=0, le=1000, description="How often it befalls a sensor in a day, in the mean.")
    fault: Annotated[Fault, OneOf("faults")]
    also: list[Annotated[Fault, OneOf("faults")]] = Field([], max_length=16, description="More faults with it.")

    @property
    def faults(self) -> tuple[Fault, ...]:
        return (self.fault, *self.also)

    @property
    def is_fire(self) -> bool:
        """Does something burn?"""
        return any(fault.params["kind"] == "fire" for fault in self.faults)

    @property
    def lasts_s(self) -> float:
        """Until the last of its faults is over."""
        return max(fault.for_s or DAY_S for fault in self.faults)


class Mix(Strict):
    """Everything that may happen."""

    happenings: list[Happening] = Field(max_length=100)

    def scaled(self, fires: float | None, harmless: float | None) -> "Mix":
        """So many fires and so many other happenings in a device-day, in the same proportions."""

        def rates(wanted: float | None, fire: bool) -> float:
            total = sum(one.per_day for one in self.happenings if one.is_fire is fire)
            if wanted and not total:
                raise UsageError(f"the mix has no {'fires' if fire else 'disturbances'} of which there could be more")
            return 1.0 if wanted is None or not total else wanted / total

        by_fire, by_other = rates(fires, True), rates(harmless, False)
        scaled = [(one, one.per_day * (by_fire if one.is_fire else by_other)) for one in self.happenings]
        kept = [one.model_copy(update={"per_day": per_day}) for one, per_day in scaled if per_day]
        return self.model_copy(update={"happenings": kept})

    def check(self, subjects: Sequence[Subject]) -> None:
        """UsageError for a fault that one of the sensors cannot have."""
        for one in self.happenings:
            for fault in one.faults:
                if isinstance(fault, PartFault):
                    raise UsageError(f"'{one.name}': '{fault.params['kind']}' befalls a part of the sandbox, no sensor")
                for subject in subjects:
                    if why := fault.unfit(subject):
                        kind = fault.params["kind"]
                        raise UsageError(
                            f"'{one.name}': profile '{subject.profile}' cannot have the fault '{kind}': it {why}"
                        )


class Event(NamedTuple):
    """One happening of one sensor."""

    at_s: float
    kind: int  # its place in the mix


@cache
def usual() -> Mix:
    """The mix that ships."""
    return load_marked(USUAL, Mix).value


def read(path: Path) -> Mix:
    """A mix from a file; YamlProblems."""
    loaded = load_marked(path, Mix)
    names = [one.name for one in loaded.value.happenings]
    twice = [i for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise YamlProblems([loaded.problem(("happenings", i, "name"), f"'{names[i]}' is there already") for i in twice])
    return loaded.value


def events(mix: Mix, seed: int, thing: str, days: float) -> list[Event]:
    """What befalls a sensor, in order; one thing at a time, with a rest after it."""
    found = sorted(_drawn(mix, seed, thing, days))
    kept: list[Event] = []
    free_s = 0.0
    for event in found:
        if event.at_s >= free_s:
            kept.append(event)
            free_s = event.at_s + mix.happenings[event.kind].lasts_s + REST_S
    return kept


def _drawn(mix: Mix, seed: int, thing: str, days: float) -> Iterator[Event]:
    for kind, one in enumerate(mix.happenings):
        expected = one.per_day * days
        # As signals/count.py: floor(2v·x + u) is x in the mean.
        first, second = (seeds.fraction(seed, "mix", one.name, thing, which) for which in ("how many", "and more"))
        for n in range(int(2 * second * expected + first)):
            yield Event(DAY_S * days * seeds.fraction(seed, "mix", one.name, thing, n), kind)
