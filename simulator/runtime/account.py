"""From what a run left behind to its report: judge the checks, draw the waterfalls, settle the accounts. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from simulator import __version__
from simulator.checks import Facts, Result
from simulator.fleet import Fleet
from simulator.report import facts as told
from simulator.report.facts import Rate, Report, Series, Verdict
from simulator.report.waterfall import waterfalls
from simulator.runtime.conductor import Record
from simulator.scenarios import Scenario


def report(
    scenario: Scenario, seed: int, asked: tuple[str, str], fleet: Fleet, record: Record, facts: Facts, ended_at_ms: int,
    verdict: Verdict | None, exit_code: int, reason: str = "", log_tail: Sequence[str] = (),
) -> Report:  # fmt: skip
    """The report of a run; without a verdict the checks decide (and the exit code becomes 0 or 1)."""
    ledger = facts.ledger
    checks = [check.judge(facts) for check in scenario.checks] if verdict is None else []
    settled = verdict is None
    if verdict is None:
        passed = all(check.passed for check in checks)
        verdict, exit_code = ("passed", 0) if passed else ("failed", 1)
    accounts = told.accounting(ledger.attempted, ledger.sent, ledger.acknowledged, facts.stored)
    timeline, left_out = told.timeline(ledger.events)
    by_source = {source: [e for e in ledger.events if e.source == source] for source in ("fleet", "backend")}
    return Report(
        fleetsim=__version__,
        scenario=scenario.scenario,
        title=scenario.title,
        seed=seed,
        target=asked[1],
        scenario_file=asked[0],
        started_at_ms=record.started_at_ms,
        ended_at_ms=ended_at_ms,
        verdict=verdict,
        exit_code=exit_code,
        reason=reason,
        log_tail=list(log_tail),
        checks=[_check(result) for result in checks],
        fleet=_fleet(fleet, facts),
        faults=_faults(fleet, record),
        timeline=timeline,
        waterfalls=waterfalls(by_source["fleet"], by_source["backend"], facts.alarms or ()),
        accounting=[account if settled else replace(account, lost=None) for account in accounts],
        throughput=_rates(record.rates),
        series=_series(fleet, record, facts),
        events_dropped=ledger.events_dropped + left_out,
    )


def _check(result: Result) -> told.Check:
    return told.Check(result.name, result.measured, result.bound, result.unit, result.passed, result.why)


def _fleet(fleet: Fleet, facts: Facts) -> told.Fleet:
    alarmed = {alarm["thing"] for alarm in facts.alarms or ()}
    devices = [
        told.Device(
            d.thing,
            d.profile,
            d.version,
            "connected" if d.online else "away",
            d.faulted or d.thing in alarmed,
        )
        for d in facts.devices
    ]
    counts: list[told.ProfileCount] = []
    for name in fleet.profiles:
        versions = Counter(device.version for device in devices if device.profile == name)
        counts.append(told.ProfileCount(name, versions.total(), dict(sorted(versions.items()))))
    return told.Fleet(counts, devices)


def _faults(fleet: Fleet, record: Record) -> list[told.Fault]:
    found: list[told.Fault] = []
    for at_ms, (fault, things), _ in record.faults:
        params = fault.params
        subject = fleet.profiles[fleet.devices[fleet.by_thing[things[0]]].profile].subject
        found.append(told.Fault(params.pop("kind"), list(things), at_ms, params, fault.expects(subject).words))
    return found


def _rates(totals: Sequence[Rate]) -> list[Rate]:
    """Totals a second apart → messages in each second."""
    return [
        Rate(b.at_ms, b.sent - a.sent, b.acknowledged - a.acknowledged, b.connected, b.alarms_open)
        for a, b in pairwise(totals)
    ]


def _series(fleet: Fleet, record: Record, facts: Facts) -> list[Series]:
    """The metrics that left their normal range, on the devices where they did."""
    bad = {(e.thing, e.detail["metric"]): e.detail["limit"] for e in facts.ledger.events if e.kind == "out_of_range"}
    return [
        Series(thing, metric, limit, told.thinned(record.series[thing, metric]))
        for (thing, metric), limit in sorted(bad.items())
        if (thing, metric) in record.series
    ]
