"""How a device of a profile reaches the broker of a target: host, transport, TLS files, user name, last will.

The profile may choose the transport; else the target does. Where there is an account (the sandbox, AWS, anything
with AWS's APIs) a device proves who it is by its certificate or, in a WebSocket, by a signature in the URL; at any
other broker by user name and password, or not at all.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from simulator import seeds
from simulator.device import Device
from simulator.errors import UsageError
from simulator.faults import Disguise
from simulator.links import Endpoint, TlsFiles
from simulator.links.rest import RestEndpoint
from simulator.links.tcp import TcpEndpoint
from simulator.messages import Publish
from simulator.ops import certificates, forged, signing
from simulator.profiles import LinkSettings, Profile, Will
from simulator.targets import Addresses, Target


def check(target: Target, profiles: Mapping[str, Profile]) -> None:
    """Can these profiles speak to this target's broker? UsageError, before anything is started."""
    password(target)
    token(target)
    for name, profile in profiles.items():
        if profile.channel == "tcp" and target.kind != "sandbox" and not (target.tcp_host and target.tcp_port):
            raise UsageError(f"profile '{name}' speaks TCP, and target '{target.target}' has no 'tcp_host', 'tcp_port'")
        if profile.channel == "rest" and target.kind != "sandbox" and not target.rest_url:
            raise UsageError(f"profile '{name}' speaks REST, and target '{target.target}' has no 'rest_url'")
        link = profile.link
        if link.transport == "tcp" and target.kind != "endpoints":
            raise UsageError(f"profile '{name}' wants MQTT without TLS, which target '{target.target}' does not speak")
        if link.kind == "sdk" and target.mqtt_transport == "websocket" and link.transport is None:
            raise UsageError(f"profile '{name}': the sdk link speaks no WebSocket, as target '{target.target}' wants")


def password(target: Target) -> bytes | None:
    """The broker's password, from the environment; UsageError when it is not there."""
    return None if target.password_env is None else _secret(target, target.password_env).encode()


def token(target: Target) -> str | None:
    """The REST gateway's token, from the environment; UsageError when it is not there."""
    return None if target.rest_token_env is None else _secret(target, target.rest_token_env)


def api_token(target: Target) -> str | None:
    """The read API's token, from the environment; UsageError when it is not there."""
    return None if target.api_token_env is None else _secret(target, target.api_token_env)


def _secret(target: Target, variable: str) -> str:
    found = os.environ.get(variable)
    if found is None:
        raise UsageError(f"target '{target.target}': the environment has no variable '{variable}'")
    return found


class Broker:
    """The broker of a target."""

    def __init__(self, addresses: Addresses, identities: Path, seed: int, sources: Sequence[str] = ()) -> None:
        """`identities` is the folder of the devices' certificates; `sources` are local addresses to connect from."""
        self._addresses, self._identities, self._seed, self._sources = addresses, identities, seed, sources

    def endpoint(self, device: Device, settings: LinkSettings) -> Endpoint:
        """Where a device connects, and as whom: as itself, or as its faults say."""
        at, disguise = self._addresses, device.disguise()
        host, port, url = at.mqtt_host, at.mqtt_port, None
        transport = settings.transport or at.transport
        tls: TlsFiles | None = None
        if transport == "websocket":
            parts = urlsplit(at.websocket_url)
            host, port, url = parts.hostname or "", parts.port or 0, self._url
            tls = TlsFiles(self._authorities) if parts.scheme == "wss" else None
        elif transport == "tls":
            tls = TlsFiles(self._authorities)
            if at.has_account:
                tls = TlsFiles(self._authorities, *self._identity(device.thing, disguise))
        if disguise and disguise.certificate and not (tls and tls.cert_file):
            device.not_disguised("this broker asks for no certificate")
        username = settings.username or at.username
        return Endpoint(
            host, port, (disguise and disguise.client_id) or device.thing, tls,
            mqtt_version=settings.mqtt_version, keep_alive_s=settings.keep_alive_s,
            clean_start=settings.clean_start, session_expiry_s=settings.session_expiry_s,
            in_flight_max=settings.in_flight_max, queue_max=settings.queue_max,
            jitter_key=seeds.key(self._seed, "backoff", device.thing),
            will=None if settings.will is None else _will(settings.will, device),
            username=username and device.topic(username), password=at.password if username else None,
            subscribe_qos=settings.subscribe_qos, websocket=url, source=self._source(device),
        )  # fmt: skip

    def _identity(self, thing: str, disguise: Disguise | None) -> certificates.Identity:
        """Its own certificate, or the one that a fault gives it: another device's goes with that one's client id."""
        own = certificates.identity(self._identities, thing)
        if disguise is None:
            return own
        if disguise.certificate:
            return forged.identity(self._identities, disguise.certificate)
        other = certificates.identity(self._identities, disguise.client_id or thing)
        return other if other.cert_file.exists() else own

    def tcp(self, device: Device, profile: Profile) -> TcpEndpoint:
        """Where a device sends its frames."""
        at, settings = self._addresses, profile.tcp
        assert at.tcp_host
        assert at.tcp_port
        assert profile.payload
        return TcpEndpoint(
            at.tcp_host, at.tcp_port, device.thing, profile.payload, heartbeat_s=settings.heartbeat_s,
            ack_timeout_s=settings.ack_timeout_s, in_flight_max=settings.in_flight_max, queue_max=settings.queue_max,
            jitter_key=seeds.key(self._seed, "backoff", device.thing), source=self._source(device),
        )  # fmt: skip

    def _source(self, device: Device) -> str | None:
        """Where it connects from: always the same, whoever runs it."""
        if not self._sources:
            return None
        return self._sources[int(len(self._sources) * seeds.fraction(0, "source", device.thing))]

    def rest(self, device: Device, profile: Profile) -> RestEndpoint:
        """Where a device posts. All but the name is the same for all, so they share connections."""
        at, settings = self._addresses, profile.rest
        assert at.rest_url
        return RestEndpoint(
            at.rest_url, device.thing, at.rest_token, self._authorities if at.rest_url.startswith("https") else None,
            mode=settings.mode, batch_max=settings.batch_max, batch_wait_s=settings.batch_wait_s, gzip=settings.gzip,
            retries_max=settings.retries_max, queue_max=settings.queue_max, jitter_key=self._seed,
        )  # fmt: skip

    @cached_property
    def _authorities(self) -> Path:
        if self._addresses.ca_file:
            return Path(self._addresses.ca_file)
        import certifi

        return Path(certifi.where())

    @cached_property
    def _url(self) -> Callable[[], str]:
        at = self._addresses
        return signing.websocket_url(at) if at.has_account else lambda: at.websocket_url


def _will(will: Will, device: Device) -> Publish:
    return Publish("will", device.topic(will.topic), will.payload.encode(), will.qos, will.retain)
