"""What happens around each call: rates and tries again with a server that throttles, the trace with a real cloud."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from simulator.ops import certificates, provision, retry
from simulator.ops.aws import Aws, code
from simulator.ops.limits import Limits
from simulator.ops.redact import HIDDEN, redacted
from simulator.ops.trace import Trace
from simulator.targets import Addresses
from tests.cloud.conftest import KEY_ID, SECRET, Cloud


def of(cloud: Cloud, **options: Any) -> Aws:
    at = cloud.ready
    addresses = Addresses(
        "sandbox", "t", at["region"], at["mqtt_host"], at["mqtt_port"], at["endpoint_url"], at["ca_file"],
        KEY_ID, SECRET,
    )  # fmt: skip
    return Aws(addresses, **options)


# Throttling, by a small server of our own


class Busy(ThreadingHTTPServer):
    """Answers each path with the errors it was given, and then with success."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.errors: list[tuple[int, str]] = []
        self.heard: list[str] = []
        self.dates: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Busy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.heard.append(self.path)
        self.server.dates.append(self.headers["X-Amz-Date"])
        status, error = self.server.errors.pop(0) if self.server.errors else (200, "")
        body = json.dumps({"message": "Rate exceeded"} if error else {"thingName": "one"}).encode()
        self.send_response(status)
        if error:
            self.send_header("x-amzn-errortype", error)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass


@pytest.fixture
def busy() -> Iterator[Busy]:
    server = Busy()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Aws]]:
    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    monkeypatch.setattr(retry, "MAX_S", 0.002)
    made: list[Aws] = []

    def aws(**options: Any) -> Aws:
        at = Addresses("aws", "t", "us-east-1", "", 8883, f"http://127.0.0.1:{busy.server_port}", None, KEY_ID, SECRET)
        made.append(Aws(at, **options))
        return made[-1]

    yield aws
    for one in made:
        one.close()


def test_a_throttled_call_is_made_again(busy: Busy, make: Callable[..., Aws]) -> None:
    busy.errors = [(400, "ThrottlingException")] * 2
    aws = make()
    assert aws.iot.create_thing(thingName="one")["thingName"] == "one"
    assert len(busy.heard) == 3
    assert aws.retries == {"CreateThing": 2}


def test_more_throttling_than_a_client_of_botocore_would_bear(busy: Busy, make: Callable[..., Aws]) -> None:
    """botocore gives up after a budget for all calls; a thousand throttled devices would use it up."""
    aws = make(limits=Limits(lambda service, operation: None))
    for _ in range(15):
        busy.errors = [(400, "ThrottlingException")] * 10
        aws.iot.create_thing(thingName="one")
    assert aws.retries == {"CreateThing": 150}


def test_throttling_without_end_ends(busy: Busy, make: Callable[..., Aws]) -> None:
    busy.errors = [(429, "ThrottlingException")] * 50
    with pytest.raises(ClientError) as caught:
        make().iot.create_thing(thingName="one")
    assert code(caught.value) == "ThrottlingException"
    assert len(busy.heard) == retry.THROTTLED_ATTEMPTS


@pytest.mark.parametrize(("status", "error"), [(410, "LimitExceededException"), (400, "InvalidRequestException")])
def test_what_no_waiting_helps_is_not_tried_again(
    busy: Busy, make: Callable[..., Aws], status: int, error: str
) -> None:
    busy.errors = [(status, error)]
    with pytest.raises(ClientError):
        make().iot.create_thing(thingName="one")
    assert len(busy.heard) == 1


def test_a_weak_moment_of_the_service_passes(busy: Busy, make: Callable[..., Aws]) -> None:
    busy.errors = [(500, "InternalFailureException"), (503, "ServiceUnavailableException")]
    make().iot.create_thing(thingName="one")
    assert len(busy.heard) == 3


