"""Commands against the cloud process: boto3 on one side, a device over MQTT on the other."""

# ruff: noqa: F811 - `connect` is a fixture

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.cloud.commands import cbor
from simulator.device import Device
from simulator.ledger import Ledger
from simulator.links import Endpoint, Sink, TlsFiles
from simulator.links.mqtt import Mqtt
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from tests.cloud.conftest import DEVICE_POLICY
from tests.cloud.test_cloud_api import refused
from tests.cloud.test_cloud_devices import ALL_OF_IT, WAIT_S, Heard, connect  # noqa: F401
from tests.core.fleets import fleet, profile, run

ACCOUNT = "arn:aws:iot:us-east-1:000000000000:"
PLACE = "${aws:iot:commandexecution::parameter:level}"
TEMPERATURE: dict[str, Any] = {
    "name": "level",
    "type": "INTEGER",
    "defaultValue": {"I": 72},
    "valueConditions": [
        {"comparisonOperator": "IN_RANGE", "operand": {"numberRange": {"min": "60", "max": "80"}}},
    ],
}
_ME = "$aws/commands/things/${iot:Connection.Thing.ThingName}/*"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        *DEVICE_POLICY["Statement"],
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": f"arn:aws:iot:*:*:topic/{_ME}"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": f"arn:aws:iot:*:*:topicfilter/{_ME}"},
    ],
}


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    return cloud.client("iot")


@pytest.fixture(scope="module")
def jobs(cloud: Any, iot: Any) -> Any:
    address = iot.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"]
    return cloud.client("iot-jobs-data", endpoint_url=f"https://{address}")


@pytest.fixture(scope="module")
def device(identity: Any, iot: Any) -> Callable[[str], Any]:
    def make(name: str) -> Any:
        made = identity(name, POLICY)
        iot.create_thing(thingName=name)
        iot.attach_thing_principal(thingName=name, principal=made.arn)
        return made

    return make


def raw_message(heard: Heard) -> Any:
    """The next message as it came."""
    return heard._messages.get(timeout=WAIT_S)


def create(iot: Any, name: str, **what: Any) -> str:
    what = what or {"payload": {"content": b'{"on": true}', "contentType": "application/json"}}
    return str(iot.create_command(commandId=name, **what)["commandArn"])


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])
def test_a_device_does_what_it_is_told(
    cloud: Any, iot: Any, jobs: Any, connect: Any, device: Any, identity: Any, version: int
) -> None:
    me, watcher = device(f"lamp-{version}"), identity(f"watcher-{version}", ALL_OF_IT)
    arn = create(iot, f"on-{version}")
    assert arn == f"{ACCOUNT}command/on-{version}"
    target = f"{ACCOUNT}thing/{me.name}"
    topic = f"$aws/commands/things/{me.name}/executions"
    with connect(me, version) as heard, connect(watcher, version) as world:
        assert world.subscribe(f"$aws/events/commandExecution/on-{version}/#") == [1]
        assert world.subscribe(f"{topic}/+/response/accepted/json") == [1]
        assert heard.subscribe(f"{topic}/+/request/json", f"{topic}/+/response/accepted/json") == [1, 1]
        assert heard.subscribe(f"{topic}/+/response/rejected/json", f"{topic}/+/response/accepted") == [1, 1]
        execution = jobs.start_command_execution(commandArn=arn, targetArn=target)["executionId"]
        asked = heard.next()
        assert asked == (f"{topic}/{execution}/request/json", {"on": True})
        response = f"{topic}/{execution}/response/json"
        begun = {"status": "IN_PROGRESS", "clientToken": "c-1"}
        assert heard.publish(response, begun) == 0
        accepted = f"{topic}/{execution}/response/accepted/json"
        assert heard.next() == (accepted, {"executionId": execution, "clientToken": "c-1"})
        reason = {"reasonCode": "DONE", "reasonDescription": "all well"}
        heard.publish(response, {"status": "SUCCEEDED", "statusReason": reason, "result": {"lux": {"s": "800"}}})
        assert heard.next() == (accepted, {"executionId": execution})
        heard.publish(response, {"status": "FAILED", "clientToken": "c-3"})
        where, why = heard.next()
        assert where == f"{topic}/{execution}/response/rejected/json"
        assert (why["error"], why["executionId"], why["clientToken"]) == ("TerminalStateReached", execution, "c-3")
        heard.publish(response, b"{")
        assert heard.next()[1]["error"] == "InvalidJson"
        events = [world.next() for _ in range(3)]  # and nothing of what the device was answered
        assert [where.rpartition("/")[2] for where, _ in events] == ["CREATED", "IN_PROGRESS", "SUCCEEDED"]
        last = events[-1][1]
        assert last.pop("timestamp") > 1.7e12
        assert last == {
            "executionId": execution, "status": "SUCCEEDED", "statusReason": reason,
            "eventType": "COMMAND_EXECUTION", "commandArn": arn, "targetArn": target,
        }  # fmt: skip
    found = iot.get_command_execution(executionId=execution, targetArn=target, includeResult=True)
    assert (found["status"], found["statusReason"]) == ("SUCCEEDED", reason)
    assert found["result"] == {"lux": {"S": "800"}}
    assert found["executionTimeoutSeconds"] == 10
    assert found["completedAt"] >= found["createdAt"]
    assert (found["timeToLive"] - found["createdAt"]).days == 180
    assert "result" not in iot.get_command_execution(executionId=execution, targetArn=target)
    iot.delete_command_execution(executionId=execution, targetArn=target)
    gone = refused(iot.get_command_execution, executionId=execution, targetArn=target)
    assert gone[:2] == ("ResourceNotFoundException", 404)


