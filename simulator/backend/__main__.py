"""The process: `python -m simulator.backend --config FILE`.

Prints one JSON line on stdout once it listens and is subscribed, logs to stderr, and ends by SIGTERM,
SIGINT or the end of its stdin (so it never outlives whoever started it). Exit codes: 0 asked to end,
1 something broke (the last lines of the log say what), 2 a wrong configuration, 3 it could not start.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import uvicorn
import uvloop

from simulator.backend.actions import Actions
from simulator.backend.api import make_app
from simulator.backend.config import BackendConfig, load_config
from simulator.backend.consumer import Consumer
from simulator.backend.core import Backend
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rules import Rules, load_rules
from simulator.backend.store import Store
from simulator.errors import BackendUnavailable, FleetsimError

TICK_S = 0.1
SECOND_TICKS = 10
PRUNE_TICKS = 600
API_BACKLOG = 128

log = logging.getLogger("backend")


def now_ms() -> int:
    """The clock of this process."""
    return time.time_ns() // 1_000_000


class Api(uvicorn.Server):
    """uvicorn without its own handling of signals: the process has one place for that."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(port: int) -> socket.socket:
    """The API's socket, on loopback only; BackendUnavailable when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(API_BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or "in use"
        raise BackendUnavailable(f"api_port {port}: cannot listen: {why}; choose another, or 0") from None
    return listener


def open_store(folder: Path) -> Store:
    """The store; BackendUnavailable when its folder cannot be written."""
    try:
        return Store(folder)
    except (OSError, sqlite3.Error) as error:
        raise BackendUnavailable(f"state_dir {folder}: the store cannot be opened: {error}") from None


async def serve(config: BackendConfig, rules: Rules, store: Store, listener: socket.socket) -> None:
    """Run until asked to end; raises what broke."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def fatal(error: BaseException) -> None:
        if not ended.done():
            ended.set_exception(error)

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end)
    threading.Thread(target=end_with_stdin, args=(loop, end), daemon=True).start()

    pipeline = Pipeline(Backend(rules), store, now_ms)

    def answered(answer: Answer) -> None:
        try:
            pipeline.answered(answer)
        except Exception as error:
            fatal(error)

    def answer_from_thread(answer: Answer) -> None:
        with suppress(RuntimeError):  # the loop has ended; a restart asks again
            loop.call_soon_threadsafe(answered, answer)

    api_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    said_ready = False

    def ready() -> None:
        nonlocal said_ready
        if not said_ready:
            said_ready = True
            sys.stdout.write(orjson.dumps({"ready": True, "api_url": api_url}).decode() + "\n")
            sys.stdout.flush()

    actions = Actions(config.aws, answer_from_thread, now_ms)
    queries = Queries(store.path)
    api = Api(uvicorn.Config(make_app(queries), http="httptools", log_config=None, access_log=False))
    try:
        consumer = Consumer(config.mqtt, pipeline, ready, fatal)
    except (OSError, ssl.SSLError) as error:
        raise BackendUnavailable(f"mqtt: certificate or key cannot be used: {error}") from None
    actions.start()
    pipeline.start(actions)
    consumer.open()
    tasks = [
        loop.create_task(api.serve(sockets=[listener])),
        loop.create_task(keep_time(pipeline, consumer)),
    ]
    for task in tasks:
        task.add_done_callback(lambda task: None if task.cancelled() else fatal(why_ended(task)))
    try:
        await ended
        consumer.close()
    finally:
        actions.stop()
        api.should_exit = True
        tasks[1].cancel()
        await asyncio.wait(tasks, timeout=2)
        queries.close()


def why_ended(task: "asyncio.Task[None]") -> BaseException:
    """What ended a task that should not have ended."""
    return task.exception() or RuntimeError("a part of the backend ended by itself")


async def keep_time(pipeline: Pipeline, consumer: Consumer) -> None:
    """Let waiting end, keep the connection alive, keep the tables within their bounds."""
    ticks = 0
    while True:
        await asyncio.sleep(TICK_S)
        ticks += 1
        pipeline.tick()
        if ticks % SECOND_TICKS == 0:
            consumer.tick()
        if ticks % PRUNE_TICKS == 0:
            pipeline.store.prune(now_ms())


def end_with_stdin(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Wait until whoever started us is gone."""
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(end)


def main(arguments: list[str] | None = None) -> int:
    """Run the process; gives the exit code."""
    parser = argparse.ArgumentParser(prog="simulator.backend", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see simulator/backend/config.py")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = load_config(options.config)
        logging.getLogger().setLevel(config.log_level)
        rules = load_rules(config.rules, config.product_names)
        listener = listen(config.api_port)
        with listener:
            store = open_store(config.state_dir)
            try:
                uvloop.run(serve(config, rules, store, listener))
            finally:
                store.close()
    except FleetsimError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Exception:
        log.critical("the backend broke", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
