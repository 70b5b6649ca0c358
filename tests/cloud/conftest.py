"""A real cloud process for each test module, and what its tests need to talk to it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY_ID, SECRET = "AKIATESTTESTTESTTEST", "the-secret-of-the-tests"

# What the fleet's devices get: everything of their own, by the name of the thing they are attached to.
_THING = "${iot:Connection.Thing.ThingName}"
DEVICE_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"arn:aws:iot:*:*:client/{_THING}"},
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:Receive"],
            "Resource": [
                f"arn:aws:iot:*:*:topic/$aws/things/{_THING}/*",
                f"arn:aws:iot:*:*:topic/iotlink/*/nohub/{_THING}/*",
            ],
        },
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": f"arn:aws:iot:*:*:topicfilter/$aws/things/{_THING}/*",
        },
    ],
}


@dataclass(frozen=True)
class Cloud:
    """A running cloud process."""

    ready: dict[str, Any]
    process: "subprocess.Popen[str]"

    def client(self, service: str, secret: str = SECRET, key_id: str = KEY_ID, **options: Any) -> Any:
        """A boto3 client of it."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            **{
                "config": Config(
                    signature_version="s3v4" if service == "s3" else None, retries={"total_max_attempts": 1}
                ),
                "endpoint_url": self.ready["endpoint_url"],
                "region_name": self.ready["region"],
                "verify": self.ready["ca_file"],
                **options,
            },
        )


@dataclass(frozen=True)
class Identity:
    """A certificate that a device connects with."""

    name: str
    arn: str
    cert_file: str
    key_file: str


def start(folder: Path, **config: Any) -> Cloud:
    """Start a process and wait for its ready line."""
    file = folder / "cloud.json"
    values = {
        "state_dir": str(folder / "state"),
        "access_key_id": KEY_ID,
        "secret_access_key": SECRET,
        **config,
    }
    file.write_text(json.dumps(values))
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "simulator.cloud", "--config", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        stop(process)
        raise AssertionError(f"the cloud did not start: {(folder / 'log.txt').read_text()}")
    return Cloud(json.loads(line), process)


def stop(process: "subprocess.Popen[str]") -> int:
    """End a process by the end of its stdin, and close its pipes."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        return process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(10)
    finally:
        process.stdout.close()


@pytest.fixture
def start_cloud(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Start processes of one's own; they end with the test."""
    running: list[Cloud] = []

    def begin(**config: Any) -> Cloud:
        folder = tmp_path / f"cloud{len(running)}"
        folder.mkdir()
        running.append(start(folder, **config))
        return running[-1]

    yield begin
    for cloud in running:
        stop(cloud.process)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One process for the module; its log must stay free of errors."""
    folder = tmp_path_factory.mktemp("cloud")
    running = start(folder)
    yield running
    assert stop(running.process) == 0
    log = (folder / "log.txt").read_text()
    assert "Traceback" not in log, log
    assert " ERROR " not in log, log


@pytest.fixture(scope="module")
def identity(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Identity]:
    """Make a certificate: of a thing with the device policy, or of nothing with a policy of one's own."""
    iot = cloud.client("iot")
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str, policy: dict[str, Any] | None = None) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        created = iot.create_certificate_from_csr(
            certificateSigningRequest=csr.public_bytes(serialization.Encoding.PEM).decode(), setAsActive=True
        )
        iot.create_policy(policyName=f"policy-{name}", policyDocument=json.dumps(policy or DEVICE_POLICY))
        iot.attach_policy(policyName=f"policy-{name}", target=created["certificateArn"])
        if policy is None:
            iot.create_thing(thingName=name)
            iot.attach_thing_principal(thingName=name, principal=created["certificateArn"])
        cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
        cert_file.write_text(created["certificatePem"])
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Identity(name, created["certificateArn"], str(cert_file), str(key_file))

    return make
