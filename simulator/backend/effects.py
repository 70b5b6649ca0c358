"""What the core asks of the shell: plain values, in the order in which they are to be done.

Rules: a *write* goes to the store, in the transaction of the message that caused it; a *call* goes to AWS
after that transaction, and its outcome comes back to the core through `Backend.done`. Calls are safe to
repeat: the same action id, the same job id.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


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


class StoreReport(NamedTuple):
    """Keep what a device said besides telemetry: control_result, alert_report, provisioning_complete."""

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


class SaveDevice(NamedTuple):
    """Remember what is known of a device over a restart."""

    device_id: str
    product_id: str | None
    last_timestamp: int
    last_key: int


class SaveAlarm(NamedTuple):
    """Remember an alarm as it is now."""

    alarm_id: str
    thing: str
    rule_id: str
    state: str
    raised_at_ms: int
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


Write = StoreTelemetry | StoreReport | DeadLetter | SaveDevice | SaveAlarm | Record | OpenDispatch | CloseDispatch
Call = LookUp | SetDesired | CreateJob
Effect = Write | Call
