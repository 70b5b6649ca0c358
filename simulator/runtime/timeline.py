"""Plays a timeline: steps one after another, branches side by side, and what they wait for.

Rules: steps say what to do (steps.Command); how it is done is the business of `Stage`, so the same timeline plays on
one engine, on many, or in a test. What a step waits for has a limit (`patience_s`); what was waited for in vain is
written to the ledger and does not stop the scenario: the verdict is the business of the checks.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from simulator import seeds
from simulator.checks import Check
from simulator.ledger import Event, Ledger
from simulator.steps import (
    Again,
    Clear,
    Command,
    Connect,
    Control,
    Disconnect,
    Disturb,
    Entry,
    Inject,
    Job,
    Part,
    Publication,
    Relieve,
    SetDesired,
    Step,
    Together,
    Until,
    Wait,
)

LOOK_S = 0.25
GLANCE_S = 0.05  # between two looks for an event
LOOKS = 100  # a wait that is stirred is at most this part longer than it had to be

Order = SetDesired | Control | Publication | Job | Part | Disturb | Relieve


class Stage(Protocol):
    """What carries commands out."""

    @property
    def ledger(self) -> Ledger: ...

    def now_ms(self) -> int: ...

    def roster(self) -> list[Entry]: ...

    def start(self, thing: str, after_s: float) -> None: ...

    def stop(self, thing: str, after_s: float) -> None: ...

    def inject(self, command: Inject, name: str) -> None: ...

    def clear(self, command: Clear) -> None: ...

    def passes(self, check: Check) -> bool: ...

    async def order(self, order: Order) -> None: ...


class Timeline:
    """One playing of a scenario's timeline."""

    def __init__(self, stage: Stage, seed: int, told: Callable[[str], None], *, stirred: bool = False) -> None:
        """`told` hears the name of each step as it begins. `stirred`: whoever writes to the ledger calls `stir`.

        Then nobody looks for events, and the longer somebody waits for a check, the less often it is made: where time
        is not real, looking is all that costs.
        """
        self._stage, self._seed, self._told, self._stirred = stage, seed, told, stirred
        self._began_s = 0.0
        self._ended: set[str] = set()  # names of steps
        self._waiting: list[asyncio.Future[None]] = []  # for something to happen

    async def play(self, steps: Sequence[Step]) -> None:
        """All of it."""
        self._began_s = _now_s()
        await self._branch(steps)

    def stir(self) -> None:
        """Something happened that somebody may wait for."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _branch(self, steps: Sequence[Step]) -> None:
        since = len(self._stage.ledger.events)
        for step in steps:
            await self._moment(step, since)
            since = len(self._stage.ledger.events)
            self._told(step.title)
            for command in step.plan(self._stage.roster(), self._seed):
                await self._do(command, step.title)
            self._ended.add(step.name)
            self.stir()

    async def _moment(self, step: Step, since: int) -> None:
        """Until the step may begin. Events count from the beginning of the step before it."""
        if step.at_s is not None:
            await asyncio.sleep(max(0.0, self._began_s + step.at_s - _now_s()))
        if step.after is not None and not await self._happened(step.after, since, step.patience_s):
            self._note("waited_in_vain", {"step": step.title, "after": step.after, "for_s": step.patience_s})
        if step.delay_s:
            await asyncio.sleep(step.delay_s)

    async def _happened(self, what: str, since: int, patience_s: float) -> bool:
        kind, deadline_s = what.strip().replace(" ", "_"), _now_s() + patience_s
        while _now_s() < deadline_s:
            events = self._stage.ledger.events
            if what in self._ended or any(event.kind == kind for event in events[since:]):
                return True
            since = len(events)
            await self._news(deadline_s - _now_s())
        return False

    async def _news(self, within_s: float) -> None:
        """Until there may be some."""
        if not self._stirred:
            await asyncio.sleep(GLANCE_S)
            return
        news = asyncio.get_running_loop().create_future()
        self._waiting.append(news)
        await asyncio.wait((news,), timeout=max(0.0, within_s))

    async def _do(self, command: Command, name: str) -> None:
        stage = self._stage
        match command:
            case Connect(things, over_s, shape):
                for i, thing in enumerate(things):
                    share = i / len(things) if shape == "even" else seeds.fraction(self._seed, "arrival", thing)
                    stage.start(thing, over_s * share)
            case Disconnect(things, over_s):
                for i, thing in enumerate(things):
                    stage.stop(thing, over_s * i / len(things))
            case Inject():
                stage.inject(command, name)
            case Clear():
                stage.clear(command)
            case Wait(for_s):
                await asyncio.sleep(for_s)
            case Until(check, within_s):
                since_s = _now_s()
                deadline_s = since_s + within_s
                while not stage.passes(check) and (left_s := deadline_s - _now_s()) > 0:
                    look_s = max(LOOK_S, (_now_s() - since_s) / LOOKS) if self._stirred else LOOK_S
                    await asyncio.sleep(min(look_s, left_s))
            case Together(branches):
                await self._together(branches)
            case Again(steps, times, for_s):
                await self._again(steps, times, for_s)
            case _:
                await stage.order(command)

    async def _together(self, branches: Sequence[Sequence[Step]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for branch in branches:
                    group.create_task(self._branch(branch))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None  # the first is why; the others ended for it

    async def _again(self, steps: Sequence[Step], times: int | None, for_s: float | None) -> None:
        deadline_s, rounds = _now_s() + (for_s or 0), 0
        while rounds < times if times is not None else _now_s() < deadline_s:
            await self._branch(steps)
            rounds += 1
            await asyncio.sleep(0)  # a round of steps that take no time must not keep the loop to itself

    def _note(self, kind: str, detail: dict[str, object]) -> None:
        self._stage.ledger.note(Event(self._stage.now_ms(), "run", kind, "", detail))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
