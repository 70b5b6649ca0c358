"""The life of the cloud process: sockets, loop, ready line, end.

Rules: both sockets are bound before anything slow happens, so a port in use is said at once, and a free port
stays ours. The ready line comes when a TLS handshake with each of them succeeded. The process ends on
SIGTERM, SIGINT and the end of its stdin, so that it never outlives its parent.
"""

import argparse
import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import IO, Any

from simulator.cloud.config import ACCOUNT_ID, CloudConfig, read
from simulator.cloud.doors import Door, bound
from simulator.disturbances import listen
from simulator.errors import BackendUnavailable, FleetsimError

HOST = "127.0.0.1"
_BACKLOG = 1024
_PROBE_TIMEOUT_S = 5.0
_TLS_CLOSE_S = 0.2
_DRAIN_S = 1.0  # longer than _TLS_CLOSE_S: idle connections end by themselves within it


class LoopbackLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, on which every server that MiniStack opens is on loopback.

    MiniStack's MQTT listener asks for 0.0.0.0 whatever it is told. uvloop is no choice here: MiniStack's TLS
    upgrade hangs in the handshake on it.
    """

    def __init__(self, prepared: dict[int, socket.socket]) -> None:
        super().__init__()
        self._prepared = prepared
        self.doors: list[Door] = []

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **kwargs: Any
    ) -> asyncio.Server:
        if kwargs.get("ssl") is not None:
            # A client that keeps a connection open without reading would hold up the end for 30 s.
            kwargs.setdefault("ssl_shutdown_timeout", _TLS_CLOSE_S)
        sock = kwargs.pop("sock", None) or (self._prepared.pop(port, None) if port is not None else None)
        if sock is not None:
            options = {"backlog": _BACKLOG, **kwargs}

            async def serve(factory: Any, sock: socket.socket) -> asyncio.Server:
                return await asyncio.SelectorEventLoop.create_server(self, factory, sock=sock, **options)

            self.doors.append(Door(protocol_factory, serve))
            return await self.doors[-1].open(sock)
        if host in ("0.0.0.0", "::", "", None):  # noqa: S104 - what we refuse
            host = HOST
        return await super().create_server(protocol_factory, host, port, **kwargs)


def main(arguments: list[str]) -> int:
    """Run until told to end; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulator.cloud", description="The sandbox's AWS.")
    parser.add_argument("--config", required=True, type=Path, help="JSON file, see simulator/cloud/config.py")
    options = parser.parse_args(arguments)
    try:
        return _run(read(options.config))
    except FleetsimError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _run(config: CloudConfig) -> int:
    with _claim(config.state_dir):
        return _run_in(config)


def _run_in(config: CloudConfig) -> int:
    https = _bind(config.https_port, "https_port")
    try:
        mqtt = _bind(config.mqtt_port, "mqtt_port")
    except FleetsimError:
        https.close()
        raise
    mqtt_port = mqtt.getsockname()[1]
    loop = LoopbackLoop({mqtt_port: mqtt})
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(config, https, mqtt_port))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    return 0


def _claim(state_dir: Path) -> IO[str]:
    """A lock on the folder, held until it is closed: a second process would overwrite the first one's CA."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except OSError:
            lock.close()
            raise
    except BlockingIOError:
        problem = "is in use by another process"
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
    else:
        return lock
    raise BackendUnavailable(f"state_dir {state_dir} {problem}; choose another with 'state_dir'")


def _bind(port: int, key: str) -> socket.socket:
    sock = None
    try:
        sock = bound(HOST, port)
        # Two processes may bind one port with SO_REUSEADDR; only one may listen.
        sock.listen(_BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        state = "is in use" if error.errno == errno.EADDRINUSE else "cannot be bound"
        raise BackendUnavailable(
            f"port {port} on {HOST} {state} ({error.strerror}); choose another with '{key}' (0: any free one)"
        ) from None
    return sock


async def _serve(config: CloudConfig, https: socket.socket, mqtt_port: int) -> None:
    from simulator.cloud import emulator as ministack

    https_port = https.getsockname()[1]
    ministack.prepare(config, https_port, mqtt_port)
    emulator = ministack.Emulator(config, https_port)

    from hypercorn.asyncio import serve

    from simulator.cloud.disturbance import Disturbance
    from simulator.cloud.features import features
    from simulator.cloud.front import Front

    # It warns of every device that goes away without a farewell, which here is what devices do.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    parts = features(emulator, config)
    await emulator.start()

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LoopbackLoop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    disturbance = Disturbance(loop, loop.doors)
    disturbance.install(emulator.iot)
    listen(loop, disturbance.take, stop.set)

    async def told_to_end() -> None:
        await stop.wait()
        loop.set_exception_handler(lambda _loop, _context: None)  # connections cut by the end are no errors

    server_file = _write_certificates(config, emulator.authority.certificate, emulator.server)
    app: Any = disturbance.around(Front(emulator, parts, auth=config.auth))
    serving = loop.create_task(
        serve(app, _hypercorn(config, https, server_file), shutdown_trigger=told_to_end, mode="asgi")
    )
    try:
        try:
            await _answering(config, (https_port, mqtt_port), serving)
        except OSError:
            if not stop.is_set():  # else the end came before the beginning was over
                raise
        finally:
            server_file.unlink()  # hypercorn has read it; a private key need not lie about
        if not stop.is_set():
            _say_ready(config, https_port, mqtt_port)
        await serving
    finally:
        stop.set()
        for door in loop.doors:
            door.close()
        await emulator.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def _hypercorn(config: CloudConfig, https: socket.socket, server_file: Path) -> Any:
    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.config import Config

    closed = TCPServer._close

    async def close(server: Any) -> None:
        """A client that goes on sending, or says nothing more, after its answer is no error of ours."""
        with contextlib.suppress(ssl.SSLError, TimeoutError):
            await closed(server)

    TCPServer._close = close
    settings = Config()
    settings.bind = [f"fd://{https.detach()}"]
    settings.certfile = settings.keyfile = str(server_file)
    settings.alpn_protocols = ["http/1.1"]  # as AWS's endpoints
    settings.backlog = _BACKLOG
    settings.keep_alive_timeout = 75.0
    settings.graceful_timeout = _DRAIN_S
    settings.loglevel = config.log_level
    return settings


def _write_certificates(config: CloudConfig, authority: str, server: tuple[str, str]) -> Path:
    server_file = config.state_dir / "server.pem"
    with os.fdopen(os.open(server_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("".join(server))
    config.ca_file.write_text(authority, encoding="ascii")
    return server_file


async def _answering(config: CloudConfig, ports: tuple[int, int], serving: "asyncio.Task[None]") -> None:
    """Return when a TLS handshake with each port succeeded, or when the server ended first."""

    async def probe(port: int) -> None:
        context = ssl.create_default_context(cafile=str(config.ca_file))
        _, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname="localhost")
        writer.close()

    probing = asyncio.gather(*(probe(port) for port in ports))
    await asyncio.wait((probing, serving), timeout=_PROBE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if probing.done():
        await probing
        return
    probing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probing
    if not serving.done():
        raise BackendUnavailable(f"the ports {ports} did not answer within {_PROBE_TIMEOUT_S:.0f} s; see the log")


def _say_ready(config: CloudConfig, https_port: int, mqtt_port: int) -> None:
    ready = {
        "ready": True,
        "endpoint_url": f"https://localhost:{https_port}",
        "mqtt_host": "localhost",
        "mqtt_port": mqtt_port,
        "ca_file": str(config.ca_file),
        "region": config.region,
        "account_id": ACCOUNT_ID,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
