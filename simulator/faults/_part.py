"""What faults of the sandbox have in common: they befall a part of it, the cloud or the backend, and no device.

A part is told an order on its stdin (`order`), or something is done to its process (`action`). Members declare `kind`,
`part` and their keys. A good backend copes: nothing that was acknowledged is lost, and nobody raises an alarm.
"""

from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Body
from simulator.errors import did_you_mean
from simulator.faults import Active, Expected, Family, Fault, Subject

Part = Literal["cloud", "backend"]
Action = Literal["kill", "restart", "pause"]

Names = list[Annotated[str, Field(pattern=r"^[a-zA-Z0-9:_*?-]{1,100}$")]]

PART: Any = Field(description="cloud or backend.")
OF: Any = Field(
    ["*"],
    min_length=1,
    max_length=30,
    description="What is hit, with wildcards: of the cloud iot:CreateJob, iot-data, s3:GET, mqtt; of the backend "
    "rest, api, and where it can be slow also store, tcp.",
)
_USUAL: dict[str, Any] = {"ramp_s": 0.0, "probability": 1.0}


class PartFault(Fault):
    """A fault of a part of the sandbox."""

    family: ClassVar[Family] = "sandbox"
    action: ClassVar[Action | None] = None  # what is done to its process; None: it is told `order`
    words: ClassVar[str]  # what a good backend does about it
    doors: ClassVar[tuple[str, ...]] = ()  # what of the backend it can hit

    @property
    def befalls(self) -> Part:
        """Which part."""
        part: Part = self.model_dump()["part"]
        return part

    @property
    def order(self) -> dict[str, Any]:
        """What the part is told; see simulator/disturbances.py."""
        return self.model_dump(mode="json", exclude={"part", "harmless"}, exclude_none=True)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", self.words, "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        return Active(self, now_ms)  # a device does not notice it by itself

    @model_validator(mode="after")
    def _can_be(self) -> "PartFault":
        said = self.model_dump()
        if self.action is not None:
            for key, usual in _USUAL.items():
                if said[key] != usual:
                    raise ValueError(f"'{key}' means nothing for {said['kind']}: it happens, or not")
        if said["part"] == "backend" and self.doors:
            for pattern in said.get("of", []):
                if not any(fnmatchcase(door, pattern) for door in self.doors):
                    raise ValueError(
                        f"the backend has no '{pattern}' that could be hit{did_you_mean(pattern, list(self.doors))}"
                    )
        return self
