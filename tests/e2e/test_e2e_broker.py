"""The shipped profiles at a real mosquitto, which has no AWS about it: with and without TLS, users and WebSocket."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from tests.e2e.fleetsim_command import Command, until
from tests.links.mqtt_peers import (
    MOSQUITTO,
    Broker,
    Certificates,
    Ways,
    make_certificates,
    mosquitto,
    mosquitto_with_users,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.peer,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

FILTERS = ("iotlink/#", "fire-prediction/#", "status/#")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("mosquitto"), certificates) as running:
        yield running


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Ways]:
    with mosquitto_with_users(tmp_path_factory.mktemp("mosquitto"), certificates) as running:
        yield running


class Listener:
    """Whoever else uses the broker."""

    def __init__(self, port: int, user: str | None, client_id: str = "listener") -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id)
        if user:
            self.client.username_pw_set(user, "opensesame")
        self.topics: Counter[str] = Counter()
        self.payloads: dict[str, bytes] = {}
        self.subscribed = 0
        self.client.on_message = self._heard
        self.client.on_subscribe = self._subscribed
        self.client.connect("127.0.0.1", port)
        for topic_filter in FILTERS:
            self.client.subscribe(topic_filter, 1)

    def _heard(self, client: object, data: object, message: paho.MQTTMessage) -> None:
        self.topics[message.topic] += 1
        self.payloads[message.topic] = bytes(message.payload)

    def _subscribed(self, *_: object) -> None:
        self.subscribed += 1


@contextmanager
def listening(port: int, user: str | None = None) -> Iterator[Listener]:
    listener = Listener(port, user)
    listener.client.loop_start()
    try:
        until(lambda: listener.subscribed == len(FILTERS), "the subscriptions of the listener")
        yield listener
    finally:
        listener.client.disconnect()
        listener.client.loop_stop()


def run(fleetsim: Callable[..., Command], scenario: str, target: dict[str, object], **env: str) -> Command:
    text = yaml.safe_dump({"target": "plain", "kind": "endpoints", "mqtt_host": "localhost", **target}, sort_keys=False)
    files = {"broker.yaml": text}
    # Nobody may look for an account: a proxy that is not there would tell.
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    arguments = ("run", scenario, "--target", "./broker.yaml", "--yes", "--out", "out")
    return fleetsim(*arguments, files=files, **nowhere, **env)


def arrived(command: Command, listener: Listener) -> None:
    """All is well, and what was acknowledged is what was heard."""
    assert command.wait() == 0, command.stderr + command.stdout
    report = command.report
    assert report.verdict == "passed"
    assert {device.state for device in report.fleet.devices} == {"connected"}
    (telemetry,) = [row for row in report.accounting if row.kind == "telemetry"]
    assert telemetry.attempted == telemetry.sent == telemetry.acknowledged > 0
    until(lambda: listener.topics.total() >= telemetry.acknowledged, "what the devices sent")
    assert listener.topics.total() == telemetry.acknowledged
    assert set(listener.topics) == {
        *(f"iotlink/stg/nohub/Vehicle-VIN-00{n}/periodic/pub/telemetry/json" for n in (1, 2, 3)),
        *(f"fire-prediction/device/device-00{n}/data" for n in (1, 2)),
    }
    command.leaves_nothing([])


def test_anonymous_without_tls(fleetsim: Callable[..., Command], broker: Broker) -> None:
    with listening(broker.port) as listener:
        command = run(fleetsim, "any-broker", {"mqtt_port": broker.port, "mqtt_tls": False})
        arrived(command, listener)
    assert f"the messages of a fleet to the broker localhost:{broker.port}" in command.stderr
    assert "provisioning" not in command.stderr


@pytest.mark.parametrize("way", ["tcp", "tls", "ws", "wss"])
def test_with_a_user_name(fleetsim: Callable[..., Command], ways: Ways, certificates: Certificates, way: str) -> None:
    target: dict[str, object] = {
        "mqtt_port": getattr(ways, way),
        "mqtt_tls": way in ("tls", "wss"),
        "mqtt_transport": "websocket" if way in ("ws", "wss") else "tcp",
        "ca_file": str(certificates.ca_file),
        "username": "device",
        "password_env": "BROKER_PASSWORD",
    }
    with listening(ways.tcp, "device") as listener:
        command = run(fleetsim, "any-broker", target, BROKER_PASSWORD="opensesame")
        arrived(command, listener)
    files = [path for path in (command.folder / "out").rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files).decode(errors="replace")
    assert "opensesame" not in command.stderr + command.stdout + written


def test_a_wrong_password_is_told(fleetsim: Callable[..., Command], home: Path, ways: Ways) -> None:
    scenario = yaml.safe_load((home / "scenarios" / "any-broker.yaml").read_text())
    scenario["scenario"], scenario["timeline"][1]["within_s"] = "no-way-in", 1
    (home / "scenarios" / "no-way-in.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    target: dict[str, object] = {
        "mqtt_port": ways.tcp, "mqtt_tls": False, "username": "device", "password_env": "BROKER_PASSWORD",
    }  # fmt: skip
    command = run(fleetsim, "no-way-in", target, BROKER_PASSWORD="wrong")
    assert command.wait() == 1
    reasons = {event.detail["reason"] for event in command.report.timeline if event.kind == "disconnected"}
    assert reasons == {"CONNACK 0x87 not authorized"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            {"username": "device", "password_env": "BROKER_PASSWORD"},
            "target 'plain': the environment has no variable 'BROKER_PASSWORD'",
        ),
        ({"password_env": "BROKER_PASSWORD"}, "broker.yaml:1:1: 'password_env' needs 'username'"),
        ({"mqtt_host": None}, "broker.yaml:1:1: a target of kind 'endpoints' needs 'mqtt_host'"),
    ],
)
def test_a_target_that_is_not_whole(fleetsim: Callable[..., Command], target: dict[str, object], expected: str) -> None:
    command = run(fleetsim, "any-broker", target)
    assert command.wait() == 2
    assert expected in command.stderr
    assert "Traceback" not in command.stderr


LINK = """
link:
  mqtt_version: "3.1.1"
  username: device
  clean_start: false
  subscribe_qos: 2
  keep_alive_s: 5
  will: {topic: "status/{env}/{thing}", payload: gone, qos: 2, retain: true}