def test_a_template_is_filled_in_and_held_to_its_conditions(iot: Any, jobs: Any, connect: Any, device: Any) -> None:
    me = device("heater")
    template = {"level": PLACE, "text": f"{PLACE} F"}
    arns = {
        output: create(
            iot,
            f"heat-{output}",
            payloadTemplate=json.dumps(template),
            preprocessor={"awsJsonSubstitution": {"outputFormat": output}},
            mandatoryParameters=[TEMPERATURE],
        )
        for output in ("JSON", "CBOR")
    }
    target = f"{ACCOUNT}thing/heater"
    topic = "$aws/commands/things/heater/executions"
    with connect(me) as heard:
        assert heard.subscribe(f"{topic}/+/request/json", f"{topic}/+/request/cbor", f"{topic}/+/request") == [1] * 3
        assert heard.subscribe(f"{topic}/+/response/accepted/cbor") == [1]
        jobs.start_command_execution(commandArn=arns["JSON"], targetArn=target)
        assert heard.next()[1] == {"level": 72, "text": "72 F"}
        given = {"level": {"I": 60}}
        started = jobs.start_command_execution(commandArn=arns["CBOR"], targetArn=target, parameters=given)
        execution = {"executionId": started["executionId"]}
        raw = raw_message(heard)
        assert raw.topic.endswith("/request/cbor")
        assert cbor.decode(raw.payload) == {"level": 60, "text": "60 F"}
        assert raw.properties.ContentType == "application/cbor"
        where = f"{topic}/{execution['executionId']}/response/cbor"
        heard.publish(where, cbor.encode({"status": "SUCCEEDED", "result": {"raw": {"bin": b"\x00\x01"}}}))
        assert cbor.decode(raw_message(heard).payload) == execution
        found = iot.get_command_execution(**execution, targetArn=target, includeResult=True)
        assert found["result"] == {"raw": {"BIN": b"\x00\x01"}}
        assert found["parameters"] == given
        plain = create(iot, "blob", payload={"content": b"\x01\x02"})
        jobs.start_command_execution(commandArn=plain, targetArn=target)
        raw = raw_message(heard)
        assert (raw.topic.endswith("/request"), raw.payload) == (True, b"\x01\x02")
        assert raw.properties.ContentType == "application/octet-stream"
    for parameters in ({"level": {"I": 59}}, {"level": {"S": "60"}}, {"other": {"I": 60}}):
        answer = refused(jobs.start_command_execution, commandArn=arns["JSON"], targetArn=target, parameters=parameters)
        assert answer[:2] == ("ValidationException", 400)


