"""The description of the API, OpenAPI 3.1, made from the table of routes."""

from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter

import simulator
from simulator.backend.api import answers
from simulator.backend.api.route import PUBLIC, Asked, Call, Route

_REFS = "#/components/schemas/{model}"
_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
_ABOUT = (
    "Lists come in pages: ask again with `after` set to `next`; the end is an empty page. Times are milliseconds since"
    " 1970. Whoever asks shows a bearer token, or the cookie of a session, of one of three roles: service, lab,"
    " customer; a customer sees the devices of its own sites, and of others not even that they exist."
)


def describe(call: Call[Asked]) -> Any:
    from simulator.backend.api.app import ROUTES

    return document(ROUTES)


@cache
def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """All of it."""
    schemas: dict[str, Any] = {}
    failure = _schema(answers.Failure, schemas)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, failure)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fleetsim: the sandbox's backend", "version": simulator.__version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: dict[str, Any], failure: Any) -> dict[str, Any]:
    words = [part.strip("{}") for part in route.path.split("/")[1:]]
    said: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *words]).replace(".", "_"),
        "summary": route.summary,
        "tags": [words[1] if len(words) > 1 else words[0]],
        "parameters": [*_in_path(route), *_in_query(route, schemas)],
        "security": [{"bearer": []}] if route.roles else [],
    }
    if route.roles:
        said["description"] = f"For {', '.join(sorted(route.roles))}."
    if route.body is not None:
        kinds = ("application/json", "application/yaml") if route.body == dict[str, Any] else ("application/json",)
        schema = _schema(route.body, schemas)
        said["requestBody"] = {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}
    good: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        good["content"] = {route.media: {"schema": _schema(route.answer, schemas)}}
        if route.path == "/api/metrics":
            good["content"]["text/plain"] = {"schema": {"type": "string"}}
    said["responses"] = {str(route.status): good} | {
        str(status): {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": failure}}}
        for status in sorted(refusals(route))
    }
    return said


def refusals(route: Route) -> Iterable[int]:
    """How else it can be answered."""
    found = {400, 403}
    if route.roles != PUBLIC or route.path == "/api/session":
        found.add(401)
    if "{" in route.path or route.path.startswith("/api/realtime"):
        found.add(404)
    if route.method in ("PUT", "POST"):
        found |= {413, 415}
    if route.changes:
        found.add(405)
    if route.slow or route.slow_for_owners or route.media == "text/event-stream":
        found.add(503)
    return found


def _in_path(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _NAME} for name in names]


def _in_query(route: Route, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    whole = TypeAdapter(route.asked).json_schema(ref_template=_REFS)
    schemas.update(whole.pop("$defs", {}))
    needed = whole.get("required", ())
    found = []
    for name, schema in whole.get("properties", {}).items():
        schema.pop("title", None)
        if schema.get("default", 0) is None:
            del schema["default"]
        if [*schema] and "anyOf" in schema:  # a parameter is there or not, it is never null
            kinds = [one for one in schema.pop("anyOf") if one != {"type": "null"}]
            schema |= kinds[0]
        about = schema.pop("description", "")
        one = {"name": name, "in": "query", "required": name in needed, "schema": schema}
        found.append(one | ({"description": about} if about else {}))
    return found


def _schema(of: Any, schemas: dict[str, Any]) -> Any:
    """A reference to a type's schema, or the schema where it has no name."""
    whole = TypeAdapter(of).json_schema(ref_template=_REFS, mode="serialization")
    schemas.update(whole.pop("$defs", {}))
    title = whole.get("title")
    if title is None:
        return whole
    schemas[title] = whole
    return {"$ref": _REFS.format(model=title)}


ROUTE = Route("GET", "/api/openapi.json", PUBLIC, "This description.", describe)
