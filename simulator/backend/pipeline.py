"""The shell around the core: what it decides is stored, then done.

Rules: effects of many messages are collected; `commit` makes them one transaction, and only after that are
the calls to AWS handed out, so that nothing is done that a restart would not remember. A call that finds
its queue full is answered as failed: the core goes on with its next step.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from simulator.backend.core import Backend
from simulator.backend.decode import Telemetry
from simulator.backend.effects import CALLS, Call, DeadLetter, Effect, LookUp, Record, ReplayEnded
from simulator.backend.platform.formulas import Formulas
from simulator.backend.platform.rollup import ROWS_MAX
from simulator.backend.rules import Rule, Rules
from simulator.backend.store import Store
from simulator.backend.times import Times

# What a line of the log is worth.
LOGGED = frozenset(
    ("alarm_raised", "alarm_closed", "alarm_escalated", "job_created", "job_succeeded", "job_failed", "command_failed")
)

_CALLS = frozenset(CALLS)
ROLL_UP_TICKS = 10  # while nothing is in a hurry

log = logging.getLogger("backend")


class Caller(Protocol):
    """Who makes the calls to AWS; answers come back through `Pipeline.answered`."""

    def submit(self, call: Call) -> bool:
        """Queue a call; False when there is no room."""
        ...


class Answer:
    """How a call ended."""

    __slots__ = ("at_ms", "call", "error", "product", "result")

    def __init__(self, call: Call, at_ms: int, error: str = "", product: str | None = None, result: Any = None) -> None:
        self.call = call
        self.at_ms = at_ms  # when it was begun
        self.error = error
        self.product = product  # what a look-up found
        self.result = result  # what another call gave


class Pipeline:
    """Core, store and calls, in the right order."""

    def __init__(self, core: Backend, store: Store, now_ms: Callable[[], int]) -> None:
        self.core = core
        self.store = store
        self.now_ms = now_ms
        self._caller: Caller | None = None
        self._calls: list[Call] = []
        self._told: list[Record] = []
        self._dirty = False
        self._ticks = 0
        self._behind = False  # the aggregates
        self.times = Times()
        self._begun_s, self._taken = 0.0, 0  # of the batch: when its first message came, and how many did

    def start(self, caller: Caller, old_rules: Mapping[tuple[str, int], Rule] | None = None) -> None:
        """Take up what the store remembers, and make the calls that an earlier process could not confirm."""
        self._caller = caller
        saved = self.store.load()
        self.core.received.update(saved.received)
        self.core.dead.update(saved.dead)
        self._collect(
            self.core.resume(
                saved.devices, saved.open_alarms, self.now_ms(), old_rules=old_rules, claims=saved.claims,
                waiting=saved.waiting, uploads=saved.uploads, fire=saved.fire, platform=saved.platform,
            )
        )  # fmt: skip
        self.commit()

    def ingest(self, topic: str, payload: bytes) -> str:
        """Take a message into the batch; gives the reason when it is a dead letter, else ''."""
        self._dirty = True  # a message that is only counted is counted for good all the same
        self._came()
        effects = self.core.ingest(topic, payload, self.now_ms())
        self._collect(effects)
        return effects[0].reason if effects and isinstance(effects[0], DeadLetter) else ""

    def replay(self, letter_id: int, letter: DeadLetter) -> str:
        """Take a dead letter into the batch again; gives the reason when it is one still, else ''."""
        effects = self.core.replay(letter_id, letter, self.now_ms())
        self._collect(effects)
        ended = effects[-1]
        assert isinstance(ended, ReplayEnded)
        return ended.again

    def replace_rules(self, rules: Rules) -> None:
        """Judge by these rules from now on."""
        self._collect(self.core.replace_rules(rules, self.now_ms()))

    def replace_formulas(self, formulas: Formulas) -> None:
        """Compute these from now on."""
        self._collect(self.core.replace_formulas(formulas))

    def save(self, effects: Sequence[Effect]) -> None:
        """Take what somebody else decided into the batch."""
        self._collect(effects)

    def take(self, sample: Telemetry) -> None:
        """Take a sample that keeps the contract already into the batch."""
        self._dirty = True
        self._came()
        self._collect(self.core.take(sample, self.now_ms()))

    def tick(self) -> None:
        """Let time pass."""
        self._collect(self.core.tick(self.now_ms()))
        self.commit()
        self._ticks += 1
        if self._behind or self._ticks % ROLL_UP_TICKS == 0:
            self._behind = self.store.roll_up() == ROWS_MAX

    def answered(self, answer: Answer) -> None:
        """A call ended."""
        now_ms = self.now_ms()
        if isinstance(answer.call, LookUp) and not answer.error:
            found = self.core.product_answered(answer.call.thing, answer.product, now_ms, answer.result or {})
            self._collect(found)
        else:
            self._collect(self.core.done(answer.call, answer.at_ms, answer.error, now_ms, answer.result))
        self.commit()

    def _came(self) -> None:
        if not self._taken:
            self._begun_s = time.perf_counter()
        self._taken += 1

    def _collect(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if type(effect) in _CALLS:
                self._calls.append(effect)  # type: ignore[arg-type]
            else:
                self.store.add(effect)  # type: ignore[arg-type]
                self._dirty = True
                if isinstance(effect, Record) and effect.kind in LOGGED:
                    self._told.append(effect)

    def _write(self) -> None:
        if not self._dirty:
            return
        self.store.commit(self.core.received, self.core.dead)
        self._dirty = False
        if self._taken:
            self.times.note(self._taken, time.perf_counter() - self._begun_s)
            self._taken = 0
        for told in self._told:
            detail = " ".join(f"{name}={value}" for name, value in told.detail.items())
            log.info("%s %s %s %s", told.kind, told.thing, told.alarm_id, detail)
        self._told.clear()

    def commit(self) -> None:
        """Make everything collected so far durable, then hand out the calls."""
        self._write()
        while self._calls and self._caller is not None:
            calls, self._calls = self._calls, []
            for call in calls:
                if not self._caller.submit(call):
                    now_ms = self.now_ms()
                    self._collect(self.core.done(call, now_ms, "too many calls are waiting", now_ms))
            self._write()
