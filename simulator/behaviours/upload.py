"""Uploads: ask where to, PUT the parts to presigned URLs, say that it is complete.

    device   upload_request   {"upload": {"name", "size", "content_type", "parts"}}
    backend  upload_urls      {"upload": {"id", "urls": [one for each part]}}, or {"upload": {"error": "…"}}
    device   upload_complete  {"upload": {"id", "name", "size", "content_type", "result", "reason", "etags": […]}}

Each is `data` of the platform's JSON. One file at a time: it begins on an interval or when an action asks for it.
A part that fails is tried again with backoff; when its URL has expired the request is repeated with the `id`, and
the answer brings fresh ones. Every retry has a limit, after which the file is given up: upload_complete then has
the result `failed`. A reboot forgets a file that was under way.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs
from simulator.behaviours._platform import EVENT, asked, document, inside
from simulator.messages import Booted, Connected, Input, Note, Publish, Received, Told, UploadEnded
from simulator.messages import Upload as Put
from simulator.schema import Misplaced
from simulator.signals import Range

PERIOD_S = Range(1, 7 * 86_400)
PARTS_MAX = 50  # the URLs of more would not fit into one message
_ANSWER_MS = 10_000  # The backend's answer is asked for again after this …
_ASK_MAX = 5  # … at most this often.
_RETRY_MS = 500
_ID_MAX = 1024


class Upload(Behaviour):
    """Uploads an image or a log, on an interval or when it is asked to."""

    through_hub = False
    settable: ClassVar[Mapping[str, Range]] = {"every_s": PERIOD_S}

    kind: Literal["upload"] = "upload"
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="What actions call it: {uploads: log}.")
    every_s: float | None = Field(
        None, ge=PERIOD_S.low, le=PERIOD_S.high, description="Time between two uploads; absent: only when asked."
    )
    size_kib: Range | float = Field(64.0, description="Size of a file; [low, high]: each file has its own.")
    content_type: str = Field("text/plain", pattern=r"^[a-z]+/[a-zA-Z0-9.+-]{1,64}$")
    part_kib: int = Field(
        5120, ge=1, le=1 << 20, description="Size of a part; S3 wants at least 5120, but for the last."
    )
    retries: int = Field(5, ge=0, le=100, description="How often a part is tried again.")
    request_topic: str = Field(f"{EVENT}/pub/upload_request/json", description="Where it asks.")
    urls_topic: str = Field(f"{EVENT}/sub/upload_urls/json", description="Where the URLs come.")
    complete_topic: str = Field(f"{EVENT}/pub/upload_complete/json", description="Where it says that it is done.")

    @model_validator(mode="after")
    def _sizes(self) -> "Upload":
        low, high = self.range_kib
        if not 0 < low <= high:
            raise Misplaced(("size_kib",), f"must be more than 0 and rise from low to high, is [{low:g}, {high:g}]")
        if high > PARTS_MAX * self.part_kib:
            raise Misplaced(("size_kib",), f"more than {PARTS_MAX} parts of {self.part_kib} KiB")
        return self

    @property
    def range_kib(self) -> Range:
        return self.size_kib if isinstance(self.size_kib, Range) else Range(self.size_kib, self.size_kib)

    @property
    def uploads_as(self) -> str:
        """What actions call it."""
        return self.name

    def duty(self) -> Duty:
        return UploadDuty(self)


class UploadDuty(Duty):
    __slots__ = (
        "alarm_ms", "asks", "attempt", "count", "etags", "every_ms", "file", "next_ms", "phase", "seed", "serial",
        "size", "token", "upload_id", "urls", "what",
    )  # fmt: skip

    def __init__(self, what: Upload) -> None:
        super().__init__()
        self.what = what
        self.count = 0  # of files so far
        self.serial = 0  # never the same again: tells late ends of a PUT from the one we wait for
        self.every_ms = int(1000 * (what.every_s or 0))
        self.next_ms = NEVER_MS
        self._idle()

    def _idle(self) -> None:
        self.phase = "idle"  # idle, asking, sending, waiting
        self.file = self.upload_id = self.token = ""
        self.size = self.seed = self.asks = self.attempt = 0
        self.urls: list[str] = []
        self.etags: list[str] = []
        self._sleep(NEVER_MS)

    def _sleep(self, alarm_ms: int) -> None:
        self.alarm_ms = alarm_ms
        self.wake_at_ms = min(alarm_ms, self.next_ms)

    @property
    def parts(self) -> int:
        """How many parts the file has."""
        return -(-self.size // (1024 * self.what.part_kib))

    def filters(self, body: Body) -> tuple[str, ...]:
        return (body.topic(self.what.urls_topic),)

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        match said:
            case Connected():
                if self.every_ms and self.next_ms == NEVER_MS:
                    self.next_ms = now_ms + int(self.every_ms * body.draw("upload phase", self.what.name))
                self.asks = 0
                self._sleep(now_ms if self.phase in ("asking", "waiting") else self.alarm_ms)
            case Booted():
                self._idle()
            case Told("upload.every_s", value):
                self.every_ms = int(1000 * float(value))
                self.next_ms = now_ms + self.every_ms
                self._sleep(self.alarm_ms)
            case Told(what) if what == f"upload.{self.what.name}" and self.phase == "idle":
                return self._begin(body, now_ms)
            case Received(topic, payload) if self.phase == "asking" and topic == body.topic(self.what.urls_topic):
                return self._answered(body, inside(asked(payload), "upload"), now_ms)
            case UploadEnded(token, _, status, etag, error) if self.phase == "sending" and token == self.token:
                return self._ended(body, status, etag, error, now_ms)
        return []

    def step(self, body: Body, now_ms: int) -> Outputs:
        said: Outputs = []
        if self.next_ms <= now_ms:
            missed = (now_ms - self.next_ms) // self.every_ms
            self.next_ms += self.every_ms * (missed + 1)
            if self.phase == "idle":
                said += self._begin(body, now_ms)
        if self.alarm_ms > now_ms or not body.online:  # offline: the connection that comes goes on from here
            self._sleep(self.alarm_ms if self.alarm_ms > now_ms else NEVER_MS)
        elif self.phase == "asking":
            said += self._ask(body, now_ms) if self.asks < _ASK_MAX else self._fail(body, "no answer", now_ms)
        else:
            said += self._put(now_ms)
        return said

    # Ask

    def _begin(self, body: Body, now_ms: int) -> Outputs:
        self.count += 1
        low, high = self.what.range_kib
        name = self.what.name
        self.size = max(1, int(1024 * (low + (high - low) * body.draw("upload size", name, self.count))))
        self.seed = int((1 << 53) * body.draw("upload content", name, self.count))
        self.file = f"{name}-{now_ms}"
        return [Note("upload_started", {"name": self.file, "size": self.size}), *self._ask(body, now_ms)]

    def _ask(self, body: Body, now_ms: int) -> Outputs:
        self.phase = "asking"
        self.asks += 1
        self._sleep(now_ms + _ANSWER_MS)
        upload: dict[str, Any] = {
            "name": self.file, "size": self.size, "content_type": self.what.content_type, "parts": self.parts,
        }  # fmt: skip
        if self.upload_id:
            upload["id"] = self.upload_id
        payload = document(body, now_ms, {"upload": upload})
        return [Publish("upload_request", body.topic(self.what.request_topic), payload)]

    def _answered(self, body: Body, upload: dict[str, Any], now_ms: int) -> Outputs:
        if upload.get("name", self.file) != self.file:
            return []  # of another file
        if isinstance(upload.get("error"), str):
            return self._fail(body, f"refused: {upload['error'][:200]}", now_ms)
        upload_id, urls = upload.get("id"), upload.get("urls")
        if not isinstance(upload_id, str) or not 0 < len(upload_id) <= _ID_MAX:
            return self._fail(body, "an answer without an id", now_ms)
        if not isinstance(urls, list) or len(urls) != self.parts or not all(isinstance(url, str) for url in urls):
            return self._fail(body, f"an answer without {self.parts} URLs", now_ms)
        if upload_id != self.upload_id:
            self.etags = []  # A new upload has none of our parts.
        self.upload_id, self.urls = upload_id, urls
        return self._put(now_ms)

    # Send

    def _put(self, now_ms: int) -> Outputs:
        """PUT the next part."""
        self.phase = "sending"
        self._sleep(NEVER_MS)
        self.serial += 1
        self.token = f"{self.file}-{self.serial}"
        part, step = len(self.etags), 1024 * self.what.part_kib
        size = min(step, self.size - part * step)
        return [Put(self.token, self.urls[part], part + 1, self.seed, self.what.content_type, part * step, size)]

    def _ended(self, body: Body, status: int, etag: str, error: str, now_ms: int) -> Outputs:
        if not error and 200 <= status < 300 and etag:
            self.etags.append(etag)
            self.attempt = self.asks = 0
            return self._put(now_ms) if len(self.etags) < self.parts else self._complete(body, "done", "", now_ms)
        why = error or (f"HTTP {status}" if not 200 <= status < 300 else "an answer without an ETag")
        if self.attempt >= self.what.retries:
            return self._fail(body, f"part {len(self.etags) + 1} failed {self.attempt + 1} times: {why}", now_ms)
        self.attempt += 1
        broken = Note("upload_broken", {"name": self.file, "part": len(self.etags) + 1, "why": why})
        if status in (400, 403) and body.online:  # The URL has expired.
            return [broken, *self._ask(body, now_ms)]
        self.phase = "asking" if status in (400, 403) else "waiting"
        self._sleep(now_ms + _RETRY_MS * (1 << min(self.attempt, 6)))
        return [broken]

    # End

    def _fail(self, body: Body, reason: str, now_ms: int) -> Outputs:
        return self._complete(body, "failed", reason, now_ms)

    def _complete(self, body: Body, result: str, reason: str, now_ms: int) -> Outputs:
        upload = {
            "id": self.upload_id, "name": self.file, "size": self.size, "content_type": self.what.content_type,
            "result": result, "reason": reason, "etags": self.etags,
        }  # fmt: skip
        detail = {"name": self.file, "size": self.size}
        note = Note("upload_failed", {**detail, "reason": reason}) if reason else Note("uploaded", detail)
        said: Outputs = [note]
        if self.upload_id:  # Without an id the backend has nothing to end.
            topic = body.topic(self.what.complete_topic)
            said.append(Publish("upload_complete", topic, document(body, now_ms, {"upload": upload})))
        self._idle()
        return said
