"""The process: `python -m simulator.backend --config FILE`.

Prints one JSON line on stdout once it listens and is subscribed, logs to stderr, and ends by SIGTERM,
SIGINT or the end of its stdin (so it never outlives whoever started it). Exit codes: 0 asked to end,
1 something broke (the last lines of the log say what), 2 a wrong configuration, 3 it could not start.
"""

import argparse
import asyncio
import logging
import resource
import signal
import socket
import sqlite3
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import uvicorn
import uvloop

from simulator.backend.actions import Account, Actions
from simulator.backend.api import Api
from simulator.backend.api.tokens import Token, Tokens
from simulator.backend.bounded_head import BoundedHead
from simulator.backend.changes import Changes, Kept
from simulator.backend.config import BackendConfig, load_config
from simulator.backend.consumer import Consumer
from simulator.backend.core import Backend
from simulator.backend.disturbance import Disturbance, DisturbedStore
from simulator.backend.effects import Call, Say
from simulator.backend.fleet_control import FleetControl
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.queries import Queries
from simulator.backend.rest_gateway import Gateway
from simulator.backend.rules import load_rules
from simulator.backend.shadows import Shadows
from simulator.backend.store import Store
from simulator.backend.tcp_gateway import Gateway as TcpGateway
from simulator.disturbances import App
from simulator.disturbances import listen as listen_to_stdin
from simulator.errors import BackendUnavailable, FleetsimError

TICK_S = 0.1
SECOND_TICKS = 10
AWAY_MS = 2000
PRUNE_TICKS = 600
API_BACKLOG = 128
DAY_MS = 86_400_000

log = logging.getLogger("backend")


def now_ms() -> int:
    """The clock of this machine."""
    return time.time_ns() // 1_000_000


class Server(uvicorn.Server):
    """uvicorn without its own handling of signals: the process has one place for that."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(name: str, port: int) -> socket.socket:
    """A socket on loopback only; BackendUnavailable when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(API_BACKLOG)
    except OSError as error:
        listener.close()
        why = error.strerror or "in use"
        raise BackendUnavailable(f"{name} {port}: cannot listen: {why}; choose another, or 0") from None
    return listener


