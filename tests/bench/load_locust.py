"""The locustfile of `load_bench`: the fleet under Locust as `fleetsim load` runs it, and twice a second on stdout what
came of it: {"done": messages, "cpu_s": of Locust, "child_cpu_s": of its engine child, "at_s": …}.
"""

import json
import resource
import time
from typing import Any

import gevent
from locust import events

from simulator.load.locustfile import Dashboard, Downloader, MqttDevice, Operator, RestDevice, TcpDevice
from tests.bench.backend_bench import cpu_s

__all__ = ["Dashboard", "Downloader", "MqttDevice", "Operator", "RestDevice", "TcpDevice"]


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_: Any) -> None:
    """Tell on while it runs. Called behind fleetsim's own listener, so its engine is there."""

    def tell_on() -> None:
        while True:
            used = resource.getrusage(resource.RUSAGE_SELF)
            entry, child = environment.stats.entries.get(("telemetry", "MQTT")), environment.fleet._child
            done = entry.num_requests if entry else 0
            print(json.dumps({
                "done": done, "cpu_s": used.ru_utime + used.ru_stime,
                "child_cpu_s": cpu_s(child._process.pid), "at_s": time.monotonic(),
            }), flush=True)  # fmt: skip
            gevent.sleep(0.5)

    gevent.spawn(tell_on)
