"""What happened, by pages: alarms, events, dispatches, notifications, history, aggregates, uploads, refused messages.

Rules: of each list a customer is told what is of its own devices, by a condition of the query itself, so that pages are
whole and no count tells of others.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from simulator.backend.api import answers
from simulator.backend.api.fleet import without_foreign_hubs
from simulator.backend.api.route import (
    ALL,
    SERVICE,
    STAFF,
    Asked,
    Call,
    Flag,
    Named,
    Number,
    Paged,
    Route,
    Word,
    missing,
)
from simulator.backend.platform.queries import HISTORY

AUDIT_DEFAULT = 5000
DAY_MS = 86_400_000
KINDS_MAX = 20


_AUDIT_PLACE = {"type": "string", "pattern": r"^(0|[0-9]{1,18}(\.[0-9]{1,18}){3})$"}
AuditPlace = Annotated[str, WithJsonSchema(_AUDIT_PLACE)]


class AlarmsAsked(Paged):
    limit: Number = Field(1000, description="At most so many; more than a page holds are not given.")
    state: Literal["open", "acting", "verifying", "updating", "escalated", "closed"] | None = Field(
        None, description="open: all that are not closed."
    )
    thing: Word | None = Field(None, description="Of this device only.")


class EventsAsked(Paged):
    limit: Number = Field(1000, description="At most so many; more than a page holds are not given.")
    kind: Word = Field("", description=f"Of these kinds only: words with commas between, {KINDS_MAX} at most.")
    thing: Word | None = Field(None, description="Of this device only.")


class DispatchesAsked(Paged):
    state: Word | None = Field(None, description="In this state only.")


class NotificationsAsked(Paged):
    channel: Literal["email", "phone", "dashboard"] | None = None


class HistoryAsked(Paged):
    thing: Word | None = Field(None, description="Of this device only.")


class AggregatesAsked(Paged):
    period: Literal["hour", "6h", "day"] = "hour"
    product: Word | None = None
    customer: Word | None = Field(None, description="Of this customer's devices; * of each customer's. Not for lab.")
    since: Number = Field(0, description="Windows that begin then or later, in ms.")
    until: Number | None = Field(None, description="Windows that begin before, in ms.")


class ArchiveAsked(Asked):
    since: Number = Field(0, description="In ms.")
    until: Number | None = Field(None, description="In ms; absent: now.")
    limit: Number = 100


class DeadLettersAsked(Paged):
    reason: Word | None = None
    replayed: Flag = Field(False, description="Also those that were tried again with success.")


class AuditAsked(Asked):
    after: AuditPlace = Field("0", description="`next` of the page before; 0: from the beginning.")
    limit: Number = AUDIT_DEFAULT
    since: Number = Field(0, description="Only what came then or later, in ms.")


def alarms(call: Call[AlarmsAsked]) -> Any:
    asked = call.asked
    return call.reads.queries.alarms(asked.after, asked.limit, call.who.owner, state=asked.state, thing=asked.thing)


def events(call: Call[EventsAsked]) -> Any:
    asked, kinds = call.asked, kinds_of(call.asked.kind)
    return call.reads.queries.events(asked.after, asked.limit, call.who.owner, kinds=kinds, thing=asked.thing)


def kinds_of(text: str) -> tuple[str, ...]:
    """`a,b` as words; no more than there can be sense in."""
    return tuple(dict.fromkeys(word for word in text.split(",") if word))[:KINDS_MAX]


def dispatches(call: Call[DispatchesAsked]) -> Any:
    return call.reads.queries.dispatches(call.asked.after, call.asked.limit, call.who.owner, state=call.asked.state)


def dispatch(call: Call[Asked]) -> Any:
    found = call.reads.platform.dispatch(call.name)
    if found is None or not call.reads.queries.owns(found["thing"], call.who.owner):
        missing("dispatch", call.name)
    return found


def notifications(call: Call[NotificationsAsked]) -> Any:
    asked = call.asked
    return call.reads.queries.notifications(asked.after, asked.limit, call.who.owner, channel=asked.channel)


def history(call: Call[HistoryAsked]) -> Any:
    kinds = HISTORY.get(call.name)
    if kinds is None:
        missing("history", call.name)
    asked = call.asked
    return call.reads.queries.events(asked.after, asked.limit, call.who.owner, kinds=kinds, thing=asked.thing)


def aggregates(call: Call[AggregatesAsked]) -> Any:
    asked, who = call.asked, call.who
    if who.role == "lab" and asked.customer:
        call.forbid("what is kept by customer")
    if who.role == "customer" and asked.customer not in (None, who.customer):
        return {"next": asked.after, "aggregates": []}
    return call.reads.platform.aggregates(
        asked.period, product=asked.product, customer=who.owner or asked.customer, since_ms=asked.since,
        until_ms=asked.until, after=asked.after, limit=asked.limit,
    )  # fmt: skip


def archive(call: Call[ArchiveAsked]) -> Any:
    call.known(call.name)
    asked = call.asked
    until_ms = call.now_ms if asked.until is None else asked.until
    page = call.reads.platform.archive(call.name, asked.since, until_ms, asked.limit)
    without_foreign_hubs(call, page["samples"])
    return page


def uploads(call: Call[Paged]) -> Any:
    return call.reads.queries.uploads(call.asked.after, call.asked.limit, call.who.owner)


def hubs(call: Call[Named]) -> Any:
    return call.reads.queries.hubs(call.asked.after, call.asked.limit, call.who.owner)


def dead_letters(call: Call[DeadLettersAsked]) -> Any:
    asked = call.asked
    return call.reads.queries.dead_letters(asked.after, asked.limit, asked.reason, asked.replayed)


def audit(call: Call[AuditAsked]) -> Any:
    return call.reads.queries.audit(call.asked.after, call.asked.limit, call.asked.since)


ROUTES = (
    Route("GET", "/api/alarms", ALL, "Alarms, in the order of their last change.", alarms, AlarmsAsked,
          answers.AlarmPage),
    Route("GET", "/api/events", ALL, "What happened, in its order.", events, EventsAsked, answers.EventPage,
          slow_for_owners=True),
    Route("GET", "/api/history/{kind}", ALL, "What happened of one sort: control, ota, rollback or alarm.", history,
          HistoryAsked, answers.EventPage, slow_for_owners=True),
    Route("GET", "/api/dispatches", ALL, "Field engineers that were sent, oldest first.", dispatches, DispatchesAsked,
          answers.DispatchPage, slow_for_owners=True),
    Route("GET", "/api/dispatches/{id}", ALL, "The dispatch of an alarm, with its steps.", dispatch),
    Route("GET", "/api/notifications", ALL, "The outbox, oldest first.", notifications, NotificationsAsked,
          answers.NotificationPage, slow_for_owners=True),
    Route("GET", "/api/aggregates", ALL, "Metrics by product, hour, six hours or day; of a customer by day.",
          aggregates, AggregatesAsked, answers.AggregatePage, slow=True),
    Route("GET", "/api/archive/{id}", ALL, "A device's samples that are in long-term files.", archive, ArchiveAsked,
          answers.ArchiveAnswer, slow=True),
    Route("GET", "/api/uploads", ALL, "Files of devices, in the order of their last change.", uploads, Paged,
          answers.UploadPage),
    Route("GET", "/api/hubs", ALL, "Who each hub said is there.", hubs, Named, answers.HubPage),
    Route("GET", "/api/dead_letters", STAFF, "Messages that were refused, with the reason.", dead_letters,
          DeadLettersAsked, answers.DeadLetterPage),
    Route("GET", "/api/audit", SERVICE, "What came, as identities, for an audit.", audit, AuditAsked,
          answers.AuditPage),
)  # fmt: skip
