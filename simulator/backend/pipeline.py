"""The shell around the core: what it decides is stored, then done.

Rules: effects of many messages are collected; `commit` makes them one transaction, and only after that are
the calls to AWS handed out, so that nothing is done that a restart would not remember. A call that finds
its queue full is answered as failed: the core goes on with its next step.
"""

from collections.abc import Callable
from typing import Protocol

from simulator.backend.core import Backend
from simulator.backend.effects import Call, CreateJob, Effect, LookUp, SetDesired
from simulator.backend.store import Store


class Caller(Protocol):
    """Who makes the calls to AWS; answers come back through `Pipeline.answered`."""

    def submit(self, call: Call) -> bool:
        """Queue a call; False when there is no room."""
        ...


class Answer:
    """How a call ended."""

    __slots__ = ("at_ms", "call", "error", "product")

    def __init__(self, call: Call, at_ms: int, error: str = "", product: str | None = None) -> None:
        self.call = call
        self.at_ms = at_ms  # when it was begun
        self.error = error
        self.product = product  # what a look-up found


class Pipeline:
    """Core, store and calls, in the right order."""

    def __init__(self, core: Backend, store: Store, now_ms: Callable[[], int]) -> None:
        self.core = core
        self.store = store
        self.now_ms = now_ms
        self._caller: Caller | None = None
        self._calls: list[Call] = []
        self._dirty = False

    def start(self, caller: Caller) -> None:
        """Take up what the store remembers, and make the calls that an earlier process could not confirm."""
        self._caller = caller
        saved = self.store.load()
        self.core.received.update(saved.received)
        self.core.dead.update(saved.dead)
        self._collect(self.core.resume(saved.devices, saved.open_alarms, self.now_ms()))
        self.commit()

    def ingest(self, topic: str, payload: bytes) -> None:
        """Take a message into the batch."""
        self._dirty = True  # a message that is only counted is counted for good all the same
        self._collect(self.core.ingest(topic, payload, self.now_ms()))

    def tick(self) -> None:
        """Let time pass."""
        self._collect(self.core.tick(self.now_ms()))
        self.commit()

    def answered(self, answer: Answer) -> None:
        """A call ended."""
        now_ms = self.now_ms()
        if isinstance(answer.call, LookUp) and not answer.error:
            self._collect(self.core.product_answered(answer.call.thing, answer.product, now_ms))
        else:
            self._collect(self.core.done(answer.call, answer.at_ms, answer.error, now_ms))
        self.commit()

    def _collect(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, LookUp | SetDesired | CreateJob):
                self._calls.append(effect)
            else:
                self.store.add(effect)
                self._dirty = True

    def commit(self) -> None:
        """Make everything collected so far durable, then hand out the calls."""
        if self._dirty:
            self.store.commit(self.core.received, self.core.dead)
            self._dirty = False
        while self._calls and self._caller is not None:
            calls, self._calls = self._calls, []
            for call in calls:
                if not self._caller.submit(call):
                    now_ms = self.now_ms()
                    self._collect(self.core.done(call, now_ms, "too many calls are waiting", now_ms))
            if self._dirty:
                self.store.commit(self.core.received, self.core.dead)
                self._dirty = False
