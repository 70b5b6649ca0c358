"""The lead's part of a load test: in Locust's master, or in the only Locust there is.

It has the coordinator as a child, carries messages between that and the crews, and makes Locust's tests the
coordinator's: one begins with Locust's, and before Locust switches a single user off at its end, everything is
counted, judged and reported.

Rules: nothing is decided here but when. Locust's exit code is the verdict's where a report was asked for.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import orjson
from gevent.event import AsyncResult, Event
from gevent.os import make_nonblocking, nb_read
from locust import stats
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, Runner

from simulator.errors import INTERRUPTED, BackendUnavailable
from simulator.load import metrics, options
from simulator.load.cast import cast
from simulator.load.children import Child, End
from simulator.load.latecomers import Latecomers
from simulator.load.shape import FleetShape
from simulator.report.facts import Level

logger = logging.getLogger("fleetsim")

ENGINES_MAX_S = 60.0  # for those of all workers to be ready
JUDGE_MAX_S = 10.0
END_MAX_S = 300.0  # counting, and asking the backend for every message
REPORT_MAX_S = 10.0  # for a worker's last statistics
LOOK_S = 0.5
MISSING_S = 2.0  # so long a worker may be away

Deliver = Callable[[str, dict[str, Any]], None]  # (worker, what)


class Lead:
    """Starts the coordinator; SystemExit with its message and its exit code when it cannot get ready."""

    def __init__(self, environment: Environment, runner: Runner, deliver: Deliver) -> None:
        """`deliver` takes what the coordinator tells a worker."""
        self._environment, self._runner, self._deliver = environment, runner, deliver
        self._options = environment.parsed_options
        self._csv_prefix: str | None = self._options.csv_prefix
        self.picture: dict[str, Any] = {}  # of the run as it is, every second
        self.verdict: dict[str, Any] = {}  # of the test that is over; empty while one is on
        self._judged: AsyncResult | None = None
        self._ended: AsyncResult | None = None
        self._finished = Event()
        self._finished.set()
        self._on = self._over = self._quitting = self._failed = False
        self._known: set[str] = set()
        self._reported: set[str] = set()  # workers whose statistics came since the end
        self._ready_workers: set[str] = set()
        self._shape: FleetShape | None = None
        self._child = Child(
            "coordinator", options.coordinator_arguments(self._options), heard=self._heard, lost=self._lost
        )

    def wait_until_ready(self) -> None:
        """Until the target is, and the fleet provisioned."""
        try:
            self._child.wait_until_ready()
        except KeyboardInterrupt:
            self._leave(INTERRUPTED)
        if end := self._child.end:
            sys.stderr.write(f"{end.error}\n")
            self._leave(end.exit_code)
        facts = self._child.facts
        self._environment.host = self._environment.host or facts["target"]
        logger.info("%(devices)d devices of scenario '%(scenario)s' are ready, seed %(seed)d", facts)
        events = self._environment.events
        events.test_start.add_listener(self._test_start)
        events.spawning_complete.add_listener(self._spawned)
        events.test_stopping.add_listener(self._test_stopping)
        events.quitting.add_listener(self._quit_is_near)
        if isinstance(self._runner, MasterRunner):
            events.worker_report.add_listener(lambda client_id, **_: self._reported.add(client_id))
            self._runner.greenlet.spawn(self._look_after_workers, self._runner)
            if self._options.headless or self._options.autostart:
                self._wait_for_workers(self._options.expect_workers)  # or the time of the run would begin without them
        # Locust's own handler comes too late where a shape runs without a head.
        gevent.signal_handler(signal.SIGTERM, self._terminated)
        if shape := options.shape(self._options):
            self._shape = FleetShape(shape, cast.people, self._options.run_time, self._judge, self._child.tell)
            self._shape.runner = self._runner
            self._environment.shape_class = self._shape

    @property
    def facts(self) -> dict[str, Any]:
        """What the coordinator said when it was ready: devices, scenario, seed, target."""
        return self._child.facts

    def _leave(self, exit_code: int) -> None:
        self._child.close()
        if isinstance(self._runner, MasterRunner):
            self._runner.quit()  # So that the workers know.
        sys.exit(exit_code)

    def close(self) -> None:
        self._child.close()

    # Between workers and coordinator

    def carry(self, worker: str, line: bytes) -> None:
        """What a worker says, as it came."""
        self._known.add(worker)
        self._child.tell_line(b'{"from":' + orjson.dumps(worker) + b',"said":' + line + b"}")
        if line == b'{"ready":true}':
            self._ready_workers.add(worker)

    def _heard(self, said: dict[str, Any], _: bytes) -> None:
        match said:
            case {"to": str(worker), "tell": dict(what)}:
                self._deliver(worker, what)
            case {"picture": dict(picture)}:
                self.picture = picture
                self._write_table()
            case {"judged": {"passed": bool(passed), "why": str(why)}} if self._judged:
                self._judged.set((passed, why))
            case {"failed": {"error": str(error), "exit_code": int(code), "log_tail": [*tail]}}:
                self.fail(End(error, code, tail))
            case {"ended": dict(how)} if self._ended:
                self._ended.set(how)
            case {"progress": str(line)} | {"log": str(line)} if not self._drawn():
                logger.info("%s", line)

    def _drawn(self) -> bool:
        """Is the terminal the coordinator's now?"""
        return bool(self._options.fleet_show and self._on and sys.stderr.isatty())

    def _write_table(self) -> None:
        if self._csv_prefix:
            try:
                metrics.write(self.picture["rows"], self._csv_prefix)
            except OSError as error:  # a full disk is no reason to stop a load, but one to say so, once
                logger.warning("%s_fleet.csv cannot be written: %s", self._csv_prefix, error.strerror)
                self._csv_prefix = None

    # Locust's tests

    def _test_start(self, **_: Any) -> None:
        if self._child.end:
            logger.error("there is no coordinator any more (%s): start Locust again", self._child.end.error)
            gevent.spawn(self._runner.stop)
            raise gevent.GreenletExit  # Ends the start of the test. Locust's own StopTest prints a traceback.
        if isinstance(self._runner, MasterRunner):
            self._wait_for_engines(self._runner)
        self._on, self._failed = True, False
        self.picture, self.verdict = {}, {}
        self._finished.clear()
        self._child.tell({"begin": True})

    def _wait_for_workers(self, count: int) -> None:
        with gevent.Timeout(self._options.expect_workers_max_wait or ENGINES_MAX_S, False):
            while len(self._ready_workers) < count and not self._child.end:
                gevent.sleep(LOOK_S / 5)

    def _wait_for_engines(self, runner: MasterRunner) -> None:
        with gevent.Timeout(ENGINES_MAX_S, False):
            while not {client.id for client in runner.clients.ready} <= self._ready_workers and not self._child.end:
                gevent.sleep(LOOK_S / 5)

    def _spawned(self, user_count: int, **_: Any) -> None:
        logger.log(logging.DEBUG if self._shape else logging.INFO, "%d users", user_count)

    def _test_stopping(self, **_: Any) -> None:
        """Count, judge and report, while all users are still there."""
        if not self._on:
            self._finished.wait(END_MAX_S)  # Somebody else is at it.
            return
        self._on = False
        how = "interrupted" if self._was_interrupted() else "stopped"
        self._ended = AsyncResult()
        self._child.tell({"end": how})
        verdict: dict[str, Any] = {}
        with gevent.Timeout(0 if self._child.end else END_MAX_S, False):  # the dead do not answer
            verdict = self._ended.get() or {}
        self._ended = None
        self.verdict = verdict or {"verdict": "unavailable", "reason": self._child.end.error if self._child.end else ""}
        self._wait_for_statistics()
        if self._options.out:
            if not self._failed:
                self._environment.process_exit_code = verdict.get("exit_code", BackendUnavailable.exit_code)
        elif verdict.get("verdict") == "unavailable":
            sys.stderr.write(f"{verdict['reason']}\n")
            self._environment.process_exit_code = verdict["exit_code"]
        if self._shape:
            self._shape.renew()
        self._over = bool(self._options.headless)
        self._finished.set()

    def _was_interrupted(self) -> bool:
        """Did this test end for another reason than that its time had come, or that somebody pressed the button?"""
        if self._failed:
            return False
        if self._environment.web_ui or not self._shape:
            return self._quitting
        return not self._shape.over

    def _wait_for_statistics(self) -> None:
        """So that Locust's own are complete: each worker reports every few seconds."""
        if isinstance(self._runner, MasterRunner):
            self._reported.clear()
            with gevent.Timeout(REPORT_MAX_S, False):
                while not {client.id for client in self._workers(self._runner)} <= self._reported:
                    gevent.sleep(LOOK_S / 5)
        if self._options.csv_prefix:
            gevent.sleep(stats.CSV_STATS_INTERVAL_SEC + LOOK_S)  # Locust writes them once more

    def _judge(self, devices: int) -> Level:
        """Was the level good?"""
        self._judged = AsyncResult()
        self._child.tell({"judge": devices})
        with suppress(gevent.Timeout):
            passed, why = self._judged.get(timeout=JUDGE_MAX_S)
            logger.info("%d devices: %s", devices, "good" if passed else why)
            return Level(devices, passed, why)
        return Level(devices, False, "the coordinator does not answer")

    # What goes wrong

    def _terminated(self) -> None:
        self._quitting = True
        self._runner.quit()

    def _quit_is_near(self, **_: Any) -> None:
        """Locust ends. Whoever ends a test this way interrupts it."""
        self._quitting = True
        if self._on:
            self._test_stopping()

    def _workers(self, runner: MasterRunner) -> list[Any]:
        return [client for client in runner.clients.all if client.state != STATE_MISSING]

    def _look_after_workers(self, runner: MasterRunner) -> None:
        """Locust has no event for a worker that is not there any more. Between two tests each leaves for a moment."""
        missing_s: dict[str, float] = {}
        latecomers = Latecomers(runner)
        while True:
            gevent.sleep(LOOK_S)
            if self._over:
                return  # They end as they should.
            latecomers.employ(self._ready_workers)
            there = {client.id for client in self._workers(runner)}
            for worker in self._known & there:
                missing_s.pop(worker, None)
            for worker in self._known - there:
                missing_s[worker] = missing_s.get(worker, 0.0) + LOOK_S
                if missing_s[worker] > MISSING_S:
                    self._known.discard(worker)
                    self._ready_workers.discard(worker)
                    self._child.tell({"gone": worker})

    def _lost(self, end: End) -> None:
        if self._ended:
            self._ended.set({})
        if self._judged:
            self._judged.set((False, end.error))
        self.fail(end)

    def fail(self, end: End) -> None:
        """Nothing can go on: the test stops, and Locust too when nobody is there to look at it."""
        if self._failed:
            return
        self._failed = True
        sys.stderr.write("\n".join([end.error, *end.log_tail]) + "\n")
        self._environment.process_exit_code = end.exit_code
        gevent.spawn(self._runner.stop if self._environment.web_ui else self._runner.quit)


def end_with_stdin(runner: Runner) -> None:
    """Locust ends in order when whoever started it is gone."""

    def watch() -> None:
        make_nonblocking(0)
        with suppress(OSError):
            while nb_read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    runner.greenlet.spawn(watch)
