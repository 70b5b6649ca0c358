"""An object store for firmware and uploads: presigned URLs, downloads in pieces, parts that become an object.

Rules: a URL is good until the time that stands in it. What a device gets and gives takes the time that its line
needs; a download ends with its power.
"""

from collections.abc import Callable
from hashlib import blake2b

from simulator import seeds
from simulator.device import Device
from simulator.messages import Chunk, Download, DownloadEnded, Input, Upload, UploadEnded
from simulator.twin.refused import Refused
from simulator.twin.shadows import Json

BUCKET = "fleetsim-twin"
URL_TTL_MS = 3_600_000
CHUNK_BYTES = 64 * 1024
PIECE_S = 0.25  # what a slow line gives at once is what it gives in this
LINE_KIB_PER_S = (512, 4096)  # of each device: somewhere between these

Say = Callable[[str, Input, int], None]  # (thing, what it hears, after so many ms)
After = Callable[[int, Callable[[], None]], None]


class Parts:
    """A multipart upload under way."""

    __slots__ = ("key", "sizes")

    def __init__(self, key: str) -> None:
        self.key = key
        self.sizes: dict[int, int] = {}


class Objects:
    """One bucket."""

    def __init__(self, seed: int, now_ms: Callable[[], int], after: After, say: Say) -> None:
        self._seed, self._now_ms, self._after, self._say = seed, now_ms, after, say
        self._bodies: dict[str, bytes] = {}
        self._uploads: dict[str, Parts] = {}
        self._made = 0

    def put(self, key: str, body: bytes) -> None:
        """An object of the operator's."""
        self._bodies[key] = body

    def __contains__(self, key: str) -> bool:
        return key in self._bodies

    def url(self, key: str) -> str:
        """A presigned URL."""
        return f"https://{BUCKET}.s3.twin/{key}?expires={self._now_ms() + URL_TTL_MS}"

    def _key(self, url: str) -> str | None:
        """Which object a URL is for; None when it is not good any more."""
        path, _, until = url.partition("?expires=")
        if not until.isascii() or not until.isdigit() or self._now_ms() >= int(until):
            return None
        return path.removeprefix(f"https://{BUCKET}.s3.twin/")

    def _bytes_per_s(self, thing: str, rate_kib_per_s: float | None = None) -> float:
        low, high = LINE_KIB_PER_S
        return 1024 * (rate_kib_per_s or low + (high - low) * seeds.fraction(self._seed, "line", thing))

    # Downloads

    def get(self, device: Device, wanted: Download, latency_ms: int) -> None:
        """A GET: 403 when the URL is not good, else the object from the offset on, in pieces."""
        key = self._key(wanted.url)
        body = self._bodies.get(key) if key else None
        if body is None or wanted.offset >= len(body):
            status = 403 if key is None else 404 if body is None else 416
            self._say(device.thing, DownloadEnded(wanted.token, status, f"HTTP {status}"), latency_ms)
            return
        # One byte too many is enough to make the size check of the device fail, as it should.
        body = body[wanted.offset : wanted.size_max + 1]
        bytes_per_s = self._bytes_per_s(device.thing, wanted.rate_kib_per_s)
        self._send(device, wanted, body, 0, self._now_ms() + latency_ms, bytes_per_s)

    def _send(self, device: Device, wanted: Download, body: bytes, at: int, began_ms: int, bytes_per_s: float) -> None:
        """Let the next piece be on its way."""
        end = at + max(1, min(CHUNK_BYTES, int(bytes_per_s * PIECE_S)))
        due_ms = began_ms + int(1000 * min(end, len(body)) / bytes_per_s)

        def arrive() -> None:
            if not device.powered:
                return
            self._say(device.thing, Chunk(wanted.token, body[at:end]), 0)
            if end < len(body):
                self._send(device, wanted, body, end, began_ms, bytes_per_s)
            else:
                self._say(device.thing, DownloadEnded(wanted.token, 206 if wanted.offset else 200, ""), 0)

        self._after(max(0, due_ms - self._now_ms()), arrive)

    # Uploads

    def begin(self, key: str, s3_id: str, parts: int) -> Json:
        """Begin an upload, or take up the one that was begun, with fresh URLs for its parts."""
        if s3_id not in self._uploads:
            self._made += 1
            s3_id = f"upload-{self._made}"
            self._uploads[s3_id] = Parts(key)
        urls = [self.url(f"{s3_id}/{part}") for part in range(1, parts + 1)]
        return {"bucket": BUCKET, "s3_id": s3_id, "urls": urls}

    def take(self, thing: str, wanted: Upload, latency_ms: int) -> None:
        """A PUT of a part."""
        s3_id = (self._key(wanted.url) or "").partition("/")[0]
        upload = self._uploads.get(s3_id)
        took_ms = latency_ms + int(1000 * wanted.size / self._bytes_per_s(thing))
        if upload is None:
            status = 404 if s3_id else 403
            said = UploadEnded(wanted.token, wanted.part, status, "", f"HTTP {status}")
        else:
            upload.sizes[wanted.part] = wanted.size
            etag = blake2b(f"{wanted.seed} {wanted.offset} {wanted.size}".encode(), digest_size=16).hexdigest()
            said = UploadEnded(wanted.token, wanted.part, 200, f'"{etag}"', "")
        self._say(thing, said, took_ms)

    def complete(self, s3_id: str, key: str) -> Json:
        """Make one object of the parts; Refused when there is no such upload."""
        upload = self._uploads.pop(s3_id, None)
        if upload is None:
            raise Refused(f"upload {s3_id} is gone", 404)
        size = sum(upload.sizes.values())
        return {"etag": blake2b(key.encode(), digest_size=16).hexdigest(), "size": size}

    def abort(self, s3_id: str) -> None:
        """Throw the parts away."""
        self._uploads.pop(s3_id, None)
