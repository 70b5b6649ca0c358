"""What faults of the shadow share: where a delta stands in what a device hears, and how to put another one there."""

from typing import Any, NamedTuple

import orjson

from simulator.behaviours import Body
from simulator.faults import Subject
from simulator.messages import Input, Received


class Delta(NamedTuple):
    """A message with what is desired and not so."""

    message: Received
    document: dict[str, Any]
    state: dict[str, Any]
    asked: bool  # it stands in the answer to a GET, among other things

    def replaced(self, state: dict[str, Any]) -> list[Input]:
        """The message with another delta; nothing to tell when an empty one is all there was."""
        if not self.asked:
            return [self._with({**self.document, "state": state})] if state else []
        whole = {name: value for name, value in self.document["state"].items() if name != "delta"}
        return [self._with({**self.document, "state": {**whole, "delta": state} if state else whole})]

    def _with(self, document: dict[str, Any]) -> Received:
        return self.message._replace(payload=orjson.dumps(document))


def delta(body: Body, said: Input) -> Delta | None:
    """The delta of the classic shadow in what is heard, if there is one."""
    topic = f"$aws/things/{body.thing}/shadow/"
    if type(said) is not Received or said.topic not in (f"{topic}update/delta", f"{topic}get/accepted"):
        return None
    try:
        document = orjson.loads(said.payload)
    except orjson.JSONDecodeError:
        return None
    asked = said.topic.endswith("accepted")
    state = document.get("state") if isinstance(document, dict) else None
    if asked:
        state = state.get("delta") if isinstance(state, dict) else None
    return Delta(said, document, state, asked) if isinstance(state, dict) and state else None


def no_shadow(subject: Subject) -> str | None:
    """What `unfit` says of a device that keeps no shadow."""
    return None if "shadow" in subject.duties else "keeps no shadow"
