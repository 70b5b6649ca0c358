"""A worker's part of a load test: its engine child, and the devices that its users have switched on.

In a Locust without workers it is in the same process as the lead (`lead`).

Rules: a user does not have a device of its own, only the claim to one; which devices those are is the coordinator's to
say. Told how many are wanted it grants some, and what is too much is given back, the latest first. Rows go into
Locust's statistics here, once: Locust itself takes them to its master.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.event import Event
from locust.env import Environment

import simulator
from simulator.errors import UsageError
from simulator.histogram import VALUE_MAX
from simulator.load.children import Child, End
from simulator.load.statistics import merge
from simulator.runtime import brief
from simulator.runtime.brief import Brief
from simulator.runtime.engine import LEAVE_S
from simulator.runtime.meter import Row

logger = logging.getLogger("fleetsim")

HELLO_EVERY_S = 3.0
ROWS_EVERY_S = 0.5
SETTLE_MAX_S = 10.0
MARGIN_S = 0.2
NS_PER_MS = 1e6


class Crew:
    """What a worker's users share."""

    def __init__(
        self, environment: Environment, post: Callable[[bytes], None], ended: Callable[[str, int], None],
        briefed: Callable[[Brief], None],
    ) -> None:  # fmt: skip
        """`post` takes a line to the coordinator; `ended` hears why there is nothing to do here any more.

        `briefed` is called once, with what the fleet is, before anybody is a user of it.
        """
        self.brief: Brief | None = None
        self.silent = False  # nobody is to begin anything any more
        self._environment, self._post, self._ended, self._briefed = environment, post, ended, briefed
        self._child: Child | None = None
        self._name = ""
        self._wanted: Counter[str] = Counter()  # users by channel
        self._held: dict[str, list[int]] = {}  # channel → devices, in the order in which they came
        self._channels: dict[int, str] = {}
        self._asking = False
        self._ready, self._settled = Event(), Event()
        self._rows: dict[tuple[str, str], Row] = {}  # of users that are no devices
        environment.events.request.add_listener(self._requested)
        self._greenlets = [gevent.spawn(self._greet), gevent.spawn(self._post_rows)]

    @property
    def is_member(self) -> bool:
        """Was it taken on by the master?"""
        return self._child is not None

    def wait_until_ready(self) -> None:
        """Until the engine is, or never will be."""
        self._ready.wait()

    def settle(self) -> None:
        """Stop all devices and wait until everything they did was reported."""
        child = self._child
        if child is None or child.end:
            return
        self._settled.clear()
        child.tell({"settle": True})
        self._settled.wait(SETTLE_MAX_S)
        self._flush_rows()

    def close(self) -> None:
        gevent.killall([one for one in self._greenlets if one is not gevent.getcurrent()])
        if self._child:
            self._child.close()

    # Users

    def join(self, channel: str) -> None:
        """A user wants a device of its own."""
        self._wanted[channel] += 1
        self._ask()

    def leave(self, channel: str) -> None:
        """A user is gone; a device goes with it."""
        self._wanted[channel] -= 1
        self._ask()

    def _ask(self) -> None:
        """Once for all users that come or go in the same moment."""
        if not self._asking:
            self._asking = True
            gevent.spawn(self._settle_claims)

    def _settle_claims(self) -> None:
        self._asking = False
        self._give_back()
        self._say({"want": {channel: count for channel, count in self._wanted.items() if count >= 0}})

    def _give_back(self) -> None:
        back = [held.pop() for channel, held in self._held.items() for _ in range(len(held) - self._wanted[channel])]
        if back:
            self._tell_engine({"stop": back})
            # A device that was switched off may still be answered for a moment; until then it is nobody else's.
            gevent.spawn_later(LEAVE_S + MARGIN_S, self._say, {"release": back})

    # What the coordinator tells

    def told(self, what: dict[str, Any]) -> None:
        match what:
            case {"plan": {"brief": str(path), "name": str(name)}}:
                self._plan(Path(path), name)
            case {"refused": str(why)}:
                self._give_up(why, UsageError.exit_code)
            case {"begin": dict()}:
                self._held.clear()
                self.silent = False
                self._tell_engine(what)
                if self._wanted.total():
                    self._ask()
            case {"grant": [*indexes]}:
                for index in indexes:
                    self._held.setdefault(self._channels[index], []).append(index)
                self._tell_engine({"start": indexes})
                self._give_back()
            case {"silence": True}:
                self.silent = True
                self._tell_engine(what)
            case {"account": True}:
                self._flush_rows()
                self._tell_engine(what)
            case _:
                self._tell_engine(what)

    def _plan(self, path: Path, name: str) -> None:
        if self.brief:
            return
        try:
            self.brief = brief.read(path)
        except UsageError as error:
            self._give_up(str(error), error.exit_code)
            return
        self._name = name
        members, profiles = self.brief.scenario.things(), self.brief.profiles
        self._channels = {index: profiles[of].channel for index, (_, of, _) in enumerate(members)}
        self._briefed(self.brief)
        arguments = ["--brief", str(path), "--name", name]
        self._child = Child("child", arguments, heard=self._heard, lost=self._lost)
        gevent.spawn(self._await_engine)

    def _await_engine(self) -> None:
        assert self._child
        self._child.wait_until_ready()
        if end := self._child.end:
            self._lost(end)
        else:
            self._say({"ready": True})
            self._ready.set()

    def _give_up(self, why: str, exit_code: int) -> None:
        self._ready.set()
        self._ended(why, exit_code)

    # What the engine says

    def _heard(self, said: dict[str, Any], line: bytes) -> None:
        match said:
            case {"settled": True}:
                self._settled.set()
            case {"ready": True}:
                pass
            case _:
                for row in said.get("rows", ()):
                    merge(self._environment.stats, Row.unpack(row), said["at_s"])
                self._post(line)

    def _lost(self, end: End) -> None:
        self._say({"lost": end._asdict()})
        self._settled.set()
        self._give_up("\n".join([f"{self._name}: {end.error}", *end.log_tail]), end.exit_code)

    def _tell_engine(self, command: dict[str, Any]) -> None:
        if self._child:
            self._child.tell(command)

    # Rows of those that are no devices: operators, dashboards, downloads

    def _requested(
        self, request_type: str, name: str, response_time: float | None, response_length: int,
        exception: BaseException | None = None, **_: Any,
    ) -> None:  # fmt: skip
        row = self._rows.get((request_type, name))
        if row is None:
            row = self._rows[request_type, name] = Row(request_type, name)
        if response_time is None:
            row.untimed += 1
        else:
            row.latency.add(min(int(response_time * NS_PER_MS), VALUE_MAX))
        row.payload_bytes += response_length or 0
        if exception:
            row.fail(str(exception))

    def _post_rows(self) -> None:
        while True:
            gevent.sleep(ROWS_EVERY_S)
            self._flush_rows()

    def _flush_rows(self) -> None:
        rows, self._rows = self._rows, {}
        if rows:
            self._say({"rows": [row.pack() for row in rows.values()]})

    # To the coordinator

    def _greet(self) -> None:
        """Until it has answered; it may have much to do yet."""
        while self.brief is None and not self._ready.is_set():
            self._say({"hello": {"fleetsim": simulator.__version__, "locust": version("locust")}})
            gevent.sleep(HELLO_EVERY_S)

    def _say(self, what: dict[str, Any]) -> None:
        self._post(orjson.dumps(what))


def complain(why: str) -> None:
    """A line for whoever looks, even where nothing is logged."""
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
