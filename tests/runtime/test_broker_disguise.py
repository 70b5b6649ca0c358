"""As whom a device connects while a fault disguises it: another's client id and certificate, or a forged one."""

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from simulator.device import Device
from simulator.faults import Fault
from simulator.faults.bad_certificate import BadCertificate
from simulator.faults.duplicate_client_id import DuplicateClientId
from simulator.links import Endpoint
from simulator.messages import Note
from simulator.ops import forged
from simulator.profiles import LinkSettings
from simulator.runtime.broker import Broker
from simulator.targets import Addresses
from tests.core.fleets import START_MS, fleet

CLOUD: dict[str, Any] = {
    "kind": "sandbox", "endpoint_url": "https://localhost:1", "access_key_id": "AKIATEST", "secret_access_key": "x",
}  # fmt: skip
TLS_ONLY: dict[str, Any] = {"kind": "endpoints"}
PLAIN: dict[str, Any] = {"kind": "endpoints", "mqtt_tls": False}
Ask = Callable[..., Endpoint]


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    for name in ("Pump-001", "Pump-002"):
        for kind in ("cert", "key"):
            (tmp_path / f"{name}.{kind}.pem").touch()
    return tmp_path


def broken(*faults: Fault) -> Device:
    device = fleet().devices[0]
    for fault in faults:
        device.inject(fault, START_MS)
    return device


def endpoint(ids: Path, device: Device, at: dict[str, Any], **settings: Any) -> Endpoint:
    common = {"name": "t", "region": "us-east-1", "mqtt_host": "broker", "mqtt_port": 8883, "ca_file": "/ca.pem"}
    return Broker(Addresses(**{**common, **at}), ids, 1).endpoint(device, LinkSettings(**settings))


def cert(made: Endpoint) -> Path:
    assert made.tls
    assert made.tls.cert_file
    return made.tls.cert_file


def test_a_copy_has_client_id_and_certificate_of_the_other(ids: Path) -> None:
    device = broken(DuplicateClientId(of="Pump-002"))
    made = endpoint(ids, device, CLOUD)
    assert (made.client_id, cert(made)) == ("Pump-002", ids / "Pump-002.cert.pem")
    assert endpoint(ids, device, PLAIN).client_id == "Pump-002"
    device.clear(None, START_MS)
    made = endpoint(ids, device, CLOUD)
    assert (made.client_id, cert(made)) == ("Pump-001", ids / "Pump-001.cert.pem")


def test_a_copy_of_somebody_who_has_no_certificate_here_keeps_its_own(ids: Path) -> None:
    made = endpoint(ids, broken(DuplicateClientId(of="elsewhere")), CLOUD)
    assert (made.client_id, cert(made)) == ("elsewhere", ids / "Pump-001.cert.pem")


@pytest.mark.parametrize("wrong", ["expired", "unknown"])
def test_a_forged_certificate(ids: Path, wrong: Any) -> None:
    device = broken(BadCertificate(certificate=wrong))
    made = endpoint(ids, device, CLOUD)
    assert made.client_id == "Pump-001"
    pem = x509.load_pem_x509_certificate(cert(made).read_bytes())
    assert (pem.not_valid_after_utc < datetime.now(UTC)) == (wrong == "expired")
    assert pem.issuer != pem.subject
    ssl.create_default_context().load_cert_chain(*made.tls[1:] if made.tls else ())
    assert cert(made).stat().st_mode & 0o077 == 0
    assert endpoint(ids, device, CLOUD) == made, "it is made once"
    device.clear(None, START_MS)
    assert cert(endpoint(ids, device, CLOUD)) == ids / "Pump-001.cert.pem"


def test_an_unknown_one_is_made_anew_before_it_expires(ids: Path) -> None:
    files = forged.identity(ids, "unknown")
    old = (datetime.now(UTC) - timedelta(days=20)).timestamp()
    first = files.cert_file.read_bytes()
    os.utime(files.cert_file, (old, old))
    assert forged.identity(ids, "unknown") == files
    assert files.cert_file.read_bytes() != first


@pytest.mark.parametrize(
    ("at", "settings"), [(TLS_ONLY, {}), (PLAIN, {}), (CLOUD, {"transport": "websocket"})], ids=["tls", "tcp", "wss"]
)
def test_where_no_certificate_is_asked_for_the_device_stays_and_says_so(
    ids: Path, at: dict[str, Any], settings: dict[str, Any]
) -> None:
    device = broken(BadCertificate())
    made, right = endpoint(ids, device, at, **settings), endpoint(ids, broken(), at, **settings)
    assert made._replace(websocket=None) == right._replace(websocket=None)
    assert device.wake_at_ms <= START_MS
    notes = [o for _ in range(2) for o in device.step(START_MS) if isinstance(o, Note)]
    assert [note.kind for note in notes] == ["fault_idle"]
