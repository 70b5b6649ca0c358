"""Tokens, codes and sessions; names of this host, foreign pages and safe headers."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from simulator.backend.api import Api
from simulator.backend.api.sessions import CODE_S, SESSION_S, Sessions
from simulator.backend.api.tokens import TOKENS_MAX, Tokens, Who
from simulator.backend.store import Store
from simulator.errors import UsageError
from tests.backend.asgi import Answer, ask
from tests.backend.two_customers import NOW_MS, OURS, api, fill, tokens

NEEDS = "customer: a token of the role 'customer' needs it, and no other may have it"
PRINTABLE = "customer: must be 1 to 128 printable characters, and not begin with * or a space"
SERVICE = {"Authorization": "Bearer service-secret"}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Api]:
    store = fill(tmp_path / "store")
    found = api(store, tmp_path)
    yield found
    found.close()
    store.close()


@pytest.fixture
def app(made: Api) -> ASGIApp:
    return made.app


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_code_opens_a_session_once(app: ASGIApp) -> None:
    code = ask(app, "POST", "/api/codes", **SERVICE)
    assert code.status == 201
    entered = ask(app, "GET", code.json["path"])
    assert (entered.status, entered.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(entered.headers["set-cookie"].split("; "))
    assert entered.headers["referrer-policy"] == "no-referrer", "the code is in the address"
    cookie = cookie_of(entered)
    assert ask(app, "GET", "/api/session", Cookie=cookie).json == {"role": "service", "customer": None}
    assert ask(app, "GET", "/api/overview", Cookie=f"other=1; {cookie}").status == 200
    assert ask(app, "GET", code.json["path"]).status == 403
    ended = ask(app, "DELETE", "/api/session", Cookie=cookie)
    assert "Max-Age=0" in ended.headers["set-cookie"]


def test_a_code_has_the_rights_of_who_made_it(app: ASGIApp) -> None:
    code = ask(app, "POST", "/api/codes", Authorization="Bearer our-secret").json
    cookie = cookie_of(ask(app, "GET", code["path"]))
    assert ask(app, "GET", "/api/session", Cookie=cookie).json == {"role": "customer", "customer": "us"}
    assert ask(app, "GET", "/api/counts", Cookie=cookie).status == 403


def test_a_session_by_a_token(app: ASGIApp) -> None:
    assert ask(app, "POST", "/api/session", {"token": "wrong"}).status == 401
    assert ask(app, "POST", "/api/session", {"tokn": "x"}).json == {"error": "tokn: unknown key (known: token)"}
    begun = ask(app, "POST", "/api/session", {"token": "lab-secret"})
    assert (begun.status, begun.json) == (201, {"role": "lab", "customer": None})
    assert ask(app, "GET", "/api/counts", Cookie=cookie_of(begun)).status == 200


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + "A", lambda c: c.swapcase(), lambda c: c[:30], lambda c: "é"]
)
def test_a_cookie_that_was_changed_is_worth_nothing(app: ASGIApp, change: Any) -> None:
    name, _, value = cookie_of(ask(app, "POST", "/api/session", {"token": "lab-secret"})).partition("=")
    assert ask(app, "GET", "/api/counts", Cookie=f"{name}={change(value)}").status == 401


def test_a_cookie_outlives_a_restart_and_no_token(tmp_path: Path) -> None:
    now_ms = NOW_MS
    kept = tokens(tmp_path)
    token, secret = kept.make("lab", "", now_ms)
    sessions = Sessions(kept, lambda: now_ms, tmp_path)
    cookie, code = sessions.begin(token.id), sessions.code(Who("lab", "", token.id))
    again = tokens(tmp_path)
    assert again.who(secret) == Who("lab", "", token.id)
    restarted = Sessions(again, lambda: now_ms, tmp_path)
    assert restarted.who(cookie) == Who("lab", "", token.id)
    assert restarted.enter(code) is None, "codes are of one process"
    assert Sessions(kept, lambda: now_ms).who(cookie) is None, "another key"
    assert again.delete(token.id)
    assert restarted.who(cookie) is None
    now_ms += 1000 * CODE_S
    assert sessions.enter(code) is None
    now_ms += 1000 * SESSION_S
    assert sessions.who(cookie) is None
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert secret.encode() not in file.read_bytes()


def test_tokens_are_made_shown_and_done_away_with(app: ASGIApp) -> None:
    made = ask(app, "POST", "/api/tokens", {"role": "customer", "customer": "us"}, **SERVICE)
    assert made.status == 201
    theirs = {"Authorization": f"Bearer {made.json['token']}"}
    assert ask(app, "GET", f"/api/device/{OURS}", **theirs).status == 200
    shown = ask(app, "GET", "/api/tokens", **SERVICE)
    assert made.json["token"].encode() not in shown.body
    assert made.json["id"] in [token["id"] for token in shown.json["tokens"]]
    assert ask(app, "DELETE", f"/api/tokens/{made.json['id']}", **SERVICE).status == 200
    assert ask(app, "GET", f"/api/device/{OURS}", **theirs).status == 401
    assert ask(app, "DELETE", f"/api/tokens/{made.json['id']}", **SERVICE).status == 404
    assert ask(app, "DELETE", "/api/tokens/service-secret", **SERVICE).status == 400


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"role": "root"}, "role: must be one of service, lab, customer"),
        ({"role": "customer"}, NEEDS),
        ({"role": "lab", "customer": "us"}, NEEDS),
        ({"role": "customer", "customer": "*"}, PRINTABLE),
        ({"role": "customer", "customer": ["us"]}, NEEDS),
        ([], "the body must be an object"),
    ],
)  # fmt: skip
def test_a_wrong_token_is_told_why(app: ASGIApp, body: Any, why: str) -> None:
    answer = ask(app, "POST", "/api/tokens", body, **SERVICE)
    assert (answer.status, answer.json) == (400, {"error": why})


def test_tokens_have_a_bound(tmp_path: Path) -> None:
    found = tokens()
    for _ in range(TOKENS_MAX - len(found.all)):
        found.make("lab", "", NOW_MS)
    with pytest.raises(UsageError, match="there are 200 already"):
        found.make("lab", "", NOW_MS)
    (tmp_path / "tokens.json").write_text("[1]")
    with pytest.raises(UsageError, match="is no file of tokens"):
        Tokens((), tmp_path)


def test_without_tokens_everybody_here_is_the_service_and_nobody_else_is_anybody(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit({}, {})
    found = Api(store.path, lambda: NOW_MS)
    assert ask(found.app, "GET", "/api/session").json == {"role": "service", "customer": None}
    assert ask(found.app, "POST", "/api/tokens", {"role": "lab"}).status == 400
    assert ask(found.app, "POST", "/api/codes").json["error"].startswith("no tokens are configured")
    found.close()
    store.close()


LOCAL = ("127.0.0.1", "127.0.0.1:8080", "localhost:80", "[::1]:80", "[::1]")
ELSEWHERE = (
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:80",
    "localhost.evil",
    "127.0.0.1@evil",
    "0x7f000001",
)


def test_only_names_of_this_machine_are_answered(app: ASGIApp) -> None:
    for host in LOCAL:
        assert ask(app, "GET", "/api/health", Host=host).status == 200, host
    for host in ELSEWHERE:
        for method, path in (("GET", "/api/health"), ("GET", "/"), ("PUT", "/api/rules/x"), ("GET", "/enter?code=x")):
            answer = ask(app, method, path, Host=host, **SERVICE)
            assert (answer.status, answer.json) == (403, {"error": "Host: is no name of this machine"}), host


def test_foreign_pages_are_not_answered(app: ASGIApp) -> None:
    for more in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9"},
                 {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}):  # fmt: skip
        for method in ("GET", "PUT", "POST", "DELETE"):
            assert ask(app, method, "/api/overview", **SERVICE, **more).status == 403, more
    for more in ({"Origin": "http://127.0.0.1"}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}):
        assert ask(app, "GET", "/api/overview", **SERVICE, **more).status == 200, more


def test_headers_are_safe_on_every_answer(app: ASGIApp) -> None:
    for path, more in (("/api/health", {}), ("/api/nothing", {}), ("/", {}), ("/api/health", {"Host": "evil"})):
        headers = ask(app, "GET", path, **more).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control-")]


def test_a_wrong_scheme_is_no_token(app: ASGIApp) -> None:
    for given in (
        "service-secret",
        "Basic service-secret",
        "Bearer",
        "Bearer ",
        "Bearer service-secret x",
        "bearer\tx",
    ):
        assert ask(app, "GET", "/api/counts", Authorization=given).status == 401, given
    assert ask(app, "GET", "/api/counts", Authorization="bearer service-secret").status == 200
    assert ask(app, "GET", "/api/counts?token=service-secret").status == 401


def test_pages_lie_beside_the_api(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.commit({}, {})
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<p>here</p>")
    (tmp_path / "secret.txt").write_text("no")
    found = Api(store.path, lambda: NOW_MS, tokens=tokens(), pages=pages)
    shown = ask(found.app, "GET", "/")
    assert (shown.status, shown.body) == (200, b"<p>here</p>")
    assert shown.headers["content-security-policy"].startswith("default-src 'self'")
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/nothing"):
        assert ask(found.app, "GET", path).status == 404, path
    assert ask(found.app, "GET", "/api/nothing").json == {"error": "Not Found"}
    found.close()
    store.close()
