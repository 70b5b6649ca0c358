"""A part answers late: HTTP requests, acknowledgements of messages; of the backend also its store, for which all wait.

Requests are carried out when they come, and only the answer is late; acknowledgements keep their order.
"""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.faults._part import OF, PART, Names, Part, PartFault


class SlowAnswers(PartFault):
    """Answers `ms` later, give or take up to `jitter_ms` more, with `probability`."""

    example: ClassVar[str] = "{kind: slow_answers, part: backend, of: [store], ms: 300, jitter_ms: 200, for_s: 60}"
    words: ClassVar[str] = "everything comes, only later, and nobody asks so often that it gets worse"
    doors: ClassVar[tuple[str, ...]] = ("store", "rest", "api", "tcp")

    kind: Literal["slow_answers"] = "slow_answers"
    part: Part = PART
    of: Names = OF
    ms: float = Field(gt=0, le=600_000, description="So much later; over `ramp_s` it grows to that.")
    jitter_ms: float = Field(0.0, ge=0, le=600_000, description="And up to so much more, each time anew.")
