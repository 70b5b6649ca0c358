"""Workers that join while Locust spawns: it forgets them, and they would never get a user."""

from collections.abc import Set

from locust.runners import STATE_RUNNING, MasterRunner


class Latecomers:
    """Of one master, for as long as it runs."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._employed: set[str] = set()

    def employ(self, workers: Set[str]) -> None:
        """Gives their part of the users to those of these workers that have none, once nothing is spawned any more."""
        runner = self._runner
        late = {client.id for client in runner.clients.ready} & workers - self._employed
        if late and runner.rebalancing_enabled() and runner.state == STATE_RUNNING and runner.spawning_completed:
            self._employed |= late  # once each: there may be fewer users than workers
            runner.start(runner.target_user_count, runner.spawn_rate)
