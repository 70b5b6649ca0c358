"""AWS's own device SDK at the cloud: its shadow and jobs clients, unchanged."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from awscrt import io, mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotjobs, iotshadow, mqtt5_client_builder

WAIT_S = 10.0


@pytest.fixture(scope="module")
def device(cloud: Any, identity: Any) -> Iterator[Any]:
    """A connected client of the SDK, on its one shared event loop group."""
    own = identity("sdk-device")
    connected: Future[int] = Future()
    stopped: Future[None] = Future()
    client = mqtt5_client_builder.mtls_from_path(
        endpoint=cloud.ready["mqtt_host"],
        port=cloud.ready["mqtt_port"],
        ca_filepath=cloud.ready["ca_file"],
        cert_filepath=own.cert_file,
        pri_key_filepath=own.key_file,
        client_id=own.name,
        on_lifecycle_connection_success=lambda data: connected.set_result(data.connack_packet.reason_code),
        on_lifecycle_connection_failure=lambda data: connected.set_exception(data.exception),
        on_lifecycle_stopped=lambda _data: stopped.set_result(None),
    )
    client.start()
    try:
        assert connected.result(WAIT_S) == mqtt5.ConnectReasonCode.SUCCESS
        yield client
    finally:
        client.stop(mqtt5.DisconnectPacket())
        stopped.result(WAIT_S)
        del client
        io.ClientBootstrap.release_static_default()


@pytest.fixture(scope="module")
def options() -> mqtt_request_response.ClientOptions:
    return mqtt_request_response.ClientOptions(
        max_request_response_subscriptions=4, max_streaming_subscriptions=4, operation_timeout_in_seconds=10
    )


def test_the_shadow_client(device: Any, options: Any, cloud: Any) -> None:
    shadows = iotshadow.IotShadowClientV2(device, options)
    with pytest.raises(V2ServiceException) as caught:
        shadows.get_shadow(iotshadow.GetShadowRequest(thing_name="sdk-device")).result(WAIT_S)
    assert caught.value.modeled_error.code == 404

    deltas: Future[Any] = Future()
    established: Future[None] = Future()

    def on_status(event: Any) -> None:
        if event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED:
            established.set_result(None)

    stream = shadows.create_shadow_delta_updated_stream(
        iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name="sdk-device"),
        ServiceStreamOptions(incoming_event_listener=deltas.set_result, subscription_status_listener=on_status),
    )
    stream.open()
    established.result(WAIT_S)
    update = iotshadow.UpdateShadowRequest(thing_name="sdk-device", state=iotshadow.ShadowState(reported={"fan": "on"}))
    assert shadows.update_shadow(update).result(WAIT_S).version == 1
    payload = json.dumps({"state": {"desired": {"fan": "off"}}})
    cloud.client("iot-data").update_thing_shadow(thingName="sdk-device", payload=payload)
    assert deltas.result(WAIT_S).state == {"fan": "off"}
    got = shadows.get_shadow(iotshadow.GetShadowRequest(thing_name="sdk-device")).result(WAIT_S)
    assert (got.state.reported, got.state.delta) == ({"fan": "on"}, {"fan": "off"})


def test_the_jobs_client(device: Any, options: Any, cloud: Any) -> None:
    jobs = iotjobs.IotJobsClientV2(device, options)
    iot = cloud.client("iot")
    start = iotjobs.StartNextPendingJobExecutionRequest(thing_name="sdk-device")
    assert jobs.start_next_pending_job_execution(start).result(WAIT_S).execution is None
    iot.create_job(
        jobId="sdk-job",
        targets=["arn:aws:iot:us-east-1:000000000000:thing/sdk-device"],
        document=json.dumps({"operation": "reboot"}),
    )
    execution = jobs.start_next_pending_job_execution(start).result(WAIT_S).execution
    assert (execution.job_id, execution.status) == ("sdk-job", iotjobs.JobStatus.IN_PROGRESS)
    assert execution.job_document == {"operation": "reboot"}
    done = iotjobs.UpdateJobExecutionRequest(
        thing_name="sdk-device",
        job_id="sdk-job",
        status=iotjobs.JobStatus.SUCCEEDED,
        expected_version=execution.version_number,
    )
    jobs.update_job_execution(done).result(WAIT_S)
    assert iot.describe_job(jobId="sdk-job")["job"]["status"] == "COMPLETED"
    with pytest.raises(V2ServiceException) as caught:
        jobs.update_job_execution(done).result(WAIT_S)
    assert caught.value.modeled_error.code in (
        "InvalidStateTransition",
        "TerminalStateReached",
        "VersionMismatch",
    )
