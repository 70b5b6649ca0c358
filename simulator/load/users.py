"""Locust's users. One user is one device of the fleet."""

from locust import User, constant, events, task

from simulator.load import options, session

LONG_S = 86_400


class DeviceUser(User):  # type: ignore[misc]  # Locust is not type-checked
    """A device: switched on while the user runs. What it does, it does in the engine child."""

    # Waiting, a user can be stopped at once; and what waits costs nothing.
    wait_time = constant(LONG_S)
    place: int | None = None

    def on_start(self) -> None:
        self.place = self.environment.fleet.take()

    def on_stop(self) -> None:
        self.environment.fleet.give_back(self.place)

    @task  # type: ignore[untyped-decorator]
    def live(self) -> None:
        """Nothing to do here."""


def listen() -> None:
    """Join in with Locust. Called by a locustfile."""
    events.init_command_line_parser.add_listener(options.add_to)
    events.init.add_listener(session.begin)
