"""The embedded sandbox: cloud and backend as two child processes, started, watched and stopped.

Rules: the parts are named by module and never imported, so the fleet meets them only over the network. A part
says one JSON line when it is ready; it ends when its stdin does, so nothing survives this process, whatever
happens to it. Logs go to files in the state folder, and the end of a dead part's log is in the error. What is done
to a part on purpose (`disturb`, `tell`) is no death. Ports are chosen here and held while the sandbox lives, with
sockets that do not listen: a part that comes back finds its own free, and no device that knocks meanwhile is given
it for its own end of the connection.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from simulator.errors import BackendUnavailable, FleetsimError, UsageError
from simulator.ops import certificates, mark, provision
from simulator.ops.aws import Aws
from simulator.runtime.control_server import ControlPlace
from simulator.runtime.part import READY_MAX_S, Part, close
from simulator.targets import Addresses

LOOPBACK = "127.0.0.1"
LOG_LEVEL = "INFO"  # so that the log of a part that died has an end to show
KNOCK_S = 0.02


class Ports(NamedTuple):
    """Where the sandbox listens, on loopback; 0 is any free port."""

    https: int = 0
    mqtt: int = 0
    api: int = 0
    tcp: int = 0
    rest: int = 0


ANY_FREE = Ports()


class Sandbox:
    """Cloud and backend. Use as a context manager; `addresses` says where they are."""

    def __init__(
        self, state_dir: Path, rules: Sequence[Mapping[str, Any]], *, products: Sequence[Mapping[str, Any] | str] = (),
        auth: bool = True, region: str = "us-east-1", ports: Ports = ANY_FREE,
        told: Mapping[str, Any] = MappingProxyType({}), control: ControlPlace | None = None,
    ) -> None:  # fmt: skip
        """`products` are [{"productId", "spec"}], or names alone; `told`: more that the backend is told.

        `control` is the run's, for the pages. Starts when entered.
        """
        self._told, self._control = dict(told), control
        self._state_dir = state_dir.absolute()  # the parts run in it, so a relative path would mean another place
        self._rules, self._auth, self._region = list(rules), auth, region
        self._ports, self._held = ports, list[socket.socket]()
        self._products = list(products)
        self._failure: FleetsimError | None = None
        self.parts: list[Part] = []
        self.addresses: Addresses

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        identities = self._state_dir / "identities"
        if identities.is_dir() and any(identities.iterdir()):
            raise UsageError(
                f"folder '{self._state_dir}' holds identities of an earlier run, and a sandbox is new every time; "
                "give it an empty folder, or none"
            )
        for name in ("cloud", "backend", "identities"):
            (self._state_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = {"access_key_id": "AKIAFLEETSIMSANDBOX0", "secret_access_key": os.urandom(20).hex()}
        ports = Ports(*map(self._hold, self._ports))
        cloud = self._part(
            "cloud",
            {
                "state_dir": str(self._state_dir / "cloud"),
                "auth": self._auth,
                "region": self._region,
                "log_level": LOG_LEVEL,
                **keys,
                "https_port": ports.https,
                "mqtt_port": ports.mqtt,
            },
        )
        said = cloud.ready()
        self.addresses = Addresses(
            "sandbox", "sandbox", self._region, said["mqtt_host"], said["mqtt_port"], said["endpoint_url"],
            said["ca_file"], keys["access_key_id"], keys["secret_access_key"],
        )  # fmt: skip
        aws = Aws(self.addresses)
        try:
            provision.groundwork(aws, mark.SANDBOX)
            me = certificates.create(aws, identities, provision.BACKEND_CLIENT, provision.BACKEND_POLICY)
        finally:
            aws.close()
        token = secrets.token_urlsafe(32) if self._auth else None
        backend = self._part("backend", self._backend_config(me, ports, token))
        said = backend.ready()
        self.addresses = replace(
            self.addresses, api_token=token, api_url=said["api_url"], rest_url=said["rest_url"], tcp_host=LOOPBACK,
            tcp_port=said["tcp_port"],
        )  # fmt: skip

    def _hold(self, port: int) -> int:
        """A free port of ours, or the one that was asked for, which its part will say if it is not free."""
        if port:
            return port
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._held.append(held)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((LOOPBACK, 0))
        return int(held.getsockname()[1])

    def _backend_config(self, me: certificates.Identity, ports: Ports, token: str | None) -> dict[str, Any]:
        """`token` is that of the API's service, of which the backend is told the digest."""
        at = self.addresses
        digest = sha256(token.encode()).hexdigest() if token else ""
        return {
            "state_dir": str(self._state_dir / "backend"),
            "api_port": ports.api, "rest_port": ports.rest, "tcp": {"port": ports.tcp},
            "aws": {
                "endpoint_url": at.endpoint_url, "region": at.region, "access_key_id": at.access_key_id,
                "secret_access_key": at.secret_access_key, "ca_file": at.ca_file,
            },
            "mqtt": {
                "host": at.mqtt_host, "port": at.mqtt_port, "ca_file": at.ca_file, "cert_file": str(me.cert_file),
                "key_file": str(me.key_file), "client_id": provision.BACKEND_CLIENT,
            },
            "tokens": [{"id": "sandbox", "role": "service", "sha256": digest}] if token else [],
            "products": self._products,
            "rules": self._rules,
            **self._told,
            "control": self._control._asdict() if self._control else None,
            "log_level": LOG_LEVEL,
        }  # fmt: skip

    def _part(self, name: str, config: Mapping[str, Any]) -> Part:
        part = Part(name, self._state_dir, config)
        self.parts.append(part)
        return part

    def check(self) -> None:
        """Raises PartEnded when a part is no longer there, and that was nobody's purpose."""
        if self._failure:
            raise self._failure
        for part in self.parts:
            if not part.away and (how := part.ended()):
                raise PartEnded(how, part.tail())

    def stop(self) -> None:
        """Ends both, the backend first, so that it never misses its cloud."""
        while self.parts:
            self.parts.pop().stop()
        while self._held:
            self._held.pop().close()

    # On purpose

    @property
    def dead(self) -> frozenset[str]:
        """The parts that were killed on purpose."""
        return frozenset(part.name for part in self.parts if part.away == "killed")

    def named(self, name: str) -> Part:
        """A part."""
        return next(part for part in self.parts if part.name == name)

    def tell(self, name: str, order: Mapping[str, Any]) -> None:
        """Give a part an order, as {"disturb": {"kind": …, "name": …}} or {"clear": name}."""
        try:
            self.named(name).tell(order)
        except FleetsimError as error:
            self._failure = error
            raise

    async def disturb(self, name: str, action: str, for_s: float | None, end: asyncio.Event | None = None) -> None:
        """Kill, restart or pause a part; until it is back, which is after `for_s` or at `end`, whichever is first."""
        part, end = self.named(name), end or asyncio.Event()
        async with part.busy:
            try:
                match action:
                    case "kill":
                        part.away = "killed"
                        await asyncio.to_thread(part.kill)
                    case "pause":
                        await self._pause(part, for_s, end)
                    case _ if part.name == "cloud":
                        await self._outage(part, for_s, end)
                    case _:
                        await self._restart(part, for_s, end)
            except FleetsimError as error:
                self._failure = error
                raise

    async def _pause(self, part: Part, for_s: float | None, end: asyncio.Event) -> None:
        if part.away:
            return  # the dead stand still
        guard = await asyncio.to_thread(part.pause)
        try:
            await until(end, for_s)
        finally:
            close(guard.stdin)
            guard.wait()
            close(guard.stdout)

    async def _restart(self, part: Part, for_s: float | None, end: asyncio.Event) -> None:
        part.away = "restarting"
        await asyncio.to_thread(part.kill)
        await until(end, for_s)
        await asyncio.to_thread(part.start_again)
        part.away = ""

    async def _outage(self, part: Part, for_s: float | None, end: asyncio.Event) -> None:
        """What MiniStack holds is in its memory only, so it is not killed: it is as if nobody were there."""
        if part.away:
            raise BackendUnavailable("the sandbox's cloud was killed, and what it held with it: it cannot be restarted")
        part.tell({"disturb": {"kind": "outage", "name": "outage"}})
        try:
            await asyncio.to_thread(self._knock, part, False)
            await until(end, for_s)
        finally:
            part.tell({"clear": "outage"})
        await asyncio.to_thread(self._knock, part, True)

    def _knock(self, part: Part, wanted: bool) -> None:
        """Until the cloud's broker takes connections, or no more."""
        deadline_s = time.monotonic() + READY_MAX_S
        while time.monotonic() < deadline_s and not part.ended():
            try:
                socket.create_connection((LOOPBACK, self.addresses.mqtt_port), READY_MAX_S).close()
            except OSError:
                opened = False
            else:
                opened = True
            if opened == wanted:
                return
            time.sleep(KNOCK_S)
        raise BackendUnavailable(f"the sandbox's {part.name} does not {'come back' if wanted else 'go away'}")


class PartEnded(BackendUnavailable):
    """A part of the sandbox died; `log_tail` is the end of its log."""

    def __init__(self, how: str, log_tail: list[str]) -> None:
        super().__init__(how)
        self.log_tail = log_tail


async def until(end: asyncio.Event, for_s: float | None) -> None:
    """Wait for so long, or for the end, whichever is first."""
    with suppress(TimeoutError):
        await asyncio.wait_for(end.wait(), for_s)
