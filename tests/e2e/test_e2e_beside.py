"""One sandbox, three users: a fleet on it as a target of endpoints, plain boto3, and AWS's own device SDK.

With boto3 we also do what an intruder would: change the firmware in the bucket, behind the back of its signature.
"""

import json
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest
from awscrt import io, mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, iotjobs, iotshadow, mqtt5_client_builder

from simulator.report.facts import Report
from tests.e2e.fleetsim_command import PATIENCE_S, Command, client, read_env, until, variant

pytestmark = pytest.mark.e2e

BUCKET = "fleetsim-000000000000-us-east-1"
PACKAGES = ["SUVVehicle", "SedanVehicle", "TruckVehicle"]
OPTIONS = mqtt_request_response.ClientOptions(
    max_request_response_subscriptions=4, max_streaming_subscriptions=4, operation_timeout_in_seconds=10
)


class Beside(NamedTuple):
    """A sandbox of its own, a run that uses it, and boto3 clients of it by service."""

    env: dict[str, str]
    again: Callable[..., Command]  # starts a run of a scenario there
    run: Command
    aws: dict[str, Any]


@pytest.fixture(scope="module")
def beside(fleetsim: Callable[..., Command]) -> Iterator[Beside]:
    """The run goes on; the firmware it has just uploaded is not what it was."""
    sandbox = fleetsim("sandbox", "--rules", "quick-loop", "--env-file", "sandbox.env")
    sandbox.says("the sandbox is ready")
    ports = sandbox.ports()
    env = read_env(sandbox.folder / "sandbox.env")
    keys = {name: env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "FLEETSIM_API_TOKEN")}

    def again(*scenario: object) -> Command:
        files = {"mine.yaml": target(env)}
        return fleetsim("run", *scenario, "--target", "./mine.yaml", "--yes", "--out", "out", files=files, **keys)

    run = again("quick-loop", "--state", "state")
    aws = {service: client(service, env) for service in ("iot", "iot-data", "s3")}
    until(lambda: tamper(aws["s3"]), "the firmware in the bucket")
    yield Beside(env, again, run, aws)
    for one in aws.values():
        one.close()
    sandbox.process.send_signal(signal.SIGINT)
    assert sandbox.wait() == 130
    sandbox.leaves_nothing(ports)


def target(env: dict[str, str]) -> str:
    return (
        f"target: mine\nkind: endpoints\nendpoint_url: {env['AWS_ENDPOINT_URL']}\n"
        f"mqtt_host: {env['FLEETSIM_MQTT_HOST']}\nmqtt_port: {env['FLEETSIM_MQTT_PORT']}\n"
        f"ca_file: {env['FLEETSIM_CA_FILE']}\napi_url: {env['FLEETSIM_API_URL']}\napi_token_env: FLEETSIM_API_TOKEN\n"
    )


def tamper(s3: Any) -> bool:
    """Flips a bit of each package's new version, once all of them are there."""
    keys = [f"firmware/{package}/1.1.0/{package}-1.1.0.bin" for package in PACKAGES]
    try:
        bodies = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]
    except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
        return False
    for key, body in zip(keys, bodies, strict=True):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body[:-1] + bytes([body[-1] ^ 1]))
    return True


# First of all, while the fleet is busy: everybody else is served as well.


