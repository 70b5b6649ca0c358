"""Rules, specs, formulas and master data: what is in force, its versions, and how it is changed.

Rules: everything that changes something goes through `Changes`, on the loop, where messages are taken too.
"""

from typing import Annotated, Any, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict

from simulator.backend.api import answers
from simulator.backend.api.route import SERVICE, STAFF, Asked, Call, Handler, Named, Paged, Route, missing
from simulator.backend.changes import json_object
from simulator.backend.queries import KEYS, PAGE
from simulator.errors import UsageError

Kind = Literal["rule", "spec", "formula"]

MASTER_BODY_MAX = 32 * 1024 * 1024  # 200,000 devices
Body = dict[str, Any]  # `Changes` checks it


class VersionBody(TypedDict):
    """The version that shall be in force again."""

    version: Annotated[int, Field(ge=1)]


class ReplayBody(TypedDict, total=False):
    """Either ids or a reason."""

    ids: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=1000)]
    reason: str


class DispatchBody(TypedDict, total=False):
    """How far it is, who says so, and what there is to say."""

    state: Required[str]
    who: str
    note: str


def current(kind: Kind) -> Handler:
    """What is in force, by name."""

    def answer(call: Call[Named]) -> Any:
        found = call.reads.queries.current(kind, call.asked.after, call.asked.limit)
        return {"next": found[-1][KEYS[kind]] if found else call.asked.after, f"{kind}s": found}

    return answer


def versions(kind: Kind) -> Handler:
    """One of them, with its versions."""

    def answer(call: Call[Asked]) -> Any:
        found = call.reads.queries.history(kind, call.name)
        if not found:
            missing(kind, call.name)
        return found[0] | {"versions": found}

    return answer


def put_rule(call: Call[Asked]) -> Any:
    return {"ruleId": call.name, "version": call.changes.put_rule(call.name, call.body)}


def delete_rule(call: Call[Asked]) -> Any:
    if not call.changes.delete_rule(call.name):
        missing("rule", call.name)
    return {"ruleId": call.name}


def put_spec(call: Call[Asked]) -> Any:
    return {"productId": call.name, "version": call.changes.put_spec(call.name, call.body)}


def put_formula(call: Call[Asked]) -> Any:
    return {"formulaId": call.name, "version": call.changes.put_formula(call.name, call.body)}


def delete_formula(call: Call[Asked]) -> Any:
    if not call.changes.delete_formula(call.name):
        missing("formula", call.name)
    return {"formulaId": call.name}


def roll_back(kind: Literal["rule", "formula"]) -> Handler:
    """An earlier version is in force again, as a new one."""

    def answer(call: Call[Asked]) -> Any:
        version = read_object(call.body, "version").get("version")
        if type(version) is not int or version < 1:
            raise UsageError('the body must be {"version": 1}, an earlier version')
        if not call.reads.queries.history(kind, call.name):
            missing(kind, call.name)
        return {KEYS[kind]: call.name, "version": call.changes.rollback(kind, call.name, version)}

    return answer


async def replay(call: Call[Asked]) -> Any:
    return await call.changes.replay(call.body)


def put_master(call: Call[Asked]) -> Any:
    return call.changes.put_master(call.body)


def advance(call: Call[Asked]) -> Any:
    said = read_object(call.body, "state", "who", "note")
    state, who, note = (said.get(name, "") for name in ("state", "who", "note"))
    if not all(type(one) is str and len(one) <= 1000 for one in (state, who, note)) or not state:
        raise UsageError('the body must be {"state": "on_site", "who": "…", "note": "…"}')
    if call.reads.platform.dispatch(call.name) is None:
        missing("dispatch", call.name)
    call.changes.advance_dispatch(call.name, state, who, note)
    return call.reads.platform.dispatch(call.name)


def sites(call: Call[Paged]) -> Any:
    found = call.reads.platform.sites(call.who.owner)[call.asked.after :][: min(call.asked.limit, PAGE)]
    return {"next": call.asked.after + len(found), "sites": found}


def read_object(body: bytes, *keys: str) -> dict[str, Any]:
    """A body of JSON with these keys and no others; UsageError."""
    found = json_object(body)
    if unknown := found.keys() - set(keys):
        raise UsageError(f"{min(unknown)[:64]}: unknown key (known: {', '.join(keys)})")
    return found


ROUTES = (
    Route("GET", "/api/rules", STAFF, "The rules that are in force, by name.", current("rule"), Named,
          answers.RulePage),
    Route("GET", "/api/rules/{id}", STAFF, "A rule with its versions, newest first.", versions("rule")),
    Route("PUT", "/api/rules/{id}", STAFF, "Make or change a rule.", put_rule, answer=answers.RuleChanged,
          body=Body, changes=True),
    Route("DELETE", "/api/rules/{id}", SERVICE, "Do away with a rule, and close its alarms.", delete_rule,
          answer=answers.RuleDeleted, changes=True),
    Route("GET", "/api/specs", STAFF, "What the bytes of products mean, by product.", current("spec"), Named,
          answers.SpecPage),
    Route("GET", "/api/specs/{id}", STAFF, "A product's spec with its versions, newest first.", versions("spec")),
    Route("PUT", "/api/specs/{id}", SERVICE, "Make or change a product's spec; YAML, too.", put_spec,
          answer=answers.SpecChanged, body=Body, changes=True),
    Route("POST", "/api/dead_letters/replay", SERVICE, "Try refused messages again.", replay,
          answer=answers.Replayed, body=ReplayBody, changes=True),
)  # fmt: skip
# What the data platform adds.
PLATFORM = (
    Route("POST", "/api/rules/{id}/rollback", STAFF, "An earlier version of a rule is in force again.",
          roll_back("rule"), answer=answers.RuleChanged, body=VersionBody, changes=True),
    Route("GET", "/api/formulas", STAFF, "The formulas that are in force, by name.", current("formula"), Named,
          answers.FormulaPage),
    Route("GET", "/api/formulas/{id}", STAFF, "A formula with its versions, newest first.", versions("formula")),
    Route("PUT", "/api/formulas/{id}", STAFF, "Make or change a formula.", put_formula,
          answer=answers.FormulaChanged, body=Body, changes=True),
    Route("DELETE", "/api/formulas/{id}", SERVICE, "Do away with a formula.", delete_formula,
          answer=answers.FormulaDeleted, changes=True),
    Route("POST", "/api/formulas/{id}/rollback", STAFF, "An earlier version of a formula is in force again.",
          roll_back("formula"), answer=answers.FormulaChanged, body=VersionBody, changes=True),
    Route("POST", "/api/dispatches/{id}", SERVICE, "Say how far a dispatch is.", advance, body=DispatchBody,
          changes=True),
    Route("GET", "/api/sites", frozenset(("service", "customer")), "Sites with their customer.", sites, Paged,
          answers.SitePage),
    Route("PUT", "/api/master", SERVICE, "Say where devices stand, and whose they are.", put_master, body=Body,
          body_max=MASTER_BODY_MAX, changes=True),
)  # fmt: skip
