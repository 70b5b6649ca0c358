"""A part takes only some of what it is asked: the cloud answers ThrottlingException (S3: SlowDown), the backend 429.

What a device publishes is then neither taken nor acknowledged by the cloud; with `publishes_per_s` only what a
connection says beyond that.
"""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simulator.faults._part import OF, PART, Names, Part, PartFault


class Throttling(PartFault):
    """Refuses requests as one too many, with `probability`; messages over MQTT are not acknowledged."""

    example: ClassVar[str] = "{kind: throttling, part: cloud, of: [iot, mqtt], publishes_per_s: 5, for_s: 30}"
    words: ClassVar[str] = "what was refused is said again, later and not at once, so nothing is lost"
    doors: ClassVar[tuple[str, ...]] = ("rest", "api")

    kind: Literal["throttling"] = "throttling"
    part: Part = PART
    of: Names = OF
    publishes_per_s: float | None = Field(
        None, gt=0, le=100_000, description="What each connection may publish; absent: `probability` decides (cloud)."
    )

    @model_validator(mode="after")
    def _only_the_cloud_counts_messages(self) -> "Throttling":
        if self.part == "backend" and self.publishes_per_s is not None:
            raise ValueError("'publishes_per_s' is for the cloud: the backend has no broker")
        return self