def test_each_attempt_waits_for_its_turn(busy: Busy, make: Callable[..., Aws]) -> None:
    now_s, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds

    busy.errors = [(400, "ThrottlingException")]
    aws = make(limits=Limits(clock=lambda: now_s, sleep=sleep))
    aws.iot.create_thing(thingName="one")
    assert slept == [pytest.approx(1 / 80)], "the second attempt is a call like any other"
    aws.client("iot").create_thing(thingName="one")
    assert len(slept) == 2, "another client of the same account"
    aws.client("s3", signature_version="s3v4").generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    assert len(slept) == 2, "no call, only arithmetic"


def test_a_retry_stands_in_the_trace(busy: Busy, make: Callable[..., Aws]) -> None:
    busy.errors = [(400, "ThrottlingException")]
    written: list[str] = []
    make(trace=Trace(written.append, lambda: 0.0)).iot.create_thing(thingName="one")
    asked, again, answered = written
    assert asked == '#1 → iot CreateThing {\n  "thingName": "one"\n}'
    assert again == "#1 … CreateThing: attempt 1 failed (ThrottlingException), again in 0.0 s"
    assert answered.startswith('#1 ← 0 ms {\n  "ResponseMetadata"')


def test_nobody_there_stands_in_the_trace(make: Callable[..., Aws], busy: Busy) -> None:
    written: list[str] = []
    at = Addresses("aws", "t", "us-east-1", "", 8883, "http://127.0.0.1:9", None, KEY_ID, SECRET)
    aws = Aws(at, trace=Trace(written.append))
    with pytest.raises(Exception, match="Could not connect"):
        aws.client("iot", 2).create_thing(thingName="one")
    aws.close()
    assert "attempt 1 failed (EndpointConnectionError)" in written[1]
    assert "EndpointConnectionError: Could not connect" in written[2]


def test_a_guard_keeps_a_call_from_being_made(busy: Busy, make: Callable[..., Aws]) -> None:
    def guard(service: str, operation: str) -> None:
        raise PermissionError(f"{service} {operation}")

    with pytest.raises(PermissionError, match="iot CreateThing"):
        make(guard=guard).iot.create_thing(thingName="one")
    assert busy.heard == []


# The trace, by a real cloud


def test_calls_of_many_threads_stand_one_below_the_other(cloud: Cloud) -> None:
    written: list[str] = []
    aws = of(cloud, trace=Trace(written.append))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: aws.iot.create_thing(thingName=f"traced-{n}"), range(24)))
    aws.close()
    assert len(written) == 48
    for number, (asked, answered) in enumerate(zip(written[::2], written[1::2], strict=True), 1):
        assert asked.startswith(f"#{number} → iot CreateThing")
        assert answered.startswith(f"#{number} ← ")
        name = re.search(r'"thingName": "(.*)"', asked)
        assert name is not None
        assert f'"thingName": "{name[1]}"' in answered


def test_everything_is_shown_and_no_secret(cloud: Cloud, tmp_path: Path) -> None:
    written: list[str] = []
    aws = of(cloud, trace=Trace(written.append))
    made = aws.iot.create_keys_and_certificate(setAsActive=True)
    key = made["keyPair"]["PrivateKey"]
    assert key.startswith("-----BEGIN"), "the caller gets what the trace hides"
    provision.groundwork(aws)
    aws.iot.create_thing(thingName="shown")
    files = certificates.create(aws, tmp_path, "shown", provision.DEVICE_POLICY, "shown")
    aws.data.update_thing_shadow(thingName="shown", payload=b'{"state": {"reported": {"batteryStatus": 50}}}')
    shadow = aws.data.get_thing_shadow(thingName="shown")["payload"].read()
    secret = aws.iam.create_user(UserName="u") and aws.iam.create_access_key(UserName="u")["AccessKey"]
    url = aws.s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    aws.iot.create_thing(thingName="with-url")
    aws.data.update_thing_shadow(
        thingName="with-url", payload=json.dumps({"state": {"reported": {"url": url}}}).encode()
    )
    aws.close()
    said = "\n".join(written)
    assert json.loads(shadow)["state"]["reported"] == {"batteryStatus": 50}
    assert said.count("batteryStatus") >= 2, "the question and the answer, though that is a stream"
    assert "BEGIN CERTIFICATE-----" in said
    assert "PRIVATE KEY" not in said
    middle = key.splitlines()[3]
    assert middle not in said
    assert secret["SecretAccessKey"] not in said
    assert secret["AccessKeyId"] in said
    assert SECRET not in said
    assert "X-Amz-Signature" not in said
    assert f"/b/k?{HIDDEN}" in said
    assert files.key_file.read_text().splitlines()[1] not in said


