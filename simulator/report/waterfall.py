"""Waterfalls: for each affected device, what happened from the fault to the end of its alarm, step by step.

A device is affected when it was given a fault or an alarm was raised for it. What the fleet knows (it broke
the device) and what the backend noticed stand in one list, so the time between them can be read off.

Rules: a stage is there because an event says so, never because it should be. Where an alarm did not end
well, the step that was due next is added without a time, and `reason` says what did not happen. Nothing is
due of a device whose faults were all to be left alone: an alarm of it is a false one, and none is well.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from simulator.ledger import Event
from simulator.report.facts import Outcome, Stage, Waterfall, in_order
from simulator.words import WORDS, detail_text, word

STAGES_MAX = 80

# A reading that is back in range for less than this, with nothing done meanwhile, is noise at the limit.
FLICKER_MS = 5000

_STARTS = frozenset({"fault_injected", "alarm_raised"})
_RANGE = frozenset({"out_of_range", "back_in_range"})
_FIRST_BAD = "first bad sample"
_ASIDE = frozenset({"control_result", "shadow_rejected"})
_STAGES = frozenset(kind for kind, told in WORDS.items() if not told.routine) - _ASIDE

# After this stage, that one is due; without it, this is what to say.
_DUE: Mapping[str, tuple[str, str]] = {
    "fault_injected": ("out_of_range", "no sample left its range"),
    "out_of_range": ("alarm_raised", "the backend raised no alarm"),
    "alarm_raised": ("alarm_closed", "no action followed the alarm"),
    "command_sent": ("delta_received", "the device did not receive the command"),
    "command_failed": ("command_sent", "the command could not be sent"),
    "delta_received": ("acted", "the device received the command and did not act"),
    "acted": ("back_in_range", "the action did not bring the value back"),
    "back_in_range": ("in_range", "the backend did not notice the recovery"),
    "in_range": ("alarm_closed", "the run ended before the alarm could close"),
    "relapsed": ("alarm_closed", "nothing followed the relapse"),
    "action_timed_out": ("alarm_closed", "nothing followed the action's time-out"),
    "job_created": ("job_notified", "the device was not notified of the job"),
    "job_notified": ("downloaded", "the download did not finish"),
    "download_broken": ("downloaded", "the download broke off"),
    "download_resumed": ("downloaded", "the download did not finish"),
    "url_refreshed": ("downloaded", "the download did not finish"),
    "downloaded": ("verified", "the artifact was not verified"),
    "verified": ("installed", "the update was not installed"),
    "verify_failed": ("installed", "the artifact failed its verification"),
    "installed": ("connected", "the device did not come back after the update"),
    "rebooting": ("connected", "the device did not come back from its reboot"),
    "connected": ("version_reported", "the device did not report its version"),
    "version_reported": ("job_succeeded", "the job did not end"),
    "job_succeeded": ("back_in_range", "the update did not bring the value back"),
    "job_dropped": ("job_succeeded", "the device gave the job up"),
    "job_failed": ("alarm_closed", "the job failed and nothing followed"),
}
_FALSE_ENDS: Mapping[Outcome, str] = {"closed": "it closed again", "escalated": "it was escalated"}
_BACKEND_KINDS = frozenset({"alarm_raised", "command_sent", "in_range", "alarm_closed", "job_succeeded"})


def waterfalls(
    fleet_events: Iterable[Event], backend_events: Iterable[Event], alarms: Iterable[Mapping[str, Any]],
    quiet: Collection[str] = (),
) -> list[Waterfall]:  # fmt: skip
    """One waterfall for each affected device, by name. Alarms are rows of the backend's /api/alarms.

    `quiet` are the devices of which nothing was to be noticed, whatever befell them.
    """
    events: dict[str, list[Event]] = {}
    for event in in_order([*fleet_events, *backend_events]):
        if event.thing:
            events.setdefault(event.thing, []).append(event)
    states: dict[str, list[str]] = {}
    for alarm in alarms:
        states.setdefault(str(alarm["thing"]), []).append(str(alarm["state"]))
    affected = {
        thing for thing, own in events.items() if any(event.kind in ("fault_injected", "alarm_raised") for event in own)
    }
    return [
        _waterfall(thing, _telling(events.get(thing, [])), states.get(thing, []), thing in quiet)
        for thing in sorted(affected | set(states))
    ]


def _waterfall(thing: str, told: Sequence[Event], states: Sequence[str], is_quiet: bool) -> Waterfall:
    kinds = {event.kind for event in told}
    ended = outcome = _outcome(kinds, states)
    if is_quiet and (states or "alarm_raised" in kinds):
        outcome = "false_alarm"
    elif is_quiet and outcome == "open":
        outcome = "left_alone"
    half = STAGES_MAX // 2
    left_out = max(0, len(told) - STAGES_MAX)
    stages = _stages([*told[:half], *told[-half:]] if left_out else told)
    if outcome == "false_alarm":
        reason = f"nothing was to be noticed, and an alarm was raised; {_FALSE_ENDS.get(ended, 'it is still open')}"
    else:
        reason = _how_it_ended(outcome, told)
    if outcome in ("open", "job_failed"):
        last = next((event.kind for event in reversed(told) if event.kind in _DUE), "")
        if last == "job_failed" and "installed" not in kinds:
            last = "verify_failed"  # What is due after a failed job is what the job was for.
        if last == "out_of_range" and "open" in states:
            last = "alarm_raised"  # It left its range once more, and that was known already.
        due, unsaid = _DUE.get(last, ("fault_injected", "the ledger has no event of this device"))
        reason = reason or unsaid
        stages += [_missing(kind) for kind in dict.fromkeys((due, "alarm_closed"))]
    if left_out:
        reason += f" ({left_out:,} steps in the middle are left out)"
    return Waterfall(thing, outcome, reason, stages)


def _telling(events: Sequence[Event]) -> list[Event]:
    """The events of one device that are stages of its story."""
    metric = _metric(events)
    heard_by_backend = {event.kind for event in events if event.source == "backend"}
    told: list[Event] = []
    is_rebooting = False
    for event in events[_start(events, metric) :]:
        if event.kind in _RANGE and event.detail.get("metric") != metric:
            continue
        if event.kind == "connected" and is_rebooting:
            is_rebooting = False
        elif event.kind not in _STAGES or (
            # Both sides tell how the job ended; what counts is that the backend heard of it.
            event.kind in ("job_succeeded", "job_failed") and event.source == "fleet" and event.kind in heard_by_backend
        ):
            continue
        is_rebooting = is_rebooting or event.kind == "rebooting"
        if event.kind == "out_of_range" and told and _is_flicker(told[-1], event):
            told.pop()
            continue
        told.append(event)
    return told


def _metric(events: Sequence[Event]) -> Any:
    """What the story is about: the alarm's metric, else the first that left its range."""
    bad = [event.detail.get("metric") for event in events if event.kind == "out_of_range"]
    alarmed = [event.detail.get("metric") for event in events if event.kind == "alarm_raised"]
    return next((metric for metric in alarmed if metric in bad), bad[0] if bad else None)


