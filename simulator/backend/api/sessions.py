"""Sessions of web pages: a code that is good once becomes a cookie, which stands for a token.

Rules: the cookie is HttpOnly and SameSite=Strict, names a token and its end, and is signed with a key of the state
folder; so it outlives a restart of this process, and ends with its token. A code is random, good for one visit, and
kept here only. Two backends on one host have cookies of different names, for a browser does not tell ports apart.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from simulator.backend.api.tokens import Tokens, Who, digest, private

FILE = "session.key"
KEY_BYTES = 32
CODES_MAX = 1000
CODES_EACH_MAX = 50  # of a token
CODE_S = 24 * 3600
SESSION_S = 7 * 24 * 3600


class Sessions:
    """Makes codes and cookies, and knows them again."""

    def __init__(self, tokens: Tokens, now_ms: Callable[[], int], folder: Path | None = None) -> None:
        self._tokens, self._now_ms = tokens, now_ms
        self._key = _key(folder)
        self._codes: OrderedDict[str, tuple[str, int]] = OrderedDict()  # digest → (token's id, end in ms)
        self.cookie = f"fleetsim_{sha256(self._key).hexdigest()[:12]}"

    def code(self, who: Who) -> str:
        """A code for one visit, with the rights of who asks for it."""
        code = secrets.token_urlsafe(32)
        own = [key for key, (token_id, _) in self._codes.items() if token_id == who.token]
        if len(own) >= CODES_EACH_MAX:  # who asks for many loses its own
            del self._codes[own[0]]
        self._codes[digest(code)] = (who.token, self._now_ms() + 1000 * CODE_S)
        if len(self._codes) > CODES_MAX:
            self._codes.popitem(last=False)
        return code

    def enter(self, code: str) -> str | None:
        """The cookie's value for a code, which is used up by it; None for any other."""
        token_id, end_ms = self._codes.pop(digest(code), ("", 0))
        if self._now_ms() >= end_ms or self._tokens.by_id(token_id) is None:
            return None
        return self.begin(token_id)

    def begin(self, token_id: str) -> str:
        """The cookie's value for a token."""
        said = f"{token_id}.{self._now_ms() // 1000 + SESSION_S}"
        return urlsafe_b64encode(f"{said}.{self._sign(said)}".encode()).decode().rstrip("=")

    def who(self, cookie: str) -> Who | None:
        """Whose session it is; None: nobody's, or it is over."""
        try:
            text = urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)).decode("ascii")
        except ValueError:
            return None
        said, _, signature = text.rpartition(".")
        if not hmac.compare_digest(signature, self._sign(said)):
            return None
        token_id, _, end_s = said.rpartition(".")
        return self._tokens.by_id(token_id) if self._now_ms() < 1000 * int(end_s) else None

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), sha256).hexdigest()


def _key(folder: Path | None) -> bytes:
    if folder is None:
        return secrets.token_bytes(KEY_BYTES)
    file = folder / FILE
    if file.exists() and len(key := file.read_bytes()) == KEY_BYTES:
        return key
    key = secrets.token_bytes(KEY_BYTES)
    private(file, key)
    return key
