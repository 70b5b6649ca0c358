"""The recorder: what each device of a fleet was given and what it said, so that a run can be replayed.

It stands at the device itself: `Recorder(fleet)` puts a `Recorded` in the place of each device, and nothing else
changes. Without a recorder nothing is spent.

Rules: of every device everything that it was *given* is kept from its beginning, because a replay needs a whole
beginning and nothing else; what it *said* is kept for the latest calls, and of older ones only a digest: that is
enough to prove that a replay says the same. All of it together takes at most `bytes_max`. When not even what was
given fits any more, recording ends for all: a beginning is whole up to there. The rest is counted. Pieces of downloads
are kept once, since a whole fleet gets the same file.

What the network asks a device (`carry`, `reach`) is not recorded: it would hold passwords, and it leaves nothing behind
that shows in what the device says (Active.carry).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any
from urllib.parse import urlsplit

from simulator import tape
from simulator.device import Device
from simulator.faults import Fault
from simulator.fleet import Fleet
from simulator.messages import Chunk, Download, Input, Output, Publish
from simulator.tape import CALLS, Call, Piece

BYTES_MAX = 64 * 1024 * 1024
GIVEN_SHARE = 0.9  # of it may be taken by what was given and digests, so that the latest answers always have room
_STEP, _RECEIVE, _INJECT, _CLEAR, _NOT_DISGUISED, _SWITCHED_OFF, _CUT_OFF = range(len(CALLS))
_OLD = Struct("<QQB8sI")  # n, at_ms, call, digest, length of what was given
# About what they take in memory.
_CALL_BYTES, _PUBLISH_BYTES, _OTHER_BYTES = 220, 260, 500

_BATCH = 1000  # calls that are weighed together

_NONE: frozenset[int] = frozenset()  # shared: an empty set is as big as a tape
_Said = Sequence[Output] | Exception
_Entry = tuple["Tape", int | None, int, Any, _Said]  # (tape, at_ms, call, given, said)


class Tape:
    """What is kept of one device beside its latest calls."""

    __slots__ = ("bodies", "downloads", "old", "thing")

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.old = bytearray()
        self.downloads: dict[str, tuple[int, int]] | None = None  # token → (body, offset of what comes next)
        self.bodies: frozenset[int] = _NONE  # that it got pieces of


class Recorder:
    """Records the calls of all devices of a fleet."""

    def __init__(self, fleet: Fleet, bytes_max: int = BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.is_full = False
        self.missed = 0  # the last so many calls were not recorded, because it was full
        self.digested = 0  # the first so many calls have a digest of what was said
        self.batch = max(1, min(_BATCH, bytes_max >> 16))
        self.fresh: list[_Entry] = []  # not yet weighed
        self._recent: deque[_Entry] = deque()
        self._recent_bytes = self._kept_bytes = 0
        self._latest_ms = 0
        self._bodies: dict[str, int] = {}
        self.bodies: list[bytearray] = []
        self.tapes = {device.thing: Tape(device.thing) for device in fleet.devices}
        fleet.devices[:] = [Recorded(device, self, self.tapes[device.thing]) for device in fleet.devices]

    @property
    def calls(self) -> int:
        """So many were made."""
        return self.digested + len(self._recent) + len(self.fresh) + self.missed

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory, without the latest calls."""
        return self._recent_bytes + self._kept_bytes

    def add(self, entry: _Entry) -> None:
        """Write down a call that was made."""
        self.fresh.append(entry)
        if len(self.fresh) >= self.batch or type(entry[3]) is Chunk:
            self.weigh()

    def lines(self, things: Sequence[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """(thing, its calls as lines) of some devices."""
        self.weigh()
        recent: dict[str, list[tuple[int, _Entry]]] = {thing: [] for thing in things}
        for n, entry in enumerate(self._recent, self.digested):
            if entry[0].thing in recent:
                recent[entry[0].thing].append((n, entry))
        for thing in things:
            yield thing, self._lines(self.tapes[thing], recent.pop(thing))

    def _lines(self, of: Tape, recent: list[tuple[int, _Entry]]) -> Iterator[bytes]:
        at = 0
        while at < len(of.old):
            n, at_ms, call, digest, length = _OLD.unpack_from(of.old, at)
            at += _OLD.size
            given = tape.loads(bytes(of.old[at : at + length])) if length else None
            at += length
            yield tape.line(Call(n, at_ms, CALLS[call], given, None, digest.hex()))
        for n, (_, when_ms, call, given, said) in recent:
            yield tape.line(Call(n, when_ms or 0, CALLS[call], _plain(call, given), tape.said(said)))

    # Inside

    def weigh(self) -> None:
        """Take up the latest calls: their times, what is in them, and what they take."""
        if self.is_full:
            self.missed += len(self.fresh)
            self.fresh.clear()
            return
        total, latest_ms = 0, self._latest_ms
        for entry in self.fresh:
            of, at_ms, call, given, said = entry
            if at_ms is None or type(given) is Chunk:
                at_ms = latest_ms if at_ms is None else at_ms
                entry = (of, at_ms, call, self._piece(of, given) if type(given) is Chunk else given, said)
            latest_ms = at_ms
            total += _size(entry)
            if not isinstance(said, Exception):
                for output in said:
                    if type(output) is Download:
                        self._downloads(of, output)
            self._recent.append(entry)
        self.fresh.clear()
        self._latest_ms = latest_ms
        self._recent_bytes += total
        if self._recent_bytes + self._kept_bytes > self.bytes_max:
            self._forget()

    def _forget(self) -> None:
        """Of what was said the longest ago keep the digest; when there is no room even for that, record no more."""
        while self._recent and self._recent_bytes + self._kept_bytes > self.bytes_max:
            entry = self._recent.popleft()
            of, at_ms, call, given, said = entry
            self._recent_bytes -= _size(entry)
            what = b"" if given is None else tape.dumps(_plain(call, given))
            of.old += _OLD.pack(self.digested, at_ms, call, tape.digest(tape.said(said)), len(what)) + what
            self._kept_bytes += _OLD.size + len(what)
            self.digested += 1
        self.is_full = self._kept_bytes > self.bytes_max * GIVEN_SHARE

    def _downloads(self, of: Tape, wanted: Download) -> None:
        parts = urlsplit(wanted.url)
        body = self._bodies.setdefault(f"{parts.netloc}{parts.path}", len(self.bodies))
        if body == len(self.bodies):
            self.bodies.append(bytearray())
        of.downloads = {**(of.downloads or {}), wanted.token: (body, wanted.offset)}

    def _piece(self, of: Tape, said: Chunk) -> Chunk | Piece:
        """Where the piece stands in a body that is known, or was until here."""
        if of.downloads is None or said.token not in of.downloads:
            return said
        index, offset = of.downloads[said.token]
        body, size = self.bodies[index], len(said.data)
        if offset <= len(body) < offset + size and body[offset:] == said.data[: len(body) - offset]:
            self._kept_bytes += offset + size - len(body)
            body += said.data[len(body) - offset :]
        if body[offset : offset + size] != said.data:
            del of.downloads[said.token]
            return said
        of.downloads[said.token] = (index, offset + size)
        of.bodies |= {index}
        return Piece(said.token, index, offset, size)


def _size(entry: _Entry) -> int:
    """About what a call takes in memory."""
    _, _, call, given, said = entry
    size = _CALL_BYTES
    if call == _RECEIVE:
        size += _OTHER_BYTES + sum(len(part) for part in given if isinstance(part, (bytes, str)))
    if not isinstance(said, Exception):
        for output in said:
            size += _PUBLISH_BYTES + len(output.payload) if type(output) is Publish else _OTHER_BYTES
    return size


def _plain(call: int, given: Any) -> Any:
    if call == _RECEIVE:
        return {"Piece": given._asdict()} if isinstance(given, Piece) else tape.plain(given)
    return tape.given_fault(given) if call == _INJECT else given


class Recorded(Device):
    """A device whose calls are written down."""

    __slots__ = ("_batch", "_fresh", "_recorder", "_tape")

    def __init__(self, device: Device, recorder: Recorder, of: Tape) -> None:
        """In the place of a device, with all that it is."""
        for name in Device.__slots__:
            setattr(self, name, getattr(device, name))
        self._recorder, self._tape = recorder, of
        self._fresh, self._batch = recorder.fresh, recorder.batch

    def step(self, now_ms: int) -> list[Output]:
        try:
            said = Device.step(self, now_ms)
        except Exception as error:
            self._recorder.add((self._tape, now_ms, _STEP, None, error))
            raise
        fresh = self._fresh  # as `add`, because this is what there is most of
        fresh.append((self._tape, now_ms, _STEP, None, said))
        if len(fresh) >= self._batch:
            self._recorder.weigh()
        return said

    def receive(self, said: Input, now_ms: int) -> list[Output]:
        try:
            answers = Device.receive(self, said, now_ms)
        except Exception as error:
            self._recorder.add((self._tape, now_ms, _RECEIVE, said, error))
            raise
        self._recorder.add((self._tape, now_ms, _RECEIVE, said, answers))
        return answers

    def inject(self, fault: Fault, now_ms: int) -> list[Output]:
        said = Device.inject(self, fault, now_ms)
        self._recorder.add((self._tape, now_ms, _INJECT, fault, said))
        return said

    def clear(self, kind: str | None, now_ms: int) -> list[Output]:
        said = Device.clear(self, kind, now_ms)
        self._recorder.add((self._tape, now_ms, _CLEAR, kind, said))
        return said

    def not_disguised(self, why: str) -> None:
        Device.not_disguised(self, why)
        self._recorder.add((self._tape, None, _NOT_DISGUISED, why, ()))

    def switched_off(self) -> None:
        Device.switched_off(self)
        self._recorder.add((self._tape, None, _SWITCHED_OFF, None, ()))

    def cut_off(self) -> None:
        Device.cut_off(self)
        self._recorder.add((self._tape, None, _CUT_OFF, None, ()))