def test_a_client_that_is_no_thing_is_told_too(iot: Any, jobs: Any, connect: Any, identity: Any) -> None:
    arn = create(iot, "for-clients")
    client = identity("no-thing", ALL_OF_IT)
    topic = "$aws/commands/clients/no-thing/executions"
    with connect(client) as heard:
        heard.subscribe(f"{topic}/+/request/json", f"{topic}/+/response/rejected/json")
        target = f"{ACCOUNT}client/no-thing"
        execution = jobs.start_command_execution(commandArn=arn, targetArn=target)["executionId"]
        assert heard.next()[0] == f"{topic}/{execution}/request/json"
        heard.publish(f"{topic}/other/response/json", {"status": "FAILED"})
        assert heard.next()[1]["error"] == "ResourceNotFound"


def test_a_device_that_says_nothing_times_out_and_may_speak_later(
    iot: Any, jobs: Any, connect: Any, device: Any, identity: Any
) -> None:
    me, arn = device("slow"), create(iot, "patience")
    target = f"{ACCOUNT}thing/slow"
    topic = "$aws/commands/things/slow/executions"
    with connect(me, expiry_s=600) as heard:
        heard.subscribe(f"{topic}/+/request/json", f"{topic}/+/response/accepted/json")
    with connect(identity("watch-slow", ALL_OF_IT)) as world:
        world.subscribe("$aws/events/commandExecution/patience/TIMED_OUT")
        started = jobs.start_command_execution(commandArn=arn, targetArn=target, executionTimeoutSeconds=1)
        execution = {"executionId": started["executionId"]}
        event = world.next()[1]
        assert (event["executionId"], event["status"]) == (execution["executionId"], "TIMED_OUT")
        assert event["statusReason"] == {"reasonCode": "$NO_RESPONSE_FROM_DEVICE"}
    found = iot.get_command_execution(**execution, targetArn=target)
    assert (found["status"], "completedAt" in found) == ("TIMED_OUT", False)
    conflict = refused(iot.delete_command_execution, **execution, targetArn=target)
    assert conflict[:2] == ("ConflictException", 409)
    with connect(me, expiry_s=600) as heard:
        assert heard.next()[0].endswith("/request/json")  # the session kept it
        heard.publish(f"{topic}/{execution['executionId']}/response/json", {"status": "SUCCEEDED"})
        heard.until("/accepted/json")
    assert iot.get_command_execution(**execution, targetArn=target)["status"] == "SUCCEEDED"


def test_the_life_of_a_command(iot: Any, jobs: Any) -> None:
    arn = create(
        iot, "life", displayName="Life", description="all of it", namespace="AWS-IoT",
        payload={"content": b"x", "contentType": "text/plain"}, tags=[{"Key": "fleetsim", "Value": "fleet"}],
    )  # fmt: skip
    assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "fleetsim", "Value": "fleet"}]
    iot.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "b"}])
    assert len(iot.list_tags_for_resource(resourceArn=arn)["tags"]) == 2
    found = iot.get_command(commandId="life")
    assert found["payload"] == {"content": b"x", "contentType": "text/plain"}
    assert (found["deprecated"], found["pendingDeletion"], found["displayName"]) == (False, False, "Life")
    assert refused(iot.create_command, commandId="life", payload={"content": b"x"})[:2] == ("ConflictException", 409)
    updated = iot.update_command(commandId="life", deprecated=True)
    assert (updated["deprecated"], updated["displayName"]) == (True, "Life")
    iot.create_thing(thingName="any")
    start = {"commandArn": arn, "targetArn": f"{ACCOUNT}thing/any"}
    assert refused(jobs.start_command_execution, **start)[:2] == ("ValidationException", 400)
    iot.update_command(commandId="life", deprecated=False, displayName="New")
    token = {"clientToken": "same"}
    first = jobs.start_command_execution(**start, **token)["executionId"]
    assert jobs.start_command_execution(**start, **token)["executionId"] == first
    other = refused(jobs.start_command_execution, **start, **token, executionTimeoutSeconds=5)
    assert other[:2] == ("ConflictException", 409)
    assert iot.delete_command(commandId="life")["statusCode"] == 202
    assert iot.get_command(commandId="life")["pendingDeletion"] is True
    assert "life" not in [one["commandId"] for one in iot.list_commands()["commands"]]
    assert iot.delete_command(commandId="never-was")["statusCode"] == 204
    assert refused(iot.get_command, commandId="never-was")[:2] == ("ResourceNotFoundException", 404)


