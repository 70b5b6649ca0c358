"""A sensor says nothing: its value is missing in the message, or null, or a number that stands for none."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from simulator.behaviours import Body
from simulator.faults import DETECT_WITHIN_S, Active, Expected, Family, Fault, Subject
from simulator.faults._expecting import judged, untold
from simulator.faults._sensor import Whole
from simulator.wire.payloads import FIRE_RANGED, FULL, MISSING, NULL, SENTINEL

MISSED_S = 60.0  # nobody can be expected to miss a value sooner


class DropOut(Fault):
    """The sensor of `signal` says nothing, and the device says so in its way.

    A fire sensor's record and a binary frame have all their fields: there it is always a number.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    family: ClassVar[Family] = "sensor"
    example: ClassVar[str] = "{kind: drop_out, signal: engine_temp_c, as: missing}"

    kind: Literal["drop_out"] = "drop_out"
    signal: str = Field(description="Whose sensor it is.")
    form: Literal["missing", "null", "sentinel"] = Field(
        "missing", alias="as", description="The metric is left out, or null, or the number `sentinel`."
    )
    sentinel: float = Field(SENTINEL, description="The number that stands for none.")

    def unfit(self, subject: Subject) -> str | None:
        return untold(self.signal, subject)

    def expects(self, subject: Subject) -> Expected:
        name, within_s = self.signal, DETECT_WITHIN_S + self.ramp_s
        if self.form == "sentinel" or subject.codec in FULL:
            number = self.sentinel if self.form == "sentinel" else SENTINEL
            if subject.codec == "fire_record" and name in FIRE_RANGED:
                words = f"{name} is {number:g} for no value: the record breaks the data contract"
                return Expected(name, words, "refusal", within_s)
            return judged(subject, name, number, f"{name} is {number:g} for no value", self.ramp_s)
        if self.form == "null":
            return Expected(name, f"{name} is null: the message breaks the data contract", "refusal", within_s)
        words = f"{name} is missing, and the messages go on; no threshold sees it, only who misses it"
        brief = self.probability < 1 or (self.for_s is not None and self.for_s < MISSED_S)
        return Expected(
            name, f"{words}, and not so soon" if brief else words, "nothing" if brief else "silence", within_s
        )

    def start(self, body: Body, now_ms: int) -> Active:
        return Speechless(self, now_ms, self.signal)


class Speechless(Whole):
    __slots__ = ()
    what: DropOut

    def change(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        said = {"missing": MISSING, "null": NULL, "sentinel": self.what.sentinel}
        values[self.signal] = said[self.what.form]
