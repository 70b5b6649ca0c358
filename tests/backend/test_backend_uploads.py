"""Uploads: the pure part step by step, and the calls to S3 against the sandbox's cloud."""

import queue
import urllib.request
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from simulator.backend.actions import Actions
from simulator.backend.config import Aws
from simulator.backend.core import Backend
from simulator.backend.effects import (
    AbortUpload,
    Call,
    CompleteUpload,
    DeadLetter,
    Effect,
    OpenUpload,
    SaveUpload,
    Say,
    StoreReport,
)
from simulator.backend.pipeline import Answer
from simulator.backend.rules import load_rules
from simulator.backend.uploads import EXPIRES_S, OPEN_EACH_MAX, RETRY_MS, TRIES_MAX
from tests.cloud.conftest import KEY_ID, SECRET, Cloud, start_cloud

__all__ = ["start_cloud"]  # a fixture

NOW_MS = 1_767_225_600_000
REQUEST = "iotlink/dev/nohub/V-1/event/pub/upload_request/json"
COMPLETE = REQUEST.replace("upload_request", "upload_complete")
WANTED: dict[str, Any] = {"name": "log-1", "size": 10, "content_type": "text/plain", "parts": 2}
OPENED = {"bucket": "b", "s3_id": "s3", "urls": ["u1", "u2"]}


class World:
    """A core, a clock, and what it asked for."""

    def __init__(self) -> None:
        self.core = Backend(load_rules([]))
        self.now_ms = NOW_MS
        self.effects: list[Effect] = []

    def say(self, topic: str, **upload: Any) -> list[Effect]:
        payload = orjson.dumps({"device_timestamp": self.now_ms, "data": {"upload": upload}})
        return self.note(self.core.ingest(topic, payload, self.now_ms))

    def note(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        return effects

    def answer(self, result: Any = None, error: str = "") -> list[Effect]:
        call = self.last(OpenUpload | CompleteUpload | AbortUpload)
        return self.note(self.core.done(call, self.now_ms, error, self.now_ms, result))

    def wait(self, seconds: float) -> list[Effect]:
        self.now_ms += int(1000 * seconds)
        return self.note(self.core.tick(self.now_ms))

    def last(self, kind: Any) -> Any:
        return [effect for effect in self.effects if isinstance(effect, kind)][-1]

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.last(Say).payload)["data"]["upload"]
        return found

    @property
    def saved(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.last(SaveUpload).document)
        return found

    def open(self) -> str:
        self.say(REQUEST, **WANTED)
        self.answer(OPENED)
        return str(self.said["id"])


def test_from_the_request_to_the_stored_object() -> None:
    world = World()
    upload_id = world.open()
    assert world.last(Say).topic == "iotlink/dev/nohub/V-1/event/sub/upload_urls/json"
    assert world.said == {"id": upload_id, "name": "log-1", "urls": ["u1", "u2"]}
    world.say(COMPLETE, id=upload_id, result="done", etags=["e1", "e2"])
    assert world.last(CompleteUpload).etags == ("e1", "e2")
    world.answer({"etag": "e", "size": 10})
    assert (world.saved["state"], world.saved["etag"], world.saved["reason"]) == ("stored", "e", "")
    assert not any(isinstance(e, Call) for e in world.say(COMPLETE, id=upload_id, result="done", etags=["e1", "e2"]))
    assert [e.kind for e in world.effects if isinstance(e, StoreReport)] == ["upload_request", *["upload_complete"] * 2]


def test_who_asks_again_is_given_the_same_upload() -> None:
    world = World()
    upload_id = world.open()
    world.say(REQUEST, **WANTED, id=upload_id)
    assert world.last(OpenUpload).s3_id == "s3"
    world.answer(OPENED | {"urls": ["u3", "u4"]})
    assert world.said == {"id": upload_id, "name": "log-1", "urls": ["u3", "u4"]}
    world.say(REQUEST, **WANTED | {"size": 11})
    assert "announced with 10 bytes" in world.said["error"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"result": "failed", "reason": "part 1 failed 6 times"}, "the device gave up: part 1 failed 6 times"),
        ({"result": "done", "etags": ["e1"]}, "upload_complete without 2 etags"),
        ({"result": "done", "etags": [1, 2]}, "upload_complete without 2 etags"),
    ],
)
def test_what_failed_is_thrown_away(said: dict[str, Any], reason: str) -> None:
    world = World()
    world.say(COMPLETE, id=world.open(), **said)
    assert world.last(AbortUpload).s3_id == "s3"
    world.answer()
    assert (world.saved["state"], world.saved["reason"]) == ("failed", reason)
    assert len(world.core.uploads) == 0


def test_the_silent_expire() -> None:
    world = World()
    world.open()
    world.wait(EXPIRES_S + 1)
    assert isinstance(world.last(AbortUpload), AbortUpload)
    world.answer()
    assert world.saved["state"] == "expired"


