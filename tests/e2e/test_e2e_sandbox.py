"""`fleetsim sandbox`: what it prints, who it lets in, and what it refuses to start with."""

import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.e2e.fleetsim_command import PATIENCE_S, Command, client, free_port, read_env, until

pytestmark = pytest.mark.e2e

KEYS = [
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "FLEETSIM_MQTT_HOST",
    "FLEETSIM_MQTT_PORT",
    "FLEETSIM_CA_FILE",
    "FLEETSIM_API_URL",
]
READY = "the sandbox is ready; Ctrl-C ends it"


class Running(NamedTuple):
    """A sandbox that is ready."""

    command: Command
    env: dict[str, str]
    ports: dict[str, int]


def begin(fleetsim: Callable[..., Command], *flags: object) -> Running:
    """Starts a sandbox on given ports, where an older env file is in the way; does not wait."""
    ports = {name: free_port() for name in ("https", "mqtt", "api")}
    given = [part for name, port in ports.items() for part in (f"--{name}-port", port)]
    older = {"sandbox.env": "left by a sandbox that crashed, and open to all"}
    return Running(fleetsim("sandbox", "--env-file", "sandbox.env", *given, *flags, files=older), {}, ports)


@pytest.fixture(scope="module")
def sandboxes(fleetsim: Callable[..., Command]) -> Iterator[list[Running]]:
    """One that checks credentials and certificates, and one that does not. Both end well."""
    begun = [begin(fleetsim, "--state", "kept"), begin(fleetsim, "--no-auth")]
    running = []
    for command, _, ports in begun:
        command.says(READY)
        running.append(Running(command, read_env(command.folder / "sandbox.env"), ports))
    yield running
    for command, _, _ in running:
        command.process.send_signal(signal.SIGINT)
    for command, _, ports in running:
        assert command.wait() == 130
        assert not (command.folder / "sandbox.env").exists()
        assert "Traceback" not in command.stderr
        command.leaves_nothing(list(ports.values()))
        assert list(command.temporary.iterdir()) == []


@pytest.fixture(scope="module")
def strict(sandboxes: list[Running]) -> Running:
    return sandboxes[0]


@pytest.fixture(scope="module")
def lax(sandboxes: list[Running]) -> Running:
    return sandboxes[1]


def test_the_env_file_says_all_and_to_its_owner_only(strict: Running) -> None:
    assert set(KEYS) <= set(strict.env)
    assert all(strict.env.values())
    file = strict.command.folder / "sandbox.env"
    assert file.stat().st_mode & 0o777 == 0o600
    assert strict.command.stdout == file.read_text()
    link = f"its pages: {strict.env['FLEETSIM_API_URL']}/enter?code="
    first, second = strict.command.stderr.splitlines()
    assert first.startswith(link)
    assert second == READY


def test_given_ports_are_used(strict: Running) -> None:
    assert strict.env["AWS_ENDPOINT_URL"] == f"https://localhost:{strict.ports['https']}"
    assert strict.env["FLEETSIM_MQTT_PORT"] == str(strict.ports["mqtt"])
    assert strict.env["FLEETSIM_API_URL"] == f"http://127.0.0.1:{strict.ports['api']}"
    assert set(strict.ports.values()) <= set(strict.command.ports())


