"""`/api/stream`: events as Server-Sent Events.

    id: 4711
    data: {"seq": 4711, "at_ms": …, "kind": "alarm_raised", "thing": "V-1", "alarm_id": "…", "detail": {…}}

    event: dropped
    data: {"dropped": 12}

    : still here

Rules: the id is the event's number; a browser that comes back names the last one (`Last-Event-ID`) and goes on there. A
stream ends when the token or the session behind it does.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

import orjson
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from simulator.backend.api.feed import Dropped, Wish
from simulator.backend.api.gate import cookie_in
from simulator.backend.api.lists import KINDS_MAX, kinds_of
from simulator.backend.api.route import ALL, Asked, Call, Number, Route, Word

RETRY_MS = 2000
RETRY_S = "5"


class StreamAsked(Asked):
    after: Number | None = Field(
        None, description="Begin after this event; absent: after `Last-Event-ID`, or with what happens from now on."
    )
    kind: Word = Field("", description=f"Of these kinds only: words with commas between, {KINDS_MAX} at most.")
    thing: Word | None = Field(None, description="Of this device only.")


def stream(call: Call[StreamAsked]) -> StreamingResponse:
    asked, desk, who = call.asked, call.desk, call.who
    last = call.request.headers.get("last-event-id", "")
    after = asked.after
    if last.isascii() and last.isdigit() and len(last) < 19:
        after = int(last)  # what a browser says when it comes back is newer than the address
    if not desk.feed.room(who.owner):
        raise HTTPException(503, "too many listen already; try again", {"Retry-After": RETRY_S})
    wish = Wish(kinds_of(asked.kind), asked.thing, who.owner)

    said = call.request.headers
    cookie = "" if "authorization" in said else cookie_in(said.get("cookie", ""), desk.sessions.cookie)

    def still() -> bool:
        now = desk.sessions.who(cookie) if cookie else desk.tokens.by_id(who.token)
        return not desk.tokens.needed or now == who

    async def lines() -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        async with aclosing(desk.feed.listen(wish, after, still)) as events:
            async for event in events:
                if event is None:
                    yield b": still here\n\n"
                elif isinstance(event, Dropped):
                    yield b"event: dropped\ndata: %b\n\n" % orjson.dumps(event._asdict())
                else:
                    yield b"id: %d\ndata: %b\n\n" % (event["seq"], orjson.dumps(event))

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


ROUTES = (
    Route("GET", "/api/stream", ALL, "Events as they happen, as Server-Sent Events.", stream, StreamAsked, str,
          media="text/event-stream"),
)  # fmt: skip
