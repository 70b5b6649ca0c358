"""How far messages came at which time, by protocol: said, answered, stored; from what the audit joined. Pure.

The time until a message is stored counts in the stretch in which it was said, so that it shows when trouble began and
not when it was over; answers and arrivals count when they came.

Rules: lives come some at a time, and none is kept: what stays are counts and histograms for each method, kind and
stretch, whose number is bounded. Times are whole milliseconds.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from simulator.histogram import Histogram
from simulator.matching import Ints, Lives
from simulator.runtime.course import NOTHING, Course, Frozen, frozen, merged
from simulator.runtime.meter import Row

Key = tuple[str, str]  # method and kind
MethodOf = Callable[[str], str]  # of a thing
_NS_PER_MS = 1_000_000


class Stage:
    """What became of some messages in each stretch of a course."""

    __slots__ = ("acknowledged", "attempted", "stored", "took")

    def __init__(self, stretches: int) -> None:
        self.attempted, self.acknowledged, self.stored = (np.zeros(stretches, np.int64) for _ in range(3))
        self.took = [NOTHING] * stretches  # until they were stored

    def until_stored_ms(self, stretch: int) -> tuple[float, ...] | None:
        """Percentiles."""
        return self.took[stretch].quantiles_ms()


class Hops:
    """The lives of all messages, over the stretches of a course."""

    def __init__(self, method_of: MethodOf, course: Course) -> None:
        """The course must have ended."""
        self._method_of = method_of
        self._start_ms, self._every_ms = course.start_ms, 1000 * course.every_s
        self._many = len(course.stretches())
        self._stages: dict[Key, Stage] = {}

    @property
    def keys(self) -> list[Key]:
        """Methods and kinds that there are."""
        return sorted(self._stages)

    def add(self, lives: Lives) -> None:
        """Some more messages."""
        keys = [(self._method_of(subject.thing), subject.kind) for subject in lives.subjects]
        known = sorted(set(keys))
        places = {key: i for i, key in enumerate(known)}
        key_of = np.array([places[key] for key in keys] or [0], np.int64)[lives.subject.astype(np.int64)]
        for i, key in enumerate(known):
            of = np.flatnonzero(key_of == i)
            if len(of):
                stage = self._stages.setdefault(key, Stage(self._many))
                self._count(stage, lives.said_ms[of], lives.answered_ms[of], lives.stored_ms[of])

    def _count(self, stage: Stage, said_ms: Ints, answered_ms: Ints, stored_ms: Ints) -> None:
        for counts, at_ms in (
            (stage.attempted, said_ms), (stage.acknowledged, answered_ms), (stage.stored, stored_ms),
        ):  # fmt: skip
            counts += np.bincount(self._places(at_ms[at_ms >= 0]), minlength=self._many)
        stored = np.flatnonzero(stored_ms >= 0)
        places = self._places(said_ms[stored])
        order = np.argsort(places, kind="stable")
        took_ns = np.maximum(0, stored_ms[stored] - said_ms[stored])[order] * _NS_PER_MS
        ends = np.cumsum(np.bincount(places, minlength=self._many))
        for stretch, (begin, end) in enumerate(zip([0, *ends.tolist()], ends.tolist(), strict=False)):
            if end > begin:
                histogram = Histogram()
                histogram.add_all(took_ns[begin:end])
                stage.took[stretch] = _both(stage.took[stretch], frozen(histogram))

    def _places(self, at_ms: Ints) -> Ints:
        """In which stretch each moment is; what is later than all is in the last."""
        return np.clip((at_ms - self._start_ms) // self._every_ms, 0, self._many - 1)

    def rows(self) -> Iterator[Row]:
        """From said to stored, by method and kind, whatever a fault had to do with it."""
        for (method, kind), stage in sorted(self._stages.items()):
            parts = [took for took in stage.took if len(took.counts)]
            if parts:
                yield Row(method, stored_row(kind), merged(parts).thawed())

    def stage(self, methods: Sequence[str], kinds: Sequence[str] = ()) -> Stage:
        """Of the messages of these methods (and kinds, where some are given)."""
        found = Stage(self._many)
        for (method, kind), one in self._stages.items():
            if method in methods and (not kinds or kind in kinds):
                found.attempted += one.attempted
                found.acknowledged += one.acknowledged
                found.stored += one.stored
                found.took = [_both(a, b) for a, b in zip(found.took, one.took, strict=True)]
        return found


def stored_row(kind: str) -> str:
    """What the row is called that tells how long it took until messages of a kind were stored."""
    return f"{kind} → stored"


def _both(*parts: Frozen) -> Frozen:
    some = [part for part in parts if len(part.counts)]
    return merged(some) if some else NOTHING
