"""Uploads: where a device may PUT its parts, until they are one object, or thrown away.

    asked ──URLs──► open ──upload_complete──► completing ──► stored
      │               │ failed, or silent for too long
      └───────────────┴──────────► aborting ──► failed, expired

Rules: pure, as the rest of the core. A device that asks again is given fresh URLs for the same upload. Every
step is stored before its call to S3, and the calls are safe to repeat, so a restart goes on where it was. How
many are under way is bounded, of all devices and of each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from typing import Any, Literal

import orjson

from simulator.backend.effects import AbortUpload, Call, CompleteUpload, Effect, OpenUpload, SaveUpload, Say

OPEN_MAX = 1000
OPEN_EACH_MAX = 8
EXPIRES_S = 3600.0
TRIES_MAX = 3
RETRY_MS = 5_000
LOOK_EVERY_MS = 1_000
REASON_MAX = 300

State = Literal["asked", "open", "completing", "aborting", "stored", "failed", "expired"]
_ENDED = frozenset(("stored", "failed", "expired"))


@dataclass(slots=True)
class Upload:
    """One upload; plain values only, so that it survives a restart as JSON."""

    upload_id: str
    thing: str
    name: str
    size: int
    content_type: str
    parts: int
    key: str
    answer_topic: str
    requested_at_ms: int
    heard_at_ms: int
    state: State = "asked"
    bucket: str = ""
    s3_id: str = ""
    etags: list[str] = field(default_factory=list)
    etag: str = ""  # of the object
    ended_at_ms: int | None = None
    end_as: State = "failed"  # what it is once it is aborted
    reason: str = ""
    tries: int = 0
    retry_at_ms: int | None = None

    def save(self) -> SaveUpload:
        """The effect that remembers it as it is now."""
        document = orjson.dumps(asdict(self)).decode()
        return SaveUpload(self.upload_id, self.thing, self.state, self.requested_at_ms, document)

    def call(self) -> Call | None:
        """The call to S3 that its state waits for."""
        match self.state:
            case "asked" | "open":
                return OpenUpload(
                    self.upload_id, self.thing, self.key, self.content_type, self.parts, self.s3_id
                )  # fmt: skip
            case "completing":
                return CompleteUpload(self.upload_id, self.thing, self.key, self.s3_id, tuple(self.etags))
            case "aborting":
                return AbortUpload(self.upload_id, self.thing, self.key, self.s3_id)
        return None


_FIELDS = frozenset(f.name for f in fields(Upload))


class Uploads:
    """All that are under way."""

    def __init__(self) -> None:
        self.expires_ms = int(1000 * EXPIRES_S)
        self._open: dict[str, Upload] = {}
        self._by_name: dict[tuple[str, str], Upload] = {}
        self._of_thing: Counter[str] = Counter()
        self._look_at_ms = 0

    def __len__(self) -> int:
        return len(self._open)

    def resume(self, documents: Iterable[str]) -> list[Effect]:
        """Take up what the store remembers; repeats the calls that were not answered."""
        effects: list[Effect] = []
        for document in documents:
            upload = Upload(**{k: v for k, v in orjson.loads(document).items() if k in _FIELDS})
            self._add(upload)
            if upload.state in ("completing", "aborting") and (call := upload.call()):
                effects.append(call)
        return effects

    def requested(self, thing: str, topic: str, wanted: Mapping[str, Any], now_ms: int) -> list[Effect]:
        """A device asks where to PUT a file."""
        name = str(wanted["name"])
        upload = self._by_name.get((thing, name))
        if upload is None:
            if len(self._open) >= OPEN_MAX or self._of_thing[thing] >= OPEN_EACH_MAX:
                return [say(thing, answer_topic(topic), now_ms, name=name, error="too many uploads are under way")]
            upload_id = blake2b(f"{thing}\n{name}\n{now_ms}".encode(), digest_size=12).hexdigest()
            key = f"uploads/{thing}/{upload_id}/{name}"
            upload = Upload(
                upload_id, thing, name, wanted["size"], wanted["content_type"], wanted["parts"], key,
                answer_topic(topic), now_ms, now_ms,
            )  # fmt: skip
            self._add(upload)
        elif upload.state not in ("asked", "open"):
            return []  # its end is on the way
        elif (wanted["size"], wanted["parts"]) != (upload.size, upload.parts):
            error = f"'{name}' was announced with {upload.size} bytes in {upload.parts} parts before"
            return [say(thing, upload.answer_topic, now_ms, name=name, error=error)]
        upload.heard_at_ms = now_ms
        call = upload.call()
        return [upload.save(), call] if call else []

    def completed(self, thing: str, said: Any, now_ms: int) -> list[Effect]:
        """A device says that it is done, or gave up. About an upload that is no more: nothing."""
        upload = self._open.get(said["id"]) if type(said) is dict and type(said.get("id")) is str else None
        if upload is None or upload.thing != thing or upload.state not in ("asked", "open"):
            return []
        upload.heard_at_ms = now_ms
        etags = said.get("etags")
        if said.get("result") != "done":
            return self._abort(upload, f"the device gave up: {said.get('reason', '')}".rstrip(": "))
        if type(etags) is not list or len(etags) != upload.parts or not all(type(etag) is str for etag in etags):
            return self._abort(upload, f"upload_complete without {upload.parts} etags")
        upload.state, upload.etags = "completing", etags
        return self._step(upload)

    def answered(self, call: Call, result: Any, error: str, now_ms: int) -> list[Effect]:
        """A call to S3 ended."""
        assert isinstance(call, OpenUpload | CompleteUpload | AbortUpload)
        upload = self._open.get(call.upload_id)
        if upload is None:
            return []
        match call:
            case OpenUpload() if upload.state not in ("asked", "open"):
                return []
            case OpenUpload() if error:
                said = say(upload.thing, upload.answer_topic, now_ms, name=upload.name, error=error[:REASON_MAX])
                if upload.s3_id:
                    return [said, *self._abort(upload, error)]
                return [said, *self._end(upload, "failed", error, now_ms)]
            case OpenUpload():
                upload.state, upload.bucket, upload.s3_id = "open", result["bucket"], result["s3_id"]
                urls = result["urls"]
                answer = say(
                    upload.thing, upload.answer_topic, now_ms, id=upload.upload_id, name=upload.name, urls=urls
                )
                return [upload.save(), answer]
            case CompleteUpload() if error:
                return self._again(upload, error, now_ms) or self._abort(upload, error)
            case CompleteUpload():
                upload.etag, size = result["etag"], result["size"]
                reason = "" if size == upload.size else f"{upload.size} bytes were announced"
                upload.size = size
                return self._end(upload, "stored", reason, now_ms)
        if error and (again := self._again(upload, error, now_ms)):
            return again
        return self._end(upload, upload.end_as, upload.reason, now_ms)

    def tick(self, now_ms: int) -> list[Effect]:
        """Let the silent ones expire, try again what failed."""
        if now_ms < self._look_at_ms:
            return []
        self._look_at_ms = now_ms + LOOK_EVERY_MS
        effects: list[Effect] = []
        for upload in list(self._open.values()):
            if upload.retry_at_ms is not None and upload.retry_at_ms <= now_ms:
                upload.retry_at_ms = None
                effects += self._step(upload)
            elif upload.state in ("asked", "open") and now_ms - upload.heard_at_ms > self.expires_ms:
                upload.end_as = "expired"
                effects += self._abort(upload, f"not complete within {self.expires_ms / 1000:g} s")
        return effects

    def _add(self, upload: Upload) -> None:
        self._open[upload.upload_id] = self._by_name[upload.thing, upload.name] = upload
        self._of_thing[upload.thing] += 1

    def _step(self, upload: Upload) -> list[Effect]:
        call = upload.call()
        return [upload.save(), call] if call else [upload.save()]

    def _again(self, upload: Upload, error: str, now_ms: int) -> list[Effect]:
        """Try the same call later; nothing when it was tried often enough."""
        upload.tries += 1
        if upload.tries >= TRIES_MAX:
            return []
        upload.reason, upload.retry_at_ms = error[:REASON_MAX], now_ms + RETRY_MS
        return [upload.save()]

    def _abort(self, upload: Upload, reason: str) -> list[Effect]:
        upload.state, upload.reason, upload.tries, upload.retry_at_ms = "aborting", reason[:REASON_MAX], 0, None
        return self._step(upload)

    def _end(self, upload: Upload, state: State, reason: str, now_ms: int) -> list[Effect]:
        upload.state, upload.reason, upload.ended_at_ms = state, reason[:REASON_MAX], now_ms
        del self._open[upload.upload_id], self._by_name[upload.thing, upload.name]
        self._of_thing[upload.thing] -= 1
        if not self._of_thing[upload.thing]:
            del self._of_thing[upload.thing]
        return [upload.save()]


def ended(state: str) -> bool:
    """Is an upload in this state over?"""
    return state in _ENDED


def answer_topic(topic: str) -> str:
    """Where the answer to a request goes."""
    return topic.replace("/pub/upload_request/", "/sub/upload_urls/")


def say(thing: str, topic: str, now_ms: int, **upload: Any) -> Say:
    """An answer to a device."""
    return Say(thing, topic, orjson.dumps({"device_timestamp": now_ms, "data": {"upload": upload}}))