@pytest.fixture(scope="module")
def device(beside: Beside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A device by AWS's own SDK, which plain boto3 has provisioned."""
    beside.run.says("of 8 connected")
    iot, folder = beside.aws["iot"], tmp_path_factory.mktemp("sdk")
    iot.create_thing(thingName="sdk-device")
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName="fleetsim-device", target=made["certificateArn"])
    iot.attach_thing_principal(thingName="sdk-device", principal=made["certificateArn"])
    cert_file, key_file = Path(folder, "cert.pem"), Path(folder, "key.pem")
    cert_file.write_text(made["certificatePem"])
    key_file.write_text(made["keyPair"]["PrivateKey"])
    connected: Future[int] = Future()
    stopped: Future[None] = Future()
    sdk = mqtt5_client_builder.mtls_from_path(
        endpoint=beside.env["FLEETSIM_MQTT_HOST"],
        port=int(beside.env["FLEETSIM_MQTT_PORT"]),
        ca_filepath=beside.env["FLEETSIM_CA_FILE"],
        cert_filepath=str(cert_file),
        pri_key_filepath=str(key_file),
        client_id="sdk-device",
        on_lifecycle_connection_success=lambda data: connected.set_result(data.connack_packet.reason_code),
        on_lifecycle_connection_failure=lambda data: connected.set_exception(data.exception),
        on_lifecycle_stopped=lambda _data: stopped.set_result(None),
    )
    sdk.start()
    try:
        assert connected.result(PATIENCE_S) == mqtt5.ConnectReasonCode.SUCCESS
        yield sdk
    finally:
        sdk.stop(mqtt5.DisconnectPacket())
        stopped.result(PATIENCE_S)
        del sdk
        io.ClientBootstrap.release_static_default()


def test_the_shadow_client_of_the_sdk_is_served_beside_the_fleet(device: Any, beside: Beside) -> None:
    shadows = iotshadow.IotShadowClientV2(device, OPTIONS)
    deltas: SimpleQueue[Any] = SimpleQueue()
    statuses: SimpleQueue[Any] = SimpleQueue()
    stream = shadows.create_shadow_delta_updated_stream(
        iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name="sdk-device"),
        ServiceStreamOptions(incoming_event_listener=deltas.put, subscription_status_listener=statuses.put),
    )
    stream.open()
    established = mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED
    assert statuses.get(timeout=PATIENCE_S).type == established
    state = iotshadow.ShadowState(reported={"fan": "off"})
    update = iotshadow.UpdateShadowRequest(thing_name="sdk-device", state=state)
    assert shadows.update_shadow(update).result(PATIENCE_S).version == 1
    desired = json.dumps({"state": {"desired": {"fan": "on"}}})
    beside.aws["iot-data"].update_thing_shadow(thingName="sdk-device", payload=desired)
    assert deltas.get(timeout=PATIENCE_S).state == {"fan": "on"}
    assert beside.run.process.poll() is None


def test_the_jobs_client_of_the_sdk_is_served_beside_the_fleet(device: Any, beside: Beside) -> None:
    jobs = iotjobs.IotJobsClientV2(device, OPTIONS)
    arn = beside.aws["iot"].describe_thing(thingName="sdk-device")["thingArn"]
    beside.aws["iot"].create_job(jobId="by-hand", targets=[arn], document='{"operation": "reboot"}')
    start = iotjobs.StartNextPendingJobExecutionRequest(thing_name="sdk-device")
    execution = jobs.start_next_pending_job_execution(start).result(PATIENCE_S).execution
    assert (execution.job_id, execution.job_document) == ("by-hand", {"operation": "reboot"})
    done = iotjobs.UpdateJobExecutionRequest(
        thing_name="sdk-device", job_id="by-hand", status=iotjobs.JobStatus.SUCCEEDED
    )
    jobs.update_job_execution(done).result(PATIENCE_S)
    assert beside.aws["iot"].describe_job(jobId="by-hand")["job"]["status"] == "COMPLETED"
    assert beside.run.process.poll() is None


def test_boto3_sees_the_fleet(beside: Beside) -> None:
    beside.run.says("of 8 connected")
    names = {thing["thingName"] for thing in beside.aws["iot"].list_things()["things"]}
    assert {"Vehicle-VIN-001", "Vehicle-VIN-006", "device-001", "device-002"} <= names
    reported = until(lambda: _shadow(beside, "Vehicle-VIN-001").get("batteryStatus"), "a reported state")
    assert 0 <= reported <= 100


# Then, when the run is over: what became of the tampered firmware.


@pytest.fixture(scope="module")
def ended(beside: Beside) -> tuple[int, Report]:
    return beside.run.wait(), beside.run.report


