"""What a run says of itself: was whoever runs the devices quick enough for what was measured?

An engine measures itself by a `Gauge` and takes a `Sample` a second: the processor that its process used, how long its
event loop stood still, how late devices were woken (slip), what waits in the links, what was dropped at a bound, and
what was due and never said. Afterwards `bottleneck` looks at the samples of all engines and says in one line why the
run measured the generator rather than the backend, if it did.

The bounds are where the measurement begins to mean something else: a quarter of the shortest telemetry period, or of
the tightest time that a check allows, and never less than a busy machine makes of a healthy run; periods shorter than
that are missed when they are late, and missed ones have a bound of their own. A hiccup does not count: a bound has to
be exceeded for a good part of the time in which devices spoke, and for some seconds at least. What waits in the links
and what was dropped is shown and not judged, since a slow backend makes queues, too.

The verdict: a generator that was the bottleneck makes a run inconclusive, never passed, whatever its checks say. One
thing is stronger: a check that failed and that no slow generator can make fail (`Check.needs_pace` is False: messages
that were acknowledged and are lost, or stored twice) has found something, and the run stays failed.

Rules: pure; times and counters come in as arguments. Nothing here reads a clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.histogram import Histogram
from simulator.words import number

SAMPLES_MAX = 86_400  # of an engine: a day
TOGETHER = 4096
_US_PER_MS = 1000


class Sample(NamedTuple):
    """About a second of one engine."""

    at_ms: int  # its end
    lasted_s: float
    cpu: float  # share of one core that the process used
    lag_ms: float  # the longest that the event loop stood still
    slip_p50_ms: float  # how late devices were woken
    slip_p99_ms: float
    slip_max_ms: float
    woken: int  # wake-ups
    said: int  # messages
    missed: int  # that were due and never said
    dropped: int  # at a bound
    queued: int  # that wait in the links at the end


class Counts(NamedTuple):
    """Counters of an engine, as they stand."""

    said: int = 0
    missed: int = 0
    dropped: int = 0


class Gauge:
    """Measures one engine."""

    __slots__ = ("_at_s", "_counts", "_cpu_s", "_histogram", "_lag_s", "slips_ms")

    def __init__(self, at_s: float, cpu_s: float) -> None:
        """The moment, and the processor time of the process until then."""
        self._at_s, self._cpu_s = at_s, cpu_s
        self._counts = Counts()
        self._lag_s = 0.0
        self._histogram = Histogram()  # of slips, in microseconds
        self.slips_ms: list[float] = []  # whoever wakes devices appends to it, and calls `woken` now and then

    def woken(self) -> None:
        """Count the slips, once there are many."""
        if len(self.slips_ms) >= TOGETHER:
            self._count()

    def stood_still(self, for_s: float) -> None:
        """The event loop came so late to something that it had planned."""
        self._lag_s = max(self._lag_s, for_s)

    def take(self, at_ms: int, at_s: float, cpu_s: float, counts: Counts, queued: int) -> Sample:
        """The time since the last sample."""
        self._count()
        lasted_s, slips, before = max(1e-3, at_s - self._at_s), self._histogram, self._counts
        p50, p99, most = (round(us / _US_PER_MS, 3) for us in (slips.quantile(0.5), slips.quantile(0.99), slips.high))
        sample = Sample(
            at_ms, round(lasted_s, 3), round((cpu_s - self._cpu_s) / lasted_s, 4), round(1000 * self._lag_s, 3),
            p50, p99, most, slips.count, counts.said - before.said, counts.missed - before.missed,
            counts.dropped - before.dropped, queued,
        )  # fmt: skip
        self._at_s, self._cpu_s, self._counts = at_s, cpu_s, counts
        self._lag_s, self._histogram = 0.0, Histogram()
        return sample

    def _count(self) -> None:
        self._histogram.add_all((np.array(self.slips_ms) * _US_PER_MS).astype(np.int64))
        self.slips_ms.clear()


# Afterwards


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is too much, and for how much of the time."""

    slip_ms: float  # 99 % of the wake-ups of a second are no later; and the loop never stands still for longer
    late_share: float = 0.2  # of the seconds, for slip and lag
    cpu: float = 0.95  # of a core
    cpu_share: float = 0.5  # of the seconds
    missed_share: float = 0.05  # of the messages
    least_s: float = 3.0  # so many seconds at least


