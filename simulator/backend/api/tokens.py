"""Who may ask for what: three roles, known by bearer tokens.

    service    everything, and it alone changes what belongs to the platform
    lab        all devices, rules and formulas, also to change them; no customers, no sites
    customer   the devices of its own sites, and nothing that tells that there are others

Rules: a token is 32 random bytes; only its SHA-256 is kept, in the configuration or in a file of the state folder that
its owner alone can read. A given token is compared with all there are, each in constant time. Without any token in the
configuration everybody on this machine is the service.
"""

import hmac
import os
import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from simulator.errors import UsageError

FILE = "tokens.json"
TOKENS_MAX = 200
CUSTOMER = r"^[^\x00-\x20\x7f*][^\x00-\x1f\x7f]{0,127}$"  # `*` means each to the aggregates

Role = Literal["service", "lab", "customer"]
ROLES: tuple[Role, ...] = ("service", "lab", "customer")


class Who(NamedTuple):
    """Somebody who asks."""

    role: Role
    customer: str = ""  # of the role customer
    token: str = ""  # the token's id; empty where none is needed

    @property
    def owner(self) -> str | None:
        """Whose devices it may see; None: all."""
        return self.customer if self.role == "customer" else None


EVERYBODY = Who("service")


class Token(NamedTuple):
    """What is kept of a token."""

    id: str
    role: Role
    customer: str
    sha256: str
    at_ms: int  # 0: of the configuration

    def document(self) -> dict[str, Any]:
        """As JSON, without anything secret."""
        return {"id": self.id, "role": self.role, "customer": self.customer or None, "at_ms": self.at_ms}


def digest(secret: str) -> str:
    """What is kept of a secret. It is random, so it needs no salt and no slow hash."""
    return sha256(secret.encode()).hexdigest()


class Tokens:
    """All tokens: of the configuration, and those made since."""

    def __init__(self, configured: Sequence[Token] = (), folder: Path | None = None) -> None:
        """Those made since are kept in `folder`; UsageError when its file is none of ours."""
        self._configured = {token.id: token for token in configured}
        self._file = folder / FILE if folder else None
        self._made = {token.id: token for token in self._read()}

    @property
    def needed(self) -> bool:
        """Does anybody need one?"""
        return bool(self._configured)

    @property
    def all(self) -> list[Token]:
        """All of them, oldest first."""
        return [*self._configured.values(), *self._made.values()]

    def who(self, given: str) -> Who | None:
        """Whose token it is; None: nobody's."""
        mark, found = digest(given), None
        for token in self.all:
            if hmac.compare_digest(token.sha256, mark):
                found = token
        return Who(found.role, found.customer, found.id) if found else None

    def by_id(self, token_id: str) -> Who | None:
        """Who has this token; None: it is no more."""
        token = self._made.get(token_id) or self._configured.get(token_id)
        return Who(token.role, token.customer, token.id) if token else None

    def make(self, role: Role, customer: str, now_ms: int) -> tuple[Token, str]:
        """A new token, and its secret, which nobody can read again."""
        if not self.needed:
            raise UsageError("no tokens are configured, so nobody needs one: everybody here is the service")
        if len(self._made) + len(self._configured) >= TOKENS_MAX:
            raise UsageError(f"tokens: there are {TOKENS_MAX} already, which is the most")
        if type(customer) is not str or (role == "customer") != bool(customer):
            raise UsageError("customer: a token of the role 'customer' needs it, and no other may have it")
        if customer and not re.fullmatch(CUSTOMER, customer):
            raise UsageError("customer: must be 1 to 128 printable characters, and not begin with * or a space")
        secret = secrets.token_urlsafe(32)
        token = Token(secrets.token_hex(8), role, customer, digest(secret), now_ms)
        self._made[token.id] = token
        self._write()
        return token, secret

    def delete(self, token_id: str) -> bool:
        """Do away with a token; False when there is none. UsageError for one of the configuration."""
        if token_id in self._configured:
            raise UsageError(f"token '{token_id}' is one of the configuration: take it out there")
        if self._made.pop(token_id, None) is None:
            return False
        self._write()
        return True

    def _read(self) -> list[Token]:
        if self._file is None or not self._file.exists():
            return []
        try:
            found = [Token(**entry) for entry in orjson.loads(self._file.read_bytes())]
            if all(one.role in ROLES and type(one.sha256) is str for one in found):
                return found[:TOKENS_MAX]
        except (OSError, ValueError, TypeError):
            pass
        raise UsageError(f"{self._file}: is no file of tokens; take it away, and make them again")

    def _write(self) -> None:
        if self._file is None:
            return
        private(self._file, orjson.dumps([token._asdict() for token in self._made.values()]))


def private(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read: whole, or not at all."""
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
    unfinished.replace(file)
