"""What is done on purpose to a part of the sandbox: the orders on its stdin, and which of its requests they hit.

An order is a JSON object in a line: {"disturb": {"kind": "slow_answers", "ms": 200, "of": ["s3"], "for_s": 10}} begins
one, {"clear": "slow_answers"} ends it, by its name or its kind ("*": all). Rules: an order of a name that is there
already takes its place. What a part does not understand it logs and ignores; it answers nothing, the effects are
seen. `of` names what is hit, with wildcards: `iot:CreateJob`, `s3` (all of it), `mqtt`, `store`.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LINE_BYTES_MAX = 4096  # what a pipe takes in one piece
ORDERS_MAX = 100
_CHUNK = 4096

Kind = Literal["throttling", "server_errors", "slow_answers", "part_clock", "outage"]
Answer = tuple[int, dict[str, str], bytes]  # status, headers, body
App = Callable[[Any, Any, Any], Awaitable[None]]  # of ASGI


class Order(BaseModel):
    """One disturbance, as it is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    name: Annotated[str, Field(max_length=100)] = ""  # empty: its kind
    of: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=30)] = ["*"]
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    for_s: Annotated[float, Field(gt=0)] | None = None
    ramp_s: Annotated[float, Field(ge=0)] = 0.0
    ms: Annotated[float, Field(ge=0, le=600_000)] = 0.0
    jitter_ms: Annotated[float, Field(ge=0, le=600_000)] = 0.0
    status: Annotated[int, Field(ge=500, le=599)] = 503
    publishes_per_s: Annotated[float, Field(gt=0)] | None = None
    off_s: float = 0.0

    def hits(self, name: str) -> bool:
        """Is this one of those it is for? Its names are `service:operation`, or only `service`."""
        service = name.partition(":")[0]
        return any(fnmatchcase(name, pattern) or fnmatchcase(service, pattern) for pattern in self.of)


@dataclass(slots=True)
class _Lasting:
    order: Order
    since_s: float

    def is_over(self, now_s: float) -> bool:
        return self.order.for_s is not None and now_s >= self.since_s + self.order.for_s

    def strength(self, now_s: float) -> float:
        """From 0 to 1 over `ramp_s`."""
        return 1.0 if self.order.ramp_s <= 0 else min(1.0, (now_s - self.since_s) / self.order.ramp_s)