def test_the_state_folder_holds_what_must_stay_secret_for_its_owner_only(strict: Running) -> None:
    state = strict.command.folder / "kept"
    assert strict.env["FLEETSIM_CA_FILE"].startswith(str(state))
    secret = strict.env["AWS_SECRET_ACCESS_KEY"]
    telling = [path for path in state.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
    assert telling
    for path in telling:
        assert path.stat().st_mode & 0o077 == 0, path


def test_boto3_and_the_read_api_answer(strict: Running) -> None:
    sts = client("sts", strict.env)
    assert sts.get_caller_identity()["Account"] == "000000000000"
    with urlopen(strict.env["FLEETSIM_API_URL"] + "/api/health", timeout=PATIENCE_S) as answer:  # noqa: S310 - ours
        assert json.load(answer) == {"status": "ok"}
    sts.close()


def test_two_sandboxes_know_nothing_of_each_other(strict: Running, lax: Running) -> None:
    mine = client("iot", strict.env)
    other = client("iot", lax.env, aws_access_key_id="any")
    mine.create_thing(thingName="only-here")
    assert [thing["thingName"] for thing in mine.list_things()["things"]] == ["only-here"]
    assert other.list_things()["things"] == []
    mine.close()
    other.close()


def test_credentials_are_checked_unless_told_otherwise(strict: Running, lax: Running) -> None:
    stranger = {"aws_access_key_id": "AKIASTRANGER", "aws_secret_access_key": "x"}
    refused, welcome = (client("iot", running.env, **stranger) for running in (strict, lax))
    with pytest.raises(ClientError) as caught:
        refused.list_things()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert welcome.list_things()["things"] == []
    refused.close()
    welcome.close()


def test_certificates_are_checked_unless_told_otherwise(strict: Running, lax: Running) -> None:
    assert anonymous(lax) == "Success"
    assert anonymous(strict) != "Success"


def test_a_part_that_dies_ends_it(fleetsim: Callable[..., Command]) -> None:
    command, _, ports = begin(fleetsim)
    command.says(READY)
    pid = command.parts()["cloud"]
    os.kill(pid, signal.SIGKILL)
    assert command.wait() == 3
    lines = command.stderr.splitlines()
    assert lines[2] == f"the sandbox's cloud (pid {pid}) was killed by signal 9"
    assert not (command.folder / "sandbox.env").exists()
    command.leaves_nothing(list(ports.values()))


@pytest.mark.parametrize("name", ["https", "mqtt", "api"])
def test_a_port_in_use_is_one_line(fleetsim: Callable[..., Command], name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = fleetsim("sandbox", f"--{name}-port", port, "--env-file", "sandbox.env")
        assert command.wait() == 3
    [line] = command.stderr.splitlines()
    assert f"port {port}" in line
    assert "in use" in line
    assert "choose another" in line
    leaves_no_trace(command)


def test_a_folder_of_an_earlier_run_is_refused(strict: Running, fleetsim: Callable[..., Command]) -> None:
    command = fleetsim("sandbox", "--state", strict.command.folder / "kept")
    assert command.wait() == 2
    [line] = command.stderr.splitlines()
    assert line.startswith(f"folder '{strict.command.folder / 'kept'}' holds identities of an earlier run")
    leaves_no_trace(command)


def test_a_full_disk_is_one_line(fleetsim: Callable[..., Command]) -> None:
    command = fleetsim("sandbox", "--env-file", "sandbox.env", file_bytes_max=32 * 1024)
    assert command.wait() == 3
    [line] = command.stderr.splitlines()
    assert re.fullmatch(r"sandbox backend: state_dir .*: the store cannot be opened: disk I/O error", line)
    leaves_no_trace(command)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--state", "/dev/null/state"], "cannot write to folder '/dev/null/state': Not a directory; choose another"),
        (["--env-file", "/dev/null/env"], "cannot write file '/dev/null/env': Not a directory; choose another"),
        (["--env-file", "tmp"], "cannot write file 'tmp': it is a folder; choose another with --env-file"),
        (["--env-file", "no/such/folder"], "cannot write file 'no/such/folder': No such file or directory; choose"),
        (["--rules", "quick-lop"], "quick-lop"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_starts(
    fleetsim: Callable[..., Command], flags: list[str], expected: str
) -> None:
    command = fleetsim("sandbox", *flags)
    assert command.wait() == 2
    [line] = command.stderr.splitlines()
    assert expected in line
    leaves_no_trace(command)


def leaves_no_trace(command: Command) -> None:
    assert command.stdout == ""
    command.leaves_nothing([])
    assert sorted(path.name for path in command.folder.iterdir()) == ["stderr", "stdout", "tmp"]
    assert list(command.temporary.iterdir()) == []


def anonymous(running: Running) -> str:
    """What the broker says to a client that has no certificate."""
    said: list[str] = []
    device = paho.Client(CallbackAPIVersion.VERSION2, client_id="stranger", protocol=paho.MQTTv311)
    device.tls_set_context(ssl.create_default_context(cafile=running.env["FLEETSIM_CA_FILE"]))
    device.on_connect = lambda _client, _data, _flags, reason, _properties: said.append(str(reason))
    device.on_disconnect = lambda _client, _data, _flags, reason, _properties: said.append(f"cut: {reason}")
    try:
        device.connect(running.env["FLEETSIM_MQTT_HOST"], running.ports["mqtt"])
    except ssl.SSLError as error:
        return str(error)
    until(lambda: said or device.loop(0.1) or said, "the broker's answer")
    device.disconnect()
    return said[0]
