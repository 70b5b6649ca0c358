"""What the platform decides, as plain values for the store."""

from typing import Literal, NamedTuple

Channel = Literal["email", "phone", "dashboard"]
DispatchState = Literal["opened", "assigned", "on_the_way", "on_site", "done", "cancelled"]


class SaveMaster(NamedTuple):
    """Remember whose a device is, and where it stands."""

    thing: str
    site_id: str
    customer_id: str
    source: str  # "registry" or "put"


class SaveSite(NamedTuple):
    """Remember whose a site is."""

    site_id: str
    customer_id: str
    source: str


class Placed(NamedTuple):
    """The product of a device is known now; '' when it is known to have none."""

    thing: str
    product: str


class SaveDispatch(NamedTuple):
    """Remember how far the dispatch of an alarm is."""

    alarm_id: str
    state: DispatchState
    who: str
    at_ms: int
    ended: bool


class Notify(NamedTuple):
    """Put a notification into the outbox."""

    notification_id: str
    at_ms: int
    alarm_id: str
    thing: str
    alarm_class: str
    channel: Channel
    what: str
    level: int
    subject: str
    body: str  # JSON
    topic: str  # of SNS; empty: it is delivered by lying there
    state: Literal["sent", "waiting"]


class NotificationEnded(NamedTuple):
    """A try to send it ended: sent, to be tried again, or given up."""

    notification_id: str
    state: Literal["sent", "waiting", "failed"]
    at_ms: int
    tries: int
    error: str


class Count(NamedTuple):
    """Count something that no other table tells."""

    name: str
    n: int = 1


PlatformWrite = SaveMaster | SaveSite | Placed | SaveDispatch | Notify | NotificationEnded | Count
