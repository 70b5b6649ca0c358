"""Addresses, logging options, the names of shadows."""

# ruff: noqa: F811 - `connect` is a fixture

import json
import socket
import ssl
from typing import Any

import pytest

from tests.cloud.test_cloud_api import refused
from tests.cloud.test_cloud_devices import ALL_OF_IT, WAIT_S, connect  # noqa: F401


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    return cloud.client("iot")


@pytest.mark.parametrize("kind", ["iot:Data", "iot:Data-ATS", "iot:CredentialProvider", "iot:Jobs", None])
def test_every_address_serves_https_with_the_sandboxs_ca(cloud: Any, iot: Any, kind: str | None) -> None:
    address = iot.describe_endpoint(**({"endpointType": kind} if kind else {}))["endpointAddress"]
    assert f"https://{address}" == cloud.ready["endpoint_url"]
    host, _, port = address.partition(":")
    context = ssl.create_default_context(cafile=cloud.ready["ca_file"])
    with socket.create_connection((host, int(port)), 10) as raw, context.wrap_socket(raw, server_hostname=host) as sock:
        assert sock.version() in ("TLSv1.2", "TLSv1.3")


def test_an_unknown_type_of_address(iot: Any) -> None:
    code, status, message = refused(iot.describe_endpoint, endpointType="iot:Nothing")
    assert (code, status) == ("InvalidRequestException", 400)
    assert "iot:Nothing" in message


def test_one_address_serves_what_shares_its_paths(cloud: Any, iot: Any) -> None:
    address = iot.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"]
    data = cloud.client("iot-jobs-data", endpoint_url=f"https://{address}")
    control = cloud.client("iot", endpoint_url=f"https://{address}")
    arn = control.create_thing(thingName="both")["thingArn"]
    control.create_job(jobId="j", targets=[arn], document='{"a": 1}')
    command = control.create_command(commandId="c", payload={"content": b"x"})["commandArn"]
    # GET /things/{thing}/jobs, GET /things/{thing}/jobs/{job}, POST /command-executions: each has two meanings.
    assert [job["jobId"] for job in data.get_pending_job_executions(thingName="both")["queuedJobs"]] == ["j"]
    summaries = control.list_job_executions_for_thing(thingName="both")["executionSummaries"]
    assert [one["jobId"] for one in summaries] == ["j"]
    assert json.loads(data.describe_job_execution(thingName="both", jobId="j")["execution"]["jobDocument"]) == {"a": 1}
    described = control.describe_job_execution(thingName="both", jobId="j")["execution"]
    assert (described["thingArn"], "jobDocument" in described) == (arn, False)
    execution = data.start_command_execution(commandArn=command, targetArn=arn)["executionId"]
    found = control.list_command_executions(targetArn=arn)["commandExecutions"]
    assert [one["executionId"] for one in found] == [execution]


@pytest.mark.parametrize("signing_name", ["iotdata", "iotdevicegateway"])
def test_named_shadows_are_listed(cloud: Any, signing_name: str) -> None:
    data = cloud.client("iot-data")
    data._request_signer._signing_name = signing_name  # both names are in use for this service
    thing = f"shadows-{signing_name}"
    for name in ("c", "a", "b", None):
        target = {"shadowName": name} if name else {}
        data.update_thing_shadow(thingName=thing, payload=b'{"state":{"reported":{"x":1}}}', **target)
    first = data.list_named_shadows_for_thing(thingName=thing, pageSize=2)
    assert first["results"] == ["a", "b"]
    assert first["timestamp"] > 1.7e9
    rest = data.list_named_shadows_for_thing(thingName=thing, pageSize=2, nextToken=first["nextToken"])
    assert (rest["results"], "nextToken" in rest) == (["c"], False)
    data.delete_thing_shadow(thingName=thing, shadowName="b")
    assert data.list_named_shadows_for_thing(thingName=thing)["results"] == ["a", "c"]
    assert data.list_named_shadows_for_thing(thingName="nobody")["results"] == []
    wrong = refused(data.list_named_shadows_for_thing, thingName=thing, nextToken="!")
    assert wrong[:2] == ("InvalidRequestException", 400)


