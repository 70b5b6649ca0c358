"""Calls to AWS, made by boto3 over HTTP to a small server that answers as AWS does."""

import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from simulator.backend.actions import Actions, MissingError, job_document
from simulator.backend.config import Aws
from simulator.backend.effects import Call, CreateJob, LookUp, SetDesired, Tell
from simulator.backend.pipeline import Answer

JOB = CreateJob("a", "V-1", "ota-a", "SedanVehicle", "1.1.0", 90.0)
VERSION = {
    "packageVersionArn": "arn:aws:iot:us-east-1:000000000000:package/SedanVehicle/version/1.1.0",
    "attributes": {"sha256": "ab", "size": "123", "signature": "c2ln"},
    "artifact": {"s3Location": {"bucket": "firmware", "key": "sedan/1.1.0.bin", "version": "v1"}},
}
CALLER = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::000000000000:root</Arn><UserId>u</UserId><Account>000000000000</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""

TOPIC = "arn:aws:sns:us-east-1:000000000000:on-call"
PUBLISHED = b"""<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>
<MessageId>m-1</MessageId></PublishResult></PublishResponse>"""
NO_TOPIC = b"""<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>
<Code>NotFound</Code><Message>Topic does not exist</Message></Error></ErrorResponse>"""


class FakeAws(ThreadingHTTPServer):
    """Knows V-1, its package, and what was asked of it; throttles the first shadow update."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, Any]] = []
        self.version: dict[str, Any] | None = VERSION
        self.job_exists = False
        self.throttle = 1


class Handler(BaseHTTPRequestHandler):
    server: FakeAws

    def log_message(self, *_args: Any) -> None:
        pass

    def _answer(self, status: int, body: Any, error: str = "") -> None:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        self.send_response(status)
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        aws = self.server
        path = self.path.split("?")[0]
        aws.asked.append((f"{self.command} {path}", orjson.loads(body) if body.startswith(b"{") else None))
        missing = (404, {"message": "not found"}, "ResourceNotFoundException")
        match self.command, path:
            case "PATCH", "/event-configurations":
                self._answer(200, {})
            case "GET", "/things/V-1":
                self._answer(200, {"thingName": "V-1", "thingTypeName": "SedanVehicle"})
            case "GET", "/things/plain":
                self._answer(200, {"thingName": "plain"})
            case "POST", "/things/V-1/shadow" if aws.throttle:
                aws.throttle -= 1
                self._answer(429, {"message": "slow down"}, "ThrottlingException")
            case "POST", "/things/V-1/shadow":
                self._answer(200, {})
            case "GET", "/packages/SedanVehicle/versions/1.1.0" if aws.version is not None:
                self._answer(200, aws.version)
            case "POST", "/" if b"Action=Publish" in body:
                form = dict(parse_qsl(body.decode()))
                aws.asked[-1] = ("Publish", form)
                if form["TopicArn"] == TOPIC:
                    self._answer(200, PUBLISHED)
                else:
                    self._answer(404, NO_TOPIC)
            case "POST", "/":
                self._answer(200, CALLER)
            case "PUT", "/jobs/ota-a" if aws.job_exists:
                self._answer(409, {"message": "exists"}, "ResourceAlreadyExistsException")
            case "PUT", "/jobs/ota-a":
                self._answer(200, {"jobId": "ota-a"})
            case _:
                self._answer(*missing)

    do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815 (the names http.server looks for)


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    server = FakeAws()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def make(aws: FakeAws | None, *calls: Call) -> list[Answer]:
    """Make the calls one after the other; their answers."""
    answers: queue.Queue[Answer] = queue.Queue()
    config = None
    if aws is not None:
        config = Aws(
            endpoint_url=f"http://127.0.0.1:{aws.server_address[1]}",
            region="us-east-1",
            access_key_id="key",
            secret_access_key="secret",
        )
    actions = Actions(config, answers.put, lambda: 1000)
    actions.start()
    try:
        answered = []
        for call in calls:
            assert actions.submit(call)
            answered.append(answers.get(timeout=30))
        return answered
    finally:
        actions.stop()


def test_a_look_up_gives_the_thing_type(aws: FakeAws) -> None:
    answers = make(aws, LookUp("V-1"), LookUp("plain"), LookUp("nobody"))
    assert [(answer.product, answer.error) for answer in answers] == [("SedanVehicle", ""), (None, ""), (None, "")]


def test_an_action_goes_into_the_shadow_also_when_throttled_first(aws: FakeAws) -> None:
    [answer] = make(aws, SetDesired("a", "V-1", "restart-fan", "a-1"))
    assert (answer.error, answer.at_ms) == ("", 1000)
    updates = [body for what, body in aws.asked if what == "POST /things/V-1/shadow"]
    assert updates == [{"state": {"desired": {"action": {"name": "restart-fan", "id": "a-1"}}}}] * 2


def test_a_job_is_made_of_the_package_version(aws: FakeAws) -> None:
    [answer] = make(aws, JOB)
    assert answer.error == ""
    [job] = [body for what, body in aws.asked if what == "PUT /jobs/ota-a"]
    assert orjson.loads(job.pop("document")) == {
        "operation": "ota",
        "package": "SedanVehicle",
        "version": "1.1.0",
        "url": "${aws:iot:s3-presigned-url:https://s3.us-east-1.amazonaws.com/firmware/sedan/1.1.0.bin}",
        "size": 123,
        "sha256": "ab",
        "signature": "c2ln",
    }
    assert job == {
        "targets": ["arn:aws:iot:us-east-1:000000000000:thing/V-1"],
        "description": "SedanVehicle 1.1.0 for V-1",
        "presignedUrlConfig": {"roleArn": "arn:aws:iam::000000000000:role/fleetsim-jobs", "expiresInSec": 3600},
        "destinationPackageVersions": [VERSION["packageVersionArn"]],
        "targetSelection": "SNAPSHOT",
        "timeoutConfig": {"inProgressTimeoutInMinutes": 2},
    }
    enabled = {"eventConfigurations": {"JOB_EXECUTION": {"Enabled": True}}}
    assert ("PATCH /event-configurations", enabled) in aws.asked


def test_a_job_that_exists_already_was_ours(aws: FakeAws) -> None:
    aws.job_exists = True
    assert make(aws, JOB)[0].error == ""


def test_a_missing_package_version_is_the_reason(aws: FakeAws) -> None:
    aws.version = None
    assert make(aws, JOB)[0].error == "package version SedanVehicle 1.1.0 does not exist"
    assert "has no thing type" in make(aws, JOB._replace(package=""))[0].error


def test_an_unknown_thing_is_an_error_of_its_command(aws: FakeAws) -> None:
    [answer] = make(aws, SetDesired("a", "nobody", "restart-fan", "a-1"))
    assert "ResourceNotFoundException" in answer.error


def test_a_notification_goes_to_its_topic(aws: FakeAws) -> None:
    call = Tell("V-1", "a", "a/alarm_raised/1/email", TOPIC, "[act now] V-1: hot", '{"thing": "V-1"}')
    sent, lost = make(aws, call, call._replace(topic=TOPIC + "-2"))
    assert sent.error == ""
    assert "Topic does not exist" in lost.error
    published = [form for what, form in aws.asked if what == "Publish"]
    assert {name: published[0][name] for name in ("TopicArn", "Subject", "Message")} == {
        "TopicArn": TOPIC, "Subject": "[act now] V-1: hot", "Message": '{"thing": "V-1"}',
    }  # fmt: skip


def test_without_aws_a_device_has_no_product_and_an_action_fails_with_that_reason() -> None:
    looked_up, acted = make(None, LookUp("V-1"), SetDesired("a", "V-1", "restart-fan", "a-1"))
    assert (looked_up.product, looked_up.error) == (None, "")
    assert acted.error == "no AWS is configured (aws: null)"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"artifact": {}}, "has no artifact"),
        ({"attributes": {"sha256": "ab", "size": "123"}}, "has no attribute 'signature'"),
        ({"attributes": {"sha256": "ab", "size": "many", "signature": "x"}}, "size 'many' is not a number"),
    ],
)
def test_an_incomplete_package_version_makes_no_document(change: dict[str, Any], why: str) -> None:
    with pytest.raises(MissingError, match=why):
        job_document(JOB, VERSION | change, "us-east-1")
