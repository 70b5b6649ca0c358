"""A part's clock is off.

The backend's: the times of arrival, and how long it takes itself to have waited. The cloud's: requests signed by the
right time are refused (beyond 5 minutes, S3 and some others 15), presigned URLs are over too early or late, and what
it writes down of things, shadows, jobs and objects. With `ramp_s` the clock drifts there.
"""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.faults._part import PART, Part, PartFault


class PartClock(PartFault):
    """Its clock goes ahead by `off_s`, or behind when that is negative."""

    example: ClassVar[str] = "{kind: part_clock, part: backend, off_s: -90, for_s: 60}"
    words: ClassVar[str] = "devices are judged by their own time, so no alarm comes of it and nothing is lost"

    kind: Literal["part_clock"] = "part_clock"
    part: Part = PART
    off_s: float = Field(ge=-315_360_000, le=315_360_000, description="So far ahead; behind, when negative.")

    @model_validator(mode="after")
    def _is_off(self) -> "PartClock":
        if self.off_s == 0 or self.probability != 1:
            raise ValueError("a clock is off by some seconds, and for everybody: 'off_s' is not 0, 'probability' 1")
        return self