def test_a_call_that_fails_is_tried_again_then_given_up() -> None:
    world = World()
    world.say(COMPLETE, id=world.open(), result="done", etags=["e1", "e2"])
    for _ in range(TRIES_MAX - 1):
        world.answer(error="S3 is down")
        assert world.saved["state"] == "completing"
        world.wait(RETRY_MS / 1000 + 1)
    world.answer(error="S3 is down")
    assert isinstance(world.effects[-1], AbortUpload)
    world.answer()
    assert (world.saved["state"], world.saved["reason"]) == ("failed", "S3 is down")


def test_a_refused_beginning_is_told() -> None:
    world = World()
    world.say(REQUEST, **WANTED)
    world.answer(error="no AWS is configured (aws: null)")
    assert world.said == {"name": "log-1", "error": "no AWS is configured (aws: null)"}
    assert world.saved["state"] == "failed"


def test_there_is_a_bound_for_each_device() -> None:
    world = World()
    for i in range(OPEN_EACH_MAX + 1):
        world.say(REQUEST, **WANTED | {"name": f"log-{i}"})
    assert world.said["error"] == "too many uploads are under way"
    assert len(world.core.uploads) == OPEN_EACH_MAX


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": 7}, "upload.name.type"),
    ({"name": "a\nb"}, "upload.name.range"),
    ({"size": 0}, "upload.size.range"),
    ({"size": "many"}, "upload.size.type"),
    ({"parts": 1000}, "upload.parts.range"),
    ({"content_type": ""}, "upload.content_type.range"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_a_wrong_request_is_a_dead_letter_and_is_answered(change: dict[str, Any], reason: str) -> None:
    world = World()
    assert [e.reason for e in world.say(REQUEST, **WANTED | change) if isinstance(e, DeadLetter)] == [reason]
    assert world.said["error"] == f"refused: {reason}"


def test_a_restart_repeats_what_was_not_answered() -> None:
    world = World()
    world.say(COMPLETE, id=world.open(), result="done", etags=["e1", "e2"])
    again = Backend(load_rules([]))
    effects = again.resume([], [], NOW_MS, uploads=[world.last(SaveUpload).document])
    assert effects == [world.last(CompleteUpload)]


@pytest.mark.e2e
def test_s3_takes_the_parts_and_makes_one_object(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud()
    aws = Aws(
        endpoint_url=cloud.ready["endpoint_url"],
        region=cloud.ready["region"],
        access_key_id=KEY_ID,
        secret_access_key=SECRET,
        ca_file=cloud.ready["ca_file"],
    )
    answers: queue.Queue[Answer] = queue.Queue()
    actions = Actions(aws, answers.put, lambda: NOW_MS)
    actions.start()

    def make(call: Call) -> Answer:
        assert actions.submit(call)
        return answers.get(timeout=60)

    try:
        key = "uploads/V-1/x/log 1.txt"
        opened = make(OpenUpload("x", "V-1", key, "text/plain", 2, ""))
        assert not opened.error
        again = make(OpenUpload("x", "V-1", key, "text/plain", 2, ""))  # a crash had it forget the first
        assert again.result["s3_id"] == opened.result["s3_id"]
        parts = [b"a" * (5 * 1024 * 1024), b"the end"]
        etags = tuple(
            put(url, part, cloud.ready["ca_file"]) for url, part in zip(opened.result["urls"], parts, strict=True)
        )
        complete = CompleteUpload("x", "V-1", key, opened.result["s3_id"], etags)
        done = make(complete)
        assert (done.error, done.result["size"]) == ("", sum(map(len, parts)))
        assert make(complete).result == done.result  # again after a crash
        other = make(OpenUpload("y", "V-1", "uploads/V-1/y/z", "text/plain", 1, ""))
        assert make(AbortUpload("y", "V-1", "uploads/V-1/y/z", other.result["s3_id"])).error == ""
        assert make(AbortUpload("y", "V-1", "uploads/V-1/y/z", other.result["s3_id"])).error == ""
        assert make(AbortUpload("z", "V-1", "uploads/V-1/y/none", "")).error == ""
        s3 = cloud.client("s3")
        assert opened.result["bucket"] == f"fleetsim-{cloud.ready['account_id']}-{cloud.ready['region']}"
        found = s3.get_object(Bucket=opened.result["bucket"], Key=key)
        assert found["Body"].read() == b"".join(parts)
        assert found["ContentType"] == "text/plain"
        s3.close()
    finally:
        actions.stop()


def put(url: str, part: bytes, ca_file: str) -> str:
    """PUT as a device does; the ETag."""
    import ssl

    context = ssl.create_default_context(cafile=ca_file)
    request = urllib.request.Request(url, data=part, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:  # noqa: S310
        return str(answer.headers["ETag"])
