"""From what a run left behind to its report: judge the checks, draw the waterfalls, settle the accounts. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from simulator import __version__
from simulator.behaviours.telemetry import Telemetry
from simulator.checks import Facts, Result
from simulator.errors import CHECKS_FAILED, PASSED, Inconclusive
from simulator.faults._part import PartFault
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.matching import FATES, Tally
from simulator.report import facts as told
from simulator.report.facts import Rate, Report, Series, Verdict
from simulator.report.waterfall import waterfalls
from simulator.runtime import strain
from simulator.runtime.conductor import Record
from simulator.scenarios import Scenario
from simulator.truth import MISSED_MAX, Score, percentile

CAUSES_MAX = 20  # of one fate


def report(
    scenario: Scenario, seed: int, asked: tuple[str, str], fleet: Fleet, record: Record, facts: Facts, ended_at_ms: int,
    verdict: Verdict | None, exit_code: int, reason: str = "", log_tail: Sequence[str] = (),
) -> Report:  # fmt: skip
    """The report of a run; without a verdict the checks decide, and whether the generator kept pace (0, 1 or 4)."""
    ledger = facts.ledger
    checks = [check.judge(facts) for check in scenario.checks] if verdict is None else []
    settled = verdict is None
    pace = bounds(scenario, fleet)
    slow = record.slow or strain.bottleneck(record.strain, pace)
    if verdict is None:
        failed = [(check, of) for check, of in zip(scenario.checks, checks, strict=True) if not of.passed]
        if slow and all(check.needs_pace or of.measured is None for check, of in failed):
            verdict, exit_code = "inconclusive", Inconclusive.exit_code
        else:
            verdict, exit_code = ("failed", CHECKS_FAILED) if failed else ("passed", PASSED)
        reason = reason or slow or (_by_hand(ledger) if failed else "")
    accounts = told.accounting(ledger.attempted, ledger.sent, ledger.acknowledged, facts.stored, ledger.missed)
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
        waterfalls=waterfalls(by_source["fleet"], by_source["backend"], facts.alarms or (), _quiet(facts)),
        alarms=dict(sorted(Counter(str(alarm["state"]) for alarm in facts.alarms or ()).items())),
        accounting=[account if settled else replace(account, lost=None) for account in accounts],
        audit=_audit(facts) if settled else None,
        scores=_scores(facts) if settled else None,
        throughput=_rates(record.rates),
        series=_series(fleet, record, facts),
        events_dropped=ledger.events_dropped + left_out,
        strain=_strain(record, pace, slow),
    )


def _quiet(facts: Facts) -> set[str]:
    """Devices to which something was done, of which nothing was to be noticed."""
    truth = facts.truth()
    loud = {seen.expected.thing for seen in truth.seen if seen.expected.notice != "nothing"}
    neither = {str(alarm["thing"]) for alarm in facts.alarms or ()} - {alarm.thing for alarm in truth.false}
    return {seen.expected.thing for seen in truth.seen} - loud - neither


def _by_hand(ledger: Ledger) -> str:
    """What explains a check that counts exactly, if somebody was at the controls."""
    steps = sum(event.kind == "step_by_hand" for event in ledger.events)
    some = "a step was" if steps == 1 else f"{steps} steps were"
    return f"{some} made by hand, of which the scenario's exact counts know nothing" if steps else ""


def bounds(scenario: Scenario, fleet: Fleet) -> strain.Bounds:
    """How late is too late, for this fleet and these checks."""
    periods_s = [
        behaviour.period_s.low
        for profile in fleet.profiles.values()
        for behaviour in profile.behaviours
        if isinstance(behaviour, Telemetry)
    ]
    times_s = [check.at_most for check in scenario.checks if check.unit == "s" and check.at_most is not None]
    return strain.bounds(periods_s, times_s)


def _strain(record: Record, pace: strain.Bounds, slow: str) -> told.Strain | None:
    samples = [told.StrainSample(worker, *sample) for worker, of in sorted(record.strain.items()) for sample in of]
    return told.Strain(slow, pace.slip_ms, samples) if samples else None


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
        if isinstance(fault, PartFault):
            kind, part = params.pop("kind"), params.pop("part")
            found.append(told.Fault(kind, [f"the {part}"], at_ms, params, fault.words))
            continue
        subject = fleet.profiles[fleet.devices[fleet.by_thing[things[0]]].profile].subject
        found.append(told.Fault(params.pop("kind"), list(things), at_ms, params, fault.expected(subject).words))
    return found


def _audit(facts: Facts) -> told.Audit:
    audit = facts.audit
    if audit is None:
        return told.Audit(reason=facts.no_audit)
    return told.Audit(
        audit.source if audit.sees_store else "", "", [_kind(tally) for tally in audit.tallies],
        [told.Astray(*odd) for odd in audit.unexplained], dict(sorted(audit.unaudited.items())), audit.strangers,
        dict(sorted(audit.unread.items())),
    )  # fmt: skip


def _kind(tally: Tally) -> told.KindAudit:
    causes = {str(fate): dict(found.most_common(CAUSES_MAX)) for fate, found in tally.causes.items()}
    fates = {str(fate): tally.fates[fate] for fate in FATES if tally.fates[fate]}
    unexplained = {str(fate): tally.unexplained[fate] for fate in FATES if tally.unexplained[fate]}
    return told.KindAudit(tally.kind, tally.said, fates, unexplained, causes)


def _scores(facts: Facts) -> told.Scores | None:
    """None where there is nobody to be scored, or nothing to score by."""
    if facts.alarms is None:
        return None
    total, by_fault, by_profile = facts.truth().table()
    if not (total.faults or total.left_alone or total.false_alarms):
        return None
    return told.Scores(_score(total), [_score(one) for one in by_fault], [_score(one) for one in by_profile])


def _score(one: Score) -> told.Score:
    return told.Score(
        one.of, one.faults, one.noticed, one.left_alone, one.recall, one.alarms, one.false_alarms, one.precision,
        one.false_per_day, _spread([took_ms for _, took_ms in one.detected]), _spread(one.close_ms),
        one.missed[:MISSED_MAX],
    )  # fmt: skip


def _spread(took_ms: list[int]) -> told.Spread | None:
    found = [at_ms / 1000 for of in (50, 95, 100) if (at_ms := percentile(took_ms, of)) is not None]
    return told.Spread(*found) if found else None


def _rates(totals: Sequence[Rate]) -> list[Rate]:
    """Totals a second apart, or more in a long run → messages in a second."""
    found: list[Rate] = []
    for a, b in pairwise(totals):
        seconds = max(1, round((b.at_ms - a.at_ms) / 1000))
        sent, acknowledged = round((b.sent - a.sent) / seconds), round((b.acknowledged - a.acknowledged) / seconds)
        found.append(Rate(b.at_ms, sent, acknowledged, b.connected, b.alarms_open))
    return found


def _series(fleet: Fleet, record: Record, facts: Facts) -> list[Series]:
    """The metrics that left their normal range, on the devices where they did."""
    bad = {(e.thing, e.detail["metric"]): e.detail["limit"] for e in facts.ledger.events if e.kind == "out_of_range"}
    return [
        Series(thing, metric, limit, told.thinned(record.series[thing, metric]))
        for (thing, metric), limit in sorted(bad.items())
        if (thing, metric) in record.series
    ]
