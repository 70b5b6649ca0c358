"""An engine in a process of its own, for a load tool: `python -m simulator.runtime.child --brief FILE --name NAME`.

It runs whatever devices of the brief's fleet it is told to. Both sides say one JSON object a line (`pipes`).

down  {"begin": {"run": n, "start_ms": …}}   a test: a fleet as new, all of it off; its physics starts then
      {"start": [i, …]} {"stop": [i, …]}     devices by their places in the fleet
      {"inject": {"at_ms": …, "devices": [i, …], "fault": {…}}}
      {"clear": {"at_ms": …, "devices": [i, …], "fault": kind or null}}   both at this moment, or at once if it is over
      {"silence": true}                      nobody says anything by himself any more
      {"account": true}                      write down everything (`accounts`)
      {"settle": true}                       the test is over: stop all, tell the rest, be as new
up    {"ready": true}
      {"rows": […], "at_s": …, "counts": {…}, "events": […], "devices": […], "readings": {…}, "silent": …,
       "strain": […]}
                                             every 200 ms: what came together (meter.Row) and what is new
      {"account": "file"} {"settled": true}
      {"error": "…", "exit_code": 3, "log_tail": […]}   its last words, if it cannot go on

Rules: it ends when stdin does, at SIGTERM and at SIGINT, so it never outlives who started it; a test that was under
way is accounted for first, so that what a killed worker's devices said is not lost. Counters are told as they stand,
everything else once. A reader that falls behind gets larger batches later, not more of them, so nothing piles up.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import uvloop

from simulator import tape
from simulator.audit import Audit
from simulator.checks import STORED_KINDS
from simulator.errors import BackendUnavailable, FleetsimError, UsageError
from simulator.ledger import Event, Ledger
from simulator.runtime import accounts, brief, garbage
from simulator.runtime.brief import Brief
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import LEAVE_S, DeviceFailed, Engine
from simulator.runtime.meter import Meter
from simulator.runtime.pipes import Ear, Mouth
from simulator.runtime.setup import Setup

BATCH_S = 0.2
READINGS_EVERY = 5  # batches
READINGS_MAX = 50  # devices
SETTLE_S = LEAVE_S + 0.1
LAST_WAIT_S = 1.0  # for what is in flight, when whoever started us is gone
EVENTS_A_LINE = 2000
# What changes the picture of a device.
_TURNS = frozenset((
    "connected", "disconnected", "fault_injected", "fault_cleared", "version_reported", "installed", "rebooting",
    "job_succeeded",
))  # fmt: skip


class Child:
    """Runs the devices it is told to run."""

    def __init__(self, brief: Brief, name: str, mouth: Mouth) -> None:
        self._brief, self._name, self._mouth = brief, name, mouth
        self._setup = Setup(brief.scenario, brief.profiles, brief.seed, brief.target, brief.state_dir)
        self._size = len(brief.scenario.things())
        self._run, self._start_ms = 0, 0
        self._meter, self._ledger = Meter(), Ledger()
        self._engine: Engine | None = None
        self._silent = False
        self._batches = 0
        self._handles: set[asyncio.TimerHandle] = set()

    async def live(self) -> None:
        """Until stdin ends."""
        loop, me, ear = asyncio.get_running_loop(), asyncio.current_task(), Ear()
        assert me
        loop.add_signal_handler(signal.SIGTERM, me.cancel)
        await ear.open()
        await self._mouth.open()
        self._mouth.say(ready=True)
        tasks = [loop.create_task(self._obey(ear)), loop.create_task(self._tell_on())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._last_account()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end_fleet()
            await self._mouth.close()

    # What it is told

    async def _obey(self, ear: Ear) -> None:
        while (command := await ear.command()) is not None:
            match command:
                case {"begin": {"run": int(run), "start_ms": int(start_ms)}}:
                    await self._end_fleet()
                    self._run, self._start_ms = run, start_ms
                case {"start": [*indices]}:
                    for index in self._places(indices):
                        self._running().start(index)
                case {"stop": [*indices]}:
                    for index in self._places(indices):
                        if self._engine:
                            self._engine.stop(index)
                case {"inject": {"at_ms": int(at_ms), "devices": [*indices], "fault": dict(given)}}:
                    self._at(at_ms, self._injection(self._places(indices), given))
                case {"clear": {"at_ms": int(at_ms), "devices": [*indices], "fault": kind}}:
                    self._at(at_ms, self._cure(self._places(indices), kind))
                case {"silence": True}:
                    self._silent = True
                    if self._engine:
                        self._engine.silence()
                case {"account": True}:
                    self._tell()
                    self._mouth.say(account=self._account())
                case {"settle": True}:
                    await self._settle()
                case other:
                    raise UsageError(f"not a command: {other!r:.200}")

    def _places(self, indices: list[Any]) -> list[int]:
        if not all(type(index) is int and 0 <= index < self._size for index in indices):
            raise UsageError(f"no such device among {self._size}: {indices!r:.200}")
        return indices

    def _at(self, at_ms: int, do: Callable[[], None]) -> None:
        """At a moment that is the same for all engines."""

        def run() -> None:
            self._handles.discard(handle)
            do()

        handle = asyncio.get_running_loop().call_later(max(0.0, at_ms / 1000 - time.time()), run)
        self._handles.add(handle)

    def _injection(self, indices: list[int], given: dict[str, Any]) -> Callable[[], None]:
        fault = tape.fault(given)

        def inject() -> None:
            for index in indices:
                self._running().inject(index, fault)

        return inject

    def _cure(self, indices: list[int], kind: str | None) -> Callable[[], None]:
        def clear() -> None:
            for index in indices:
                self._running().clear(index, kind)

        return clear

    # What it says

    async def _tell_on(self) -> None:
        while True:
            await asyncio.sleep(BATCH_S)
            if self._engine and self._engine.failure:
                raise self._engine.failure
            if self._mouth.room:
                self._tell()

    def _tell(self) -> None:
        """All that is new."""
        if self._engine:
            self._engine.account()
        rows, events = self._meter.take(), self._ledger.events
        self._ledger.events = []
        self._batches += 1
        if not (rows or events or self._silent or self._batches % READINGS_EVERY == 0):
            return
        self._mouth.say(
            run=self._run, rows=[row.pack() for row in rows], at_s=time.time(), counts=accounts.counts(self._ledger),
            events=_lines(events[:EVENTS_A_LINE]), devices=self._turned(events),
            readings=self._readings() if self._batches % READINGS_EVERY == 0 else {}, silent=self._silent,
            strain=self._strain(),
        )  # fmt: skip
        for first in range(EVENTS_A_LINE, len(events), EVENTS_A_LINE):
            self._mouth.say(run=self._run, events=_lines(events[first : first + EVENTS_A_LINE]))

    def _turned(self, events: Sequence[Event]) -> list[tuple[int, bool, bool, str, bool]]:
        """The devices of which something changed, as they are now."""
        if not self._engine:
            return []
        fleet = self._engine.fleet
        turned = {fleet.by_thing[e.thing] for e in events if e.kind in _TURNS and e.thing in fleet.by_thing}
        return [(i, d.online, d.powered, d.version, bool(d.faults)) for i in turned for d in (fleet.devices[i],)]

    def _readings(self) -> dict[str, dict[str, float]]:
        """What broken devices measure, of what has a limit."""
        if not self._engine:
            return {}
        fleet, now_ms = self._engine.fleet, self._engine.now_ms()
        found: dict[str, dict[str, float]] = {}
        for thing in sorted(fleet.faulted)[:READINGS_MAX]:
            device = fleet.devices[fleet.by_thing[thing]]
            if device.powered:
                reading = device.reading(now_ms)
                found[thing] = {name: reading[name] for name in device.plant.limits if isfinite(reading[name])}
        return found

    def _strain(self) -> list[list[float]]:
        """How well the engine kept pace since it was asked last."""
        if not self._engine:
            return []
        samples, self._engine.samples = self._engine.samples, []
        return [list(sample) for sample in samples]

    def _account(self) -> str | None:
        if self._engine is None:
            return None
        assert self._engine.audit
        self._engine.account()
        path = self._brief.folder / f"account-{self._run}-{self._name}.npz"
        accounts.write(path, self._ledger, self._engine.audit)
        return str(path)

    async def _last_account(self) -> None:
        """Nobody listens any more; what was said must still be found."""
        if engine := self._engine:
            engine.silence()
            deadline_s = time.monotonic() + LAST_WAIT_S
            while not engine.settled() and time.monotonic() < deadline_s:
                await asyncio.sleep(BATCH_S / 4)
            with suppress(OSError):  # the run is over, and its folder gone
                self._account()

    # The fleet

    async def _settle(self) -> None:
        if engine := self._engine:
            for index in range(len(engine.fleet.devices)):
                engine.stop(index)
            await asyncio.sleep(SETTLE_S)
        self._tell()
        await self._end_fleet()
        self._mouth.say(settled=True)

    def _running(self) -> Engine:
        if self._engine is None:
            brief, loop = self._brief, asyncio.get_running_loop()
            start_ms = self._start_ms or int(time.time() * 1000)
            fleet = brief.scenario.build(brief.profiles, brief.seed, start_ms, brief.public_key)
            methods = [brief.profiles[device.profile].channel.upper() for device in fleet.devices]
            self._meter, self._ledger = Meter(methods), Ledger()
            self._engine = Engine(
                fleet, self._setup.links(brief.addresses, loop), Downloads(brief.addresses.ca_file), self._ledger,
                self._meter, Audit(STORED_KINDS, fleet.speaker),
            )  # fmt: skip
            garbage.spare()
            if self._silent:
                self._engine.silence()
        return self._engine

    async def _end_fleet(self) -> None:
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
        self._silent = False
        engine, self._engine = self._engine, None
        if engine:
            await engine.close()


def _lines(events: Sequence[Event]) -> list[tuple[int, str, str, dict[str, Any]]]:
    return [(event.at_ms, event.kind, event.thing, dict(event.detail)) for event in events]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when it was told to end."""
    parser = argparse.ArgumentParser(prog="simulator.runtime.child", description="An engine for a load tool.")
    parser.add_argument("--brief", type=Path, required=True)
    parser.add_argument("--name", required=True)
    order = parser.parse_args(argv)
    mouth = Mouth()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Child(brief.read(order.brief), order.name, mouth).live())
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        return 0
    except DeviceFailed as end:
        return last_words(mouth, str(end), end.exit_code, end.log_tail)
    except FleetsimError as error:
        return last_words(mouth, str(error), error.exit_code)
    except OSError as error:
        return last_words(mouth, str(error), BackendUnavailable.exit_code)
    return 0


def last_words(mouth: Mouth, error: str, exit_code: int, log_tail: Sequence[str] = ()) -> int:
    """Says why it cannot go on; the exit code."""
    with suppress(OSError):
        mouth.say(error=error, exit_code=exit_code, log_tail=list(log_tail))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
