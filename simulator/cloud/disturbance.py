"""What is done to the cloud on purpose: throttling, server errors, slow answers, an outage, a wrong clock.

Requests are named as AWS names them: `iot:CreateJob`, `iot-data:UpdateThingShadow`, `s3:GET` (a service that has no
model here, by its method); a message that a device publishes is `mqtt:Publish`. Rules: a throttled message is neither
taken nor acknowledged, as in AWS; acknowledgements that come late keep their order. In an outage all connections are
cut and none is accepted; what the cloud holds stays, for it is only in memory.
"""

import asyncio
import datetime as dt
import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from simulator.cloud.doors import Door
from simulator.cloud.front import SERVICES, raw_path, signing_service
from simulator.cloud.rest_json import api
from simulator.disturbances import Answer, App, Bucket, Disturbances, Order

PUBLISH = "mqtt:Publish"
_PUBACK = 0x40
_APART_S = 1e-6  # timers of the same moment fire in any order
_LOG = logging.getLogger("fleetsim.cloud")


class Disturbance:
    """Carries the orders out in this process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, doors: Sequence[Door]) -> None:
        """`doors` may still grow."""
        self.orders = Disturbances()
        self._loop, self._doors = loop, doors
        self._opening: set[asyncio.Task[Any]] = set()
        self._clock_is_ours = False

    def take(self, line: bytes) -> None:
        """Obey a line of stdin."""
        try:
            _LOG.info("disturbance: %s", self.orders.take(line))
        except ValueError as error:
            _LOG.warning("ignored on stdin: %s", error)
            return
        if self.orders.of("part_clock") and not self._clock_is_ours:
            self._clock_is_ours = True
            move_clock(self.orders.off_s)
        self._doors_follow()

    def around(self, app: App) -> App:
        """The front, with what is done to its answers."""
        return self.orders.around(app, name_of, refusal)

    def install(self, iot: Any) -> None:
        """Be asked for each message that comes in MiniStack's module `services.iot`."""
        iot._WSSession = type("Disturbed", (Disturbed, iot._WSSession), {"_disturbances": self.orders})

    def _doors_follow(self) -> None:
        """Open or shut, as the orders are now, and look again when that may change."""
        if self.orders.is_out():
            for door in self._doors:
                door.shut()
            if (at_s := self.orders.ends_s()) is not None:
                self._loop.call_later(max(0.0, at_s - self.orders.now_s()) + _APART_S, self._doors_follow)
        else:
            for door in self._doors:
                if door.is_shut:
                    task = self._loop.create_task(door.open())
                    self._opening.add(task)
                    task.add_done_callback(self._opened)

    def _opened(self, task: "asyncio.Task[Any]") -> None:
        self._opening.discard(task)
        if task.exception() is not None:
            _LOG.error("a port could not be opened again", exc_info=task.exception())
        elif self.orders.is_out():  # meanwhile
            self._doors_follow()


class Disturbed:
    """Mixed in before MiniStack's `_WSSession`, as we have it (`connections`)."""

    _disturbances: Disturbances

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._bucket = Bucket()
        self._said_s = 0.0  # when the last acknowledgement goes out

    async def _publish(self, flags: int, body: bytes) -> bool:
        if self._disturbances.throttles(PUBLISH, self._bucket):
            return True
        return bool(await super()._publish(flags, body))  # type: ignore[misc]

    async def send_bytes(self, data: bytes) -> None:
        if data[0] & 0xF0 == _PUBACK:
            loop = asyncio.get_running_loop()
            delay_s, now_s = self._disturbances.delay_s(PUBLISH), loop.time()
            if delay_s or now_s < self._said_s:
                self._said_s = max(now_s + delay_s, self._said_s + _APART_S)
                loop.call_at(self._said_s, self._outbox.write, data)  # type: ignore[attr-defined]
                return
        await super().send_bytes(data)  # type: ignore[misc]


def name_of(scope: Any) -> str:
    """What AWS calls the operation of a request."""
    service = signing_service(scope)
    for model in map(api, SERVICES.get(service, ())):
        if found := model.match(scope["method"], raw_path(scope)):
            return f"{model.service}:{found[0]}"
    return f"{service or 's3'}:{scope['method']}"


def refusal(name: str, order: Order) -> Answer:
    """The answer of a service that has too much to do, or is ill."""
    service, throttled, broken = name.partition(":")[0], order.kind == "throttling", order.status == 500
    if service in ("iot", "iot-data", "iot-jobs-data"):
        code = "InternalFailureException" if broken else "ServiceUnavailableException"
        status, message = order.status, "The service is not well"
        if throttled:
            code, message = "ThrottlingException", "Rate exceeded"
            status = api(service).status_of(code) or 429
        headers = {"content-type": "application/json", "x-amzn-errortype": code}
        return status, headers, json.dumps({"message": message}).encode()
    request_id = f"<RequestId>{uuid.uuid4()}</RequestId>"
    if service == "s3":
        status = 503 if throttled else order.status
        code = "SlowDown" if throttled else "InternalError" if broken else "ServiceUnavailable"
        text = f"<Error><Code>{code}</Code><Message>Please try again.</Message>{request_id}</Error>"
    else:
        status = 400 if throttled else order.status
        code = "Throttling" if throttled else "InternalFailure" if broken else "ServiceUnavailable"
        fault = f"<Error><Code>{code}</Code><Message>Please try again.</Message></Error>"
        text = f"<ErrorResponse>{fault}{request_id}</ErrorResponse>"
    return status, {"content-type": "application/xml"}, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def move_clock(off_s: Callable[[], float]) -> None:
    """Let this process take it to be later or earlier than it is, from now on.

    Moved: the check of signatures and of presigned URLs, the URLs that jobs presign, and what is written down of
    things, shadows, jobs and objects. Not moved: certificates, and timers, which run by another clock.
    """
    from ministack.core import sigv4
    from ministack.services import iot, s3

    real_s, real_ns, gmtime = time.time, time.time_ns, time.gmtime

    class Moved(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.now(tz) + dt.timedelta(seconds=off_s())

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(dt.UTC).replace(tzinfo=None)

    time.time = lambda: real_s() + off_s()
    time.time_ns = lambda: real_ns() + int(off_s() * 1e9)
    time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
    sigv4.dt = s3._dt = SimpleNamespace(**{**vars(dt), "datetime": Moved})
    iot.datetime = Moved