"""


def test_the_words_of_a_profile(fleetsim: Callable[..., Command], home: Path, ways: Ways) -> None:
    """QoS 2, retained, a last will, a persistent session and a user name: by YAML alone."""
    text = (home / "profiles" / "fire-sensor.yaml").read_text().replace("profile: fire-sensor", "profile: thorough")
    text = text.replace("  - kind: telemetry\n", "  - kind: telemetry\n    qos: 2\n    retain: true\n", 1)
    (home / "profiles" / "thorough.yaml").write_text(text.replace("\nsignals:", f"{LINK}\nsignals:", 1))
    scenario = yaml.safe_load((home / "scenarios" / "any-broker.yaml").read_text())
    scenario["scenario"], scenario["fleet"] = "thorough", [{"profile": "thorough", "count": 2, "name": "thorough-{n}"}]
    scenario["timeline"][1]["check"]["equals"] = scenario["checks"][0]["equals"] = 2
    (home / "scenarios" / "thorough.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    target: dict[str, object] = {
        "mqtt_port": ways.tcp, "mqtt_tls": False, "username": "nobody", "password_env": "BROKER_PASSWORD",
    }  # fmt: skip
    command = run(fleetsim, "thorough", target, BROKER_PASSWORD="opensesame")
    wills = {f"status/stg/thorough-00{n}" for n in (1, 2)}
    data = {f"fire-prediction/device/thorough-00{n}/data" for n in (1, 2)}
    with listening(ways.tcp, "device") as listener:
        until(lambda: set(listener.topics) == data, "telemetry")
        command.process.kill()  # no goodbye, so the broker publishes the wills
        command.process.wait()
        until(lambda: set(listener.topics) == data | wills, "the wills")
    with listening(ways.tcp, "device") as late:  # hears what was retained
        until(lambda: set(late.topics) == data | wills, "what was retained")
        assert {late.payloads[topic] for topic in wills} == {b"gone"}


def test_the_sandbox_through_a_signed_websocket(fleetsim: Callable[..., Command], home: Path) -> None:
    """The whole loop, with devices that have no certificate and sign instead."""
    for name in ("vehicle-sedan", "vehicle-suv", "vehicle-truck", "fire-sensor"):
        text = (home / "profiles" / f"{name}.yaml").read_text().replace(f"profile: {name}", f"profile: {name}-ws")
        text = text.replace("\nsignals:", "\nlink: {transport: websocket}\n\nsignals:", 1)
        assert "transport: websocket" in text
        (home / "profiles" / f"{name}-ws.yaml").write_text(text)
    text = (home / "scenarios" / "quick-loop.yaml").read_text().replace("scenario: quick-loop", "scenario: signed-loop")
    for name in ("vehicle-sedan", "vehicle-suv", "vehicle-truck", "fire-sensor"):
        text = text.replace(f"profile: {name},", f"profile: {name}-ws,")
    (home / "scenarios" / "signed-loop.yaml").write_text(text)
    command = fleetsim("run", "signed-loop", "--out", "out")
    assert command.wait() == 0, command.stderr + command.stdout
