"""Frames come broken: a wrong checksum, a wrong length, an end that is missing, or one frame in two pieces.

A broken frame is garbage to the gateway, which skips it and has nothing to acknowledge; so the device waits in vain,
connects anew and sends the message again, whole. A frame in two pieces is none the worse for it.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._fitting import no_frames
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Note, Output, Piece, Publish
from simulator.wire.frames import Framing

MARKED_MAX = 1000  # messages that are still to be broken on the wire
_WAYS = ("checksum", "length", "truncated", "split")


class BrokenFrame(Saying):
    """Breaks the frames of messages, `how`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: broken_frame, how: any, probability: 0.1}"

    kind: Literal["broken_frame"] = "broken_frame"
    how: Literal["any", "checksum", "length", "truncated", "split"] = Field(
        "any", description="What is wrong with it; any: each time drawn anew."
    )
    split_ms: int = Field(200, ge=1, le=60_000, description="How long after the first piece the second one comes.")

    def unfit(self, subject: Subject) -> str | None:
        return no_frames(subject)

    def expects(self, subject: Subject) -> Expected:
        if self.how == "split":
            return Expected("", "its frames come in pieces, and are understood", "nothing")
        words = "its frames are garbage: they are skipped and counted, and what was in them comes again"
        return Expected("", words, "refusal")

    def start(self, body: Body, now_ms: int) -> Active:
        framing = Framing(body.spec) if body.spec and body.spec.frame else None
        return Breaking(self, now_ms, framing)


class Breaking(Hitting):
    __slots__ = ("framing", "marked")
    network: ClassVar[bool] = True
    what: BrokenFrame

    def __init__(self, what: BrokenFrame, now_ms: int, framing: Framing | None) -> None:
        super().__init__(what, now_ms)
        self.framing = framing
        self.marked: dict[bytes, str] = {}  # payload → how its frame will be broken, the first time that it is written

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later] | None:
        if self.framing is None:
            return None
        if len(self.marked) >= MARKED_MAX:
            del self.marked[next(iter(self.marked))]  # what is said must not depend on what was written already
        how: str = self.what.how
        if how == "any":
            how = _WAYS[int(len(_WAYS) * self.draw(body, "how"))]
        if how == "checksum" and not self.framing.tail.size:
            how = "length"  # its product has no checksum
        self.marked[message.payload] = how
        return [message]

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        if not up or not self.marked or self.framing is None:
            return [piece]
        pieces = [piece]
        for payload, how in list(self.marked.items()):
            found = [self._break(body, part, payload, how) for part in pieces]
            pieces = [after for parts in found for after in parts]
        return pieces

    def _break(self, body: Body, piece: Piece, payload: bytes, how: str) -> list[Piece]:
        framing, (data, after_ms) = self.framing, piece
        assert framing is not None
        start = data.find(payload) - framing.head
        if start < 0 or not data.startswith(framing.start, start):
            return [piece]
        end = start + framing.head + len(payload) + framing.tail.size
        del self.marked[payload]
        before, frame, rest = data[:start], data[start:end], data[end:]
        cut = 1 + int(self.draw(body, "where") * (len(frame) - 1))  # behind any of its bytes but the last
        match how:
            case "split":
                second = Piece(frame[cut:] + rest, after_ms + self.what.split_ms)
                return [Piece(before + frame[:cut], after_ms), second]
            case "truncated":
                frame = frame[:cut]
            case "checksum":
                frame = frame[:-1] + bytes((frame[-1] ^ (1 + int(255 * self.draw(body, "bits"))),))
            case "length":
                at = len(framing.start) + framing.length.size - 1  # its last byte
                frame = frame[:at] + bytes((frame[at] ^ (1 + int(255 * self.draw(body, "bits"))),)) + frame[at + 1 :]
        return [Piece(before + frame + rest, after_ms)]

    def told(self, message: Publish) -> list[Note]:
        return [
            note._replace(detail={**note.detail, "what": "delayed"})
            if self.marked[message.payload] == "split"
            else note
            for note in super().told(message)
        ]
