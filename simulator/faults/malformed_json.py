"""What the device says is not JSON any more: cut off, a comma too many, a quote or a brace too few, a NaN."""

import re
from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Subject
from simulator.faults._fitting import no_json
from simulator.faults._saying import Hitting, Saying
from simulator.messages import Later, Output, Publish

_NUMBER = re.compile(rb":-?[0-9][0-9.eE+-]*")
_WAYS = ("truncated", "comma", "quote", "brace", "nan")


class MalformedJson(Saying):
    """Breaks the JSON of messages, `how`."""

    family: ClassVar[Family] = "protocol"
    example: ClassVar[str] = "{kind: malformed_json, how: any, probability: 0.2}"

    kind: Literal["malformed_json"] = "malformed_json"
    how: Literal["any", "truncated", "comma", "quote", "brace", "nan"] = Field(
        "any", description="What is wrong with it; any: each time drawn anew."
    )

    def unfit(self, subject: Subject) -> str | None:
        return no_json(subject)

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "what it says is not JSON, and is refused or kept as a dead letter", "refusal")

    def start(self, body: Body, now_ms: int) -> Active:
        return Malformed(self, now_ms)


class Malformed(Hitting):
    __slots__ = ()
    what: MalformedJson

    def hit(self, body: Body, message: Publish, now_ms: int) -> list[Output | Later] | None:
        payload = message.payload
        if not (payload.startswith(b"{") and payload.endswith(b"}") and len(payload) > 2):
            return None
        how: str = self.what.how
        if how == "any":
            how = _WAYS[int(len(_WAYS) * self.draw(body, "how"))]
        return [message._replace(payload=broken(payload, how, self.draw(body, "where")))]


def broken(payload: bytes, how: str, where: float) -> bytes:
    """An object of JSON, not empty, that is none any more."""
    match how:
        case "truncated":
            return payload[: 1 + int(where * (len(payload) - 1))]
        case "quote" if b'"' in payload:
            return payload.replace(b'"', b"", 1)
        case "brace":
            return payload[:-1]
        case "nan" if _NUMBER.search(payload):
            return _NUMBER.sub(b":NaN", payload, count=1)
    return payload[:-1] + b",}"