def test_logging_options_are_kept(iot: Any) -> None:
    for call in (iot.get_v2_logging_options, iot.list_v2_logging_levels):
        assert refused(call)[:2] == ("NotConfiguredException", 404)
    target = {"targetType": "THING_GROUP", "targetName": "g"}
    early = refused(iot.set_v2_logging_level, logTarget=target, logLevel="DEBUG")
    assert early[:2] == ("NotConfiguredException", 404)
    role = "arn:aws:iam::000000000000:role/logging"
    iot.set_v2_logging_options(roleArn=role, defaultLogLevel="INFO")
    iot.set_v2_logging_options(disableAllLogs=True, eventConfigurations=[{"eventType": "Connect", "logLevel": "WARN"}])
    found = iot.get_v2_logging_options()
    assert (found["roleArn"], found["defaultLogLevel"], found["disableAllLogs"]) == (role, "INFO", True)
    assert "eventConfigurations" not in found
    assert iot.get_v2_logging_options(verbose=True)["eventConfigurations"][0]["eventType"] == "Connect"
    assert refused(iot.set_v2_logging_options, defaultLogLevel="LOUD")[:2] == ("InvalidRequestException", 400)

    iot.set_v2_logging_level(logTarget=target, logLevel="DEBUG")
    iot.set_v2_logging_level(logTarget={"targetType": "CLIENT_ID", "targetName": "c"}, logLevel="ERROR")
    levels = iot.list_v2_logging_levels(targetType="THING_GROUP")["logTargetConfigurations"]
    assert levels == [{"logTarget": target, "logLevel": "DEBUG"}]
    pages = iot.get_paginator("list_v2_logging_levels").paginate(PaginationConfig={"PageSize": 1})
    assert [len(page["logTargetConfigurations"]) for page in pages] == [1, 1]
    nameless = refused(iot.set_v2_logging_level, logTarget={"targetType": "CLIENT_ID"}, logLevel="ERROR")
    assert nameless[:2] == ("InvalidRequestException", 400)
    iot.delete_v2_logging_level(**target)
    assert len(iot.list_v2_logging_levels()["logTargetConfigurations"]) == 1

    assert iot.get_logging_options()["logLevel"] == "DISABLED"
    iot.set_logging_options(loggingOptionsPayload={"roleArn": role, "logLevel": "WARN"})
    found = iot.get_logging_options()
    assert (found["roleArn"], found["logLevel"]) == (role, "WARN")


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])
def test_a_connection_is_ended_from_outside(cloud: Any, connect: Any, identity: Any, version: int) -> None:
    data = cloud.client("iot-data")
    device, watcher = identity(f"ended-{version}", ALL_OF_IT), identity(f"watch-{version}", ALL_OF_IT)
    assert refused(data.delete_connection, clientId=device.name)[:2] == ("ResourceNotFoundException", 404)
    with connect(watcher) as world:
        world.subscribe(f"$aws/events/presence/disconnected/{device.name}")
        with connect(device, version, expiry_s=600) as heard:
            assert heard.connected.get(timeout=WAIT_S) == (0, False)
            assert heard.subscribe("some/topic") == [1]
            data.delete_connection(clientId=device.name)
            assert heard.gone.get(timeout=WAIT_S) == (0x98 if version == 5 else 0x80)  # paho: unspecified
        event = world.next()[1]
        assert (event["disconnectReason"], event["clientInitiatedDisconnect"]) == ("API_INITIATED_DISCONNECT", False)
        with connect(device, version, expiry_s=600) as heard:
            assert heard.connected.get(timeout=WAIT_S) == (0, True)  # the session was kept
            data.delete_connection(clientId=device.name, cleanSession=True)
            heard.gone.get(timeout=WAIT_S)
        assert refused(data.delete_connection, clientId=device.name)[0] == "ResourceNotFoundException"
        with connect(device, version, expiry_s=600) as heard:
            assert heard.connected.get(timeout=WAIT_S) == (0, False)
