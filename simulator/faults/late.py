"""Sensors lag behind: what a message says was so a while ago, though its timestamp is of now."""

from array import array
from collections import deque
from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body, Outputs
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import untold
from simulator.faults._sensor import Whole

SAMPLES_MAX = 128  # kept of the past
SAMPLE_MIN_MS = 500


class Late(Fault):
    """The sensors say what was so `by_s` ago; at first, until there is such a past, what was so when it began."""

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: late, by_s: 20}"

    kind: Literal["late"] = "late"
    by_s: float = Field(gt=0, le=3600, description="How long ago.")
    signal: str | None = Field(None, description="Whose sensor it is; absent: all.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject) if self.signal else None

    def expects(self, subject: Subject) -> Expected:
        words = f"{self.signal or 'every reading'} is {self.by_s:g} s old when it is said; no threshold sees it"
        return Expected(self.signal or "", words, "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Behind(self, now_ms)


class Behind(Whole):
    __slots__ = ("looking", "past", "sample_ms")
    what: Late

    def __init__(self, what: Late, now_ms: int) -> None:
        super().__init__(what, now_ms, what.signal or "")
        self.past: deque[tuple[int, array[float]]] = deque(maxlen=SAMPLES_MAX)
        self.sample_ms = max(SAMPLE_MIN_MS, int(what.by_s * 1000 / (SAMPLES_MAX - 2)) + 1)
        self.looking = False
        self.wake_at_ms = now_ms

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = now_ms + self.sample_ms
        self.looking = True
        body.reading(now_ms)
        self.looking = False
        return []

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        if self.looking:  # What the faults before this one have left of the truth.
            self.past.append((now_ms, array("d", (values[name] for name in self._names(values)))))
        else:
            super().reading(body, values, now_ms)

    def change(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        if not self.past:
            return
        then_ms = now_ms - int(self.what.by_s * 1000)
        then = next((of for at_ms, of in reversed(self.past) if at_ms <= then_ms), self.past[0][1])
        values.update(zip(self._names(values), then, strict=True))

    def _names(self, values: dict[str, float]) -> list[str]:
        return [self.signal] if self.signal else list(values)
