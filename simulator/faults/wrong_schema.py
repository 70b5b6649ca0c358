"""What the device says is JSON, but not what was agreed: a field is missing, has another name or another type."""

from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._fitting import no_json
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Output, Publish

# The fields without which no platform can take a message, of all its JSON forms.
AGREED = (
    "device_timestamp", "data", "deviceId", "idx", "status", "device_id", "productId", "metrics",
    "volt", "ct", "pcbTemp", "sensorTemp",
)  # fmt: skip
_WAYS = ("missing", "renamed", "type")


class WrongSchema(Saying):
    """Changes one field that was agreed, `how`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: wrong_schema, how: type, field: device_timestamp}"

    kind: Literal["wrong_schema"] = "wrong_schema"
    how: Literal["any", "missing", "renamed", "type"] = Field("any", description="any: each time drawn anew.")
    field: str | None = Field(
        None, min_length=1, max_length=128, description="Which field at the top; absent: drawn of those agreed."
    )

    def unfit(self, subject: Subject) -> str | None:
        return no_json(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "what it says breaks the data contract, and is refused or kept as a dead letter", "refusal")

    def start(self, body: Body, now_ms: int) -> Active:
        return Wrong(self, now_ms)


class Wrong(Hitting):
    __slots__ = ()
    what: WrongSchema

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later] | None:
        try:
            found = orjson.loads(message.payload)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(found, dict):
            return None
        able = [self.what.field] if self.what.field else [name for name in AGREED if name in found]
        able = [name for name in able if name in found]
        if not able:
            return None
        name = able[int(len(able) * self.draw(body, "field"))]
        how: str = self.what.how
        if how == "any":
            how = _WAYS[int(len(_WAYS) * self.draw(body, "how"))]
        return [message._replace(payload=orjson.dumps(changed(found, name, how)))]


def changed(found: dict[str, Any], name: str, how: str) -> dict[str, Any]:
    """A document of which one field is wrong, in the order of its fields."""
    if how == "missing":
        return {key: value for key, value in found.items() if key != name}
    if how == "renamed":
        return {f"{name}_" if key == name else key: value for key, value in found.items()}
    return {key: other(value) if key == name else value for key, value in found.items()}


def other(value: Any) -> Any:
    """The value as something else: a number as text, all else as a list."""
    return str(value) if isinstance(value, int | float) else [value]