def test_the_checks_fail_and_say_which_and_why(beside: Beside, ended: tuple[int, Report]) -> None:
    exit_code, report = ended
    assert (exit_code, report.verdict, report.target) == (1, "failed", "./mine.yaml")
    failed = {check.name: check for check in report.checks if not check.passed}
    assert {name: check.measured for name, check in failed.items()} == {
        "alarms closed": 1,
        "alarms escalated": 2,
        "job executions SUCCEEDED": 0,
    }
    for thing in updated(report):
        assert f"{thing} FAILED (sha256 mismatch: " in failed["job executions SUCCEEDED"].why
    assert "FAILED (sha256 mismatch: " in beside.run.stdout


def test_the_job_fails_with_the_reason(beside: Beside, ended: tuple[int, Report]) -> None:
    _, report = ended
    jobs = {h.thing: h.detail["job_id"] for h in report.timeline if h.kind == "job_created"}
    assert sorted(jobs) == updated(report)
    for thing, job in jobs.items():
        execution = beside.aws["iot"].describe_job_execution(jobId=job, thingName=thing)["execution"]
        assert execution["status"] == "FAILED"
        assert execution["statusDetails"]["detailsMap"]["reason"].startswith("sha256 mismatch: ")


def test_the_devices_keep_their_version(beside: Beside, ended: tuple[int, Report]) -> None:
    _, report = ended
    assert {device.version for device in report.fleet.devices} == {"1.0.0"}
    assert {device.state for device in report.fleet.devices} == {"connected"}
    for thing in updated(report):
        [package] = _shadow(beside, thing, "$package").values()
        assert package["version"] == "1.0.0"


def test_the_report_says_why(beside: Beside, ended: tuple[int, Report]) -> None:
    _, report = ended
    stories = {waterfall.thing: waterfall for waterfall in report.waterfalls}
    page = (beside.run.folder / "out" / "report.html").read_text()
    for thing in updated(report):
        kinds = [stage.kind for stage in stories[thing].stages]
        assert kinds.index("downloaded") < kinds.index("verify_failed") < kinds.index("alarm_escalated")
        assert "installed" not in kinds
        assert "the update to 1.1.0 failed: sha256 mismatch: " in stories[thing].reason
        assert stories[thing].reason in page


# And a second fleet on the same backend, which still remembers the first.


def test_another_manufacturer_is_told_before_its_fleet_connects(beside: Beside, ended: tuple[int, Report]) -> None:
    command = beside.again("quick-loop")
    assert command.wait() == 2
    last = command.stderr.splitlines()[-1]
    assert re.fullmatch(r"package \w+ 1\.0\.0 is there already, from a run with another .* --state, or remove .*", last)


def test_what_happened_before_is_not_of_this_run(beside: Beside, ended: tuple[int, Report], home: Path) -> None:
    def calm(scenario: dict[str, Any]) -> None:
        # Vehicles only: a fire sensor's index begins at 1 again, which the backend takes for a repetition.
        scenario["fleet"] = [group for group in scenario["fleet"] if group["profile"] != "fire-sensor"]
        scenario["timeline"] = [{"kind": "connect", "over_s": 0.5}, {"kind": "hold", "for_s": 2}]
        scenario["checks"] = [
            {"kind": "devices", "equals": 6},
            {"kind": "alarms", "which": "raised", "equals": 0},
            {"kind": "lost", "equals": 0},
        ]

    command = beside.again(variant(home, "calm", calm), "--state", beside.run.folder / "state")
    assert command.wait() == 0, command.stdout
    report = command.report
    assert report.waterfalls == []
    [telemetry] = [row for row in report.accounting if row.kind == "telemetry"]
    assert telemetry.stored == telemetry.acknowledged > 10


def updated(report: Report) -> list[str]:
    """The devices that need an update."""
    return sorted(thing for fault in report.faults[1:] for thing in fault.things)


def _shadow(beside: Beside, thing: str, name: str | None = None) -> dict[str, Any]:
    """What a device reports; empty while there is nothing."""
    data = beside.aws["iot-data"]
    try:
        answer = data.get_thing_shadow(thingName=thing, **({"shadowName": name} if name else {}))
    except data.exceptions.ResourceNotFoundException:
        return {}
    reported: dict[str, Any] = json.loads(answer["payload"].read())["state"].get("reported", {})
    return reported
