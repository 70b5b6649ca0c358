"""Whom the links are tested against: a scripted server, a real mosquitto, made-up certificates."""

import asyncio
import datetime
import ipaddress
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, Self, TypeVar, cast

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from simulator.links import Link, Sink, TlsFiles
from simulator.messages import Publish
from simulator.wire.mqtt import Decoder, encode
from simulator.wire.mqtt import packets as p

PATIENCE_S = 8.0


class Recorder:
    """A sink that remembers, and lets a test wait for what it will have heard."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.messages: list[tuple[str, bytes]] = []
        self.acknowledgements: list[tuple[Publish, float, int]] = []
        self.on_acknowledged: Callable[[], None] | None = None
        self._changed = asyncio.Event()

    def connected(self, session_present: bool) -> None:
        self._note(f"connected {session_present}")

    def disconnected(self, reason: str) -> None:
        self._note(f"disconnected {reason}")

    def received(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))
        self._note(f"received {topic}")

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        self.acknowledgements.append((message, sent_at_s, reason_code))
        self._note(f"acknowledged 0x{reason_code:02X}")
        if self.on_acknowledged is not None:
            self.on_acknowledged()

    def _note(self, line: str) -> None:
        self.log.append(line)
        self._changed.set()

    async def until(self, heard: Callable[[], bool]) -> None:
        """Wait until the sink has heard it; fails with the log when it never comes."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not heard():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain; heard {self.log}") from None

    async def line(self, text: str, count: int = 1) -> None:
        """Wait for `count` lines that begin with a text."""
        await self.until(lambda: sum(line.startswith(text) for line in self.log) >= count)


to_end: list[Link] = []  # links that `run` severs, so that a test that fails leaves no transport behind


Kind = TypeVar("Kind", bound=Link)
Where = TypeVar("Where")


def make_link(kind: Callable[[Where, Sink, asyncio.AbstractEventLoop], Kind], endpoint: Where) -> tuple[Kind, Recorder]:
    recorder = Recorder()
    link = kind(endpoint, recorder, asyncio.get_running_loop())
    to_end.append(link)
    return link, recorder


def run(test: Callable[[], Awaitable[None]], on_uvloop: bool = True) -> None:
    """Run a test in a loop of its own."""

    async def main() -> None:
        try:
            async with asyncio.timeout(4 * PATIENCE_S):
                await test()
        finally:
            for link in to_end:
                link.sever()
            to_end.clear()
            await asyncio.sleep(0.01)  # transports tell their end in a later turn

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        runner.run(main())


class Connection(Protocol):
    transport: asyncio.Transport


Accepted = TypeVar("Accepted", bound=Connection)


class FarSide(Generic[Accepted]):
    """Listens on a free loopback port; `changed` is set by its connections whenever one has heard something."""

    port: int

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.connections: list[Accepted] = []
        self.changed = asyncio.Event()
        self._context = context

    def accept(self) -> asyncio.Protocol:
        """A new connection, which adds itself to `connections`."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.accept, "127.0.0.1", 0, ssl=self._context)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.transport.abort()
        self._server.close()
        await asyncio.sleep(0)

    async def until(self, heard: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not heard():
                self.changed.clear()
                await self.changed.wait()


class Scripted(asyncio.Protocol):
    """One connection of a server that answers as told: `answers` maps a packet's type to what is said to it."""

    def __init__(self, server: "ScriptedServer") -> None:
        self.server = server
        self.decoder = Decoder()
        self.heard: list[p.Packet] = []
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.server.connections.append(self)
        self.server.changed.set()

    def data_received(self, data: bytes) -> None:
        self.server.chunks.append(data)
        for packet in self.decoder.feed(data):
            self.heard.append(packet)
            for answer in self.server.answer(packet):
                self.say(answer)
        self.server.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.server.changed.set()

    def say(self, packet: p.Packet) -> None:
        self.transport.write(encode(packet, self.decoder.version))


