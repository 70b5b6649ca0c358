"""The `rest` link and the real gateway: all is stored once, throttled or not, and what is wrong is refused."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.backend.__main__ import http_server, listen, now_ms, url_of
from simulator.backend.core import Backend
from simulator.backend.effects import Call
from simulator.backend.pipeline import Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rest_gateway import Gateway
from simulator.backend.rules import load_rules
from simulator.backend.store import Store
from simulator.messages import Publish
from tests.links.rest_peers import PATIENCE_S, TELEMETRY, codes, connect, jump, opened, run, sample, until


class Nobody:
    def submit(self, call: Call) -> bool:
        return True


async def beside_gateway(folder: Path, use: Callable[[str, Queries], Awaitable[None]], **options: Any) -> None:
    """Run something beside a real gateway."""
    store = Store(folder)
    pipeline = Pipeline(Backend(load_rules([])), store, now_ms)
    pipeline.start(Nobody())
    gateway = Gateway(pipeline, lambda error: None, **options)
    server = http_server(gateway.app)
    queries = Queries(store.path)
    with listen("rest_port", 0) as listener:
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        try:
            await use(url_of(listener), queries)
        finally:
            for link in opened:
                link.sever()
            await asyncio.sleep(0)
            server.should_exit = True
            await task
            gateway.close()
            queries.close()
            store.close()


@pytest.mark.parametrize("settings", [{}, {"mode": "batch"}, {"mode": "csv"}, {"mode": "batch", "gzip": True}])
def test_all_that_is_sent_is_in_the_store_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    async def use(url: str, queries: Queries) -> None:
        links = [connect(url, f"press-{i}", batch_max=4, **settings) for i in range(10)]
        for number in range(10):
            for i, (link, _) in enumerate(links):
                link.send(sample(number, f"press-{i}", tempC=number / 7, open=True, note="ü,\n"))
        await until(lambda: all(codes(sink) == [0] * 10 for _, sink in links))
        counts = queries.counts()
        assert (counts["stored"], counts["duplicates"], counts["dead"]) == ({"telemetry": 100}, 0, {})
        (latest,) = queries.telemetry("press-3", 1)["telemetry"]
        assert latest["metrics"] == {"tempC": 9 / 7, "open": True, "note": "ü,\n"}

    run(lambda: beside_gateway(tmp_path, use), on_uvloop=True)


def test_a_throttled_fleet_gets_through_in_the_end(tmp_path: Path) -> None:
    async def use(url: str, queries: Queries) -> None:
        links = [connect(url, f"press-{i}", retries_max=100) for i in range(3)]
        for number in range(3):
            for i, (link, _) in enumerate(links):
                link.send(sample(number, f"press-{i}"))
        deadline_s = time.monotonic() + PATIENCE_S
        while not all(codes(sink) == [0] * 3 for _, sink in links):
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)
            jump(0.2)
        assert queries.counts()["stored"] == {"telemetry": 9}

    run(lambda: beside_gateway(tmp_path, use, client_requests_s=1.0))


def test_a_wrong_token_and_a_wrong_message_are_refused(tmp_path: Path) -> None:
    async def use(url: str, queries: Queries) -> None:
        for token, message, code in (
            ("wrong", sample(1), 0x87),
            ("secret", Publish("telemetry", TELEMETRY, b"{}"), 0x99),
            ("secret", Publish("telemetry", "/nowhere", b"{}"), 0x83),
            ("secret", sample(1), 0),
        ):
            link, sink = connect(url, token=token)
            link.send(message)
            await until(lambda sink=sink: len(sink.acknowledgements) == 1)  # type: ignore[misc]
            assert codes(sink) == [code]

    run(lambda: beside_gateway(tmp_path, use, token="secret"), on_uvloop=True)
