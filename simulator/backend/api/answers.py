"""The shapes of answers, for the description and for the checks of types; nothing is validated while it runs."""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

Row = dict[str, Any]
NextNumber = Annotated[int, Field(description="Ask again with `after` set to this; at the end it stays as it was.")]
NextName = Annotated[str, Field(description="Ask again with `after` set to this; at the end it stays as it was.")]


class Failure(TypedDict):
    """Why there is no answer."""

    error: str


class Health(TypedDict):
    status: Literal["ok"]


class Newest(TypedDict):
    """Where somebody begins who wants only what is new."""

    events: int


class OverviewAnswer(TypedDict):
    """All devices of the caller, in numbers."""

    at_ms: int
    status: Annotated[
        Literal["HEALTHY", "DEGRADED"], Field(description="HEALTHY when more than 80 % of the devices are active.")
    ]
    total: Annotated[int, Field(description="Devices that ever said something.")]
    active: Annotated[int, Field(description="Those whose newest sample is of the last five minutes.")]
    risk: Annotated[dict[str, int], Field(description="Fire sensors by the level of their risk.")]
    recent_alerts: Annotated[list[Row], Field(description="The alarms raised last, newest first.")]
    newest: Newest


class Device(TypedDict):
    """A device in a list."""

    thing: str
    product: str | None
    last_timestamp: int
    risk: float | None
    level: str | None
    site_id: Annotated[str | None, Field(description="Not for the role lab.")]
    customer_id: Annotated[str | None, Field(description="Not for the role lab.")]


class DevicePage(TypedDict):
    next: NextNumber
    devices: list[Device]


class Series(TypedDict):
    """Samples of a stretch of time, by columns; each point is the last sample of its part of it."""

    begin_ms: int
    end_ms: int
    at_ms: list[int]
    metrics: dict[str, list[Any]]


class Shadow(TypedDict):
    """What the platform asked of a device and what the device said of it, latest first. AWS has the document itself."""

    desired: list[Row]
    reported: list[Row]


class DeviceAnswer(TypedDict):
    """All that the platform knows of one device."""

    thing: str
    state: Row
    series: Series
    windows: Annotated[list[Row], Field(description="Five-minute windows, of a fire sensor.")]
    alarms: Annotated[list[Row], Field(description="Newest first.")]
    alerts: Annotated[list[Row], Field(description="Of the fire prediction, newest first.")]
    recommendations: list[str]
    formulas: list[Row]
    shadow: Shadow
    versions: Row
    jobs: list[Row]


class ShadowAnswer(TypedDict):
    """The classic shadow as AWS has it, and the versions of the `$package` shadow."""

    desired: Row
    reported: Row
    package: Row
    version: int


class Sample(TypedDict):
    device_timestamp: int
    ingest_timestamp: int
    metrics: dict[str, Any]


class RealtimeAnswer(Sample):
    """A device's sample of the last minute."""

    thing: str
    fire: Row | None


class LatestPage(TypedDict):
    """Each row: thing, product, device timestamp, then the metrics."""

    next: NextName
    metrics: list[str]
    rows: list[list[Any]]


class TelemetryPage(TypedDict):
    """Newest first."""

    next: NextName
    telemetry: list[Row]


class AlarmPage(TypedDict):
    next: NextNumber
    alarms: list[Row]


class Event(TypedDict):
    seq: int
    at_ms: int
    kind: str
    thing: str
    alarm_id: str
    detail: Row


class EventPage(TypedDict):
    next: NextNumber
    events: list[Event]


class DispatchPage(TypedDict):
    next: NextNumber
    dispatches: list[Row]


class JobPage(TypedDict):
    next: NextNumber
    jobs: list[Row]


class NotificationPage(TypedDict):
    next: NextNumber
    notifications: list[Row]


class AggregatePage(TypedDict):
    next: NextNumber
    aggregates: list[Row]


class UploadPage(TypedDict):
    next: NextNumber
    uploads: list[Row]


class HubPage(TypedDict):
    next: NextName
    hubs: list[Row]


class DeadLetterPage(TypedDict):
    next: NextNumber
    dead_letters: list[Row]


class AuditPage(TypedDict):
    """What came, as identities; see simulator/backend/audit.py."""

    next: NextName
    stored: list[list[Any]]
    repeated: list[list[Any]]
    dead: list[list[Any]]


class ArchiveAnswer(TypedDict):
    samples: list[Row]
    complete: bool


class RulePage(TypedDict):
    next: NextName
    rules: list[Row]


class SpecPage(TypedDict):
    next: NextName
    specs: list[Row]


class FormulaPage(TypedDict):
    next: NextName
    formulas: list[Row]


class SitePage(TypedDict):
    next: NextNumber
    sites: list[Row]


class RuleChanged(TypedDict):
    ruleId: str
    version: int


class RuleDeleted(TypedDict):
    ruleId: str


class SpecChanged(TypedDict):
    productId: str
    version: int


class FormulaChanged(TypedDict):
    formulaId: str
    version: int


class FormulaDeleted(TypedDict):
    formulaId: str


class Replayed(TypedDict):
    replayed: int
    failed: dict[str, int]
    unknown: list[int]


class TokenShown(TypedDict):
    id: str
    role: str
    customer: str | None
    at_ms: int


class TokenMade(TokenShown):
    token: Annotated[str, Field(description="The only time that it is shown.")]


class TokenPage(TypedDict):
    next: NextNumber
    tokens: list[TokenShown]


class TokenDeleted(TypedDict):
    id: str


class CodeMade(TypedDict):
    code: str
    path: Annotated[str, Field(description="Where a browser goes once to be let in.")]


class SessionAnswer(TypedDict):
    """Who the caller is."""

    role: str
    customer: str | None
