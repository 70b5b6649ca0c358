"""Packages by our operations, against the real cloud process."""

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.errors import UsageError
from simulator.ops import packages, provision
from simulator.ops.aws import Aws
from simulator.wire import artifact


@pytest.fixture(scope="module")
def bucket(aws: Aws) -> str:
    provision.groundwork(aws)
    provision.catalogue(aws, [])
    return provision.bucket(aws)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "image.bin"
    file.write_bytes(b"firmware" * 1000)
    return file


def test_a_version_is_uploaded_published_and_made_the_default(aws: Aws, bucket: str, image: Path) -> None:
    key = Ed25519PrivateKey.generate()
    made = packages.create(aws, "Boat", "all boats")
    assert made["packageArn"].endswith(":package/Boat")
    found = packages.add_version(aws, "Boat", "1.0.0", image, signing_key=key, attributes={"rev": "b"}, default=True)
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    facts = found["attributes"]
    assert (found["status"], facts["size"], facts["sha256"], facts["rev"]) == ("PUBLISHED", "8000", sha256, "b")
    place = found["artifact"]["s3Location"]
    assert (place["bucket"], place["key"]) == (bucket, "firmware/Boat/1.0.0/image.bin")
    assert aws.s3.get_object(Bucket=bucket, Key=place["key"])["Body"].read() == image.read_bytes()
    signed = artifact.Artifact("Boat", "1.0.0", "https://x", 8000, sha256, facts["signature"])
    artifact.check(signed, "Boat", 8000, sha256, key.public_key().public_bytes_raw())
    shown = packages.show(aws, "Boat")
    assert (shown["description"], shown["defaultVersionName"]) == ("all boats", "1.0.0")
    assert [version["versionName"] for version in shown["versions"]] == ["1.0.0"]
    assert packages.version(aws, "Boat", "$default")["versionName"] == "1.0.0"
    listed = {package["packageName"]: package["versions"] for package in packages.every(aws)}
    assert [version["status"] for version in listed["Boat"]] == ["PUBLISHED"]


def test_what_was_half_done_is_finished_and_other_content_is_refused(aws: Aws, bucket: str, image: Path) -> None:
    packages.create(aws, "Half")
    assert packages.add_version(aws, "Half", "1.0.0", image, publish=False)["status"] == "DRAFT"
    assert packages.add_version(aws, "Half", "1.0.0", image)["status"] == "PUBLISHED"
    assert packages.add_version(aws, "Half", "1.0.0", image, default=True)["status"] == "PUBLISHED"
    image.write_bytes(b"other")
    with pytest.raises(UsageError, match=r"version 1\.0\.0 of package 'Half' is there already, with other content"):
        packages.add_version(aws, "Half", "1.0.0", image)


def test_mistakes_say_the_way_out(aws: Aws, bucket: str, tmp_path: Path) -> None:
    packages.create(aws, "Sedan")
    with pytest.raises(UsageError, match=r"package 'Sedan' is there already; give it a version with `fleetsim"):
        packages.create(aws, "Sedan")
    with pytest.raises(UsageError, match=r"no package 'Sedam' \(did you mean 'Sedan'\?\)"):
        packages.show(aws, "Sedam")
    with pytest.raises(UsageError, match=r"package 'no blanks': .*must satisfy"):
        packages.create(aws, "no blanks")
    packages.add_version(aws, "Sedan", "1.0.0", None)
    with pytest.raises(UsageError, match=r"no version of package Sedan '1\.0\.1' \(did you mean '1\.0\.0'\?\)"):
        packages.version(aws, "Sedan", "1.0.1")
    with pytest.raises(UsageError, match=r"package 'Sedan' has no default version"):
        packages.version(aws, "Sedan", "$default")
    with pytest.raises(UsageError, match=r"artifact '.*none': No such file"):
        packages.add_version(aws, "Sedan", "2.0.0", tmp_path / "none")


def test_the_configuration_is_switched(aws: Aws, bucket: str) -> None:
    on = packages.configure(aws, True)
    assert on == {"enabled": True, "roleArn": f"arn:aws:iam::{aws.account}:role/{provision.PACKAGES_ROLE}"}
    assert packages.configure(aws, False)["enabled"] is False
    assert packages.config(aws)["enabled"] is False


def test_devices_say_what_they_run_and_are_set_back(aws: Aws, bucket: str) -> None:
    for thing in ("v-1", "v-2", "v-3"):
        aws.iot.create_thing(thingName=thing)
    packages.revert(aws, "Boat", "1.1.0", ["v-1", "v-2"])
    assert packages.versions_of(aws, ["v-1", "v-2", "v-3"]) == {
        "v-1": {"Boat": "1.1.0"}, "v-2": {"Boat": "1.1.0"}, "v-3": None,
    }  # fmt: skip
    steps: list[tuple[str, int, int]] = []
    packages.revert(aws, "Boat", "1.0.0", ["v-2"], lambda *step: steps.append(step))
    assert steps == [("shadows", 1, 1)]
    assert packages.versions_of(aws, ["v-2"]) == {"v-2": {"Boat": "1.0.0"}}
    with pytest.raises(UsageError, match="no thing 'v-9'"):
        packages.versions_of(aws, ["v-9"])
