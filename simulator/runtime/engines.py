"""The engines of all workers as one: what a conductor asks of an engine, over messages.

Each device is in one engine at a time (`claims`); here it is a picture of itself, kept up to date by what its engine
tells. What is done to devices is told to their engines with the moment at which it happens, so that it happens on all
of them at once; a device that moves to another engine takes its faults along.

Rules: counters come as they stand, so that of a worker the last ones count, and none twice; its account file, if it
left one, is better still. Events come once. Nothing here waits, and nothing here is a socket.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator import tape
from simulator.audit import Books
from simulator.errors import FleetsimError
from simulator.faults import Fault
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.runtime import accounts
from simulator.runtime.accounts import Counts, Merged
from simulator.runtime.claims import Claims, Grants
from simulator.runtime.course import Course
from simulator.runtime.meter import Row
from simulator.runtime.rows import Rows
from simulator.runtime.strain import SAMPLES_MAX, Sample

MOMENT_S = 0.3  # from a command to its moment: every worker has heard it by then

Tell = Callable[[str, dict[str, Any]], None]  # (worker, what)


class EngineFailed(FleetsimError):
    """An engine cannot go on, because of a bug or of something that every engine would meet."""

    def __init__(self, error: str, exit_code: int, log_tail: Sequence[str]) -> None:
        super().__init__(error)
        self.exit_code = exit_code  # type: ignore[misc]  # as the engine had it
        self.log_tail = list(log_tail)


class Engines:
    """The engines of one test."""

    def __init__(self, fleet: Fleet, claims: Claims, ledger: Ledger, tell: Tell) -> None:
        """`fleet` becomes the picture; the claims are of its devices."""
        self.fleet, self.ledger, self.rows = fleet, ledger, Rows()
        self.loop = asyncio.get_running_loop()
        self.failure: EngineFailed | None = None
        self.readings: dict[str, Mapping[str, float]] = {}
        self.broken: set[str] = set()  # things that have a fault now
        self.strain: dict[str, list[Sample]] = {}  # by worker: how well its engine keeps pace
        self.on_most = 0
        self.course = Course(self.now_ms())
        self._claims, self._tell = claims, tell
        self._workers: set[str] = set()
        self._counts: dict[str, Counts] = {}  # worker → as it last said
        self._silent: set[str] = set()
        self._accounts: dict[str, Path | None] = {}
        self._home: dict[int, str] = {}  # device → the worker that ran it last
        self._faults: dict[int, list[Fault]] = {}
        self._again: Counter[tuple[str, str]] = Counter()  # thing and fault, injected anew after a move
        self._told: list[
            tuple[str, int, Fault | str | None]
        ] = []  # (inject or clear, device, what), to go out together

    # What a conductor asks for

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def inject(self, index: int, fault: Fault) -> None:
        """Break a device."""
        self.fleet.faulted.add(self.fleet.devices[index].thing)
        self._faults.setdefault(index, []).append(fault)
        self._soon("inject", index, fault)

    def clear(self, index: int, kind: str | None) -> None:
        """Mend it."""
        left = [fault for fault in self._faults.get(index, []) if kind not in (None, fault.params["kind"])]
        self._faults[index] = left
        self._soon("clear", index, kind)

    def faults_of(self, index: int) -> list[str]:
        """The kinds of the faults that a device was given and still has."""
        return sorted(str(fault.params["kind"]) for fault in self._faults.get(index, []))

    def start(self, index: int, after_s: float = 0.0) -> None:
        """Users switch devices on, not steps."""

    def stop(self, index: int, after_s: float = 0.0) -> None:
        """And off."""

    def reading(self, index: int, now_ms: int) -> Mapping[str, float]:
        """What a broken device's sensors said last."""
        return self.readings.get(self.fleet.devices[index].thing, {})

    def silence(self) -> None:
        """No device does anything by itself any more."""
        self._silent.clear()
        for worker in self._workers:
            self._tell(worker, {"silence": True})

    def settled(self) -> bool:
        """Was everything that was sent answered, and is nobody speaking?"""
        ledger = self.ledger
        return self._workers <= self._silent and (
            ledger.sent.total() <= ledger.acknowledged.total() + ledger.refused.total()
        )

    def on(self) -> set[int]:
        """The devices that are some user's."""
        return set(self._claims.owner)

    @property
    def idle(self) -> int:
        """Users for whom there is no device."""
        return self._claims.idle

    # Workers

    def joined(self, worker: str) -> None:
        """Another engine is there."""
        self._workers.add(worker)

    def gone(self, worker: str) -> list[int]:
        """An engine is gone: the devices that it had, which are off now."""
        self._workers.discard(worker)
        had, grants = self._claims.lost(worker)
        self._off(had)
        self._hand_out(grants)
        return had

    def want(self, worker: str, wanted: Mapping[str, int]) -> None:
        """A worker has so many users, by channel."""
        self._hand_out(self._claims.want(worker, wanted))

    def release(self, worker: str, indexes: Sequence[int]) -> None:
        """A worker has switched devices off."""
        self._off(indexes)
        self._hand_out(self._claims.release(worker, indexes))

    def _hand_out(self, grants: Grants) -> None:
        for worker, indexes in grants.items():
            self._tell(worker, {"grant": indexes})
            moved = [index for index in indexes if self._home.get(index, worker) != worker or index not in self._home]
            for index in moved:
                for fault in self._faults.get(index, ()):
                    self._order(worker, "inject", [index], fault)
                    if index in self._home:
                        self._again[self.fleet.devices[index].thing, str(fault.params["kind"])] += 1
            self._home.update(dict.fromkeys(indexes, worker))
        self.on_most = max(self.on_most, self._claims.taken)

    def _off(self, indexes: Sequence[int]) -> None:
        for index in indexes:
            self.fleet.devices[index].online, self.fleet.devices[index].powered = False, True

    # What they say

    def heard(self, worker: str, said: Mapping[str, Any]) -> None:
        """A batch of a worker's engine, or of its users."""
        self.measured([Row.unpack(row) for row in said.get("rows", ())])
        if counts := said.get("counts"):
            self._counts[worker] = counts
            self._add_up()
        for at_ms, kind, thing, detail in said.get("events", ()):
            if kind == "fault_injected" and self._again[thing, str(detail.get("fault", ""))] > 0:
                self._again[thing, str(detail["fault"])] -= 1  # it moved with its device, and was told of before
                continue
            self.ledger.note(Event(at_ms, "fleet", kind, thing, detail))
            if kind == "fault_cleared" and (index := self.fleet.by_thing.get(thing)) is not None:
                self._forget(index, str(detail.get("fault", "")))
        for index, online, powered, version, broken in said.get("devices", ()):
            self._turned(worker, index, online, powered, version, broken)
        if readings := said.get("readings"):
            self.readings |= readings
        if strain := said.get("strain"):
            samples = self.strain.setdefault(worker, [])
            samples += [Sample(*sample) for sample in strain[: SAMPLES_MAX - len(samples)]]
        if said.get("silent"):
            self._silent.add(worker)

    def measured(self, rows: Sequence[Row]) -> None:
        """What somebody measured, an engine or not."""
        self.rows.add(rows)
        self.course.add(rows, self.now_ms())

    def _turned(self, worker: str, index: int, online: bool, powered: bool, version: str, broken: bool) -> None:
        if self._claims.owner.get(index, worker) != worker:
            return  # the last words of the one who had it before
        device = self.fleet.devices[index]
        on = index in self._claims.owner  # what a user switched off is away, and not without power
        device.online, device.powered = online and on, powered or not on
        device.version = device.flash["version"] = version
        (self.broken.add if broken else self.broken.discard)(device.thing)

    def _forget(self, index: int, kind: str) -> None:
        faults = self._faults.get(index, [])
        over = next((fault for fault in faults if fault.params["kind"] == kind), None)
        if over:
            faults.remove(over)

    def _add_up(self) -> None:
        for hop, counts in accounts.total(list(self._counts.values())).items():
            setattr(self.ledger, hop, counts)

    # The end

    def account(self) -> None:
        """Let every engine write down what it knows."""
        self._accounts.clear()
        for worker in self._workers:
            self._tell(worker, {"account": True})

    def accounted(self, worker: str, path: str | None) -> None:
        """An engine has."""
        self._accounts[worker] = Path(path) if path else None

    @property
    def accounting(self) -> bool:
        """Is one of them still writing?"""
        return not self._workers <= self._accounts.keys()

    def merged(self, left_behind: Mapping[str, Path]) -> Merged:
        """The books of all, and the exact counters in the ledger. `left_behind`: files of workers that are gone."""
        books: list[Books] = []
        paths = {**left_behind, **{worker: path for worker, path in self._accounts.items() if path}}
        for worker, path in sorted(paths.items()):
            self._counts[worker], book = accounts.read(path)
            books.append(book)
        self._add_up()
        return Merged(books)

    def counters(self) -> dict[str, dict[str, Counter[str]]]:
        """By worker and hop, as they stand."""
        return {worker: accounts.total([counts]) for worker, counts in sorted(self._counts.items())}

    # Commands

    def _soon(self, what: str, index: int, of: Fault | str | None) -> None:
        """What is done to several devices in one go is one command to each engine."""
        if not self._told:
            self.loop.call_soon(self._send)
        self._told.append((what, index, of))

    def _send(self) -> None:
        told, self._told = self._told, []
        at_ms = self.now_ms() + int(MOMENT_S * 1000)
        orders: dict[tuple[str, str, int], tuple[Fault | str | None, list[int]]] = {}
        for what, index, of in told:
            worker = self._claims.owner.get(index) or self._home.get(index)
            if worker in self._workers:
                assert worker
                key = (worker, what, hash(of) if isinstance(of, str | None) else id(of))
                orders.setdefault(key, (of, []))[1].append(index)
            else:
                self._home.pop(index, None)  # Nobody has run it: whoever does next is told then.
        for (worker, what, _), (of, indexes) in orders.items():
            self._order(worker, what, indexes, of, at_ms)

    def _order(self, worker: str, what: str, indexes: list[int], of: Fault | str | None, at_ms: int = 0) -> None:
        said = dict(tape.given_fault(of)) if isinstance(of, Fault) else of
        self._tell(worker, {what: {"at_ms": at_ms or self.now_ms(), "devices": indexes, "fault": said}})
