"""A part answers requests with a server error: it is not well, or what stands behind it is not."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.faults._part import OF, PART, Names, Part, PartFault


class ServerErrors(PartFault):
    """Answers with `status` and the error of the service, with `probability`."""

    example: ClassVar[str] = "{kind: server_errors, part: cloud, of: [s3, iot], probability: 0.3, for_s: 60}"
    words: ClassVar[str] = "what failed is tried again, so nothing is lost"
    doors: ClassVar[tuple[str, ...]] = ("rest", "api")

    kind: Literal["server_errors"] = "server_errors"
    part: Part = PART
    of: Names = OF
    status: int = Field(503, ge=500, le=599, description="HTTP status: 500 a bug, 503 not available.")
