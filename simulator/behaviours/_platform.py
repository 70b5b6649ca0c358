"""The data platform's JSON, as every behaviour that speaks to it writes it.

    {"hub_timestamp": ms, "nodes": […], "device_timestamp": ms, "data": {…}}

`hub_timestamp` stands where a hub is on the way, `nodes` in what a hub says itself.
"""

from typing import Any

import orjson

from simulator.behaviours import Body
from simulator.messages import Publish

EVENT = "iotlink/{env}/{hub}/{thing}/event"  # all topics of events begin with it


def document(body: Body, now_ms: int, data: dict[str, Any]) -> bytes:
    """A message of the platform with its times."""
    at_ms = body.clock_ms(now_ms)
    return orjson.dumps({**body.envelope(at_ms), "device_timestamp": at_ms, "data": data})


def report(body: Body, now_ms: int, kind: str, topic: str, data: dict[str, Any]) -> Publish:
    """Such a message, told apart from others of its kind by its time."""
    return Publish(kind, topic, document(body, now_ms, data), stamp=body.clock_ms(now_ms))


def asked(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload; empty for anything else: a device ignores what it cannot read."""
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def inside(found: dict[str, Any], name: str) -> dict[str, Any]:
    """`data.<name>` of a message; empty when there is no such object."""
    data = found.get("data")
    inner = data.get(name) if isinstance(data, dict) else None
    return inner if isinstance(inner, dict) else {}
