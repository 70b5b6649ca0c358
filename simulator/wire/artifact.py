"""What an OTA job says about its artifact, and how a device proves that what it downloaded is that artifact.

Job document: `{"operation": "ota", "package", "version", "url", "size", "sha256", "signature"}`.
The signature (Ed25519, base64) covers package, version, size and hash, so that a genuine artifact cannot be
passed off as another package or version.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIZE_MAX = 64 * 1024 * 1024
_URL = re.compile(r"https?://[!-~]+")
_VERSION = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class Artifact(NamedTuple):
    """One firmware image, as a job document describes it."""

    package: str
    version: str
    url: str
    size: int
    sha256: str
    signature: str


class Unfit(Exception):
    """The job, or what was downloaded for it, cannot be used; `str()` is the reason for the backend."""


def parse(document: Any) -> Artifact:
    """The artifact of a job document; raises Unfit with what is wrong in it."""
    if not isinstance(document, Mapping) or document.get("operation") != "ota":
        raise Unfit("job document: operation is not 'ota'")
    for field in ("package", "version", "url", "sha256", "signature"):
        if not isinstance(document.get(field), str):
            raise Unfit(f"job document: '{field}' is missing or not a string")
    size = document.get("size")
    if type(size) is not int or not 0 < size <= SIZE_MAX:
        raise Unfit(f"job document: 'size' is not a whole number between 1 and {SIZE_MAX}")
    if not _VERSION.fullmatch(document["version"]):
        raise Unfit(f"job document: version {document['version'][:64]!r} is not a version name")
    if not _URL.fullmatch(document["url"]):
        raise Unfit("job document: url is neither https nor http")
    return Artifact(*(document[field] for field in Artifact._fields))


def signed_bytes(package: str, version: str, size: int, sha256: str) -> bytes:
    """The bytes that the manufacturer signs."""
    return f"fleetsim-firmware-v1\n{package}\n{version}\n{size}\n{sha256}\n".encode()


def check(artifact: Artifact, package: str, size: int, sha256: str, public_key: bytes) -> None:
    """Raises Unfit unless the received bytes (their size and hash) are the artifact, made for this package."""
    if artifact.package != package:
        raise Unfit(f"package mismatch: the job is for '{artifact.package}', this device runs '{package}'")
    if size != artifact.size:
        raise Unfit(f"size mismatch: got {size} bytes, the job says {artifact.size}")
    if sha256 != artifact.sha256:
        raise Unfit(f"sha256 mismatch: got {sha256[:12]}…, the job says {artifact.sha256[:12]}…")
    try:
        signature = base64.b64decode(artifact.signature, validate=True)
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature, signed_bytes(artifact.package, artifact.version, artifact.size, artifact.sha256))
    except (InvalidSignature, binascii.Error, ValueError):
        raise Unfit("signature mismatch: not signed by this fleet's manufacturer") from None
