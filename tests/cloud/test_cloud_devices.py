"""Devices at the cloud: mutual TLS, policies, shadows, jobs and `$package`, by paho in both MQTT versions."""

import json
import queue
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_S = 10.0
ROLE = "arn:aws:iam::000000000000:role/{}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
# What a backend's consumer needs.
ALL_OF_IT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}


class Heard:
    """An MQTT connection, and what it hears."""

    def __init__(self, client: mqtt.Client) -> None:
        self.client = client
        self._messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._acknowledged: queue.Queue[tuple[int, list[int]]] = queue.Queue()
        self.connected: queue.Queue[tuple[int, bool]] = queue.Queue()
        self.gone: queue.Queue[int] = queue.Queue()
        client.on_message = lambda _c, _u, message: self._messages.put(message)
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._acknowledged.put((mid, [c.value for c in codes]))
        client.on_publish = lambda _c, _u, mid, code, _p: self._acknowledged.put((mid, [code.value]))
        client.on_connect = lambda _c, _u, flags, code, _p: self.connected.put((code.value, flags.session_present))
        client.on_disconnect = lambda _c, _u, _f, code, _p: self.gone.put(code.value)

    def subscribe(self, *filters: str) -> list[int]:
        codes = []
        for topic_filter in filters:
            _, mid = self.client.subscribe(topic_filter, qos=1)
            codes += self._codes(mid)
        return codes

    def publish(self, topic: str, payload: Any = b"") -> int:
        """The reason code of its PUBACK."""
        text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self._codes(self.client.publish(topic, text, qos=1).mid)[0]

    def next(self) -> tuple[str, Any]:
        """The next message: the topic without what all have in common, and the decoded payload."""
        message = self._messages.get(timeout=WAIT_S)
        return message.topic, json.loads(message.payload)

    def until(self, ending: str) -> Any:
        """The payload of the next message on a topic with this ending."""
        while True:
            topic, payload = self.next()
            if topic.endswith(ending):
                return payload

    def _codes(self, mid: int | None) -> list[int]:
        while True:
            found, codes = self._acknowledged.get(timeout=WAIT_S)
            if found == mid:
                return codes


@pytest.fixture(scope="module")
def connect(cloud: Any) -> Callable[..., Any]:
    """Connect with an identity; a context manager."""

    @contextmanager
    def connecting(identity: Any, version: int = 5, client_id: str | None = None, expiry_s: int = 0) -> Iterator[Heard]:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or identity.name,
            protocol=MQTTProtocolVersion(version),
            clean_session=None if version == 5 else expiry_s == 0,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(cafile=cloud.ready["ca_file"])
        if identity is not None:
            context.load_cert_chain(identity.cert_file, identity.key_file)
        client.tls_set_context(context)
        heard = Heard(client)
        options: dict[str, Any] = {}
        if version == 5:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = expiry_s
            options = {"clean_start": expiry_s == 0, "properties": properties}
        client.connect(cloud.ready["mqtt_host"], cloud.ready["mqtt_port"], keepalive=30, **options)
        client.loop_start()
        try:
            yield heard
        finally:
            client.disconnect()
            client.loop_stop()

    return connecting


