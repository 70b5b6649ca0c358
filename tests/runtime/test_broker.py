"""From a target and a profile's `link` to the endpoint of a device."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from simulator.device import Device
from simulator.errors import UsageError
from simulator.fleet import Fleet
from simulator.links import Endpoint, TlsFiles
from simulator.messages import Publish
from simulator.profiles import LinkSettings, Will, profile
from simulator.runtime.broker import Broker, check
from simulator.schema import YamlProblems, parse
from simulator.targets import Addresses, Target

CA = Path("/ca.pem")
OWN = TlsFiles(CA, Path("/ids/d1.cert.pem"), Path("/ids/d1.key.pem"))
ANYBODY = TlsFiles(CA)
AT_AWS: dict[str, Any] = {"kind": "aws", "access_key_id": "AKIATEST", "secret_access_key": "x"}
CLOUD = {**AT_AWS, "kind": "sandbox", "endpoint_url": "https://localhost:4566"}
PLAIN_HTTP = {**CLOUD, "kind": "endpoints", "endpoint_url": "http://localhost:4566"}
BROKER: dict[str, Any] = {"kind": "endpoints"}
WS = {**BROKER, "mqtt_transport": "websocket"}


@cache
def device() -> Device:
    name = "fire-sensor"
    return Fleet([("d1", name, None)], {name: profile(name)}, 1, 0, b"").devices[0]


def endpoint(at: dict[str, Any], **settings: Any) -> Endpoint:
    common = {"name": "t", "region": "us-east-1", "mqtt_host": "broker", "mqtt_port": 8883, "ca_file": str(CA)}
    addresses = Addresses(**{**common, **at})
    return Broker(addresses, Path("/ids"), 1).endpoint(device(), LinkSettings(**settings))


@pytest.mark.parametrize(
    ("at", "wanted", "host", "port", "tls", "url"),
    [
        (CLOUD, None, "broker", 8883, OWN, ""),
        (CLOUD, "websocket", "localhost", 4566, ANYBODY, "wss://localhost:4566/mqtt?X-Amz-"),
        (AT_AWS, None, "broker", 8883, OWN, ""),
        (AT_AWS, "websocket", "broker", 443, ANYBODY, "wss://broker:443/mqtt?X-Amz-"),
        (
            {**AT_AWS, "mqtt_transport": "websocket", "mqtt_port": 443},
            None,
            "broker",
            443,
            ANYBODY,
            "wss://broker:443/mqtt?X-Amz-",
        ),
        ({**AT_AWS, "mqtt_transport": "websocket", "mqtt_port": 443}, "tls", "broker", 443, OWN, ""),
        (PLAIN_HTTP, "websocket", "localhost", 4566, None, "ws://localhost:4566/mqtt?X-Amz-"),
        (PLAIN_HTTP, "tcp", "broker", 8883, None, ""),
        (BROKER, None, "broker", 8883, ANYBODY, ""),
        (BROKER, "tcp", "broker", 8883, None, ""),
        ({**BROKER, "mqtt_tls": False}, None, "broker", 8883, None, ""),
        ({**BROKER, "mqtt_tls": False}, "tls", "broker", 8883, ANYBODY, ""),
        (BROKER, "websocket", "broker", 8883, ANYBODY, "wss://broker:8883/mqtt"),
        (WS, None, "broker", 8883, ANYBODY, "wss://broker:8883/mqtt"),
        ({**WS, "mqtt_tls": False, "mqtt_host": "::1"}, None, "::1", 8883, None, "ws://[::1]:8883/mqtt"),
    ],
)
def test_where_a_device_connects(
    at: dict[str, Any], wanted: Any, host: str, port: int, tls: TlsFiles | None, url: str
) -> None:
    made = endpoint(at, transport=wanted)
    assert (made.host, made.port, made.tls) == (host, port, tls)
    asked = made.websocket() if made.websocket else ""
    assert asked.startswith(url) if url.endswith("X-Amz-") else asked == url
    assert made.client_id == "d1"


def test_what_a_profile_says_of_its_session() -> None:
    made = endpoint(
        BROKER, mqtt_version="3.1.1", keep_alive_s=5, clean_start=False, session_expiry_s=60, subscribe_qos=2,
        will=Will(topic="status/{env}/{thing}", payload="é", qos=2, retain=True),
    )  # fmt: skip
    assert (made.mqtt_version, made.keep_alive_s, made.clean_start, made.session_expiry_s) == ("3.1.1", 5, False, 60)
    assert made.subscribe_qos == 2
    assert made.will == Publish("will", "status/stg/d1", "é".encode(), 2, True)
    assert endpoint(BROKER).will is None


@pytest.mark.parametrize(
    ("target", "of_profile", "username", "password"),
    [
        ({}, None, None, None),
        ({"username": "u-{thing}", "password": b"p"}, None, "u-d1", b"p"),
        ({"username": "u", "password": b"p"}, "{env}/{thing}", "stg/d1", b"p"),
        ({}, "{thing}", "d1", None),
    ],
)
def test_user_names(
    target: dict[str, Any], of_profile: str | None, username: str | None, password: bytes | None
) -> None:
    made = endpoint({**BROKER, **target}, username=of_profile)
    assert (made.username, made.password) == (username, password)


def test_a_password_is_shown_nowhere() -> None:
    addresses = Addresses("endpoints", "t", "r", "broker", 1, username="u", password=b"opensesame")
    assert "opensesame" not in f"{addresses!r} {addresses.environment()}"


# --- what cannot be ---


def target(**fields: Any) -> Target:
    return Target(**{"target": "t", "kind": "endpoints", "mqtt_host": "broker", **fields})


@pytest.mark.parametrize(
    ("fields", "port", "has_account"),
    [
        ({}, 8883, False),
        ({"mqtt_tls": False}, 1883, False),
        ({"mqtt_transport": "websocket"}, 443, False),
        ({"mqtt_transport": "websocket", "mqtt_tls": False}, 80, False),
        ({"mqtt_port": 9001, "mqtt_transport": "websocket"}, 9001, False),
        ({"endpoint_url": "https://localhost:4566"}, 8883, True),
        ({"kind": "aws", "mqtt_host": None}, 8883, True),
        ({"kind": "sandbox"}, 8883, True),
    ],
)
def test_what_a_target_leaves_open(fields: dict[str, Any], port: int, has_account: bool) -> None:
    made = target(**fields)
    assert (made.broker_port, made.has_account) == (port, has_account)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("kind: endpoints", "needs 'mqtt_host'"),
        ("kind: aws\nmqtt_tls: false", "a target of kind 'aws' has no MQTT without TLS"),
        ("kind: sandbox\nmqtt_transport: websocket", "a profile chooses"),
        ("kind: endpoints\nmqtt_host: b\npassword_env: P", "'password_env' needs 'username'"),
        ("kind: endpoints\nmqtt_host: b\nusername: u\npassword: x", "unknown key 'password'"),
    ],
)
def test_targets_that_cannot_be(text: str, mistake: str) -> None:
    with pytest.raises(YamlProblems, match=mistake):
        parse(f"target: t\n{text}\n", "t.yaml", Target)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("kind: sdk\ntransport: websocket", "l.yaml:2:12: the sdk link has no transport websocket"),
        ("kind: sdk\nsubscribe_qos: 2", "l.yaml:2:16: the sdk link has no QoS 2"),
        ("kind: sdk\nwill: {topic: a, qos: 2}", "the sdk link has no QoS 2"),
        ("will: {topic: a/#}", "l.yaml:1:15: "),
        ("transport: udp", "transport|tcp"),
    ],
)
def test_links_that_cannot_be(text: str, mistake: str) -> None:
    with pytest.raises(YamlProblems, match=mistake):
        parse(f"{text}\n", "l.yaml", LinkSettings)


@pytest.mark.parametrize(
    ("fields", "link", "mistake"),
    [
        ({"kind": "sandbox"}, {"transport": "tcp"}, "profile 'p' wants MQTT without TLS, which target 't'"),
        ({"mqtt_transport": "websocket"}, {"kind": "sdk"}, "profile 'p': the sdk link speaks no WebSocket"),
        ({"username": "u", "password_env": "FLEETSIM_NO_SUCH"}, {}, "no variable 'FLEETSIM_NO_SUCH'"),
    ],
)
def test_what_does_not_fit_together(fields: dict[str, Any], link: dict[str, Any], mistake: str) -> None:
    spoken = profile("fire-sensor").model_copy(update={"link": LinkSettings(**link)})
    with pytest.raises(UsageError, match=mistake):
        check(target(**fields), {"p": spoken})


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETSIM_TEST_PASSWORD", "opensesame")
    check(target(username="u", password_env="FLEETSIM_TEST_PASSWORD"), {"p": profile("fire-sensor")})
