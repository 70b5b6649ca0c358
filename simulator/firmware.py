"""Firmware: descriptions in the folder `firmware/`, and the images built from them. The one reader of that folder.

An image is made of its name alone, so that everybody builds the same bytes; what makes it trustworthy is the
signature of the fleet's manufacturer, whose key is made with the fleet and never stored in the repository.
"""

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from simulator.errors import UsageError
from simulator.folders import folder
from simulator.profiles import VERSION
from simulator.schema import Strict, YamlProblems, load_marked
from simulator.wire.artifact import signed_bytes


class Firmware(Strict):
    """A version, and the packages that have it."""

    version: str = Field(pattern=VERSION)
    notes: str = Field("", max_length=1024, description="What is new in it.")
    packages: list[str] = Field(min_length=1, max_length=100)
    size_kib: int = Field(256, ge=1, le=65_536)


class Image(NamedTuple):
    """An artifact as it lies in the bucket, and what a job says about it."""

    package: str
    version: str
    notes: str
    body: bytes
    sha256: str
    signature: str

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"firmware/{self.package}/{self.version}/{self.package}-{self.version}.bin"


def releases() -> list[Firmware]:
    """Every version there is, by name; YamlProblems when a file is wrong."""
    return [_read(path) for path in sorted(folder("firmware").glob("*.yaml"))]


def release(version: str, package: str) -> Firmware:
    """A version of a package: as its file says, or, of a version or package without one, plain."""
    found = next((one for one in releases() if one.version == version), None)
    if found is None or package not in found.packages:
        return Firmware(version=version, packages=[package])
    return found


def _read(path: Path) -> Firmware:
    loaded = load_marked(path, Firmware)
    if loaded.value.version != path.stem:
        raise YamlProblems([loaded.problem(("version",), f"the version must be the file's name: '{path.stem}'")])
    return loaded.value


def build(release: Firmware, package: str, key: Ed25519PrivateKey) -> Image:
    """The signed image of one package."""
    head = f"fleetsim firmware {package} {release.version}\n{release.notes}\n".encode()
    size = release.size_kib * 1024
    body = (head + hashlib.shake_128(head).digest(size))[:size]
    sha256 = hashlib.sha256(body).hexdigest()
    signature = key.sign(signed_bytes(package, release.version, len(body), sha256))
    return Image(package, release.version, release.notes, body, sha256, base64.b64encode(signature).decode())


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The manufacturer's key in a PEM file, made there (readable by its owner only) when there is none yet."""
    if path.exists():
        try:
            found = serialization.load_pem_private_key(path.read_bytes(), None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            found = None
        if not isinstance(found, Ed25519PrivateKey):
            raise UsageError(f"{path} holds no Ed25519 key; remove it, and a new one is made")
        return found
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return key


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes a device keeps to check signatures with."""
    return key.public_key().public_bytes_raw()
