"""Where the link of one device meets the engine: what comes from the connection, to the device and to the books.

Rules: `acknowledged` is on the way of every message that does not take its turns (turns), so it asks nobody twice. Of a
device that was switched off only the answers to what it said still count.
"""

import time
from typing import TYPE_CHECKING

from simulator.audit import Way
from simulator.links import Link
from simulator.messages import Answered, Connected, Disconnected, Piece, Publish, Received, Turn

if TYPE_CHECKING:
    from simulator.runtime.engine import Engine

_ANSWERED = Answered("telemetry")


class Port(Way):
    """Where the link of one device meets the engine (links.Sink)."""

    __slots__ = ("device", "engine", "gone", "link", "shaped")

    def __init__(self, engine: "Engine", index: int) -> None:
        super().__init__(index)
        self.engine, self.device = engine, engine.fleet.devices[index]
        self.gone = False  # The device was switched off: only answers to what it said still count.
        self.link: Link | None = None
        self.shaped = False  # The link takes the way through this port (links.Network).

    def carry(self, data: bytes, up: bool) -> list[Piece]:
        return self.device.carry(data, up, self.engine.now_ms())

    def reach(self) -> str | None:
        return self.device.reach(self.engine.now_ms())

    def connected(self, session_present: bool) -> None:
        if not self.gone:
            self.engine.note(self.index, "connected", {"session_present": session_present})
            self.engine.hear(self.index, Connected(session_present))

    def disconnected(self, reason: str) -> None:
        if not self.gone:
            self.engine.note(self.index, "disconnected", {"reason": reason})
            self.engine.hear(self.index, Disconnected(reason))

    def received(self, topic: str, payload: bytes) -> None:
        if not self.gone:
            self.engine.hear(self.index, Received(topic, payload))

    def renewed(self, now_ms: int) -> Turn | None:
        return self.engine.renewed(self, now_ms)

    def turned(self, said_ms: int) -> None:
        self.engine.turned(self.device, said_ms)

    def acknowledged(self, message: Publish, sent_at_s: float, reason_code: int) -> None:
        engine, now_s = self.engine, time.monotonic()
        (engine.ledger.refused if reason_code >= 0x80 else engine.ledger.acknowledged)[message.kind] += 1
        if engine.audit:
            engine.audit.answered(self, message, reason_code, now_s)
        if engine.meter:
            engine.meter.acknowledged(self.index, message, sent_at_s, reason_code, now_s)
        if self.device.in_turn and not self.gone:
            engine.answered(self, _ANSWERED if message.kind == "telemetry" else Answered(message.kind), now_s)