@dataclass(slots=True)
class Bucket:
    """What a connection may say: so much a second, and a second's worth at once."""

    tokens: float = 0.0
    filled_s: float = -1e9

    def take(self, rate: float, now_s: float) -> bool:
        self.tokens = min(max(1.0, rate), self.tokens + rate * (now_s - self.filled_s))
        self.filled_s = now_s
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class Disturbances:
    """Those that last. Seconds are those of a clock that runs evenly."""

    now_s: Callable[[], float] = time.monotonic
    _lasting: dict[str, _Lasting] = field(default_factory=dict)
    _dice: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - who is hit is no secret

    def take(self, line: bytes) -> str:
        """Obey a line; says what was done, or raises ValueError."""
        if len(line) > LINE_BYTES_MAX:
            raise ValueError(f"more than {LINE_BYTES_MAX} bytes in a line")
        match orjson.loads(line):
            case {"disturb": dict(document), **rest} if not rest:
                try:
                    order = Order.model_validate(document)
                except ValidationError as error:
                    first = error.errors(include_url=False)[0]
                    raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
                name = order.name or order.kind
                if name not in self._lasting and len(self._lasting) >= ORDERS_MAX:
                    raise ValueError(f"{ORDERS_MAX} disturbances last already")
                self._lasting[name] = _Lasting(order, self.now_s())
                return f"{name} begins"
            case {"clear": str(name), **rest} if not rest:
                found = [one for one, it in self._lasting.items() if name in (one, it.order.kind, "*")]
                for one in found:
                    del self._lasting[one]
                return f"{', '.join(found) or 'nothing'} ends"
        raise ValueError('neither {"disturb": {…}} nor {"clear": "…"}')

    def of(self, *kinds: Kind) -> list[_Lasting]:
        """Those of these kinds that last."""
        if not self._lasting:
            return []
        now_s = self.now_s()
        for name in [name for name, one in self._lasting.items() if one.is_over(now_s)]:
            del self._lasting[name]
        return [one for one in self._lasting.values() if one.order.kind in kinds]

    def ends_s(self) -> float | None:
        """When the next one ends by itself."""
        ends = [one.since_s + one.order.for_s for one in self._lasting.values() if one.order.for_s is not None]
        return min(ends, default=None)

    def _chance(self, one: _Lasting, name: str) -> bool:
        share = one.order.probability * one.strength(self.now_s())
        return one.order.hits(name) and (share >= 1 or self._dice.random() < share)

    # What a part asks

    def refuses(self, name: str) -> Order | None:
        """Why this request is not answered as it should be."""
        if not self._lasting:
            return None
        found = self.of("throttling", "server_errors")
        return next((one.order for one in found if self._chance(one, name)), None)

    def throttles(self, name: str, bucket: Bucket) -> bool:
        """Is this message not taken? `bucket` is its connection's."""
        for one in self.of("throttling"):
            if rate := one.order.publishes_per_s:
                if one.order.hits(name) and not bucket.take(rate, self.now_s()):
                    return True
            elif self._chance(one, name):
                return True
        return False

    def delay_s(self, name: str) -> float:
        """So much later is it answered."""
        if not self._lasting:
            return 0.0
        found = [one for one in self.of("slow_answers") if one.order.hits(name)]
        hit = [one for one in found if one.order.probability >= 1 or self._dice.random() < one.order.probability]
        ms = (one.strength(self.now_s()) * (one.order.ms + self._dice.random() * one.order.jitter_ms) for one in hit)
        return sum(ms) / 1000

    def off_s(self) -> float:
        """How far the clock is off."""
        now_s = self.now_s()
        return sum(one.order.off_s * one.strength(now_s) for one in self.of("part_clock"))

    def is_out(self) -> bool:
        """Is nobody to be heard?"""
        return bool(self.of("outage"))

    def around(self, app: App, name_of: Callable[[Any], str], refusal: Callable[[str, Order], Answer]) -> App:
        """An ASGI application whose answers come late or not at all, by the name of the request."""

        async def disturbed(scope: Any, receive: Any, send: Any) -> None:
            if not self._lasting or scope["type"] != "http":
                await app(scope, receive, send)
                return
            name = name_of(scope)
            delay_s, order = self.delay_s(name), self.refuses(name)

            async def late(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    await asyncio.sleep(delay_s)
                await send(message)

            say = late if delay_s else send
            if order is None:
                await app(scope, receive, say)
                return
            while (await receive()).get("more_body"):
                pass  # who sends a body does not listen before its end
            status, headers, body = refusal(name, order)
            pairs = {"content-length": str(len(body)), **headers}
            raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs.items()]
            await say({"type": "http.response.start", "status": status, "headers": raw})
            await say({"type": "http.response.body", "body": body})

        return disturbed


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Bytes as they come → lines; of one that is too long, its beginning."""
    kept, skipping = b"", False
    for data in chunks:
        *whole, kept = (kept + data).split(b"\n")
        for line in whole:
            if not skipping:
                yield line
            skipping = False
        if len(kept) > LINE_BYTES_MAX:
            if not skipping:
                yield kept
            kept, skipping = b"", True


def listen(loop: asyncio.AbstractEventLoop, took: Callable[[bytes], object], ended: Callable[[], object]) -> None:
    """Calls `took` with each line of stdin and `ended` at its end, on the loop.

    A thread reads, because a regular file or /dev/null cannot be polled.
    """

    def read() -> Iterator[bytes]:
        with suppress(OSError):
            while data := os.read(0, _CHUNK):
                yield data

    def watch() -> None:
        with suppress(RuntimeError):  # the loop is closed: we are ending anyway
            for line in lines(read()):
                loop.call_soon_threadsafe(took, line)
            loop.call_soon_threadsafe(ended)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
