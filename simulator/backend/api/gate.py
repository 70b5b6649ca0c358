"""What every request meets first and every answer last: no strange names of this host, no foreign pages, safe headers.

Rules: a web page somewhere else can make a browser on this machine send requests here. By DNS it can even give this
host a name of its own (rebinding), and then read the answers; so the Host must be one of this machine's own names. What
a browser says of the page behind a request (`Origin`, `Sec-Fetch-Site`) must be ours as well. Tokens come in the
Authorization header or stand behind a cookie, never in an address.
"""

from collections import Counter
from http.cookies import CookieError, SimpleCookie
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.backend.api.sessions import SESSION_S, Sessions
from simulator.backend.api.tokens import EVERYBODY, Tokens, Who

LOCAL = frozenset(("127.0.0.1", "localhost", "::1", "[::1]"))
COOKIE_MAX = 4096
ENTER = "/enter"  # a page elsewhere must not make a browser somebody else

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OF_DATA = "default-src 'none'; frame-ancestors 'none'"
_OF_PAGES = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)


class Gate:
    """An ASGI application in front of another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.answers: Counter[int] = Counter()  # by status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        data = scope["path"].startswith(("/api/", "/control/"))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answers[message["status"]] += 1
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", _OF_DATA if data else _OF_PAGES)
                headers.setdefault("Cache-Control", "no-store" if data else "no-cache")
            await send(message)

        why = refusal(Headers(scope=scope), data or scope["path"] == ENTER)
        await (json_response({"error": why}, 403) if why else self._app)(scope, receive, guarded)


def refusal(headers: Headers, guarded: bool) -> str:
    """Why this request is none of ours; empty when it may go on."""
    hosts = headers.getlist("host")
    if len(hosts) > 1 or not all(name_of(one) in LOCAL for one in hosts):
        return "Host: is no name of this machine"
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] not in hosts:
        return "Origin: is another page's"
    if guarded and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "Sec-Fetch-Site: is another page's"
    return ""


def name_of(host: str) -> str:
    """A Host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def caller(request: Request, tokens: Tokens, sessions: Sessions) -> Who:
    """Who asks; HTTPException 401 or 403 when nobody knows."""
    if not tokens.needed:
        if request.client and request.client.host not in LOCAL:
            raise HTTPException(403, "without tokens, this machine only")
        return EVERYBODY
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        who = tokens.who(token.strip()) if scheme.lower() == "bearer" else None
        if who is None:
            raise HTTPException(401, "Authorization: the token is wrong", {"WWW-Authenticate": "Bearer"})
        return who
    cookie = cookie_in(request.headers.get("cookie", ""), sessions.cookie)
    who = sessions.who(cookie) if cookie else None
    if who is None:
        raise HTTPException(401, "Authorization: no token", {"WWW-Authenticate": "Bearer"})
    return who


def cookie_in(header: str, name: str) -> str:
    """A cookie's value; empty when there is none."""
    if len(header) > COOKIE_MAX:
        return ""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def cookie_of(sessions: Sessions, value: str) -> str:
    """The Set-Cookie of a session."""
    return f"{sessions.cookie}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_S}"


def cleared(sessions: Sessions) -> str:
    """The Set-Cookie of its end."""
    return f"{sessions.cookie}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
