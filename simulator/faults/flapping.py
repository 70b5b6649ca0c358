"""The network comes and goes: the connection is cut, is back for a while, and is cut again."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import SILENCE_S, back, missed
from simulator.messages import Sever
from simulator.schema import Misplaced
from simulator.signals import Range


class Flapping(Fault):
    """Away for `down_s`, there for `up_s`, again and again."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: flapping, down_s: [1, 4], up_s: [5, 20]}"

    kind: Literal["flapping"] = "flapping"
    down_s: Range = Field(Range(1, 5), description="How long it is away: each time drawn between the two.")
    up_s: Range = Field(Range(5, 20), description="How long it is there, likewise.")

    @model_validator(mode="after")
    def _spans(self) -> "Flapping":
        for name, (low, high) in (("down_s", self.down_s), ("up_s", self.up_s)):
            if not 0.1 <= low <= high <= 86_400:
                raise Misplaced((name,), f"must rise between 0.1 and 86400 seconds, is [{low:g}, {high:g}]")
        return self

    def expects(self, subject: Subject) -> Expected:
        words = "its network comes and goes"
        if self.down_s.low >= SILENCE_S:
            return missed(self.for_s, words)
        return Expected("", f"{words}; what it says comes later, once and in order", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Flaps(self, now_ms)


class Flaps(Active):
    __slots__ = ("away",)
    network: ClassVar[bool] = True
    what: Flapping

    def __init__(self, what: Flapping, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.away = False
        self.wake_at_ms = now_ms

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.away = not self.away and self.chance(body)
        low, high = self.what.down_s if self.away else self.what.up_s
        self.wake_at_ms = now_ms + max(1, int(1000 * (low + (high - low) * self.draw(body, "lasts"))))
        return [Sever(0, "flapping")] if self.away else back(body)

    def reach(self, body: Body, now_ms: int) -> str | None:
        return "no network" if self.away else None

    def end(self, body: Body, now_ms: int) -> Outputs:
        self.away = False
        return back(body)
