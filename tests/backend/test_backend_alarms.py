"""The life of one alarm, as tables of (time in s, input) → events; and any sequence of inputs at all."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.alarms import Alarm, job_id_of, open_alarm
from simulator.backend.effects import CloseDispatch, CreateJob, Effect, OpenDispatch, Record, SetDesired
from simulator.backend.rules import Rule

RULE = Rule(
    ruleId="hot",
    productId="SedanVehicle",
    condition="metrics.t > 110",
    severity="high",
    autoAction="restart-fan",
    thenUpdateTo="1.1.0",
    thenDispatch=True,
    actionTimeout_s=15,
    clearFor_s=20,
    updateTimeout_s=90,
)
START_MS = 1_767_225_600_000
ALARM_ID = f"V-hot-{START_MS}"
ACTION_ID = f"{ALARM_ID}-1"
JOB_ID = f"ota-{ALARM_ID}"

# Inputs of the tables: readings, what AWS and the device answer, a moment that passes.
BAD, GOOD, TICK = "bad", "good", "tick"
SENT, SEND_FAILED = "command_sent", "command_failed"
DONE, FAILED = "result_done", "result_failed"
CREATED, REFUSED = "job_created", "job_refused"
SUCCEEDED, JOB_FAILED = "job_succeeded", "job_failed"


def feed(alarm: Alarm, rule: Rule, at_s: float, what: str) -> list[Effect]:
    now_ms = START_MS + int(at_s * 1000)
    match what:
        case "bad":
            return alarm.sample(rule, True, now_ms, 120.0, now_ms)
        case "good":
            return alarm.sample(rule, False, now_ms, 90.0, now_ms)
        case "tick":
            return alarm.tick(rule, now_ms)
        case "command_sent":
            return alarm.command_sent(ACTION_ID, now_ms, rule)
        case "command_failed":
            return alarm.command_failed(ACTION_ID, "throttled", rule, now_ms)
        case "result_done":
            return alarm.control_result(ACTION_ID, "done", "", rule, now_ms)
        case "result_failed":
            return alarm.control_result(ACTION_ID, "failed", "relay stuck", rule, now_ms)
        case "job_created":
            return alarm.job_created(JOB_ID, now_ms, rule)
        case "job_refused":
            return alarm.job_refused(JOB_ID, "no artifact", rule, now_ms)
        case "job_succeeded":
            return alarm.job_ended(JOB_ID, "SUCCEEDED", "", rule, now_ms)
        case "job_failed":
            return alarm.job_ended(JOB_ID, "FAILED", "wrong hash", rule, now_ms)
    raise AssertionError(what)


def said(effects: list[Effect]) -> list[str]:
    """Events by kind, calls and dispatches by class."""
    return [effect.kind if isinstance(effect, Record) else type(effect).__name__ for effect in effects]


def live(rule: Rule, inputs: list[tuple[float, str]]) -> tuple[Alarm, list[str]]:
    alarm = open_alarm(rule, "V", "SedanVehicle", START_MS, 120.0, START_MS)
    heard = said(alarm.start(rule, START_MS))
    for at_s, what in inputs:
        heard += said(feed(alarm, rule, at_s, what))
    return alarm, heard


def without(*keys: str) -> Rule:
    return Rule(**{k: v for k, v in RULE.model_dump().items() if k not in keys})


ACTED = [(1.0, SENT), (2.0, DONE)]
CLEAR = [(float(s), GOOD) for s in range(5, 27, 5)]
RELAPSED = [(5.0, GOOD), (6.0, GOOD), (8.0, BAD)]
UPDATED = [(9.0, CREATED), (30.0, SUCCEEDED)]

RAISED = ["alarm_raised", "SetDesired"]
COMMANDED = [*RAISED, "command_sent", "control_result"]
JOBBED = ["CreateJob", "job_created", "job_succeeded"]
ESCALATED = ["alarm_escalated", "OpenDispatch", "dispatch_opened"]

LIVES: list[tuple[str, Rule, list[tuple[float, str]], list[str], str]] = [
    ("nothing to do", without("autoAction"), [(50, TICK), (99, BAD)], ["alarm_raised"], "open"),
    ("closes by itself", without("autoAction"), CLEAR, ["alarm_raised", "in_range", "alarm_closed"], "closed"),
    ("cured by the action", RULE, ACTED + CLEAR, [*COMMANDED, "in_range", "alarm_closed"], "closed"),
    ("one good reading is not a cure", RULE, [*ACTED, (5, GOOD), (6, BAD), (7, GOOD), (8, BAD)],
     COMMANDED, "verifying"),
    ("in range needs two readings however late", RULE, [*ACTED, (5, GOOD), (60, TICK)], COMMANDED, "verifying"),
    ("in range is not closed before its time", RULE, [*ACTED, (5, GOOD), (24.9, GOOD)],
     [*COMMANDED, "in_range"], "verifying"),
    ("two readings far apart close", RULE, [*ACTED, (5, GOOD), (25, GOOD)],
     [*COMMANDED, "in_range", "alarm_closed"], "closed"),
    ("in range, then silence", RULE, [*ACTED, (5, GOOD), (6, GOOD), (500, TICK)],
     [*COMMANDED, "in_range"], "verifying"),
    ("relapse", RULE, ACTED + RELAPSED, [*COMMANDED, "in_range", "relapsed", "CreateJob"], "updating"),
    ("still bad", RULE, [*ACTED, (10, BAD), (17, TICK)], [*COMMANDED, "action_timed_out", "CreateJob"], "updating"),
    ("no answer", RULE, [(1, SENT), (15.9, TICK), (16, TICK)],
     [*RAISED, "command_sent", "action_timed_out", "CreateJob"], "updating"),
    ("an answer of failure", RULE, [(1, SENT), (2, FAILED)], [*COMMANDED, "CreateJob"], "updating"),
    ("the command was not sent", RULE, [(1, SEND_FAILED)], [*RAISED, "command_failed", "CreateJob"], "updating"),
    ("the device answers before AWS does", RULE, [(1, DONE), (2, SENT)], COMMANDED, "verifying"),
    ("a cure without an answer", RULE, [(1, SENT), (3, GOOD), (4, GOOD), (23, GOOD)],
     [*RAISED, "command_sent", "in_range", "alarm_closed"], "closed"),
    ("cured by the update", RULE, [*ACTED, *RELAPSED, *UPDATED, (32, GOOD), (33, GOOD), (52, GOOD)],
     [*COMMANDED, "in_range", "relapsed", *JOBBED, "in_range", "alarm_closed"], "closed"),
    ("readings during an update prove nothing", RULE,
     [*ACTED, *RELAPSED, (9, CREATED), (10, GOOD), (11, GOOD), (40, GOOD), (50, SUCCEEDED), (51, GOOD), (60, GOOD)],
     [*COMMANDED, "in_range", "relapsed", *JOBBED, "in_range"], "verifying"),
    ("relapse after the update", RULE, [*ACTED, *RELAPSED, *UPDATED, (32, GOOD), (33, GOOD), (40, BAD)],
     [*COMMANDED, "in_range", "relapsed", *JOBBED, "in_range", "relapsed", *ESCALATED], "escalated"),
    ("still bad after the update", RULE, [*ACTED, *RELAPSED, *UPDATED, (44.9, TICK), (45, TICK)],
     [*COMMANDED, "in_range", "relapsed", *JOBBED, "action_timed_out", *ESCALATED], "escalated"),
    ("the job failed", RULE, [(1, SENT), (2, FAILED), (3, CREATED), (9, JOB_FAILED)],
     [*COMMANDED, "CreateJob", "job_created", "job_failed", *ESCALATED], "escalated"),
    ("the job could not be made", RULE, [(1, SENT), (2, FAILED), (3, REFUSED)],
     [*COMMANDED, "CreateJob", "job_failed", *ESCALATED], "escalated"),
    ("the job never ended", RULE, [(1, SENT), (2, FAILED), (3, CREATED), (93, TICK)],
     [*COMMANDED, "CreateJob", "job_created", "action_timed_out", *ESCALATED], "escalated"),
    ("the job ends before AWS answers", RULE, [(1, SENT), (2, FAILED), (9, SUCCEEDED), (10, CREATED)],
     [*COMMANDED, *JOBBED], "verifying"),
    ("no update in the rule", without("thenUpdateTo"), ACTED + RELAPSED,
     [*COMMANDED, "in_range", "relapsed", *ESCALATED], "escalated"),
    ("nothing after the action", without("thenUpdateTo", "thenDispatch"), [*ACTED, (17, TICK), (40, TICK)],
     [*COMMANDED, "action_timed_out"], "open"),
    ("it may still close when nothing is left", without("thenUpdateTo", "thenDispatch"),
     [*ACTED, (17, TICK), (20, GOOD), (30, GOOD), (40, GOOD)],
     [*COMMANDED, "action_timed_out", "in_range", "alarm_closed"], "closed"),
    ("repaired in the field", RULE, [(1, SENT), (2, FAILED), (3, REFUSED), (10, GOOD), (20, GOOD), (30, GOOD)],
     [*COMMANDED, "CreateJob", "job_failed", *ESCALATED, "in_range", "alarm_closed", "CloseDispatch"], "closed"),
    ("a late end of the job after the escalation", RULE,
     [(1, SENT), (2, FAILED), (3, CREATED), (93, TICK), (99, SUCCEEDED)],
     [*COMMANDED, "CreateJob", "job_created", "action_timed_out", *ESCALATED, "job_succeeded"], "escalated"),
    ("a late answer of the device", RULE, [(1, SENT), (16, TICK), (17, DONE)],
     [*RAISED, "command_sent", "action_timed_out", "CreateJob", "control_result"], "updating"),
    ("late readings move nothing", RULE, [*ACTED, (5, BAD), (4, GOOD), (3, GOOD), (5, GOOD)], COMMANDED, "verifying"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "inputs", "expected", "state"), [row[1:] for row in LIVES], ids=[r[0] for r in LIVES])
def test_a_life(rule: Rule, inputs: list[tuple[float, str]], expected: list[str], state: str) -> None:
    alarm, heard = live(rule, inputs)
    assert (heard, alarm.state) == (expected, state)


@pytest.mark.parametrize(("rule", "inputs", "expected", "state"), [row[1:] for row in LIVES], ids=[r[0] for r in LIVES])
def test_every_input_may_come_twice(
    rule: Rule, inputs: list[tuple[float, str]], expected: list[str], state: str
) -> None:
    alarm, heard = live(rule, [twice for entry in inputs for twice in (entry, entry)])
    assert (heard, alarm.state) == (expected, state)


@pytest.mark.parametrize(("rule", "inputs", "expected", "state"), [row[1:] for row in LIVES], ids=[r[0] for r in LIVES])
def test_it_survives_a_restart_at_any_moment(
    rule: Rule, inputs: list[tuple[float, str]], expected: list[str], state: str
) -> None:
    alarm = open_alarm(rule, "V", "SedanVehicle", START_MS, 120.0, START_MS)
    heard = said(alarm.start(rule, START_MS))
    for at_s, what in inputs:
        alarm = Alarm(**orjson.loads(alarm.document()))
        heard += said(feed(alarm, rule, at_s, what))
    assert (heard, alarm.state) == (expected, state)


def test_what_is_for_another_action_or_job_changes_nothing() -> None:
    alarm, _ = live(RULE, [(1.0, SENT)])
    assert alarm.control_result("other-1", "done", "", RULE, START_MS) == []
    assert alarm.control_result("", "done", "", RULE, START_MS) == []
    assert alarm.job_ended("", "SUCCEEDED", "", RULE, START_MS) == []
    assert alarm.job_ended(JOB_ID, "SUCCEEDED", "", RULE, START_MS) == []
    assert alarm.state == "acting"


def test_the_calls_carry_the_same_ids_again_after_a_restart() -> None:
    alarm, _ = live(RULE, [])
    assert alarm.calls(RULE) == [SetDesired(ALARM_ID, "V", "restart-fan", ACTION_ID)]
    alarm, _ = live(RULE, [(1.0, SEND_FAILED)])
    assert alarm.calls(RULE) == [CreateJob(ALARM_ID, "V", JOB_ID, "SedanVehicle", "1.1.0", 90)]
    assert live(RULE, [(1.0, SENT)])[0].calls(RULE) == []


def test_a_job_id_fits_aws() -> None:
    assert job_id_of("V-hot-1") == "ota-V-hot-1"
    for long in ("V" * 100, "a:b-hot-1"):
        assert len(job_id_of(long)) <= 64
        assert ":" not in job_id_of(long)
    assert job_id_of("V" * 100) != job_id_of("V" * 101)


_inputs = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.sampled_from([BAD, GOOD, TICK, SENT, SEND_FAILED, DONE, FAILED, CREATED, REFUSED, SUCCEEDED, JOB_FAILED]),
    ),
    max_size=60,
)
_rules = st.sampled_from([RULE, without("autoAction"), without("thenUpdateTo"), without("thenDispatch")])


@given(_rules, _inputs)
def test_any_life_ends_well(rule: Rule, steps: list[tuple[float, str]]) -> None:
    alarm = open_alarm(rule, "V", "SedanVehicle", START_MS, 120.0, START_MS)
    effects: list[Any] = list(alarm.start(rule, START_MS))
    at_s = 0.0
    for wait_s, what in steps:
        at_s += wait_s
        was_closed = alarm.state == "closed"
        more = feed(alarm, rule, at_s, what)
        assert not (was_closed and what in (BAD, GOOD, TICK) and more)
        assert not was_closed or alarm.state == "closed"
        effects += more
    heard = said(effects)
    # Each step is taken once at most, in its order, and a call is answered once at most.
    for once in ("SetDesired", "CreateJob", "OpenDispatch", "command_sent", "control_result", "job_created",
                 "alarm_closed", "alarm_escalated", "CloseDispatch"):  # fmt: skip
        assert heard.count(once) <= 1, once
    assert heard.count("job_succeeded") + heard.count("job_failed") <= 1
    steps_taken = [kind for kind in heard if kind in ("SetDesired", "CreateJob", "OpenDispatch")]
    assert steps_taken == sorted(steps_taken, key=["SetDesired", "CreateJob", "OpenDispatch"].index)
    # In range and relapse alternate, and the state agrees with what was said.
    turns = [kind for kind in heard if kind in ("in_range", "relapsed")]
    assert turns == (["in_range", "relapsed"] * len(turns))[: len(turns)]
    assert (alarm.state == "closed") == ("alarm_closed" in heard) == (alarm.closed_at_ms is not None)
    assert any(isinstance(effect, OpenDispatch) for effect in effects) == (alarm.escalated_at_ms is not None)
    closed_dispatch = any(isinstance(effect, CloseDispatch) for effect in effects)
    assert closed_dispatch == (alarm.state == "closed" and alarm.escalated_at_ms is not None)
    if alarm.state in ("acting", "updating"):
        assert alarm.deadline_ms is not None  # waiting always ends
