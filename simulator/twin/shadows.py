"""Device shadows as the cloud keeps them: merged, versioned, with what is desired and not so reported.

Rules: objects merge, everything else is replaced whole, null removes. Nothing here has a time or a metadata: no
device of ours asks for them.
"""

from typing import Any

from simulator.twin.refused import Refused

UPDATE_BYTES_MAX = 8 * 1024

Json = dict[str, Any]


class Shadow:
    """One shadow of one thing."""

    __slots__ = ("desired", "reported", "version")

    def __init__(self) -> None:
        self.desired: Json = {}
        self.reported: Json = {}
        self.version = 0

    def update(self, request: Any, size: int = 0) -> None:
        """Take an update of so many bytes; Refused leaves everything as it was."""
        if size > UPDATE_BYTES_MAX:
            raise Refused("The payload exceeds the maximum size allowed", 413)
        state = request.get("state") if type(request) is dict else None
        if type(state) is not dict or not state.keys() <= {"desired", "reported"}:
            raise Refused("State node must be an object of desired and reported")
        if any(type(section) not in (dict, type(None)) for section in state.values()):
            raise Refused("A section of the state must be an object")
        if (expected := request.get("version")) is not None and expected != self.version:
            raise Refused("Version conflict", 409)
        for name, news in state.items():
            if news is None:
                setattr(self, name, {})
            else:
                merge(getattr(self, name), news)
        self.version += 1

    def delta(self) -> Json:
        """What the device still has to do."""
        return differing(self.desired, self.reported) if self.desired else {}

    def document(self) -> Json:
        """What a GET answers."""
        sections = {"desired": self.desired, "reported": self.reported, "delta": self.delta()}
        return {"state": {name: found for name, found in sections.items() if found}, "version": self.version}


def merge(into: Json, news: Json) -> None:
    """Lay news over an object, in place."""
    for name, value in news.items():
        if value is None:
            into.pop(name, None)
        elif type(value) is dict:
            known = into.get(name)
            if type(known) is not dict:
                known = into[name] = {}
            merge(known, value)
        else:
            into[name] = value


def differing(desired: Json, reported: Json) -> Json:
    """What is desired and not so reported, down to the leaves."""
    found: Json = {}
    for name, value in desired.items():
        if name not in reported:
            found[name] = value
        elif type(value) is dict and type(reported[name]) is dict:
            if below := differing(value, reported[name]):
                found[name] = below
        elif value != reported[name] or (type(value) is bool) != (type(reported[name]) is bool):
            found[name] = value
    return found
