"""Provisioning run again: what changed since is put right, and what was left half done is finished."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator import firmware, identity
from simulator.errors import UsageError
from simulator.firmware import Firmware, Image
from simulator.ops import catalogue, policies, provision
from simulator.ops.aws import Aws
from simulator.profiles import profile
from simulator.targets import Addresses
from tests.cloud.conftest import KEY_ID, SECRET, Cloud


@pytest.fixture(scope="module")
def aws(cloud: Cloud) -> Iterator[Aws]:
    at = cloud.ready
    made = Aws(
        Addresses(
            "endpoints", "t", at["region"], at["mqtt_host"], at["mqtt_port"], at["endpoint_url"], at["ca_file"],
            KEY_ID, SECRET,
        )
    )  # fmt: skip
    yield made
    made.close()


def statements(aws: Aws, name: str) -> Any:
    return json.loads(aws.iot.get_policy(policyName=name)["policyDocument"])["Statement"]


def versions(aws: Aws, name: str) -> list[int]:
    found = aws.iot.list_policy_versions(policyName=name)["policyVersions"]
    return sorted(int(version["versionId"]) for version in found)


def test_a_policy_that_says_something_else_is_put_right(aws: Aws) -> None:
    allow = [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]
    aws.iot.create_policy(
        policyName=provision.DEVICE_POLICY,
        policyDocument=json.dumps({"Version": "2012-10-17", "Statement": allow}),
    )
    provision.groundwork(aws)
    now = statements(aws, provision.DEVICE_POLICY)
    assert len(now) == 4
    assert versions(aws, provision.DEVICE_POLICY) == [1, 2]
    provision.groundwork(aws)
    assert versions(aws, provision.DEVICE_POLICY) == [1, 2], "nothing changed, so nothing is written"


def test_the_oldest_version_of_a_policy_makes_room(aws: Aws) -> None:
    for number in range(12):
        wanted = [{"Effect": "Allow", "Action": "iot:Connect", "Resource": f"client/{number}"}]
        policies.put(aws, "often", wanted)
        assert statements(aws, "often") == wanted
    assert versions(aws, "often") == [8, 9, 10, 11, 12]
    # The default one is kept, however old it is.
    aws.iot.set_default_policy_version(policyName="often", policyVersionId="8")
    policies.put(aws, "often", [])
    assert versions(aws, "often") == [8, 10, 11, 12, 13]


def test_an_image_that_was_not_published_yet_is(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Ed25519PrivateKey.generate()
    image = firmware.build(Firmware(version="1.0.1", packages=["Half"], size_kib=1), "Half", key)

    def ends(aws: Aws, image: Image) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "release", ends)
        with pytest.raises(KeyboardInterrupt):
            provision.catalogue(aws, [image])
    provision.catalogue(aws, [image])
    found = aws.iot.get_package_version(packageName="Half", versionName="1.0.1")
    assert found["status"] == "PUBLISHED"
    provision.catalogue(aws, [image])


def test_things_have_the_same_papers_whoever_is_first(aws: Aws, tmp_path: Path) -> None:
    provision.groundwork(aws)
    sedan = profile("vehicle-sedan")
    names = [f"papers-{n:03}" for n in range(60)]
    steps: list[tuple[int, int]] = []
    children = [(name, sedan) for name in names]
    provision.things(aws, [], children, 7, tmp_path, lambda what, done, of: steps.append((done, of)))
    assert steps == [(n, 60) for n in range(1, 61)]
    for name in names:
        papers = identity.attributes(sedan.attributes, 7, name)
        assert aws.iot.describe_thing(thingName=name)["attributes"] == {**papers, "fleetsim": "fleet"}


def test_a_profile_that_is_not_there_is_a_mistake_of_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"target 't': The config profile \(nobody\) could not be found"):
        Aws(Addresses("aws", "t", "us-east-1", "", 8883, aws_profile="nobody"))
