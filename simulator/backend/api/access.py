"""Tokens, codes and sessions: who may ask, and how a browser shows that it may."""

from typing import Annotated, Any

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from typing_extensions import TypedDict

from simulator.backend.api import answers
from simulator.backend.api.gate import cleared, cookie_of, json_response
from simulator.backend.api.route import ALL, PUBLIC, SERVICE, Asked, Call, Paged, Route, Word, missing
from simulator.backend.api.settings import read_object
from simulator.backend.api.tokens import CUSTOMER, ROLES, Role
from simulator.backend.queries import PAGE
from simulator.errors import UsageError


class TokenBody(TypedDict, total=False):
    """For whom."""

    role: Role
    customer: Annotated[str, Field(pattern=CUSTOMER)]


class SessionBody(TypedDict):
    """The token that the session shall stand for."""

    token: str


class EnterAsked(Asked):
    code: Word


def tokens(call: Call[Paged]) -> Any:
    found = call.desk.tokens.all[call.asked.after :][: min(call.asked.limit, PAGE)]
    return {"next": call.asked.after + len(found), "tokens": [token.document() for token in found]}


def make_token(call: Call[Asked]) -> Any:
    said = read_object(call.body, "role", "customer")
    role, customer = said.get("role"), said.get("customer", "")
    if role not in ROLES:
        raise UsageError(f"role: must be one of {', '.join(ROLES)}")
    token, secret = call.desk.tokens.make(role, customer, call.now_ms)
    return json_response(token.document() | {"token": secret}, 201)


def delete_token(call: Call[Asked]) -> Any:
    if not call.desk.tokens.delete(call.name):
        missing("token", call.name)
    return {"id": call.name}


def make_code(call: Call[Asked]) -> Any:
    if not call.desk.tokens.needed:
        raise UsageError("no tokens are configured, so nobody needs a code: go to /")
    code = call.desk.sessions.code(call.who)
    return json_response({"code": code, "path": f"/enter?code={code}"}, 201)


def enter(call: Call[EnterAsked]) -> Response:
    value = call.desk.sessions.enter(call.asked.code)
    if value is None:
        raise HTTPException(403, "this link was used already, or is too old; ask for another")
    return RedirectResponse("/", 303, {"Set-Cookie": cookie_of(call.desk.sessions, value), "Cache-Control": "no-store"})


def session(call: Call[Asked]) -> Any:
    return {"role": call.who.role, "customer": call.who.customer or None}


def begin_session(call: Call[Asked]) -> Response:
    given = read_object(call.body, "token").get("token")
    who = call.desk.tokens.who(given) if type(given) is str else None
    if who is None:
        raise HTTPException(401, "token: is wrong", {"WWW-Authenticate": "Bearer"})
    said = {"role": who.role, "customer": who.customer or None}
    return json_response(said, 201, {"Set-Cookie": cookie_of(call.desk.sessions, call.desk.sessions.begin(who.token))})


def end_session(call: Call[Asked]) -> Response:
    return json_response(session(call), 200, {"Set-Cookie": cleared(call.desk.sessions)})


ROUTES = (
    Route("GET", "/api/tokens", SERVICE, "The tokens there are, without their secrets.", tokens, Paged,
          answers.TokenPage),
    Route("POST", "/api/tokens", SERVICE, "Make a token; its secret is shown once.", make_token,
          answer=answers.TokenMade, body=TokenBody, status=201),
    Route("DELETE", "/api/tokens/{id}", SERVICE, "Do away with a token; its sessions and streams end.", delete_token,
          answer=answers.TokenDeleted),
    Route("POST", "/api/codes", ALL, "A link for a browser, good once, with the rights of the caller.", make_code,
          answer=answers.CodeMade, status=201),
    Route("GET", "/api/session", ALL, "Who the caller is.", session, answer=answers.SessionAnswer),
    Route("POST", "/api/session", PUBLIC, "Begin a session of a browser with a token: sets a cookie.", begin_session,
          answer=answers.SessionAnswer, body=SessionBody, status=201),
    Route("DELETE", "/api/session", ALL, "End the session of this browser.", end_session,
          answer=answers.SessionAnswer),
    Route("GET", "/enter", PUBLIC, "A code becomes a session: sets a cookie, and leads to the pages.", enter,
          EnterAsked, None, status=303, media="text/html"),  # of no JSON: else a HEAD would use the code up
)  # fmt: skip
