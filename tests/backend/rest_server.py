"""The REST gateway as the tests ask it: served in a thread, and what they POST to it."""

import asyncio
import http.client
import json
import threading
from pathlib import Path
from typing import Any, NamedTuple

from simulator.backend.__main__ import http_server, listen, now_ms
from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rest_gateway import Gateway
from simulator.backend.rules import load_rules
from simulator.backend.store import FILE, Store

DEADLINE_S = 30.0
AT_MS = 1_767_225_600_000
RULE = {"ruleId": "hot", "productId": "prod-a", "condition": "metrics.tempC > 80"}


def message(**change: Any) -> dict[str, Any]:
    """A message that is in order, except for what is changed; None takes a field away."""
    whole = {"device_id": "press-01", "productId": "prod-a", "device_timestamp": AT_MS, "metrics": {"tempC": 26.3}}
    return {name: value for name, value in (whole | change).items() if value is not None}


def fire(**change: Any) -> dict[str, Any]:
    """A fire sensor's normal record."""
    record = {
        "deviceId": "device-001", "idx": 1, "status": 0, "volt": 220, "voltLow": 220, "ct": 5, "zct": 0.5, "rzct": 0.3,
        "pwr": 1.1, "pcbTemp": 35, "sensorTemp": 37, "co": 5, "voc": 50, "pFct": 0.95, "aArc": 0,
    }  # fmt: skip
    return record | change


class Said(NamedTuple):
    """An answer."""

    status: int
    body: Any
    headers: dict[str, str]


class Nobody:
    """Takes calls to AWS and answers none."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def submit(self, call: Call) -> bool:
        self.calls.append(call)
        return True


class Server:
    """A gateway with its store, served by uvicorn in a thread."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.calls = Nobody()
        self.broken: list[BaseException] = []
        self._options = options
        self._ready = threading.Event()
        self._listener = listen("rest_port", 0)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        self.queries = Queries(folder / FILE)

    async def _serve(self) -> None:
        store = Store(self.folder)
        self.pipeline = Pipeline(Backend(load_rules([RULE])), store, now_ms)
        self.pipeline.start(self.calls)
        self.gateway = Gateway(self.pipeline, self.broken.append, **self._options)
        self.loop = asyncio.get_running_loop()
        self._server = http_server(self.gateway.app)
        self._ready.set()
        with self._listener:
            await self._server.serve(sockets=[self._listener])
        self.gateway.close()
        store.close()

    def post(self, body: Any, path: str = "/ingest/telemetry", method: str = "POST", **headers: str) -> Said:
        """One request; header names with '_' for '-'."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        named = {"content-type": "application/json"} | {name.replace("_", "-"): v for name, v in headers.items()}
        return post(self.port, path, body, named, method)

    def stored(self) -> int:
        return int(self.queries.counts()["stored"].get("telemetry", 0))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        self.queries.close()


def post(port: int, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> Said:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Said(answer.status, json.loads(answer.read() or b"null"), {k.lower(): v for k, v in answer.getheaders()})
    finally:
        connection.close()
