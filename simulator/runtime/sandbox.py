"""The embedded sandbox: cloud and backend as two child processes, started, watched and stopped.

Rules: the parts are named by module and never imported, so the fleet meets them only over the network. A part
says one JSON line when it is ready; it ends when its stdin does, so nothing survives this process, whatever
happens to it. Logs go to files in the state folder, and the end of a dead part's log is in the error.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from simulator.errors import BackendUnavailable, FleetsimError, UsageError
from simulator.ops import certificates, mark, provision
from simulator.ops.aws import Aws
from simulator.targets import Addresses

READY_MAX_S = 20.0
STOP_MAX_S = 5.0
LOOPBACK = "127.0.0.1"
TAIL_LINES = 15
LOG_LEVEL = "INFO"  # so that the log of a part that died has an end to show


class Part:
    """One child process."""

    def __init__(self, name: str, state_dir: Path, config: Mapping[str, Any]) -> None:
        """Starts `simulator.<name>` with a configuration; `ready` waits for it."""
        self.name = name
        self.log_file = state_dir / f"{name}.log"
        config_file = state_dir / f"{name}.json"
        config_file.touch(mode=0o600)
        config_file.write_text(json.dumps(config))
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"simulator.{name}", "--config", str(config_file)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=state_dir,
                env=_environment(), start_new_session=True,  # Ctrl-C is for us; we stop them in order.
            )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        """What the part said when it was ready; raises as the part ended, or BackendUnavailable after 20 s."""
        assert self.process.stdout
        deadline = time.monotonic() + READY_MAX_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise BackendUnavailable(f"the sandbox's {self.name} was not ready after {READY_MAX_S:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise self._failure()
        said = json.loads(line)
        assert isinstance(said, dict)
        return said

    def _failure(self) -> FleetsimError:
        code = self.process.wait(STOP_MAX_S)
        tail = self.tail()
        why = tail[-1] if tail else f"exit code {code}"
        return UsageError(why) if code == UsageError.exit_code else BackendUnavailable(f"sandbox {self.name}: {why}")

    def ended(self) -> str | None:
        """How the part ended, or None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
        return f"the sandbox's {self.name} (pid {self.process.pid}) {how}"

    def tail(self) -> list[str]:
        """The last lines of its log."""
        with self.log_file.open(errors="replace") as log:
            return [line.rstrip("\n")[:400] for line in deque(log, TAIL_LINES)]

    def stop(self) -> None:
        """Ask it to end, and make it."""
        if self.process.stdin:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_MAX_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


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
        self, state_dir: Path, rules: Sequence[Mapping[str, Any]], *, products: Sequence[Mapping[str, Any]] = (),
        auth: bool = True, region: str = "us-east-1", ports: Ports = ANY_FREE,
    ) -> None:  # fmt: skip
        """`products` are [{"productId", "spec"}]. Starts when entered."""
        self._state_dir = state_dir.absolute()  # the parts run in it, so a relative path would mean another place
        self._rules, self._auth, self._region = list(rules), auth, region
        self._ports = {"https_port": ports.https, "mqtt_port": ports.mqtt}
        self._gateways = {"api_port": ports.api, "rest_port": ports.rest, "tcp": {"port": ports.tcp}}
        self._products = list(products)
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
        cloud = self._part(
            "cloud",
            {
                "state_dir": str(self._state_dir / "cloud"),
                "auth": self._auth,
                "region": self._region,
                "log_level": LOG_LEVEL,
                **keys,
                **self._ports,
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
        backend = self._part("backend", self._backend_config(me))
        said = backend.ready()
        self.addresses = replace(
            self.addresses, api_url=said["api_url"], rest_url=said["rest_url"], tcp_host=LOOPBACK,
            tcp_port=said["tcp_port"],
        )  # fmt: skip

    def _backend_config(self, me: certificates.Identity) -> dict[str, Any]:
        at = self.addresses
        return {
            "state_dir": str(self._state_dir / "backend"),
            **self._gateways,
            "aws": {
                "endpoint_url": at.endpoint_url, "region": at.region, "access_key_id": at.access_key_id,
                "secret_access_key": at.secret_access_key, "ca_file": at.ca_file,
            },
            "mqtt": {
                "host": at.mqtt_host, "port": at.mqtt_port, "ca_file": at.ca_file, "cert_file": str(me.cert_file),
                "key_file": str(me.key_file), "client_id": provision.BACKEND_CLIENT,
            },
            "products": self._products,
            "rules": self._rules,
            "log_level": LOG_LEVEL,
        }  # fmt: skip

    def _part(self, name: str, config: Mapping[str, Any]) -> Part:
        part = Part(name, self._state_dir, config)
        self.parts.append(part)
        return part

    def check(self) -> None:
        """Raises PartEnded when a part is no longer there."""
        for part in self.parts:
            if how := part.ended():
                raise PartEnded(how, part.tail())

    def stop(self) -> None:
        """Ends both, the backend first, so that it never misses its cloud."""
        while self.parts:
            self.parts.pop().stop()


class PartEnded(BackendUnavailable):
    """A part of the sandbox died; `log_tail` is the end of its log."""

    def __init__(self, how: str, log_tail: list[str]) -> None:
        super().__init__(how)
        self.log_tail = log_tail


def _environment() -> dict[str, str]:
    """The children's environment: ours, without what would point their AWS clients elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COV_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
