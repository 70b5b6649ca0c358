"""What the core asks of the shell: plain values, in the order in which they are to be done.

Rules: a *write* goes to the store, in the transaction of the message that caused it; a *call* goes to AWS
after that transaction, and its outcome comes back to the core through `Backend.done`. Calls are safe to
repeat: the same action id, the same job id.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from simulator.backend.fire.outcomes import FireWrite
from simulator.backend.platform.outcomes import PlatformWrite


class StoreTelemetry(NamedTuple):
    """Keep one sample. (`device_id`, `stream`, `key`) is what makes it unique."""

    device_id: str
    stream: str  # "platform" or "fire"
    key: int
    hub_id: str | None
    device_timestamp: int
    hub_timestamp: int | None
    ingest_timestamp: int
    metrics: str  # JSON
    idx: int | None = None  # a fire sensor's running index


class StoreReport(NamedTuple):
    """Keep what a device said besides telemetry: control_result, alert_report, heartbeat and so on."""

    device_id: str
    kind: str
    device_timestamp: int
    ingest_timestamp: int
    payload: str  # JSON


class DeadLetter(NamedTuple):
    """Keep a message that was refused, with the reason."""

    at_ms: int
    reason: str
    topic: str
    payload: bytes


class ReplayEnded(NamedTuple):
    """A dead letter was tried again: `again` is why it was refused again, or empty."""

    letter_id: int
    at_ms: int
    reason: str
    again: str


class KeepWaiting(NamedTuple):
    """Keep a message that cannot be read before its device's product is known."""

    thing: str
    at_ms: int
    topic: str
    payload: bytes


class DropWaiting(NamedTuple):
    """The product is known: what waited has been read."""

    thing: str


class SaveNodes(NamedTuple):
    """Remember who a hub says is there."""

    hub_id: str
    at_ms: int
    nodes: str  # JSON


class SaveDevice(NamedTuple):
    """Remember what is known of a device over a restart."""

    device_id: str
    product_id: str | None
    last_timestamp: int
    last_key: int
    course: str = ""  # JSON, of a fire sensor's running index
    formulas: str = ""  # JSON, the latest values


class SaveAlarm(NamedTuple):
    """Remember an alarm as it is now."""

    alarm_id: str
    thing: str
    rule_id: str
    state: str
    raised_at_ms: int
    document: str  # JSON


class SaveVersion(NamedTuple):
    """Remember a rule, a spec or a formula as it is from now on; without a document it is gone."""

    kind: Literal["rule", "spec", "formula"]
    name: str
    version: int
    at_ms: int
    source: Literal["config", "api"]
    document: str | None  # JSON


class SaveConfigured(NamedTuple):
    """Remember what the configuration file said of a rule, a spec or a formula; without a document nothing."""

    kind: Literal["rule", "spec", "formula"]
    name: str
    document: str | None


class SaveUpload(NamedTuple):
    """Remember an upload as it is now."""

    upload_id: str
    thing: str
    state: str
    requested_at_ms: int
    document: str  # JSON


class Record(NamedTuple):
    """Something that happened, for the history and for whoever follows /api/events."""

    at_ms: int
    kind: str
    thing: str
    alarm_id: str
    detail: Mapping[str, Any]


class OpenDispatch(NamedTuple):
    """Send a field engineer."""

    at_ms: int
    alarm_id: str
    thing: str
    rule_id: str
    severity: str
    reason: str


class CloseDispatch(NamedTuple):
    """The alarm behind a dispatch is closed."""

    at_ms: int
    alarm_id: str


class LookUp(NamedTuple):
    """Ask which product (thing type) a device is."""

    thing: str


class SetDesired(NamedTuple):
    """Put an action into the desired state of a device's classic shadow."""

    alarm_id: str
    thing: str
    action: str
    action_id: str


class CreateJob(NamedTuple):
    """Create the OTA job that brings one device to a package version."""

    alarm_id: str
    thing: str
    job_id: str
    package: str
    version: str
    timeout_s: float


class OpenUpload(NamedTuple):
    """Begin a multipart upload, or take up the one that was begun, and presign the URLs of its parts."""

    upload_id: str
    thing: str
    key: str
    content_type: str
    parts: int
    s3_id: str  # empty: not begun yet


class CompleteUpload(NamedTuple):
    """Make one object of the parts."""

    upload_id: str
    thing: str
    key: str
    s3_id: str
    etags: tuple[str, ...]


class AbortUpload(NamedTuple):
    """Throw the parts away."""

    upload_id: str
    thing: str
    key: str
    s3_id: str


class Say(NamedTuple):
    """Publish something to a device; when it is lost the device asks again."""

    thing: str
    topic: str
    payload: bytes


class Tell(NamedTuple):
    """Send a notification to a topic of SNS."""

    thing: str
    alarm_id: str
    notification_id: str
    topic: str
    subject: str
    message: str


Write = (
    StoreTelemetry | StoreReport | DeadLetter | ReplayEnded | KeepWaiting | DropWaiting | SaveNodes | SaveDevice
    | SaveAlarm | SaveVersion | SaveConfigured | SaveUpload | Record | OpenDispatch | CloseDispatch | FireWrite
    | PlatformWrite
)  # fmt: skip
CALLS = (LookUp, SetDesired, CreateJob, OpenUpload, CompleteUpload, AbortUpload, Say, Tell)
Call = LookUp | SetDesired | CreateJob | OpenUpload | CompleteUpload | AbortUpload | Say | Tell
Effect = Write | Call