SLIP_MS = (250.0, 1000.0)  # the bound is not below, and not above
OF_PERIOD = OF_TIME = 0.25


def bounds(periods_s: Iterable[float], times_s: Iterable[float]) -> Bounds:
    """For devices with these telemetry periods, and checks that allow these times."""
    least_s = min((OF_PERIOD * min(periods_s, default=4.0), OF_TIME * min(times_s, default=4.0)))
    low, high = SLIP_MS
    return Bounds(min(high, max(low, 1000 * least_s)))


def bottleneck(samples: Mapping[str, Sequence[Sample]], bounds: Bounds) -> str:
    """Why the generator was the bottleneck, in one line; empty when it was not. By worker, where there are several."""
    for worker, of in sorted(samples.items()):
        if why := _why([sample for sample in of if sample.woken or sample.said], bounds):
            return f"the generator was the bottleneck{f' ({worker})' if len(samples) > 1 else ''}: {why}"
    return ""


def _why(busy: Sequence[Sample], bounds: Bounds) -> str:
    """Of one engine, in the time in which its devices did something."""
    lasted_s = sum(sample.lasted_s for sample in busy)
    missed, said = sum(sample.missed for sample in busy), sum(sample.said for sample in busy)
    skipping = [sample for sample in busy if sample.missed]
    if _over(skipping, lasted_s, 0, bounds) and missed > bounds.missed_share * (missed + said):
        return (
            f"{number(missed)} of {number(missed + said)} messages that were due were never said, "
            f"because their devices were woken too late{_meanwhile(skipping)}"
        )
    late = [sample for sample in busy if sample.slip_p99_ms > bounds.slip_ms]
    if over_s := _over(late, lasted_s, bounds.late_share, bounds):
        most = max(sample.slip_p99_ms for sample in late)
        return (
            f"devices were woken up to {number(round(most))} ms late (p99; {number(round(bounds.slip_ms))} ms are "
            f"too much) in {over_s:.0f} of {lasted_s:.0f} s{_meanwhile(late)}"
        )
    still = [sample for sample in busy if sample.lag_ms > bounds.slip_ms]
    if over_s := _over(still, lasted_s, bounds.late_share, bounds):
        most = max(sample.lag_ms for sample in still)
        return (
            f"its event loop stood still for up to {number(round(most))} ms ({number(round(bounds.slip_ms))} ms are "
            f"too much) in {over_s:.0f} of {lasted_s:.0f} s{_meanwhile(still)}"
        )
    full = [sample for sample in busy if sample.cpu >= bounds.cpu]
    if over_s := _over(full, lasted_s, bounds.cpu_share, bounds):
        return f"it used {100 * bounds.cpu:.0f} % of a core or more in {over_s:.0f} of {lasted_s:.0f} s"
    return ""


def _over(of: Sequence[Sample], lasted_s: float, share: float, bounds: Bounds) -> float:
    """How long a bound was exceeded, if that was long enough to count; else 0."""
    over_s = sum(sample.lasted_s for sample in of)
    return over_s if over_s >= bounds.least_s and over_s > share * lasted_s else 0.0


def _meanwhile(of: Sequence[Sample]) -> str:
    """Was it busy itself, or did it wait: for the machine, or for something else?"""
    cpu = sum(sample.cpu * sample.lasted_s for sample in of) / sum(sample.lasted_s for sample in of)
    return f"; meanwhile it used {100 * cpu:.0f} % of a core"