def _start(events: Sequence[Event], metric: Any) -> int:
    """Where the story starts: the fault, or the bad sample that an alarm without a fault came from."""
    start = next((i for i, event in enumerate(events) if event.kind in _STARTS), len(events))
    if start < len(events) and events[start].kind == "alarm_raised":
        before = (
            i
            for i in range(start - 1, -1, -1)
            if events[i].kind == "out_of_range" and events[i].detail.get("metric") == metric
        )
        return next(before, start)
    return start


def _is_flicker(before: Event, bad: Event) -> bool:
    return before.kind == "back_in_range" and bad.at_ms - before.at_ms < FLICKER_MS


def _stages(told: Sequence[Event]) -> list[Stage]:
    stages: list[Stage] = []
    names: Counter[str] = Counter()
    previous_ms = told[0].at_ms if told else 0
    for event in told:
        name = _name(event.kind, names)
        names[name] += 1
        times = names[name]
        stages.append(
            Stage(
                f"{name} ({times})" if times > 1 else name,
                event.kind,
                event.at_ms,
                event.at_ms - previous_ms,
                event.source,
                detail_text(event.detail),
            )
        )
        previous_ms = event.at_ms
    return stages


def _name(kind: str, names: Mapping[str, int]) -> str:
    if kind == "connected":
        return "connected again"
    if kind == "out_of_range":
        return "climbed again" if _FIRST_BAD in names else _FIRST_BAD
    return word(kind).name


def _missing(kind: str) -> Stage:
    return Stage(_name(kind, {}), kind, None, None, "backend" if kind in _BACKEND_KINDS else "fleet", "")


def _outcome(kinds: set[str], states: Sequence[str]) -> Outcome:
    # A backend that died cannot be asked for its alarms; its events still tell of them.
    if not states:
        states = [kind[len("alarm_") :] for kind in ("alarm_closed", "alarm_escalated") if kind in kinds][:1]
    if "escalated" in states:
        return "escalated"
    if states and all(state == "closed" for state in states):
        return "closed"
    return "job_failed" if kinds & {"job_failed", "verify_failed"} else "open"


def _how_it_ended(outcome: Outcome, told: Sequence[Event]) -> str:
    """One line; empty for an open alarm, which ends with what did not happen."""
    kinds = {event.kind for event in told}
    action = _said(told, "command_sent", "action", "name") or _said(told, "acted", "name", "action") or "the action"
    version = _said(told, "version_reported", "version") or _said(told, "job_created", "version")
    update = f"the update to {version}" if version else "the update"
    failure = _said(told, "verify_failed", "reason") or _said(told, "job_failed", "reason")
    if outcome == "closed":
        if "alarm_escalated" in kinds:
            return "cured after it was escalated"
        if "job_succeeded" in kinds:
            return f"cured by {update}"
        if kinds & {"acted", "command_sent"}:
            return f"cured by {action}"
        return "back in range by itself"
    if outcome == "job_failed":
        return f"{update} failed: {failure}" if failure else f"{update} failed"
    if outcome == "left_alone":
        return "as it should be: nothing was to be noticed"
    if outcome == "open":
        return ""
    tried = []
    if kinds & {"acted", "command_sent"}:
        tried.append(f"{action} did not hold")
    if kinds & {"job_failed", "verify_failed"}:
        tried.append(f"{update} failed: {failure}" if failure else f"{update} failed")
    elif "job_succeeded" in kinds:
        tried.append(f"{update} did not cure it")
    if "dispatch_opened" in kinds:
        tried.append("a field dispatch was opened")
    return "; ".join(tried) or "escalated"


def _said(told: Sequence[Event], kind: str, *keys: str) -> str:
    for event in told:
        if event.kind != kind:
            continue
        for key in keys:
            value = event.detail.get(key)
            if isinstance(value, Mapping):
                value = value.get("name")
            if value not in (None, ""):
                return str(value)
    return ""
