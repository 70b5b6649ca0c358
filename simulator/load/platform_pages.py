"""The platform's pages in Locust's UI: `/fleet/pages/`, to look only.

    /fleet/pages/                the files of simulator/pages
    /fleet/pages/api/<address>   of the platform's API, what these pages read

Rules: Locust's UI may be open to a whole network, and the platform is not; so nothing but the addresses below is passed
on, nothing but GET, and whoever looks is a `watcher`, for whom the pages have no buttons. The platform's token stays on
this side. Where there is no platform (a target without a read API) there are no pages.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import requests
from flask import Blueprint, Response, request, send_file

import simulator

FOLDER = Path(simulator.__file__).parent / "pages"
TYPES = frozenset((".html", ".css", ".js", ".svg"))
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; object-src 'none'"
READABLE = re.compile(
    r"overview|counts|devices|latest|alarms|events|stream|jobs|dispatches|notifications"
    r"|device/[^/]+(/shadow)?|telemetry/[^/]+|dispatches/[^/]+"
)
WATCHER = {"role": "watcher", "customer": None}
TIMEOUT_S = 15.0  # for the first byte, and between two of a stream, which says something as often
BYTES_MAX = 16 * 1024 * 1024
CHUNK = 64 * 1024

View = Callable[..., Any]


class PlatformPages:
    """Files, and the way to the API."""

    def __init__(self, brief: Callable[[], str]) -> None:
        """`brief` gives the path of the run's brief, which says where the platform is; empty: there is none."""
        self._brief = brief

    def add_to(self, blueprint: Blueprint, guarded: Callable[[View], View]) -> None:
        """Mount them; `guarded` is Locust's log-in."""
        for address, name, view in (
            ("/fleet/pages/", "platform_page", lambda: self._file("index.html")),
            ("/fleet/pages/<name>", "platform_file", self._file),
            ("/fleet/pages/api/session", "platform_session", lambda: _json(WATCHER)),
            ("/fleet/pages/api/<path:address>", "platform_api", self._read),
        ):
            blueprint.add_url_rule(address, name, guarded(view))

    def _file(self, name: str) -> Response:
        path = FOLDER / name
        if path.parent != FOLDER or path.suffix not in TYPES or not path.is_file():
            return _json({"error": "no such file"}, 404)
        answer: Response = send_file(path, max_age=0)
        answer.headers["Content-Security-Policy"] = POLICY
        return _plain(answer)

    def _read(self, address: str) -> Response:
        if not READABLE.fullmatch(address) or ".." in address.split("/") or "." in address.split("/"):
            return _json({"error": f"'{address[:80]}' is not passed on here"}, 404)
        place = self._place()
        if place is None:
            return _json({"error": "this target has no read API"}, 503)
        url, token = place
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if last := request.headers.get("Last-Event-ID"):
            headers["Last-Event-ID"] = last
        try:
            answer = requests.get(
                f"{url}/api/{'/'.join(quote(part, safe='') for part in address.split('/'))}",
                params=request.query_string, headers=headers, stream=True, timeout=TIMEOUT_S, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException:
            return _json({"error": "the platform does not answer"}, 503)
        return _plain(Response(_body(answer), answer.status_code, content_type=answer.headers.get("Content-Type")))

    def _place(self) -> tuple[str, str | None] | None:
        brief = self._brief()
        if not brief:
            return None
        at = orjson.loads(Path(brief).read_bytes())["addresses"]
        return (at["api_url"], at.get("api_token")) if at.get("api_url") else None


def _body(answer: requests.Response) -> Iterator[bytes]:
    """What comes, as it comes; a stream has no end, and an answer has a bound."""
    endless = answer.headers.get("Content-Type", "").startswith("text/event-stream")
    size = 0
    with answer:
        try:
            for part in answer.iter_content(None if endless else CHUNK):
                size += len(part)
                if size > BYTES_MAX and not endless:
                    return
                yield part
        except requests.RequestException:
            return  # the platform is gone; the page asks again


def _json(said: Any, status: int = 200) -> Response:
    return _plain(Response(orjson.dumps(said), status, mimetype="application/json"))


def _plain(answer: Response) -> Response:
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Cache-Control"] = "no-cache"
    return answer
