"""Run by test_late_worker.py in a process of its own, since importing locust patches the whole process.

A master and two workers, all of Locust's own, which speak over sockets. The second worker joins when the master has
given all users to the first, and none of them is there yet: then Locust forgets who joins.

stdin   {"users": n}
stdout  {"forgotten": …, "not_ready": …, "employed": …, "again": …}: after each step {"users": [of the first worker, of
        the second], "spawned": how often the master has spawned}
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from simulator.load.latecomers import Latecomers  # first: it imports locust

# isort: split
import gevent
from gevent.event import Event
from locust import User, constant, task
from locust.env import Environment
from locust.runners import WorkerRunner

from tests.load.load_processes import free_port

PATIENCE_S = 10
LOOK_S = 0.01
MAY_BEGIN = Event()


class Patient(User):  # type: ignore[misc]
    """Is not there before it may begin, and does nothing then."""

    wait_time = constant(PATIENCE_S)

    def __init__(self, environment: Environment) -> None:
        MAY_BEGIN.wait()
        super().__init__(environment)

    @task  # type: ignore[untyped-decorator]
    def rest(self) -> None:
        pass


def environment() -> Environment:
    """For one runner."""
    options = Namespace(enable_rebalancing=True, web_base_path="", headless=True)
    return Environment(user_classes=[Patient], parsed_options=options)


def until(seen: Callable[[], object]) -> None:
    """Wait, but not for ever: what is said after that shows what did not come."""
    with gevent.Timeout(PATIENCE_S, False):
        while not seen():
            gevent.sleep(LOOK_S)


def main() -> None:
    users = json.load(sys.stdin)["users"]
    port = free_port()
    master = environment().create_master_runner("127.0.0.1", port)
    spawned: list[int] = []
    master.environment.events.spawning_complete.add_listener(lambda user_count: spawned.append(user_count))
    workers: list[WorkerRunner] = [environment().create_worker_runner("127.0.0.1", port)]
    spawning = gevent.spawn(master.start, users, users)
    until(lambda: master.target_user_classes_count)  # all of them are given away
    workers.append(environment().create_worker_runner("127.0.0.1", port))
    MAY_BEGIN.set()
    spawning.join(PATIENCE_S)

    def counts() -> list[int]:
        return [worker.user_count for worker in workers]

    def stand() -> dict[str, Any]:
        return {"users": counts(), "spawned": len(spawned)}

    latecomers, said = Latecomers(master), {"forgotten": stand()}
    latecomers.employ({workers[0].client_id})
    said["not_ready"] = stand()
    for step in ("employed", "again"):
        latecomers.employ({worker.client_id for worker in workers})
        until(lambda: sum(counts()) == users and max(counts()) - min(counts()) <= 1)
        said[step] = stand()
    json.dump(said, sys.stdout)
    master.quit()


os.environ["LOCUST_WAIT_FOR_WORKERS_REPORT_AFTER_RAMP_UP"] = str(PATIENCE_S)
main()