def allow_files() -> None:
    """As many open files as the system lets us have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def open_store(folder: Path, disturbance: Disturbance) -> Store:
    """The store; BackendUnavailable when its folder cannot be written."""
    try:
        return DisturbedStore(folder, disturbance.orders)
    except (OSError, sqlite3.Error) as error:
        raise BackendUnavailable(f"state_dir {folder}: the store cannot be opened: {error}") from None


async def serve(
    config: BackendConfig,
    kept: Kept,
    store: Store,
    disturbance: Disturbance,
    listener: socket.socket,
    rest_listener: socket.socket,
    tcp_listener: socket.socket,
) -> None:
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
    listen_to_stdin(loop, disturbance.take, end)

    core = Backend(kept.rules, fire=config.fire, settings=config.settings, formulas=kept.formulas)
    core.replace_specs(kept.specs)
    store.telemetry_kept_ms, store.archive.bytes_max = int(config.telemetry_days * DAY_MS), config.archive_max_bytes
    core.uploads.expires_ms = int(1000 * config.uploads_expire_s)
    pipeline = Pipeline(core, store, disturbance.now_ms)

    def answered(answer: Answer) -> None:
        try:
            pipeline.answered(answer)
        except Exception as error:
            fatal(error)

    def answer_from_thread(answer: Answer) -> None:
        with suppress(RuntimeError):  # the loop has ended; a restart asks again
            loop.call_soon_threadsafe(answered, answer)

    addresses: dict[str, str | int] = {
        "api_url": url_of(listener),
        "rest_url": url_of(rest_listener),
        "tcp_port": tcp_listener.getsockname()[1],
    }
    said_ready = False

    def ready() -> None:
        nonlocal said_ready
        if not said_ready:
            said_ready = True
            log.info("ready: %s", " ".join(f"{name}={where}" for name, where in addresses.items()))
            sys.stdout.write(orjson.dumps({"ready": True, **addresses}).decode() + "\n")
            sys.stdout.flush()

    actions = Actions(config.aws, answer_from_thread, disturbance.now_ms, config.uploads_bucket)
    queries = Queries(store.path)
    gateway = Gateway(pipeline, fatal, config.rest_token, config.rest_requests_s, config.rest_client_requests_s)
    tcp = TcpGateway(pipeline, config.tcp, fatal, disturbance.tcp_delay_s)
    tcp.replace_specs(kept.specs)
    changes = Changes(kept, pipeline, queries, config.product_names, tcp.replace_specs)
    shadows = Shadows(Account(config.aws)) if config.aws else None
    api = Api(
        store.path, disturbance.now_ms, tokens=tokens_of(config), state_dir=config.state_dir, tcp=tcp.counts,
        changes=changes, times=pipeline.times, fatal=fatal,
        shadow=shadows.read if shadows else None, control=FleetControl(config.control).handle,
    )  # fmt: skip
    web = http_server(disturbance.around("api", api.app))
    rest = http_server(disturbance.around("rest", gateway.app))
    try:
        consumer = Consumer(config.mqtt, pipeline, ready, fatal)
    except (OSError, ssl.SSLError) as error:
        raise BackendUnavailable(f"mqtt: certificate or key cannot be used: {error}") from None
    actions.start()
    pipeline.save(kept.changes)
    pipeline.start(Hands(actions, consumer), kept.old_rules)
    pipeline.save(core.put_master(config.master))
    await tcp.open(tcp_listener)
    consumer.open()
    tasks = [
        loop.create_task(web.serve(sockets=[listener])),
        loop.create_task(rest.serve(sockets=[rest_listener])),
        loop.create_task(keep_time(pipeline, consumer, tcp, Refusals(gateway.refused, tcp.counts, core.refused))),
    ]
    for task in tasks:
        task.add_done_callback(lambda task: None if task.cancelled() else fatal(why_ended(task)))
    try:
        await ended
        consumer.close()
        tcp.close()
    finally:
        actions.stop()
        gateway.close()
        tcp.end()
        web.should_exit = rest.should_exit = True
        tasks[-1].cancel()
        await api.end()
        await asyncio.wait(tasks, timeout=2)
        api.close()
        if shadows:
            shadows.close()
        queries.close()


def tokens_of(config: BackendConfig) -> Tokens:
    """Who may use the API; UsageError when the file of tokens is none of ours."""
    said = [Token(one.id, one.role, one.customer or "", one.sha256, 0) for one in config.tokens]
    if not said:
        log.info("no tokens are configured: every program on this machine may read and change everything")
    return Tokens(said, config.state_dir)


def why_ended(task: "asyncio.Task[None]") -> BaseException:
    """What ended a task that should not have ended."""
    return task.exception() or RuntimeError("a part of the backend ended by itself")


class Hands:
    """Who does what is to be done: AWS by boto3, devices by MQTT."""

    def __init__(self, actions: Actions, consumer: Consumer) -> None:
        self._actions, self._consumer = actions, consumer

    def submit(self, call: Call) -> bool:
        """Begin a call; False when there is no room."""
        return self._consumer.say(call) if isinstance(call, Say) else self._actions.submit(call)


class Refusals:
    """Tells the log what was refused, in one line a second at most."""

    def __init__(self, rest: Mapping[int, int], tcp: Mapping[str, int], dead: Mapping[str, int]) -> None:
        self._rest, self._tcp, self._dead = rest, tcp, dead
        self._told = self._now()

    def _now(self) -> Counter[str]:
        now = Counter({f"rest {status}": n for status, n in self._rest.items()})
        said = ("closed.", "garbage.", "paused.")
        now.update({f"tcp {name}": n for name, n in self._tcp.items() if name.startswith(said)})
        now.update({f"dead letter {reason}": n for reason, n in self._dead.items()})
        return now

    def tell(self) -> None:
        """Once a second."""
        now = self._now()
        news = now - self._told
        self._told = now
        if news:
            log.info("refused: %s", ", ".join(f"{what} ×{n}" for what, n in sorted(news.items())))


async def keep_time(pipeline: Pipeline, consumer: Consumer, tcp: TcpGateway, refusals: Refusals) -> None:
    """Let waiting end, keep the connection alive, keep the tables within their bounds."""
    loop = asyncio.get_running_loop()
    ticks, before_ms, old = 0, pipeline.now_ms(), False
    while True:
        await asyncio.sleep(TICK_S)
        ticks += 1
        now_ms = pipeline.now_ms()
        if abs(now_ms - before_ms) > AWAY_MS and not pipeline.core.deaf:
            pipeline.core.listen_anew(now_ms)  # we were stopped, or the clock was set
        before_ms = now_ms
        pipeline.tick()
        tcp.resume(loop.time())
        if ticks % SECOND_TICKS == 0:
            consumer.tick()
            tcp.tick(loop.time())
            refusals.tell()
        if ticks % PRUNE_TICKS == 0:
            pipeline.store.prune(now_ms)
        if old or ticks % PRUNE_TICKS == 0:
            old = pipeline.store.archive_telemetry(now_ms)


def http_server(app: App) -> Server:
    """uvicorn for an application of ours; an idle connection is kept longer than clients keep it."""
    return Server(
        uvicorn.Config(
            app, http=BoundedHead, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=75
        )
    )


def url_of(listener: socket.socket) -> str:
    """The address of a server that listens there."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Run the process; gives the exit code."""
    parser = argparse.ArgumentParser(prog="simulator.backend", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see simulator/backend/config.py")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = load_config(options.config)
        logging.getLogger().setLevel(config.log_level)
        logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
        rules = load_rules(config.rules, config.product_names)
        allow_files()
        disturbance = Disturbance(now_ms)
        with (
            listen("api_port", config.api_port) as listener,
            listen("rest_port", config.rest_port) as rest_listener,
            listen("tcp.port", config.tcp.port) as tcp_listener,
        ):
            store = open_store(config.state_dir, disturbance)
            try:
                kept = Kept(store, config, rules, disturbance.now_ms())
                uvloop.run(serve(config, kept, store, disturbance, listener, rest_listener, tcp_listener))
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
