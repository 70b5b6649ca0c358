"""One fleet under Locust: Locust's events on one side, the engine child on the other.

The child is made ready at Locust's `init`, after any fork, so that a test's run time is all load; it stays for as
many tests as Locust runs, each of which begins with the fleet as new, and ends with Locust.
"""

import logging
import sys
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import Runner

from simulator.errors import INTERRUPTED
from simulator.load import options
from simulator.load.engine import End, EngineChild
from simulator.load.places import Places
from simulator.load.statistics import merge
from simulator.runtime.meter import Row

logger = logging.getLogger("fleetsim")


class Session:
    """Gives devices to users, and what they measured to Locust's statistics."""

    def __init__(self, environment: Environment, runner: Runner) -> None:
        """Starts the child; SystemExit with its message and its exit code when it cannot get ready."""
        self._environment, self._runner = environment, runner
        self._child = EngineChild(
            options.child_arguments(environment.parsed_options), say=logger.info, show=self._show, lost=self._lost
        )
        try:
            self._child.wait_until_ready()
        except KeyboardInterrupt:
            self._child.close()
            sys.exit(INTERRUPTED)
        if end := self._child.end:
            sys.stderr.write(f"{end.error}\n")
            sys.exit(end.exit_code)
        self._facts = self._child.facts
        self._places = Places(self._facts["devices"])
        self._idle = 0
        environment.host = environment.host or self._facts["target"]
        logger.info("%(devices)d devices of scenario '%(scenario)s' are ready, seed %(seed)d", self._facts)
        environment.events.test_start.add_listener(self._test_start)
        environment.events.spawning_complete.add_listener(self._spawned)
        environment.events.test_stop.add_listener(self._test_stop)
        environment.events.quit.add_listener(self._quit)

    # Users

    def take(self) -> int | None:
        """Switch a device on for a user; None when all are taken: the user stays idle."""
        index = self._places.take()
        if index is not None:
            self._child.start(index)
            return index
        if not self._idle:
            logger.warning("all %d devices of the fleet are in use: every further user stays idle", self._places.size)
        self._idle += 1
        return None

    def give_back(self, index: int | None) -> None:
        """The user is gone: its device is switched off."""
        if index is None:
            self._idle -= 1
        else:
            self._child.stop(index)
            self._places.give_back(index)

    # Locust

    def _test_start(self, **_: Any) -> None:
        if self._child.end:
            logger.error("there is no engine any more (%s): start Locust again", self._child.end.error)
            gevent.spawn(self._runner.stop)
            raise gevent.GreenletExit  # Ends the start of the test. Locust's own StopTest prints a traceback.

    def _spawned(self, user_count: int, **_: Any) -> None:
        gevent.sleep(0)  # The last users have yet to begin.
        logger.info("%d users: %d devices, %d idle", user_count, self._places.taken, self._idle)

    def _test_stop(self, **_: Any) -> None:
        self._child.settle()

    def _quit(self, **_: Any) -> None:
        self._child.close()

    # The child

    def _show(self, row: Row, at_s: float) -> None:
        merge(self._environment.stats, row, at_s)

    def _lost(self, end: End) -> None:
        """Nothing can go on: the test stops, and Locust too when nobody is there to look at it."""
        logger.error("%s", "\n".join([end.error, *end.log_tail]))
        self._environment.process_exit_code = end.exit_code
        if self._environment.web_ui:
            self._runner.stop()
        else:
            self._runner.quit()


def begin(environment: Environment, runner: Runner, **_: Any) -> None:
    """Locust's event `init`."""
    environment.fleet = Session(environment, runner)