@pytest.fixture(scope="module")
def roles(cloud: Any) -> None:
    """The roles of presigned URLs and of the package configuration."""
    iam = cloud.client("iam")
    read_s3 = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    for name in ("fleetsim-jobs", "IoTPackageConfigRole"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.put_role_policy(RoleName=name, PolicyName="needs", PolicyDocument=json.dumps(read_s3))


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])
def test_a_device_keeps_its_shadow(connect: Any, identity: Any, cloud: Any, version: int) -> None:
    device = identity(f"shadow-{version}")
    topic = f"$aws/things/{device.name}/shadow"
    with connect(device, version) as heard:
        assert heard.connected.get(timeout=WAIT_S)[0] == 0
        assert heard.subscribe(f"{topic}/update/+", f"{topic}/get/+") == [1, 1]
        assert heard.publish(f"{topic}/get") == 0
        assert heard.until("/get/rejected")["code"] == 404
        assert heard.publish(f"{topic}/update", {"state": {"reported": {"fan": 1}}, "clientToken": "c"}) == 0
        assert heard.until("/update/accepted")["clientToken"] == "c"
        action = {"name": "restart-fan", "id": "a-1"}
        desired = json.dumps({"state": {"desired": {"action": action}}})
        cloud.client("iot-data").update_thing_shadow(thingName=device.name, payload=desired)
        assert heard.until("/update/delta")["state"] == {"action": action}
        assert heard.until("/update/documents")["current"]["state"]["desired"] == {"action": action}
        heard.publish(f"{topic}/update", {"state": {"reported": {"action": action}}})
        assert heard.next()[0].endswith("/update/accepted")
        topic_after, documents = heard.next()  # and no delta in between
        assert topic_after.endswith("/update/documents")
        assert documents["current"]["state"]["reported"] == {"fan": 1, "action": action}
        assert heard.publish(f"iotlink/test/nohub/{device.name}/periodic/pub/telemetry/json", {"data": {}}) == 0


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])
def test_a_job_ends_in_the_package_shadow(connect: Any, identity: Any, cloud: Any, roles: None, version: int) -> None:
    iot, s3 = cloud.client("iot"), cloud.client("s3")
    device, consumer = identity(f"job-{version}"), identity(f"consumer-{version}", ALL_OF_IT)
    package, bucket = f"Vehicle{version}", f"firmware-{version}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key=f"{package}/1.1.0.bin", Body=b"firmware" * 1000)
    iot.create_package(packageName=package)
    arn = iot.create_package_version(packageName=package, versionName="1.1.0")["packageVersionArn"]
    iot.update_package_version(packageName=package, versionName="1.1.0", action="PUBLISH")
    iot.update_package_configuration(
        versionUpdateByJobsConfig={"enabled": True, "roleArn": ROLE.format("IoTPackageConfigRole")}
    )
    iot.update_event_configurations(eventConfigurations={"JOB_EXECUTION": {"Enabled": True}})
    jobs, shadow = f"$aws/things/{device.name}/jobs", f"$aws/things/{device.name}/shadow/name/$package"
    source = f"https://s3.us-east-1.amazonaws.com/{bucket}/{package}/1.1.0.bin"
    document = {"operation": "ota", "url": "${aws:iot:s3-presigned-url:" + source + "}"}

    with connect(device, version) as heard, connect(consumer, version) as backend:
        assert backend.subscribe("$aws/events/jobExecution/+/succeeded") == [1]
        assert heard.subscribe(f"{jobs}/notify-next", f"{jobs}/+/update/+", f"{shadow}/update/+") == [1, 1, 1]
        iot.create_job(
            jobId=f"ota-{version}",
            targets=[f"arn:aws:iot:us-east-1:000000000000:thing/{device.name}"],
            document=json.dumps(document),
            presignedUrlConfig={"roleArn": ROLE.format("fleetsim-jobs"), "expiresInSec": 3600},
            destinationPackageVersions=[arn],
        )
        execution = heard.until("/notify-next")["execution"]
        assert (execution["jobId"], execution["status"]) == (f"ota-{version}", "QUEUED")
        url = execution["jobDocument"]["url"]
        assert url.startswith(cloud.ready["endpoint_url"])
        part = requests.get(url, headers={"Range": "bytes=7990-"}, verify=cloud.ready["ca_file"], timeout=WAIT_S)
        assert (part.status_code, part.content) == (206, b"rmwarefirmware"[-10:])

        def report(status: str) -> None:
            heard.publish(f"{jobs}/ota-{version}/update", {"status": status, "clientToken": status})
            assert heard.until("/update/accepted")["clientToken"] == status

        report("IN_PROGRESS")
        report("SUCCEEDED")
        reported = {package: {"version": "1.1.0", "attributes": {}}}
        assert heard.until("/update/documents")["current"]["state"]["reported"] == reported
        event = backend.until("/succeeded")
        assert (event["eventType"], event["status"]) == ("JOB_EXECUTION", "SUCCEEDED")
        assert event["thingArn"].endswith(f"thing/{device.name}")
    stored = cloud.client("iot-data").get_thing_shadow(thingName=device.name, shadowName="$package")
    assert json.load(stored["payload"])["state"]["reported"] == reported
    assert iot.describe_job(jobId=f"ota-{version}")["job"]["status"] == "COMPLETED"


def test_a_success_over_https_reports_too_and_null_uninstalls(identity: Any, cloud: Any, roles: None) -> None:
    iot, jobs, data = cloud.client("iot"), cloud.client("iot-jobs-data"), cloud.client("iot-data")
    device = identity("over-https")
    iot.create_package(packageName="Https")
    arn = iot.create_package_version(packageName="Https", versionName="2")["packageVersionArn"]
    iot.update_package_version(packageName="Https", versionName="2", action="PUBLISH")
    role = ROLE.format("IoTPackageConfigRole")
    iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": True, "roleArn": role})

    def run(job_id: str, status: str, destination: str) -> dict[str, Any]:
        iot.create_job(
            jobId=job_id,
            targets=[f"arn:aws:iot:us-east-1:000000000000:thing/{device.name}"],
            document="{}",
            destinationPackageVersions=[destination],
        )
        jobs.update_job_execution(jobId=job_id, thingName=device.name, status=status)
        try:
            answer = data.get_thing_shadow(thingName=device.name, shadowName="$package")
        except data.exceptions.ResourceNotFoundException:
            return {}
        state: dict[str, Any] = json.load(answer["payload"])["state"].get("reported", {})
        return state

    assert run("fails", "FAILED", arn) == {}
    iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": False})
    assert run("switched-off", "SUCCEEDED", arn) == {}
    iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": True})
    assert run("installs", "SUCCEEDED", arn) == {"Https": {"version": "2", "attributes": {}}}
    assert run("uninstalls", "SUCCEEDED", arn.replace("version/2", "version/$null")) == {}


