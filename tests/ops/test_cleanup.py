"""Cleanup in its three scopes takes what is ours, whatever state it is in, and waits for what takes its time."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from simulator.ops import cleanup, inventory, mark, provision
from simulator.ops.aws import Aws
from simulator.ops.patience import patiently
from tests.ops.fleet_state import identities, plan, shadows_left, state

COUNT = 6


def quiet(what: str, done: int, of: int) -> None:
    pass


@pytest.fixture
def account(aws: Aws, tmp_path: Path) -> Iterator[Aws]:
    """An account with a provisioned fleet."""
    provision.provision(aws, plan(COUNT, tmp_path), identities(tmp_path), quiet)
    yield aws
    cleanup.remove(aws, "all", quiet)
    assert inventory.read(aws).empty()


def test_things_only(account: Aws, tmp_path: Path) -> None:
    names = inventory.read(account).things
    assert cleanup.remove(account, "things", quiet) == []
    left = {kind for kind, count in inventory.read(account).counts().items() if count}
    assert left == {
        "static groups", "package versions", "packages", "object versions", "buckets", "roles", "policies",
        "thing types", "package configuration", "fleet indexing",
    }  # fmt: skip
    assert shadows_left(account, names) == []
    assert account.iot.list_certificates()["certificates"] == []
    provision.provision(account, plan(COUNT, tmp_path), identities(tmp_path), quiet)
    found = state(account, identities(tmp_path))
    assert {thing["its certificate is the one in its file"] for thing in found["things"].values()} == {True}
    assert all(thing["shadows"]["$package"] for thing in found["things"].values())


def test_groups_only(account: Aws) -> None:
    iot = account.iot
    iot.create_dynamic_thing_group(thingGroupName="Full", queryString="thingName:*", tags=mark.tags())
    iot.create_thing_group(thingGroupName="Parent", tags=mark.tags())
    iot.create_thing_group(thingGroupName="AChild", parentGroupName="Parent", tags=mark.tags())
    before = inventory.read(account, "groups")
    assert before.dynamic_groups == ["Full"]
    assert before.groups == ["AChild", "DEFleet", "Parent", "USFleet"]
    assert before.counts()["things"] == 0, "not looked at"
    assert cleanup.remove(account, "groups", quiet) == []
    assert iot.list_thing_groups()["thingGroups"] == []
    assert len(inventory.read(account).things) == COUNT


def test_a_group_with_somebody_elses_child_stays(account: Aws) -> None:
    iot = account.iot
    iot.create_thing_group(thingGroupName="Parent", tags=mark.tags())
    iot.create_thing_group(thingGroupName="TheirChild", parentGroupName="Parent")
    (left,) = cleanup.remove(account, "groups", quiet)
    assert left.startswith("thing group Parent: ")
    iot.delete_thing_group(thingGroupName="TheirChild")
    assert cleanup.remove(account, "groups", quiet) == []


def test_jobs_commands_and_what_a_run_left(account: Aws) -> None:
    iot = account.iot
    target = mark.arn(account, "thing/Vehicle-VIN-001")
    document = json.dumps({"operation": "none"})
    role = f"arn:aws:iam::{account.account}:role/{provision.JOBS_ROLE}"
    iot.create_job(jobId="tagged", targets=[target], document=document, tags=mark.tags())
    signed = {"roleArn": role, "expiresInSec": 3600}
    iot.create_job(jobId="ota-a1", targets=[target], document=document, presignedUrlConfig=signed)
    iot.create_job(jobId="ota-theirs", targets=[target], document=document)
    iot.create_job(jobId="ended", targets=[target], document=document, tags=mark.tags())
    iot.cancel_job(jobId="ended", force=True)
    iot.create_command(
        commandId="ours", payload={"content": b"{}", "contentType": "application/json"}, tags=mark.tags()
    )
    iot.create_command(commandId="theirs", payload={"content": b"{}", "contentType": "application/json"})
    iot.update_package(packageName="SedanVehicle", defaultVersionName="1.1.0")
    before = inventory.read(account)
    assert before.jobs == {"ended": "CANCELED", "ota-a1": "IN_PROGRESS", "tagged": "IN_PROGRESS"}
    assert before.commands == ["ours"]
    assert cleanup.remove(account, "all", quiet) == []
    assert [job["jobId"] for job in iot.list_jobs()["jobs"]] == ["ota-theirs"]
    there = [one["commandId"] for one in iot.list_commands()["commands"] if not one.get("pendingDeletion")]
    assert there == ["theirs"]
    iot.delete_job(jobId="ota-theirs", force=True)
    iot.delete_command(commandId="theirs")


def refusal(name: str, message: str = "not yet") -> ClientError:
    return ClientError({"Error": {"Code": name, "Message": message}}, "Delete")


def test_thing_types_are_waited_for(account: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """As AWS has it: five minutes after they were deprecated, and not before. Time passes when somebody sleeps."""
    iot, passed_s = account.iot, [0.0]
    real, described = iot.delete_thing_type, iot.describe_thing_type

    def delete(**parameters: Any) -> Any:
        if passed_s[0] < 300:
            raise refusal("InvalidRequestException", "ThingType must be deprecated for at least 5 minutes")
        return real(**parameters)

    def describe(**parameters: Any) -> Any:
        found = described(**parameters)
        date = datetime.now(UTC) - timedelta(seconds=passed_s[0])
        return {**found, "thingTypeMetadata": {**found["thingTypeMetadata"], "deprecationDate": date}}

    monkeypatch.setattr(iot, "delete_thing_type", delete)
    monkeypatch.setattr(iot, "describe_thing_type", describe)
    left = cleanup.remove(account, "all", quiet, wait=False)
    assert left == [
        f"thing type {name}: can be deleted in 300 s; run cleanup again" for name in sorted(_types(account))
    ]
    steps: list[tuple[str, int, int]] = []

    def sleep(seconds: float) -> None:
        passed_s[0] += seconds

    def progress(what: str, done: int, of: int) -> None:
        if what.startswith("seconds"):
            steps.append((what, done, of))

    assert cleanup.remove(account, "all", progress, sleep=sleep) == []
    assert _types(account) == []
    assert steps[0][1] < 10
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert passed_s[0] < 330


def test_a_thing_type_that_is_in_use_is_left(account: Aws) -> None:
    account.iot.create_thing(thingName="stranger", thingTypeName="SedanVehicle")
    passed: list[float] = []
    (left,) = cleanup.remove(account, "all", quiet, wait=False, sleep=passed.append)
    assert left.startswith("thing type SedanVehicle: can be deleted")
    account.iot.delete_thing(thingName="stranger")


def _types(aws: Aws) -> list[str]:
    return [one["thingTypeName"] for one in aws.iot.list_thing_types()["thingTypes"]]


def test_a_deprecated_type_is_taken_back(account: Aws, tmp_path: Path) -> None:
    account.iot.deprecate_thing_type(thingTypeName="SUVVehicle")
    wanted = plan(COUNT + 2, tmp_path)
    provision.provision(account, wanted, identities(tmp_path), quiet)
    found = state(account, identities(tmp_path))
    assert not found["types"]["SUVVehicle"]["deprecated"]
    assert len(found["things"]) == COUNT + 2


def test_indexing_that_was_on_before_stays_on(aws: Aws, tmp_path: Path) -> None:
    fields = [{"name": "attributes.x", "type": "Number"}]
    aws.iot.update_indexing_configuration(
        thingIndexingConfiguration={
            "thingIndexingMode": "REGISTRY", "customFields": fields, "namedShadowIndexingMode": "ON",
            "filter": {"namedShadowNames": ["door"]},
        }
    )  # fmt: skip
    provision.provision(aws, plan(1, tmp_path), identities(tmp_path), quiet)
    assert not inventory.read(aws).indexing
    cleanup.remove(aws, "all", quiet)
    now = aws.iot.get_indexing_configuration()["thingIndexingConfiguration"]
    assert now["thingIndexingMode"] == "REGISTRY_AND_SHADOW"
    assert now["customFields"] == fields
    assert now["filter"]["namedShadowNames"] == ["door", "$package"]
    aws.iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "OFF"})


def test_patience() -> None:
    slept: list[float] = []
    refused = [refusal("DeleteConflictException")] * 3

    def call() -> None:
        if refused:
            raise refused.pop()

    patiently(call, "DeleteConflictException", sleep=slept.append)
    assert slept == [0.1, 0.2, 0.4]
    with pytest.raises(ClientError, match="other"):
        patiently(lambda: (_ for _ in ()).throw(refusal("Other", "other")), "DeleteConflictException")

    def never() -> None:
        raise refusal("DeleteConflictException", "still attached")

    slept.clear()
    with pytest.raises(ClientError, match="still attached"):
        patiently(never, "DeleteConflictException", sleep=slept.append)
    assert 90 <= sum(slept) < 96