def test_a_large_stream_is_not_shown_and_can_be_read(cloud: Cloud) -> None:
    written: list[str] = []
    aws = of(cloud, trace=Trace(written.append))
    aws.s3.create_bucket(Bucket="large")
    body = bytes(range(256)) * 400
    aws.s3.put_object(Bucket="large", Key="k", Body=body)
    got = aws.s3.get_object(Bucket="large", Key="k")["Body"].read()
    aws.close()
    assert got == body
    assert f"<{len(body)} bytes>" in written[2]
    assert f"<stream of {len(body)} bytes>" in written[-1]


def test_an_error_is_shown_whole(cloud: Cloud) -> None:
    written: list[str] = []
    aws = of(cloud, trace=Trace(written.append))
    with pytest.raises(ClientError):
        aws.iot.describe_thing(thingName="nobody")
    aws.close()
    assert "ms, error {" in written[1]
    assert '"Code": "ResourceNotFoundException"' in written[1]
    assert '"HTTPStatusCode": 404' in written[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"privateKey": "abc", "certificatePem": "pem"}, {"privateKey": HIDDEN, "certificatePem": "pem"}),
        ({"keyPair": {"PublicKey": "p", "PrivateKey": "k"}}, {"keyPair": {"PublicKey": "p", "PrivateKey": HIDDEN}}),
        ({"nextToken": "n", "clientToken": "c"}, {"nextToken": "n", "clientToken": "c"}),
        ({"certificateOwnershipToken": "t"}, {"certificateOwnershipToken": HIDDEN}),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=A, Signature=b"}, {"Authorization": HIDDEN}),
        ({"attributes": {"signature": "abc", "sha256": "d"}}, {"attributes": {"signature": HIDDEN, "sha256": "d"}}),
        ({"PrivateKey": None, "password": True}, {"PrivateKey": None, "password": True}),
        ("x -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY----- y", f"x {HIDDEN} y"),
        ("-----BEGIN PRIVATE KEY-----\nabc cut off", HIDDEN),
        ("https://b.com/k?versionId=1&X-Amz-Signature=ab12 and", f"https://b.com/k?{HIDDEN} and"),
        (r'"https:\/\/b\/k?X-Amz-Credential=A\u0026X-Amz-Date=1"', rf'"https:\/\/b\/k?{HIDDEN}"'),
        ("https://b/k?AWSAccessKeyId=A&Signature=x&Expires=1", f"https://b/k?{HIDDEN}"),
        ("https://example.com/k?page=2", "https://example.com/k?page=2"),
        ('{"secretAccessKey": "abc", "thing": "t"}', f'{{"secretAccessKey": "{HIDDEN}", "thing": "t"}}'),
        (r'{\"sessionToken\": \"abc\", \"t\": \"u\"}', rf'{{\"sessionToken\": \"{HIDDEN}\", \"t\": \"u\"}}'),
        (r'{\"password\": \"a\\\"b\", \"t\": 1}', rf'{{\"password\": \"{HIDDEN}\", \"t\": 1}}'),
        ('{"password": "a\\"b"}', f'{{"password": "{HIDDEN}"}}'),
        (b"\xff\xfe", "<2 bytes>"),
        (b"text", "text"),
        ([b"a", ("b", 3)], ["a", ["b", 3]]),
    ],
)  # fmt: skip
def test_what_is_hidden(value: Any, shown: Any) -> None:
    assert redacted(value) == shown


def test_a_stray_endpoint_in_the_environment_changes_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws = of(cloud)
    assert aws.account == boto3.client(
        "sts", endpoint_url=cloud.ready["endpoint_url"], verify=cloud.ready["ca_file"], region_name="us-east-1",
        aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET,
    ).get_caller_identity()["Account"]  # fmt: skip
    aws.close()
