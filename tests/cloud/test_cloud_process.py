"""The life of the cloud process: how it starts, what it refuses, how it ends."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

ENDINGS: list[Callable[["subprocess.Popen[str]"], object]] = [
    lambda process: process.send_signal(signal.SIGTERM),
    lambda process: process.send_signal(signal.SIGINT),
    lambda process: process.stdin and process.stdin.close(),
]


@pytest.mark.parametrize("end", ENDINGS, ids=["SIGTERM", "SIGINT", "stdin"])
def test_it_ends_when_told_and_leaves_nothing(start_cloud: Any, end: Any) -> None:
    cloud = start_cloud()
    kept = cloud.client("iot")
    kept.list_things()  # a connection that stays open must not hold up the end
    with socket.create_connection((cloud.ready["mqtt_host"], cloud.ready["mqtt_port"])):
        end(cloud.process)
        assert cloud.process.wait(10) == 0
    for port in (cloud.ready["mqtt_port"], int(cloud.ready["endpoint_url"].rpartition(":")[2])):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    kept.close()
    assert not (Path(cloud.ready["ca_file"]).parent / "server.pem").exists()


def test_two_run_side_by_side_and_given_ports_are_taken(start_cloud: Any) -> None:
    first = start_cloud()
    ports = first.ready["mqtt_port"], first.ready["endpoint_url"]
    second = start_cloud(mqtt_port=_free_port(), region="eu-west-1")
    assert ports != (second.ready["mqtt_port"], second.ready["endpoint_url"])
    arn = second.client("iot").create_package(packageName="p")["packageArn"]
    assert arn == "arn:aws:iot:eu-west-1:000000000000:package/p"


def test_without_auth_any_key_will_do(start_cloud: Any) -> None:
    cloud = start_cloud(auth=False)
    iot = cloud.client("iot", secret="wrong", key_id="test")
    iot.create_package(packageName="p")
    assert iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"].startswith("localhost:")
    iot.close()


def test_without_auth_a_device_needs_no_certificate(start_cloud: Any) -> None:
    cloud = start_cloud(auth=False)
    context = ssl.create_default_context(cafile=cloud.ready["ca_file"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 asks of a certificate
    address = cloud.ready["mqtt_host"], cloud.ready["mqtt_port"]
    with (
        socket.create_connection(address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as device,
    ):
        device.sendall(bytes.fromhex("100d00044d51545404020000000161"))  # CONNECT, 3.1.1, clean, client id "a"
        assert device.recv(4) == bytes.fromhex("20020000")


def test_the_environment_is_not_the_configuration(start_cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AUTH", "false"),
        ("GATEWAY_PORT", "1"),
        ("AWS_SESSION_TOKEN", "stray"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("MINISTACK_REGION", "eu-north-1"),
        ("PERSIST_STATE", "1"),
    ):
        monkeypatch.setenv(name, value)
    cloud = start_cloud()
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    iot = cloud.client("iot")
    assert iot.list_packages()["packageSummaries"] == []
    iot.close()


def test_the_aws_environment_is_enough_for_boto3(start_cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = start_cloud(access_key_id="AKIAENVIRONMENT", secret_access_key="s")
    for name, value in (
        ("AWS_ENDPOINT_URL", cloud.ready["endpoint_url"]),
        ("AWS_CA_BUNDLE", cloud.ready["ca_file"]),
        ("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_DEFAULT_REGION", cloud.ready["region"]),
    ):
        monkeypatch.setenv(name, value)
    sts = boto3.Session().client("sts", config=Config(retries={"total_max_attempts": 1}))
    assert sts.get_caller_identity()["Account"] == cloud.ready["account_id"]
    sts.close()


@pytest.mark.parametrize("key", ["https_port", "mqtt_port"])
def test_a_port_in_use_is_one_line_and_exit_3(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = _fails(tmp_path, {"state_dir": str(tmp_path), key: port})
    assert code == 3
    assert errors.startswith(f"port {port} on 127.0.0.1 is in use (")
    assert errors.endswith(f"choose another with '{key}' (0: any free one)\n")
    assert errors.count("\n") == 1


def test_an_unwritable_folder_is_one_line_and_exit_3(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, errors = _fails(tmp_path, {"state_dir": str(tmp_path / "file" / "below")})
    assert (code, errors.count("\n")) == (3, 1)
    assert "cannot be written (Not a directory); choose another with 'state_dir'" in errors


def test_a_folder_in_use_is_one_line_and_exit_3(tmp_path: Path, start_cloud: Any) -> None:
    folder = Path(start_cloud().ready["ca_file"]).parent
    code, errors = _fails(tmp_path, {"state_dir": str(folder)})
    assert (code, errors.count("\n")) == (3, 1)
    assert errors.startswith(f"state_dir {folder} is in use by another process; choose")


def test_the_end_of_stdin_before_it_is_ready_ends_it_too(tmp_path: Path) -> None:
    file = tmp_path / "cloud.json"
    file.write_text(json.dumps({"state_dir": str(tmp_path / "state")}))
    done = subprocess.run(
        [sys.executable, "-m", "simulator.cloud", "--config", str(file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("[]", "expected a JSON object, got list"),
        ("{", "not JSON"),
        ("{}", "'state_dir' is missing"),
        ('{"state_dir": "x", "mqtt_prot": 1}', "unknown key 'mqtt_prot' (did you mean 'mqtt_port'?)"),
        ('{"state_dir": "x", "mqtt_port": 65536}', "'mqtt_port' must be a port from 0"),
        ('{"state_dir": "x", "https_port": true}', "'https_port' must be a port from 0"),
        ('{"state_dir": "x", "auth": 1}', "'auth' must be true or false, got 1"),
        ('{"state_dir": "x", "log_level": "LOUD"}', "'log_level' must be one of DEBUG"),
        ('{"state_dir": ""}', "'state_dir' must be a non-empty string"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_exit_2(tmp_path: Path, config: str, expected: str) -> None:
    code, errors = _fails(tmp_path, config)
    assert (code, errors.count("\n")) == (2, 1)
    assert expected in errors


def _fails(tmp_path: Path, config: str | dict[str, Any]) -> tuple[int, str]:
    file = tmp_path / "cloud.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "simulator.cloud", "--config", str(file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        env=os.environ,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
