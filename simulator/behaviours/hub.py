"""A hub: a gateway that other devices, its children, speak through. They have no connection of their own.

    - kind: hub
      children: {profile: machine-a, count: 20, joined: 15, join_per_h: 6, leave_per_h: 6}

A child is a device with its profile's physics and those of its behaviours that need no connection of its own; what
it says goes out by the hub, on topics with the hub's id, with its own device_timestamp and the hub_timestamp at
which the hub took it. Children join and leave at random times, drawn from the seed; what the hub says itself lists
those that are there as `nodes`.

While the hub is offline it keeps what its children say, `buffer_max` messages at most; then the oldest is dropped
and counted. When it is back it sends the backlog in order, `backlog_per_s` at a time, and what the children say
meanwhile after it. The buffer is in the flash: a power cycle does not empty it. A message is counted as attempted
when the hub says or drops it.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from simulator.behaviours import NEVER_MS, Behaviour, Body, Child, Duty, Outputs
from simulator.messages import (
    Booted,
    Connected,
    Disconnected,
    Dropped,
    Input,
    Missed,
    Note,
    Output,
    PowerCycle,
    Publish,
    Received,
)
from simulator.schema import Misplaced, Strict
from simulator.signals import Signal

CHILDREN_MAX = 1000
_BATCH_MS = 100
_HOUR_MS = 3_600_000


class Children(Strict):
    """Who speaks through a hub, and how they come and go."""

    profile: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$", description="The profile of each.")
    count: int = Field(ge=1, le=CHILDREN_MAX, description="How many there are, joined or away.")
    name: str = Field(
        "{hub}-{n}", pattern=r"^[a-zA-Z0-9:_{}-]{1,128}$", description="Their names: {hub} is the hub's, {n} counts."
    )
    joined: int | None = Field(None, ge=0, description="How many are there at first; absent: all.")
    join_per_h: float = Field(0.0, ge=0, le=3600, description="How many join in an hour, while there are any away.")
    leave_per_h: float = Field(0.0, ge=0, le=3600, description="How many leave in an hour, while there are any.")
    topic: str | None = Field(
        None, description="Topic of their telemetry, such as devices/{hub}/{thing}/telemetry; absent: their profile's."
    )

    @model_validator(mode="after")
    def _counts(self) -> "Children":
        if self.joined is not None and self.joined > self.count:
            raise Misplaced(("joined",), f"{self.joined} of {self.count} cannot be there")
        if "{n}" not in self.name and self.count > 1:
            raise Misplaced(("name",), "needs {n}, or all have the same name")
        return self


class Hub(Behaviour):
    """Carries what its children say, and keeps it while it is offline."""

    through_hub = False

    kind: Literal["hub"] = "hub"
    children: Children
    buffer_max: int = Field(10_000, ge=1, le=1_000_000, description="Messages kept while offline.")
    backlog_per_s: int = Field(200, ge=10, le=100_000, description="Messages sent in a second after it.")

    def brings(self, thing: str) -> Sequence[tuple[str, str]]:
        width = max(2, len(str(self.children.count)))
        name = self.children.name.replace("{hub}", thing)
        return [
            (name.replace("{n}", f"{n:0{width}}"), self.children.profile) for n in range(1, self.children.count + 1)
        ]

    def misfits(self, others: Sequence[Behaviour], signals: Mapping[str, Signal]) -> Iterator[Misplaced]:
        if sum(isinstance(other, Hub) for other in others) > 1:
            yield Misplaced((), "a profile has one hub at most")

    def duty(self) -> Duty:
        return HubDuty(self)


class Change(NamedTuple):
    """Children that join, or that leave, one after the other."""

    name: str
    per_h: float

    def after(self, body: Body, at_ms: int, index: int) -> int:
        """When the next one does; the time between two is uniform around its mean."""
        if not self.per_h:
            return NEVER_MS
        return at_ms + max(1, int(2 * body.draw(self.name, index) * _HOUR_MS / self.per_h))


class HubDuty(Duty):
    __slots__ = ("_backlog_ms", "_begun", "_changes", "_counts", "_heap", "_next_ms", "_pushed", "_sent", "what")

    def __init__(self, what: Hub) -> None:
        super().__init__()
        self.what = what
        self._begun = False
        self._heap: list[tuple[int, int]] = []  # (at_ms, child): when it has something to do
        self._pushed: dict[int, int] = {}  # child → when, of the entry that counts
        self._changes = (
            Change("joins", what.children.join_per_h),
            Change("leaves", what.children.leave_per_h),
        )
        self._next_ms = [NEVER_MS, NEVER_MS]  # of each change
        self._counts = [0, 0]
        self._backlog_ms = NEVER_MS  # when the next of the backlog is sent
        self._sent = 0  # of the backlog

    def filters(self, body: Body) -> Sequence[str]:
        """What any child wants to hear, with + in its place."""
        found: dict[str, None] = {}
        for child in body.children:
            for wanted in child.filters():
                found["/".join("+" if part == child.thing else part for part in wanted.split("/"))] = None
        return tuple(found)

    # What is heard

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        match said:
            case Connected():
                answers = self._begin(body, now_ms)
                if self._buffer(body):
                    self._backlog_ms, self._sent = now_ms, 0
                    answers.append(Note("backlog_begun", {"waiting": len(self._buffer(body))}))
                self._sleep()
                return answers
            case Disconnected() | Booted():
                self._backlog_ms = NEVER_MS
                self._sleep()
            case Received(topic):
                return self._pass_on(body, topic, said, now_ms)
        return []

    def _begin(self, body: Body, now_ms: int) -> Outputs:
        """The first connection: those who are there at first join."""
        if self._begun:
            return []
        self._begun = True
        self._next_ms = [change.after(body, now_ms, 0) for change in self._changes]
        joined = self.what.children.joined
        return [
            output
            for index in range(len(body.children) if joined is None else joined)
            for output in self._tell(body, index, Connected(False), now_ms)
        ]

    def _pass_on(self, body: Body, topic: str, said: Input, now_ms: int) -> Outputs:
        parts = topic.split("/")
        for index, child in enumerate(body.children):
            if child.online and child.thing in parts:
                answers = self._tell(body, index, said, now_ms)
                self._sleep()
                return answers
        return []

    # What is due

    def step(self, body: Body, now_ms: int) -> Outputs:
        said: Outputs = []
        for which in range(2):
            while self._next_ms[which] <= now_ms:
                said += self._come_or_go(body, which, now_ms)
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, index = heapq.heappop(self._heap)
            if self._pushed.get(index) == at_ms:
                del self._pushed[index]
                said += self._wake(body, index, now_ms)
        if self._backlog_ms <= now_ms:
            said += self._send_backlog(body, now_ms)
        self._sleep()
        return said

    def _come_or_go(self, body: Body, which: int, now_ms: int) -> Outputs:
        change, count = self._changes[which], self._counts[which]
        self._counts[which] += 1
        self._next_ms[which] = change.after(body, self._next_ms[which], count + 1)
        joins = change.name == "joins"
        able = [index for index, child in enumerate(body.children) if child.online != joins and child.powered]
        if not able:
            return []
        index = able[int(len(able) * body.draw(change.name, "who", count))]
        note = Note("child_joined" if joins else "child_left", {"child": body.children[index].thing})
        if joins:
            return [note, *self._tell(body, index, Connected(False), now_ms)]
        body.children[index].receive(Disconnected("left the hub"), now_ms)
        self._pushed.pop(index, None)
        return [note]

    def _wake(self, body: Body, index: int, now_ms: int) -> Outputs:
        child = body.children[index]
        if not child.powered:  # It rebooted.
            answers = self._tell(body, index, Booted(), now_ms)
            return answers + self._tell(body, index, Connected(False), now_ms)
        return self._carry(body, index, child.step(now_ms), now_ms)

    def _tell(self, body: Body, index: int, said: Input, now_ms: int) -> Outputs:
        return self._carry(body, index, body.children[index].receive(said, now_ms), now_ms)

    # What the children say

    def _carry(self, body: Body, index: int, outputs: Outputs, now_ms: int) -> Outputs:
        child, said = body.children[index], list[Output]()
        wake_at_ms = child.wake_at_ms
        for output in outputs:
            match output:
                case Publish():
                    said += self._take(body, child, output)
                case Note(kind, detail):
                    said.append(Note(kind, detail, child.thing))
                case Missed():
                    said.append(output)
                case PowerCycle(off_ms):
                    wake_at_ms = NEVER_MS if off_ms is None else now_ms + off_ms
        if wake_at_ms != NEVER_MS and self._pushed.get(index) != wake_at_ms:
            self._pushed[index] = wake_at_ms
            heapq.heappush(self._heap, (wake_at_ms, index))
        return said

    def _take(self, body: Body, child: Child, message: Publish) -> Outputs:
        """Say it, or keep it behind what waits already."""
        topic = self.what.children.topic
        if topic is not None and message.kind == "telemetry":
            message = message._replace(topic=child.topic(topic))
        buffer = self._buffer(body)
        if body.online and not buffer:
            return [message]
        dropped: Outputs = [Dropped(buffer.popleft())] if len(buffer) >= self.what.buffer_max else []
        buffer.append(message)
        return dropped

    def _buffer(self, body: Body) -> deque[Publish]:
        buffer: deque[Publish] = body.flash.setdefault("buffer", deque())
        return buffer

    def _send_backlog(self, body: Body, now_ms: int) -> Outputs:
        buffer = self._buffer(body)
        count = min(len(buffer), self.what.backlog_per_s * _BATCH_MS // 1000)
        said: Outputs = [buffer.popleft() for _ in range(count)]
        self._sent += count
        self._backlog_ms = now_ms + _BATCH_MS
        if not buffer:
            self._backlog_ms = NEVER_MS
            said.insert(0, Note("backlog_sent", {"sent": self._sent}))
        return said

    def _sleep(self) -> None:
        due_ms = self._heap[0][0] if self._heap else NEVER_MS
        self.wake_at_ms = min(due_ms, *self._next_ms, self._backlog_ms)
