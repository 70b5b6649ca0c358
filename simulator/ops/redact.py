"""What must not be shown: private keys, secrets, signatures and presigned queries. Pure.

Works on what boto3 takes and gives: nested dictionaries and lists with texts and bytes, and JSON inside texts.
"""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"
BYTES_SHOWN = 65_536

_SECRET_NAMES = (
    "privatekey", "secretaccesskey", "secretkey", "sessiontoken", "securitytoken", "certificateownershiptoken",
    "password", "passphrase", "signature", "authorization", "xamzsecuritytoken", "registrationcode",
)  # fmt: skip
_NAME = re.compile(r"[^a-z]")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PRESIGNED = re.compile(  # also with the slashes that some write as \/ in JSON
    r"""(https?:(?:\\?/){2}[^\s"'<>?]+)\?[^\s"'<>]*?(?:X-Amz-(?:Signature|Credential)|AWSAccessKeyId|Signature)=[^\s"'<>]*""",
    re.IGNORECASE,
)
_SIGNED_HEADER = re.compile(r"(AWS4-HMAC-SHA256 Credential=)[^\s]+.*?Signature=[0-9a-f]+", re.IGNORECASE)
_IN_JSON = re.compile(  # a name and a text, at any depth of quoting
    r"""(\\*"([A-Za-z_-]{6,40})\\*"\s*:\s*)(\\*")((?:(?!(?<!\\)\3).)*)(?<!\\)\3""", re.DOTALL
)


def redacted(value: Any, name: str = "") -> Any:
    """A copy that may be shown. Bytes become text where they are text, and their length where not."""
    if isinstance(value, Mapping):
        return {key: redacted(of, str(key)) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(of, name) for of in value]
    if value is not None and not isinstance(value, bool) and is_secret(name):
        return HIDDEN
    if isinstance(value, bytes | bytearray):
        return _bytes(bytes(value))
    return text(value) if isinstance(value, str) else value


def is_secret(name: str) -> bool:
    """Is what has this name never shown?"""
    return _NAME.sub("", name.lower()) in _SECRET_NAMES


def text(value: str) -> str:
    """The text without the secrets in it."""
    value = _PEM.sub(HIDDEN, value)
    value = _PRESIGNED.sub(rf"\1?{HIDDEN}", value)
    value = _SIGNED_HEADER.sub(rf"\1{HIDDEN}", value)
    return _IN_JSON.sub(lambda found: found[1] + found[3] + _kept(found) + found[3], value)


def _kept(found: re.Match[str]) -> str:
    return HIDDEN if is_secret(found[2]) else found[4]


def _bytes(value: bytes) -> str:
    if len(value) <= BYTES_SHOWN:
        try:
            return text(value.decode())
        except UnicodeDecodeError:
            pass
    return f"<{len(value)} bytes>"
