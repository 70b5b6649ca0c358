"""What travels between a device, its runtime and its link: plain values, no behaviour.

Rules: tuples only, because one is made for every message. A device returns *outputs*; it is given *inputs*.
Times are whole milliseconds since the Unix epoch (`_ms`) unless the name says otherwise.
`kind` names the row of a message in every table, so it never contains a device's name.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Publish(NamedTuple):
    """Say this to the backend."""

    kind: str
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Subscribe(NamedTuple):
    """Hear these topic filters from now on, at QoS 1."""

    filters: tuple[str, ...]


class Download(NamedTuple):
    """GET `url` from byte `offset` on; `token` comes back with every chunk."""

    token: str
    url: str
    offset: int = 0
    size_max: int = 64 * 1024 * 1024


class PowerCycle(NamedTuple):
    """Cut the connection without a DISCONNECT and come back after `off_ms`."""

    off_ms: int


class Note(NamedTuple):
    """Something the device did or saw, for the ledger."""

    kind: str
    detail: Mapping[str, Any]


Output = Publish | Subscribe | Download | PowerCycle | Note


class Connected(NamedTuple):
    """The link is up; `session_present` as the broker said."""

    session_present: bool


class Disconnected(NamedTuple):
    """The link is down."""

    reason: str


class Received(NamedTuple):
    """A message from the backend."""

    topic: str
    payload: bytes


class Chunk(NamedTuple):
    """A piece of a download."""

    token: str
    data: bytes


class DownloadEnded(NamedTuple):
    """A download is over: `status` is HTTP's (0 when there was no answer), `error` empty when the body was complete."""

    token: str
    status: int
    error: str


class Booted(NamedTuple):
    """Power is back: what was in memory is gone, `flash` is not."""


Input = Booted | Connected | Disconnected | Received | Chunk | DownloadEnded
