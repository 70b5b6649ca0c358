"""The ledger's bound, firmware images and their key, where folders are, and which target is meant."""

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator import firmware, profiles, targets
from simulator.errors import UsageError
from simulator.firmware import Firmware
from simulator.folders import folder
from simulator.ledger import Event, Ledger
from simulator.schema import YamlProblems
from simulator.wire import artifact
from simulator.wire.artifact import Unfit
from tests.core.fleets import KEY, PUBLIC_KEY, image

# Ledger


def test_events_have_a_bound_and_what_is_left_out_is_counted() -> None:
    ledger = Ledger(events_max=3)
    for n in range(10):
        ledger.note(Event(n, "fleet", "connected", "x"))
        ledger.sent["telemetry"] += 1
    assert [event.at_ms for event in ledger.events] == [0, 1, 2]
    assert (ledger.events_dropped, ledger.sent["telemetry"]) == (7, 10)


# Firmware


@pytest.mark.parametrize("size_kib", [1, 2, 256, 1024])
@pytest.mark.parametrize("notes", ["", "The fan controller no longer hangs.", "ü" * 1024])
def test_an_image_has_its_exact_size_whatever_its_notes(size_kib: int, notes: str) -> None:
    release = Firmware(version="1.1.0", notes=notes, packages=["Pump"], size_kib=size_kib)
    made = firmware.build(release, "Pump", KEY)
    assert len(made.body) == size_kib * 1024
    assert made.sha256 == hashlib.sha256(made.body).hexdigest()
    assert made.body.startswith(b"fleetsim firmware Pump 1.1.0\n")


def test_everybody_builds_the_same_bytes_and_only_the_signature_is_the_keys() -> None:
    mine, others = image(), image(key=Ed25519PrivateKey.generate())
    assert mine == image()
    assert mine._replace(signature="") == others._replace(signature="")
    assert mine.signature != others.signature
    assert mine.sha256 == "3b05929c3018d8f1c57efd13702381a271273b3a9727e389275f1a5680444dad"
    assert mine.key == "firmware/Pump/1.1.0/Pump-1.1.0.bin"
    assert len({image(v, p).sha256 for v in ("1.0.0", "1.1.0") for p in ("Pump", "Fan")}) == 4


def test_an_image_is_what_a_device_accepts() -> None:
    made = image()
    told = artifact.parse(
        {"operation": "ota", "package": "Pump", "version": made.version, "url": "https://s3/x", "size": len(made.body),
         "sha256": made.sha256, "signature": made.signature}
    )  # fmt: skip
    artifact.check(told, "Pump", len(made.body), made.sha256, PUBLIC_KEY)
    with pytest.raises(Unfit, match="signature mismatch"):
        artifact.check(told, "Pump", len(made.body), made.sha256, bytes(32))
    with pytest.raises(Unfit, match="signature mismatch"):
        artifact.check(told, "Pump", len(made.body), made.sha256, b"no key")


@pytest.mark.parametrize(
    "url", ["https://s3/a b", "https://s3/a\nHost: x", "https://", "http:/x", "HTTPS://S3/X", "s3://b/k"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    rest = {"package": "P", "version": "1", "size": 1, "sha256": "", "signature": ""}
    with pytest.raises(Unfit, match="url is neither https nor http"):
        artifact.parse({"operation": "ota", "url": url, **rest})


def test_the_manufacturers_key_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "manufacturer.key.pem"
    key = firmware.signing_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert firmware.public_bytes(firmware.signing_key(path)) == firmware.public_bytes(key)
    assert len(firmware.public_bytes(key)) == 32


def test_a_file_that_holds_no_such_key_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for wrong in (b"", b"no key", other):
        path.write_bytes(wrong)
        with pytest.raises(UsageError, match=r"key\.pem holds no Ed25519 key"):
            firmware.signing_key(path)


def test_shipped_releases_are_there_for_every_profile() -> None:
    releases = firmware.releases()
    assert [release.version for release in releases] == sorted(release.version for release in releases)
    used = {profiles.profile(name).software for name in profiles.names()}
    assert {package for release in releases for package in release.packages} >= used


def test_a_release_is_called_as_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware" / "2.0.0.yaml").write_text("version: 2.0.1\npackages: [Pump]\n")
    monkeypatch.setenv("FLEETSIM_HOME", str(tmp_path))
    with pytest.raises(YamlProblems, match=r"2\.0\.0\.yaml:1:10: the version must be the file's name: '2\.0\.0'"):
        firmware.releases()


# Folders and targets


def test_a_home_of_ones_own_is_the_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder("profiles").is_dir()
    monkeypatch.setenv("FLEETSIM_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=rf"no folder 'profiles' in {tmp_path}; set FLEETSIM_HOME"):
        folder("profiles")
    (tmp_path / "profiles").mkdir()
    assert folder("profiles") == tmp_path / "profiles"


def test_targets_by_name_and_by_file(tmp_path: Path) -> None:
    assert targets.target("sandbox").kind == "sandbox"
    assert targets.target("aws").kind == "aws"
    with pytest.raises(UsageError, match=r"unknown target 'sandbx' \(did you mean 'sandbox'\?\)"):
        targets.target("sandbx")
    path = tmp_path / "mine.yaml"
    path.write_text("target: mine\nkind: endpoints\nendpoint_url: http://localhost:4566\n")
    with pytest.raises(UsageError, match="mqtt_host"):
        targets.target(str(path))