def test_lists_by_pages_and_filters(iot: Any, jobs: Any) -> None:
    iot.create_thing(thingName="listed")
    target = f"{ACCOUNT}thing/listed"
    arns = [create(iot, f"listed-{n}") for n in range(5)]
    started = [jobs.start_command_execution(commandArn=arn, targetArn=target)["executionId"] for arn in arns]
    pages = iot.get_paginator("list_commands").paginate(sortOrder="ASCENDING", PaginationConfig={"PageSize": 2})
    names = [one["commandId"] for page in pages for one in page["commands"]]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("listed-")] == [f"listed-{n}" for n in range(5)]
    assert [one["commandId"] for one in iot.list_commands(maxResults=1)["commands"]] == ["listed-4"]
    executions = iot.get_paginator("list_command_executions").paginate(
        targetArn=target, startedTimeFilter={"after": "2020-01-01T00:00"}, PaginationConfig={"PageSize": 2}
    )
    sizes = [len(page["commandExecutions"]) for page in executions]
    assert sizes == [2, 2, 1]
    listing = iot.list_command_executions
    assert {one["executionId"] for one in listing(targetArn=target)["commandExecutions"]} == set(started)
    [one] = listing(commandArn=arns[0])["commandExecutions"]
    assert (one["status"], one["targetArn"]) == ("CREATED", target)
    assert listing(targetArn=target, status="FAILED")["commandExecutions"] == []
    assert listing(targetArn=target, completedTimeFilter={"after": "2020-01-01T00:00"})["commandExecutions"] == []
    assert listing(targetArn=target, startedTimeFilter={"before": "2020-01-01T00:00"})["commandExecutions"] == []
    for wrong in (
        {},
        {"targetArn": target, "commandArn": arns[0]},
        {"commandArn": arns[0], "status": "FAILED"},
        {"targetArn": target, "startedTimeFilter": {"after": "x"}},
        {"targetArn": target, "startedTimeFilter": {}, "completedTimeFilter": {}},
        {"targetArn": target, "nextToken": "x"},
    ):
        assert refused(listing, **wrong)[:2] == ("ValidationException", 400), wrong


@pytest.mark.parametrize(
    ("why", "what"),
    [
        ("Member must satisfy regular expression", {"commandId": "no blanks", "payload": {"content": b"x"}}),
        ("Exactly one of payload", {}),
        ("belong together", {"payloadTemplate": f'"{PLACE}"'}),
        ("namespace AWS-IoT only", {"namespace": "AWS-IoT-FleetWise", "payload": {"content": b"x"}}),
        ("type/subtype", {"payload": {"content": b"x", "contentType": "json"}}),
    ],
)
def test_a_wrong_command_is_refused(iot: Any, why: str, what: dict[str, Any]) -> None:
    code, status, message = refused(iot.create_command, **{"commandId": "wrong", **what})
    assert (code, status) == ("ValidationException", 400)
    assert why in message


def test_a_device_is_held_to_its_own_commands(connect: Any, device: Any) -> None:
    with connect(device("held")) as heard:
        assert heard.subscribe("$aws/commands/things/other/executions/+/request/json") == [0x87]
        assert heard.publish("$aws/commands/things/other/executions/x/response/json", {}) == 0x87
        assert heard.publish("$aws/commands/things/held/executions/x/request/json", {}) == 0x90


