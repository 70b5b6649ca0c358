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
    expiry_s: int | None = None  # after so long without a receiver the broker may forget it; None: never
    stamp: int = 0  # which of the device's messages of its kind it is, as the backend sees it; 0: cannot be told
    due_ms: float = 0  # when it was to be said, however late its device was woken; 0: when it was said


class Turn(NamedTuple):
    """What a device that takes turns says as often as it is answered, as long as nothing else befalls it.

    Each time it is `head`, the time and `tail`, not sooner than `apart_ms` after the one before, and before `until_ms`.
    """

    topic: str
    head: bytes
    tail: bytes
    apart_ms: float
    until_ms: int = 0


class Subscribe(NamedTuple):
    """Hear these topic filters from now on."""

    filters: tuple[str, ...]


class Download(NamedTuple):
    """GET `url` from byte `offset` on; `token` comes back with every chunk."""

    token: str
    url: str
    offset: int = 0
    size_max: int = 64 * 1024 * 1024
    rate_kib_per_s: float | None = None  # no faster than that


class Upload(NamedTuple):
    """PUT a part of a file to `url`: `size` bytes from `offset` on of what `seed` gives (wire.content)."""

    token: str
    url: str
    part: int  # from 1
    seed: int
    content_type: str
    offset: int
    size: int


class PowerCycle(NamedTuple):
    """Cut the connection without a DISCONNECT and come back after `off_ms`; None: only by `PowerOn`."""

    off_ms: int | None


class PowerOn(NamedTuple):
    """End a darkness that had no end."""


class Note(NamedTuple):
    """Something the device did or saw, for the ledger."""

    kind: str
    detail: Mapping[str, Any]
    thing: str = ""  # whose it is, when not the device's own: a hub's child


class Dropped(NamedTuple):
    """There was no room to keep this message until it could be said."""

    message: Publish


class Missed(NamedTuple):
    """So many messages of a kind were due and will never be said: whoever runs the device woke it too late."""

    kind: str
    times: int


class Sever(NamedTuple):
    """Cut the connection without a DISCONNECT; the device stays on and connects again after `off_ms`."""

    off_ms: int
    reason: str = "severed"


class Relink(NamedTuple):
    """Give up the connection and make a new one, because the device is somebody else now (Device.disguise)."""


class Raw(NamedTuple):
    """Write these bytes on the connection as they are, if there is one: no message, and nothing answers it."""

    data: bytes


Output = Publish | Subscribe | Download | Upload | PowerCycle | PowerOn | Note | Dropped | Missed | Sever | Relink | Raw


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


class UploadEnded(NamedTuple):
    """The PUT of a part is over: `status` as of a download; `etag` is what the store calls the part."""

    token: str
    part: int
    status: int
    etag: str
    error: str


class Told(NamedTuple):
    """One duty of the device tells the others: `what` is `kind.key`, such as telemetry.every_s or upload.log."""

    what: str
    value: Any = None


class Answered(NamedTuple):
    """The far side took, or refused, a message of a kind. Only devices with a duty that takes turns hear of it."""

    kind: str


class Booted(NamedTuple):
    """Power is back: what was in memory is gone, `flash` is not."""


Input = Booted | Connected | Disconnected | Received | Chunk | DownloadEnded | UploadEnded | Told | Answered


class Later(NamedTuple):
    """A device says or hears this so much later. Faults answer with it; it never leaves the device."""

    after_ms: int
    what: Output | Input


class Piece(NamedTuple):
    """Bytes on their way through a network, and how long it holds them up."""

    data: bytes
    after_ms: int = 0
