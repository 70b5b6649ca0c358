"""A job's artifact is wrongly signed: the signature in its document is not the manufacturer's."""

import base64
import binascii
from typing import ClassVar, Literal

import orjson

from simulator.behaviours import Body
from simulator.faults import Active
from simulator.faults._ota import Ota
from simulator.messages import Input, Later, Received


class BadlySigned(Ota):
    """Changes the signature in a job's document on its way to the device, always in the same way."""

    example: ClassVar[str] = "{kind: badly_signed}"
    words: ClassVar[str] = "the signature does not fit, so the job fails and the old version stays"

    kind: Literal["badly_signed"] = "badly_signed"

    def start(self, body: Body, now_ms: int) -> Active:
        return Resigned(self, now_ms)


class Resigned(Active):
    __slots__ = ()

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if type(said) is not Received or not said.topic.startswith(f"$aws/things/{body.thing}/jobs/"):
            return [said]
        try:
            message = orjson.loads(said.payload)
            execution = message["execution"]
            document = execution["jobDocument"]
            if self.lot(body, str(execution["jobId"])) >= self.what.probability:
                return [said]
            document["signature"] = wrong(document["signature"])
        except (orjson.JSONDecodeError, KeyError, TypeError, binascii.Error, ValueError):
            return [said]  # there is no signature in it
        return [said._replace(payload=orjson.dumps(message))]


def wrong(signature: str) -> str:
    """Another signature of the same form."""
    return base64.b64encode(bytes(byte ^ 1 for byte in base64.b64decode(signature, validate=True))).decode()