def test_iam_policies_hold_for_commands(cloud: Any, iot: Any) -> None:
    create(iot, "allowed")
    create(iot, "forbidden")
    iot.create_thing(thingName="guarded")
    command, thing = f"{ACCOUNT}command/allowed", f"{ACCOUNT}thing/guarded"
    iam = cloud.client("iam")
    iam.create_user(UserName="commander")
    key = iam.create_access_key(UserName="commander")["AccessKey"]
    limited = {"key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
    control, data = cloud.client("iot", **limited), cloud.client("iot-jobs-data", **limited)

    def may(*statements: tuple[str, list[str]]) -> None:
        allow = [{"Effect": "Allow", "Action": f"iot:{action}", "Resource": arns} for action, arns in statements]
        document = json.dumps({"Version": "2012-10-17", "Statement": allow})
        iam.put_user_policy(UserName="commander", PolicyName="one", PolicyDocument=document)

    may(("GetCommand", [command]))
    assert control.get_command(commandId="allowed")["commandId"] == "allowed"
    assert refused(control.get_command, commandId="forbidden")[:2] == ("AccessDeniedException", 403)
    assert refused(control.list_commands)[1] == 403
    for arns in ([command], [thing]):  # one of them is not enough
        may(("StartCommandExecution", arns))
        answer = refused(data.start_command_execution, commandArn=command, targetArn=thing)
        assert answer[:2] == ("AccessDeniedException", 403)
    may(("StartCommandExecution", [command, thing]), ("GetCommandExecution", [command, thing]))
    execution = data.start_command_execution(commandArn=command, targetArn=thing)["executionId"]
    other = f"{ACCOUNT}command/forbidden"
    assert refused(data.start_command_execution, commandArn=other, targetArn=thing)[1] == 403
    assert control.get_command_execution(executionId=execution, targetArn=thing)["status"] == "CREATED"
    assert refused(control.delete_command_execution, executionId=execution, targetArn=thing)[1] == 403
    forged = cloud.client("iot-jobs-data", key_id=key["AccessKeyId"], secret="wrong")
    assert refused(forged.start_command_execution, commandArn=command, targetArn=thing)[1] == 403


FAN = """\
profile: fan
thing_type: Fan
signals:
  level: {kind: constant, value: 0.5}
behaviours:
  - kind: commands
    actions: {full: {sets: {level: 1}, takes_s: 0.05}}
"""


def test_a_device_of_the_fleet_does_what_it_is_told(cloud: Any, iot: Any, jobs: Any, device: Any) -> None:
    me = device("fan-1")
    target = f"{ACCOUNT}thing/fan-1"
    arns = [
        create(iot, name, payload={"content": json.dumps({"name": name}).encode(), "contentType": "application/json"})
        for name in ("full", "fly")
    ]
    fans = fleet(profile(FAN), ["fan-1"], start_ms=time.time_ns() // 1_000_000)
    files = TlsFiles(Path(cloud.ready["ca_file"]), Path(me.cert_file), Path(me.key_file))
    endpoint = Endpoint(cloud.ready["mqtt_host"], cloud.ready["mqtt_port"], "fan-1", files)

    ledger = Ledger()

    def status(execution: str) -> Any:
        return iot.get_command_execution(executionId=execution, targetArn=target)

    def told() -> None:
        """Once the device hears them, tell it both, and see what becomes of them."""
        deadline_s = time.monotonic() + WAIT_S
        while not fans.devices[0].online and time.monotonic() < deadline_s:
            time.sleep(0.01)
        ids = [jobs.start_command_execution(commandArn=arn, targetArn=target)["executionId"] for arn in arns]
        for execution, end in zip(ids, ("SUCCEEDED", "REJECTED"), strict=True):
            while status(execution)["status"] != end and time.monotonic() < deadline_s:
                pass
        assert [status(execution)["status"] for execution in ids] == ["SUCCEEDED", "REJECTED"]
        assert status(ids[1])["statusReason"]["reasonCode"] == "UNKNOWN_ACTION"
        acted = [dict(event.detail) for event in ledger.events if event.kind == "acted"]
        assert acted == [{"action": "full", "id": ids[0], "result": "done"}]

    async def story() -> None:
        def link(of: Device, sink: Sink) -> Mqtt:
            return Mqtt(endpoint, sink, asyncio.get_running_loop())

        engine = Engine(fans, link, Downloads(), ledger)
        engine.start(0)
        try:
            async with asyncio.timeout(WAIT_S):
                await asyncio.to_thread(told)
        finally:
            await engine.close()

    run(story)
