"""Locust's users that are devices, one class for each channel, and what makes Locust ours.

Rules: a user is one device; which one is nobody's business. What it does, it does in the engine child.
"""

from locust import User, constant, events, tag, task

from simulator.load import options, session
from simulator.load.cast import cast
from simulator.load.people import Dashboard, Downloader, Operator

LONG_S = 86_400


class _Device(User):  # type: ignore[misc]  # Locust is not type-checked
    """A device: switched on while the user runs."""

    abstract = True
    channel = ""
    # Waiting, a user can be stopped at once; and what waits costs nothing.
    wait_time = constant(LONG_S)

    def on_start(self) -> None:
        self.environment.fleet.join(self.channel)

    def on_stop(self) -> None:
        self.environment.fleet.leave(self.channel)


class MqttDevice(_Device):
    """A device that speaks MQTT."""

    channel = "mqtt"

    @tag("devices", "mqtt")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def live(self) -> None:
        """Nothing to do here."""


class TcpDevice(_Device):
    """A device that sends frames over TCP."""

    channel = "tcp"

    @tag("devices", "tcp")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def live(self) -> None:
        """Nothing to do here."""


class RestDevice(_Device):
    """A device that posts."""

    channel = "rest"

    @tag("devices", "rest")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def live(self) -> None:
        """Nothing to do here."""


def listen() -> None:
    """Join in with Locust. Called by a locustfile."""
    cast.take((MqttDevice, TcpDevice, RestDevice), (Operator, Dashboard, Downloader))
    events.init_command_line_parser.add_listener(options.add_to)
    events.init.add_listener(session.begin)
