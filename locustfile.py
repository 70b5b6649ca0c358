"""The fleet under Locust: `locust -f locustfile.py`, with all of Locust's own flags, and these:

--scenario NAME     whose fleet the users are: a file, or the name of a shipped scenario (alarm-to-ota)
--set NAME=VALUE    a parameter of the scenario
--fleet-seed N      everything random comes from it (the scenario's)
--target NAME       sandbox (started and stopped with Locust), aws, or the path of a target file
--state FOLDER      for keys and certificates (a temporary one)
--yes               on a target that is not the sandbox: write without asking
--out FOLDER        judge the scenario's checks, write report.html and report.json, exit with the verdict
"""

from simulator.load.people import Dashboard, Downloader, Operator
from simulator.load.users import MqttDevice, RestDevice, TcpDevice, listen

__all__ = ["Dashboard", "Downloader", "MqttDevice", "Operator", "RestDevice", "TcpDevice"]

listen()
