"""The locustfile of `fleetsim load`; the one in the repository's root is for users of Locust."""

from simulator.load.people import Dashboard, Downloader, Operator
from simulator.load.users import MqttDevice, RestDevice, TcpDevice, listen

__all__ = ["Dashboard", "Downloader", "MqttDevice", "Operator", "RestDevice", "TcpDevice"]

listen()
