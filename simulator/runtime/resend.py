"""What devices said in a recorded run, said again to a live backend: the same bytes at the same relative times.

Rules: the messages are the recorded ones; where only a digest of them was kept, the device says them again in virtual
time, and its digest must be the recorded one. Nobody answers the backend: what it sends is heard and counted. Links
come and go as they did then.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from simulator import replay, tape
from simulator.errors import UsageError
from simulator.fleet import Fleet
from simulator.links import Link
from simulator.messages import PowerCycle, Publish, Raw, Relink, Sever, Subscribe
from simulator.replay import Played
from simulator.runtime.engine import TICK_S, MakeLink
from simulator.tape import Call

ANSWERS_MAX_S = 15.0
LOOK_S = 0.05


@dataclass(slots=True)
class Count:
    """What became of the messages, by kind."""

    sent: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    not_taken: Counter[str] = field(default_factory=Counter)  # there was no room for them
    heard: int = 0
    connections: int = 0


class Ear:
    """Hears what the link of a device has to say (links.Sink)."""

    def __init__(self, count: Count) -> None:
        self.count = count

    def connected(self, session_present: bool) -> None:
        self.count.connections += 1

    def disconnected(self, reason: str) -> None:
        pass

    def received(self, topic: str, payload: bytes) -> None:
        self.count.heard += 1

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        (self.count.refused if reason_code >= 0x80 else self.count.acknowledged)[message.kind] += 1


async def resend(fleet: Fleet, calls: Mapping[str, Iterable[Call]], make_link: MakeLink, start_ms: int) -> Count:
    """Sends it all; UsageError when the code of today does not say what was said then, and that was not kept."""
    loop, count = asyncio.get_running_loop(), Count()
    links: dict[str, Link] = {}
    ticking = loop.create_task(_tick(links))
    start_s = loop.time()
    try:
        for played in replay.play(fleet, calls):
            if (wait_s := start_s + (played.call.at_ms - start_ms) / 1000 - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            if played.thing not in links:
                links[played.thing] = make_link(fleet.devices[fleet.by_thing[played.thing]], Ear(count))
            _say(links[played.thing], played, count)
        await _answers(count)
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        for link in links.values():
            link.close()
        await asyncio.sleep(LOOK_S)  # the loop has to write the goodbyes before it ends
    return count


def _say(link: Link, played: Played, count: Count) -> None:
    if played.call.said is None and not played.same:
        raise UsageError(
            f"what {played.thing} said at call {played.call.n} was not kept, and today it says something else"
        )
    if played.call.call == "receive":
        if "Connected" in played.call.given:
            link.open()
        elif "Disconnected" in played.call.given:
            link.sever()
    for said in played.call.said if played.call.said is not None else played.said:
        if "raised" in said:
            continue
        match tape.message(said):
            case Publish() as message:
                if link.send(message):
                    count.sent[message.kind] += 1
                else:
                    count.not_taken[message.kind] += 1
            case Subscribe(filters):
                link.subscribe(filters)
            case Raw(data):
                link.raw(data)
            case PowerCycle() | Sever() | Relink():
                link.sever()


async def _answers(count: Count) -> None:
    """Until everything was answered, or nothing comes any more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWERS_MAX_S):
            while count.sent.total() > count.acknowledged.total() + count.refused.total():
                await asyncio.sleep(LOOK_S)


async def _tick(links: Mapping[str, Link]) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        for link in list(links.values()):
            link.tick(asyncio.get_running_loop().time())
