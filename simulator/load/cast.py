"""Who plays: how many of which class of Locust's users a scenario wants, for whoever asks in this process.

Rules: known once, before the first user; a class that nobody wants gets the weight 0, so Locust leaves it out. Devices
come in proportion to the fleet's channels, people in fixed numbers. `--tags` and `--exclude-tags` leave out whole
classes here, since a user without a task left is none.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from simulator.errors import UsageError
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.workload import Workload


class Cast:
    """The classes of users of this process, and what the scenario makes of them."""

    def __init__(self) -> None:
        self.scenario: Scenario | None = None
        self.profiles: Mapping[str, Profile] = {}
        self.people = 0  # users that are no devices
        self._devices: Sequence[type[Any]] = ()
        self._others: Sequence[type[Any]] = ()

    def take(self, devices: Sequence[type[Any]], others: Sequence[type[Any]]) -> None:
        """The classes that there are."""
        self._devices, self._others = devices, others

    @property
    def load(self) -> Workload | None:
        return self.scenario.load if self.scenario else None

    def configure(
        self, scenario: Scenario, profiles: Mapping[str, Profile], tags: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """Set the classes up for a scenario; only the first time counts."""
        if self.scenario:
            return
        self.scenario, self.profiles = scenario, profiles
        channels = Counter(profiles[of].channel for _, of, _ in scenario.things())
        for device in self._devices:
            device.weight = channels[device.channel] if _chosen(device.tasks, tags, exclude) else 0
        for other in self._others:
            other.take_part(scenario.load)
            other.weight = 0
            if not _chosen(other.tasks, tags, exclude):
                other.fixed_count = 0
        self.people = sum(other.fixed_count for other in self._others)
        if not self.people and not any(device.weight for device in self._devices):
            raise UsageError("no user is left: no task of the scenario's users has these tags")

    def things(self) -> Iterable[tuple[str, Profile]]:
        """Every device that has a thing of its own, and its profile."""
        assert self.scenario
        return ((thing, self.profiles[of]) for thing, of, _ in self.scenario.things())


def _chosen(tasks: Sequence[Any], tags: Collection[str] | None, exclude: Collection[str] | None) -> bool:
    """Does a task of these stay, as Locust filters them?"""
    own = [frozenset(getattr(one, "locust_tag_set", ())) for one in tasks]
    return any((not tags or of & set(tags)) and not (exclude and of & set(exclude)) for of in own)


cast = Cast()