def test_a_thing_is_told_when_its_pending_jobs_change(connect: Any, identity: Any, cloud: Any) -> None:
    """`notify` when the set changes, `notify-next` when its head does, neither when a job is started."""
    iot, device = cloud.client("iot"), identity("queue")
    topic = "$aws/things/queue/jobs"

    def create(job_id: str) -> None:
        target = "arn:aws:iot:us-east-1:000000000000:thing/queue"
        iot.create_job(jobId=job_id, targets=[target], document='{"operation": "none"}')

    with connect(device) as heard:
        heard.subscribe(f"{topic}/notify", f"{topic}/notify-next", f"{topic}/+/update/accepted")

        def told() -> tuple[str, Any]:
            """The next notification: the ids by status, or the id of the head."""
            where, payload = heard.next()
            if where.endswith("/notify"):
                by_status = payload["jobs"].items()
                return "notify", {status: [job["jobId"] for job in jobs] for status, jobs in by_status}
            if where.endswith("/notify-next"):
                return "next", payload.get("execution", {}).get("jobId")
            return "accepted", where.split("/")[-3]

        def report(job_id: str, status: str) -> None:
            heard.publish(f"{topic}/{job_id}/update", {"status": status})
            assert told() == ("accepted", job_id)

        create("q1")
        assert [told(), told()] == [("notify", {"QUEUED": ["q1"]}), ("next", "q1")]
        create("q2")
        assert told() == ("notify", {"QUEUED": ["q1", "q2"]})
        report("q1", "IN_PROGRESS")
        create("q3")
        assert told() == ("notify", {"IN_PROGRESS": ["q1"], "QUEUED": ["q2", "q3"]})
        report("q1", "SUCCEEDED")
        assert [told(), told()] == [("notify", {"QUEUED": ["q2", "q3"]}), ("next", "q2")]
        report("q2", "REJECTED")
        assert [told(), told()] == [("notify", {"QUEUED": ["q3"]}), ("next", "q3")]
        iot.cancel_job(jobId="q3", force=True)
        assert [told(), told()] == [("notify", {}), ("next", None)]


def test_policies_hold_a_device_to_its_own_thing(connect: Any, identity: Any) -> None:
    device = identity("bound")
    with connect(device) as heard:
        assert heard.connected.get(timeout=WAIT_S)[0] == 0
        assert heard.subscribe("$aws/things/other/shadow/update/+", "#") == [0x87, 0x87]
        assert heard.publish("$aws/things/other/shadow/update", {"state": {}}) == 0x87
        assert heard.publish("$aws/things/bound/jobs/notify", {}) == 0x90
        assert heard.publish("$aws/things/bound/shadow/get") == 0
    with connect(device, client_id="another") as stranger:
        assert stranger.connected.get(timeout=WAIT_S)[0] == 0x87


def test_an_unknown_certificate_or_none_is_refused(cloud: Any, tmp_path: Any, identity: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    known = x509.load_pem_x509_certificate(_read(identity("known").cert_file))
    own = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(known.not_valid_before_utc)
        .not_valid_after(known.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "own.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "own.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))

    for certificate in ((tmp_path / "own.pem", tmp_path / "own.key"), None):
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="x", protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        context = ssl.create_default_context(cafile=cloud.ready["ca_file"])
        if certificate:
            context.load_cert_chain(*certificate)
        client.tls_set_context(context)
        heard = Heard(client)
        try:
            client.connect(cloud.ready["mqtt_host"], cloud.ready["mqtt_port"])
        except (ssl.SSLError, ConnectionError):
            continue  # with TLS 1.2 the handshake itself fails
        client.loop_start()
        heard.gone.get(timeout=WAIT_S)
        client.loop_stop()
        assert heard.connected.empty()


def test_a_persistent_session_gets_what_it_missed(connect: Any, identity: Any, cloud: Any) -> None:
    device = identity("sleeper")
    topic = "$aws/things/sleeper/shadow/update/accepted"
    with connect(device, expiry_s=600) as heard:
        assert heard.connected.get(timeout=WAIT_S) == (0, False)
        assert heard.subscribe(topic) == [1]
    data = cloud.client("iot-data")
    for number in range(20):
        payload = json.dumps({"state": {"reported": {"n": number}}})
        data.update_thing_shadow(thingName="sleeper", payload=payload)
    with connect(device, expiry_s=600) as heard:
        assert heard.connected.get(timeout=WAIT_S) == (0, True)
        assert [heard.next()[1]["state"]["reported"]["n"] for _ in range(20)] == list(range(20))


def _read(path: str) -> bytes:
    return Path(path).read_bytes()
