"""Provisioning that dies at any call and is run again ends as if nothing had happened; so does its cleanup."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.ops import certificates, cleanup, inventory, provision, things
from simulator.ops.aws import Aws
from tests.ops.fleet_state import identities, plan, shadow, shadows_left, state

COUNT = 6


class Killed(BaseException):
    """As if the process had ended here."""


def quiet(what: str, done: int, of: int) -> None:
    pass


@pytest.fixture
def account(aws: Aws) -> Iterator[Aws]:
    """An account with nothing of ours in it, before and after."""
    assert inventory.read(aws).empty()
    yield aws
    cleanup.remove(aws, "all", quiet)
    assert inventory.read(aws).empty()


def dies(monkeypatch: pytest.MonkeyPatch, client: Any, operation: str, nth: int, *, heard: bool) -> None:
    """The nth call of an operation is the last thing this process does; `heard`: the service still did it."""
    real = getattr(client, operation)
    calls = 0

    def call(**parameters: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= nth:
            if heard and calls == nth:
                real(**parameters)
            raise Killed
        return real(**parameters)

    monkeypatch.setattr(client, operation, call)


CALLS = [
    ("iot", "create_thing_type", 2), ("iot", "create_policy", 1), ("iam", "create_role", 1),
    ("iam", "put_role_policy", 2), ("s3", "create_bucket", 1), ("s3", "put_bucket_tagging", 1), ("s3", "put_object", 2),
    ("iot", "create_package", 2), ("iot", "create_package_version", 2), ("iot", "update_package_version", 1),
    ("iot", "tag_resource", 1), ("iot", "update_indexing_configuration", 1), ("iot", "create_thing_group", 1),
    ("iot", "create_thing", 3), ("data", "update_thing_shadow", 5), ("iot", "create_certificate_from_csr", 2),
    ("iot", "attach_policy", 2), ("iot", "attach_thing_principal", 3), ("iot", "add_thing_to_thing_group", 4),
]  # fmt: skip


UNHEARD = [call for call in CALLS if call[1] in ("create_thing", "create_certificate_from_csr", "put_object")]
HEARD_OR_NOT = [(*call, True) for call in CALLS] + [(*call, False) for call in UNHEARD]


@pytest.mark.parametrize(("service", "operation", "nth", "heard"), HEARD_OR_NOT, ids=lambda value: str(value))
def test_it_dies_at_a_call_and_is_run_again(
    account: Aws, tmp_path: Path, whole: dict[str, Any], service: str, operation: str, nth: int, heard: bool
) -> None:
    folder, wanted = identities(tmp_path), plan(COUNT, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, getattr(account, service), operation, nth, heard=heard)
        with pytest.raises(Killed):
            provision.provision(account, wanted, folder, quiet)
    provision.provision(account, wanted, folder, quiet)
    assert state(account, folder) == whole


@pytest.mark.parametrize(("service", "operation", "nth"), CALLS, ids=[call[1] for call in CALLS])
def test_it_dies_at_a_call_and_is_cleaned_up(
    account: Aws, tmp_path: Path, service: str, operation: str, nth: int
) -> None:
    folder, wanted = identities(tmp_path), plan(COUNT, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, getattr(account, service), operation, nth, heard=True)
        with pytest.raises(Killed):
            provision.provision(account, wanted, folder, quiet)
    assert cleanup.remove(account, "all", quiet) == []
    assert inventory.read(account).empty()
    assert account.iot.list_certificates()["certificates"] == []
    assert shadows_left(account, [member.name for member in wanted.members]) == []
    assert account.iot.get_indexing_configuration()["thingIndexingConfiguration"]["thingIndexingMode"] == "OFF"


@pytest.mark.parametrize(
    ("service", "operation", "nth"),
    [
        ("iot", "deprecate_thing_type", 1), ("iot", "delete_thing_group", 1), ("iot", "update_certificate", 3),
        ("iot", "detach_thing_principal", 2), ("data", "delete_thing_shadow", 5), ("iot", "delete_thing", 4),
        ("iot", "delete_certificate", 4), ("iot", "update_package_configuration", 1),
        ("iot", "delete_package_version", 2), ("iot", "delete_package", 1), ("s3", "delete_objects", 1),
        ("s3", "delete_bucket", 1), ("iot", "update_indexing_configuration", 1), ("iot", "untag_resource", 1),
        ("iam", "delete_role_policy", 1), ("iam", "delete_role", 2), ("iot", "delete_policy", 1),
        ("iot", "delete_thing_type", 1),
    ],
)  # fmt: skip
def test_a_cleanup_that_dies(
    account: Aws, tmp_path: Path, whole: dict[str, Any], service: str, operation: str, nth: int
) -> None:
    """Run again it removes the rest; and provisioning after half a cleanup is whole again."""
    folder, wanted = identities(tmp_path), plan(COUNT, tmp_path)
    provision.provision(account, wanted, folder, quiet)
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, getattr(account, service), operation, nth, heard=True)
        with pytest.raises(Killed):
            cleanup.remove(account, "all", quiet)
    provision.provision(account, wanted, folder, quiet)
    assert state(account, folder) == whole
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, getattr(account, service), operation, nth, heard=False)
        with pytest.raises(Killed):
            cleanup.remove(account, "all", quiet)
    assert cleanup.remove(account, "all", quiet) == []
    assert account.iot.list_certificates()["certificates"] == []
    assert shadows_left(account, [member.name for member in wanted.members]) == []


@pytest.fixture(scope="module")
def whole(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The state after a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    provision.provision(aws, plan(COUNT, folder), identities(folder), quiet)
    found = state(aws, identities(folder))
    cleanup.remove(aws, "all", quiet)
    return found


def test_what_it_makes(whole: dict[str, Any]) -> None:
    assert whole["counts"] == {
        "jobs": 0, "commands": 0, "dynamic groups": 0, "static groups": 2, "things": COUNT, "certificates": COUNT,
        "package versions": 4, "packages": 2, "object versions": 4, "buckets": 1, "roles": 2, "policies": 1,
        "thing types": 2, "package configuration": 1, "fleet indexing": 1,
    }  # fmt: skip
    first = whole["things"]["Vehicle-VIN-001"]
    assert first["type"] == "SedanVehicle"
    assert first["its certificate is the one in its file"]
    assert first["groups"] == [f"{first['attributes']['country']}Fleet"]
    assert first["attributes"]["fleetsim"] == "fleet"
    assert 0 <= first["shadows"][None]["batteryStatus"] <= 100
    assert first["shadows"]["$package"] == {"SedanVehicle": {"version": "1.0.0", "attributes": {}}}
    assert set(whole["versions"].values()) == {"PUBLISHED"}
    assert whole["types"]["SUVVehicle"]["searchable"] == ["country", "customerId", "manufacturingDate"]
    assert whole["indexing"]["thingConnectivityIndexingMode"] == "STATUS"
    assert whole["indexing"]["filter"]["namedShadowNames"] == ["$package"]


def counted(aws: Aws, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> list[str]:
    """The writing calls that something makes."""
    calls: list[str] = []
    for client in (aws.iot, aws.data, aws.s3, aws.iam):
        client.meta.events.register("before-call", lambda model, **_: calls.append(model.name), unique_id="counted")
    try:
        do()
    finally:
        for client in (aws.iot, aws.data, aws.s3, aws.iam):
            client.meta.events.unregister("before-call", unique_id="counted")
    return calls


def test_a_second_run_has_little_to_ask(account: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, wanted = identities(tmp_path), plan(50, tmp_path)
    provision.provision(account, wanted, folder, quiet)
    calls = counted(account, monkeypatch, lambda: things.register(account, wanted.members, folder, quiet, wanted.how))
    assert sorted(calls) == ["ListCertificates", "ListThings", "ListThingsInThingGroup", "ListThingsInThingGroup"]


def test_lost_files_are_replaced_and_what_a_device_said_is_kept(
    account: Aws, tmp_path: Path, whole: dict[str, Any]
) -> None:
    folder, wanted = identities(tmp_path), plan(COUNT, tmp_path)
    provision.provision(account, wanted, folder, quiet)
    files = certificates.identity(folder, "Vehicle-VIN-002")
    files.cert_file.unlink()
    files.key_file.unlink()
    account.data.update_thing_shadow(thingName="Vehicle-VIN-002", payload=b'{"state":{"reported":{"batteryStatus":1}}}')
    made = provision.provision(account, wanted, folder, quiet)
    assert made == {"certificates": 1}
    assert shadow(account, "Vehicle-VIN-002")["reported"] == {"batteryStatus": 1}
    assert len(account.iot.list_certificates()["certificates"]) == COUNT, "the lost one is deleted"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = provision.provision(account, wanted, elsewhere, quiet)
    assert made == {"certificates": COUNT}
    assert len(account.iot.list_certificates()["certificates"]) == COUNT


def test_one_certificate_for_all(account: Aws, tmp_path: Path) -> None:
    folder, wanted = identities(tmp_path), plan(COUNT, tmp_path, shared=True)
    with pytest.MonkeyPatch.context() as patch:
        dies(patch, account.iot, "attach_thing_principal", 4, heard=True)
        with pytest.raises(Killed):
            provision.provision(account, wanted, folder, quiet)
    assert provision.provision(account, wanted, folder, quiet)["certificates"] == 0
    found = state(account, folder)
    assert found["counts"]["certificates"] == 1
    assert {thing["its certificate is the one in its file"] for thing in found["things"].values()} == {True}
    assert len(list(folder.iterdir())) == 2
    assert provision.provision(account, wanted, folder, quiet) == {}