class ScriptedServer(FarSide[Scripted]):
    """A test may replace `answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[bytes] = []
        self.answer: Callable[[p.Packet], list[p.Packet]] = agreeable

    def accept(self) -> Scripted:
        return Scripted(self)


def agreeable(packet: p.Packet) -> list[p.Packet]:
    """What a server says that grants everything."""
    match packet:
        case p.Connect():
            return [p.Connack()]
        case p.Publish(qos=1, packet_id=packet_id):
            return [p.Puback(packet_id)]
        case p.Subscribe(packet_id, subscriptions):
            return [p.Suback(packet_id, tuple(one.qos for one in subscriptions))]
        case p.Pingreq():
            return [p.Pingresp()]
    return []


def unanswered(packet: p.Packet) -> list[p.Packet]:
    """What a server says that has no word for messages."""
    return [] if isinstance(packet, p.Publish) else agreeable(packet)


# --- certificates ---


class Certificates(NamedTuple):
    """A CA, a server of `localhost` and a client, all as files."""

    ca_file: Path
    server_cert_file: Path
    server_key_file: Path
    client: TlsFiles


def make_certificates(folder: Path, server_name: str = "localhost") -> Certificates:
    now = datetime.datetime.now(datetime.UTC)

    def write(name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    def issue(
        name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = key if issuer is None else issuer[1]
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        cert = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        plain = serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        return cert, key, write(f"{name}.pem", cert.public_bytes(pem)), write(f"{name}.key", key_pem)

    ca, ca_key, ca_file, _ = issue("ca", None)
    _, _, server_cert_file, server_key_file = issue(server_name, (ca, ca_key))
    _, _, cert_file, key_file = issue("device", (ca, ca_key))
    return Certificates(ca_file, server_cert_file, server_key_file, TlsFiles(ca_file, cert_file, key_file))


# --- mosquitto ---

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker(NamedTuple):
    """A running mosquitto."""

    port: int
    tls_port: int
    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mosquitto(folder: Path, certificates: Certificates) -> Iterator[Broker]:
    """A broker of our own: plain on one loopback port, mutual TLS on another."""
    assert MOSQUITTO is not None
    port, tls_port = free_port(), free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"""
per_listener_settings false
allow_anonymous true
log_type none
user root
listener {port} 127.0.0.1
listener {tls_port} 127.0.0.1
cafile {certificates.ca_file}
certfile {certificates.server_cert_file}
keyfile {certificates.server_key_file}
require_certificate true
"""
    )
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)])
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        for waited_for in (port, tls_port):
            while True:
                assert process.poll() is None, "mosquitto ended by itself"
                assert time.monotonic() < deadline_s, "mosquitto does not listen"
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", waited_for)) == 0:
                        break
                time.sleep(0.01)
        yield Broker(port, tls_port, process)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


class Ways(NamedTuple):
    """The ports of a mosquitto that wants user `device` with password `opensesame` at all of them."""

    tcp: int
    tls: int
    ws: int
    wss: int


@contextmanager
def mosquitto_with_users(folder: Path, certificates: Certificates) -> Iterator[Ways]:
    """A broker of our own, on loopback; the test is skipped where it has no WebSockets."""
    assert MOSQUITTO is not None
    ways = Ways(*(free_port() for _ in range(4)))
    tls = f"certfile {certificates.server_cert_file}\nkeyfile {certificates.server_key_file}\n"
    users, config = folder / "users", folder / "mosquitto.conf"
    users.write_text("device:opensesame\n")
    subprocess.run(["mosquitto_passwd", "-U", users], check=True)
    config.write_text(
        f"allow_anonymous false\npassword_file {users}\nlog_type none\nuser root\n"
        f"listener {ways.tcp} 127.0.0.1\nlistener {ways.tls} 127.0.0.1\n{tls}"
        f"listener {ways.ws} lo\nprotocol websockets\nlistener {ways.wss} lo\nprotocol websockets\n{tls}"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)])
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        for port in ways:
            while not listens(port):
                if process.poll() is not None:
                    pytest.skip("this mosquitto has no WebSocket listeners")
                assert time.monotonic() < deadline_s, "mosquitto does not listen"
                time.sleep(0.01)
        yield ways
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
