"""What a report tells of a load test over time, and where it went wrong: from a course, hops and spans. Pure."""

from collections.abc import Mapping, Sequence
from math import inf

from simulator.checks import Check
from simulator.checks.latency import Latency
from simulator.checks.processing_time import ProcessingTime
from simulator.report import facts as told
from simulator.report.trouble import Lane, Tick, troubles
from simulator.runtime.course import DEVICES, QUANTILES, Course, Stretch
from simulator.runtime.hops import Hops, Stage, stored_row

PEOPLE = "people"
_P95 = QUANTILES.index(0.95)


def courses(course: Course, hops: Hops | None, whole: bool = True) -> list[told.Course]:
    """All, by protocol, and of people; those that were there. `whole`: the hops are of every message, so they count."""
    stretches = course.stretches()
    found = [told.Course("all", _points(course, stretches, "all", hops.stage(DEVICES) if hops else None, whole))]
    for group in (*DEVICES, PEOPLE):
        stage = hops.stage([group]) if hops and group in DEVICES else None
        points = _points(course, stretches, group, stage, whole)
        if any(point.p50_ms is not None or point.attempted or point.connected or point.failed for point in points):
            found.append(told.Course(group, points))
    return found


def _points(
    course: Course, stretches: Sequence[tuple[int, Stretch]], group: str, stage: Stage | None, whole: bool
) -> list[told.Point]:
    points: list[told.Point] = []
    for i, (at_ms, of) in enumerate(stretches):
        lasted_s = course.every_s
        if group == "all":
            share = 1 / of.lasted_s if of.lasted_s else None
            attempted, acknowledged = (
                None if share is None else round(share * count, 2) for count in (of.attempted, of.acknowledged)
            )
            stored = None
        elif stage and whole:
            attempted, acknowledged, stored = (
                round(float(counts[i]) / lasted_s, 2) for counts in (stage.attempted, stage.acknowledged, stage.stored)
            )
        else:
            attempted, stored = None, None
            acknowledged = round(int(of.of(group).counts.sum()) / lasted_s, 2)
        connected = sum(of.connected.values()) if group == "all" else of.connected.get(group, 0)
        p50_ms, p95_ms, p99_ms = of.quantiles_ms(group) or (None, None, None)
        stored_p50_ms, stored_p95_ms, stored_p99_ms = (stage.until_stored_ms(i) if stage else None) or (None,) * 3
        points.append(told.Point(
            at_ms, attempted, acknowledged, stored, round(of.failed_of(group) / lasted_s, 2), p50_ms, p95_ms, p99_ms,
            stored_p50_ms, stored_p95_ms, stored_p99_ms, of.on if group == "all" else None,
            connected if of.on is not None and group != PEOPLE else None,
            of.alarms_open if group == "all" else None,
        ))  # fmt: skip
    return points


def trouble(
    course: Course, hops: Hops | None, faults: Sequence[told.FaultSpan], checks: Sequence[Check]
) -> tuple[list[told.Trouble], str]:
    """Where it went wrong."""
    stretches = course.stretches()
    limits = _limits(checks)
    keys = sorted({key for _, of in stretches for key in (*of.rows, *of.failed)})
    lanes: list[Lane] = []
    for key in keys:
        ticks: list[Tick] = []
        for at_ms, of in stretches:
            row = of.rows.get(key)
            quantiles = row.quantiles_ms() if row else None
            count = int(row.counts.sum()) if row else 0
            ticks.append(Tick(at_ms, count, quantiles[_P95] if quantiles else None, of.failed.get(key, 0)))
        lanes.append(Lane(*key, ticks, limit_ms=limits.get(key[1], inf)))
    for method, kind in hops.keys if hops else ():
        assert hops
        stage = hops.stage([method], [kind])
        ticks = [
            Tick(at_ms, int(stage.attempted[i]), took[_P95] if (took := stage.until_stored_ms(i)) else None)
            for i, (at_ms, _) in enumerate(stretches)
        ]
        name = stored_row(kind)
        lanes.append(Lane(method, name, ticks, True, min(limits.get(name, inf), limits.get("", inf))))
    return troubles(lanes, faults, course.every_s)


def _limits(checks: Sequence[Check]) -> Mapping[str, float]:
    """In milliseconds, by row; "": of every message's way into the store."""
    found: dict[str, float] = {}
    for check in checks:
        if check.at_most is not None and isinstance(check, Latency | ProcessingTime):
            row = check.row if isinstance(check, Latency) else ""
            found[row] = min(found.get(row, inf), 1000 * check.at_most)
    return found
