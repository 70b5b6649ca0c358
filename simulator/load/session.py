"""One fleet under Locust: who has which part of it. Locust's event `init`.

    one Locust   lead and crew in the same process
    master       the lead; workers: a crew each. They speak by Locust's own messages, one kind in each direction.

What is started is started here, after any fork; it stays for as many tests as Locust runs, and ends with Locust.
"""

import logging
import os
import time
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from simulator.load import pages
from simulator.load.cast import cast
from simulator.load.children import End
from simulator.load.crew import Crew, complain
from simulator.load.lead import Lead, end_with_stdin

logger = logging.getLogger("fleetsim")

MESSAGE = "fleetsim"
MASTER_SILENT_MAX_S = 10.0
LOOK_S = 1.0


def begin(environment: Environment, runner: Runner, **_: Any) -> None:
    """Get everything ready; SystemExit when that is not possible."""
    if environment.parsed_options.fleet_show:
        _speak_plainly()
    if isinstance(runner, WorkerRunner):
        _begin_worker(environment, runner)
    elif isinstance(runner, MasterRunner):
        leads: list[Lead] = []  # Workers may greet before there is one; they do it again.

        def carry(msg: Any, **_: Any) -> None:
            for lead in leads:
                lead.carry(msg.node_id, msg.data)

        runner.register_message(MESSAGE, carry)
        lead = Lead(environment, runner, lambda worker, what: runner.send_message(MESSAGE, what, worker))
        leads.append(lead)
        _begin_lead(environment, runner, lead)
        environment.events.quit.add_listener(lambda **_: lead.close())
    else:
        _begin_both(environment, runner)


def _speak_plainly() -> None:
    """What we have to say is little, and somebody else shows what is measured."""
    plain = logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(plain)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)
    # Locust means users that work in its own process; a device costs it next to nothing.
    logging.getLogger("locust.runners").addFilter(lambda line: "spawn rate is very high" not in line.getMessage())


def _begin_lead(environment: Environment, runner: Runner, lead: Lead) -> None:
    environment.fleet_lead = lead  # for the pages of Locust's UI
    lead.wait_until_ready()
    pages.add_to(environment)
    if environment.parsed_options.end_with_stdin:
        end_with_stdin(runner)


def _begin_both(environment: Environment, runner: Runner) -> None:
    crews: list[Crew] = []
    lead = Lead(environment, runner, lambda _, what: crews[0].told(what))
    _begin_lead(environment, runner, lead)
    crew = Crew(
        environment, lambda line: lead.carry("local", line), lambda why, code: lead.fail(End(why, code, [])),
        lambda _: None,
    )  # fmt: skip
    crews.append(crew)
    environment.fleet = crew
    crew.wait_until_ready()
    environment.events.test_stop.add_listener(lambda **_: crew.settle())
    environment.events.quit.add_listener(lambda **_: crew.close())
    environment.events.quit.add_listener(lambda **_: lead.close())


def _begin_worker(environment: Environment, runner: WorkerRunner) -> None:
    def ended(why: str, exit_code: int) -> None:
        complain(why)
        environment.process_exit_code = exit_code
        if not crew.is_member:
            # Not in order: a master that waits for workers ends when the last one that it has says goodbye.
            os._exit(exit_code)
        gevent.spawn(runner.quit)

    forked = bool(environment.parsed_options.processes)
    crew = Crew(
        environment, lambda line: runner.send_message(MESSAGE, line), ended,
        lambda brief: cast.configure(brief.scenario, brief.profiles),
    )  # fmt: skip
    runner.register_message(MESSAGE, lambda msg, **_: crew.told(msg.data))
    environment.fleet = crew
    environment.events.test_stop.add_listener(lambda **_: crew.settle())
    environment.events.quit.add_listener(lambda **_: crew.close())
    runner.greenlet.spawn(_look_after_master, runner, os.getppid() if forked else None, ended)


def _look_after_master(runner: WorkerRunner, parent: int | None, ended: Any) -> None:
    """A load that nobody conducts any more must end."""
    while True:
        gevent.sleep(LOOK_S)
        heard_s = runner.last_heartbeat_timestamp
        silent = heard_s is not None and time.time() - heard_s > MASTER_SILENT_MAX_S
        if silent or (parent is not None and os.getppid() != parent):
            ended("the master is gone, so this worker ends", 3)
            return
