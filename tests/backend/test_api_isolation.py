"""A customer sees its own devices and cannot find out that there are others: every route, every way to name them."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, quote

import pytest
from starlette.types import ASGIApp

from simulator.backend.api import ROUTES
from simulator.backend.api.route import Route
from tests.backend.asgi import Answer, ask
from tests.backend.two_customers import MARK, NOBODYS, OURS, SECRETS, THEIRS, api, fill

ALARM = f"{THEIRS}-hot-1"
STREAM = "/api/stream"  # does not end; test_api_stream.py
ASKED = [route for route in ROUTES if route.method == "GET" and route.path != STREAM]
NAMED = [route for route in ASKED if "{" in route.path]
OF_DEVICES = ("/api/device/{id}", "/api/realtime/{id}", "/api/telemetry/{id}", "/api/archive/{id}")
# Names of the other's, in each place where a name can stand.
NAMES = (THEIRS, ALARM, f"site-{MARK}", f"them-{MARK}", f"hub-{MARK}", f"upload-{MARK}", f"formula-{MARK}")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    store = fill(tmp_path_factory.mktemp("store"))
    made = api(store)
    yield made.app
    made.close()
    store.close()


def said(app: ASGIApp, secret: str, path: str, method: str = "GET") -> Answer:
    return ask(app, method, path, {} if method in ("PUT", "POST") else None, Authorization=f"Bearer {secret}")


def filters(route: Route) -> list[str]:
    """The route with nothing, and with each filter set to each name of the other's."""
    needed = "&".join(f"{name}=ours,{MARK}" for name, one in route.asked.model_fields.items() if one.is_required())
    found = [f"?{needed}" if needed else ""]
    for name, field in route.asked.model_fields.items():
        if "str" in str(field.annotation) and "Literal" not in str(field.annotation):
            found += [f"?{name}={quote(value)}" for value in (*NAMES, "*", "%")]
    return [*found, "?limit=1000"] if "limit" in route.asked.model_fields else found


@pytest.mark.parametrize("route", ASKED, ids=lambda route: route.path)
def test_no_answer_bears_the_mark_of_another(app: ASGIApp, route: Route) -> None:
    for query in filters(route):
        for name in (OURS, "control", "alarm", "rollback", "ota", f"{OURS}-hot-1", "hot"):
            path = route.path.replace("{id}", name).replace("{kind}", name) + query
            answer = said(app, "our-secret", path)
            assert answer.status in (200, 400, 401, 403, 404), path
            if answer.status == 200:
                told = answer.body
                for _, value in parse_qsl(query):  # what was asked may be said once
                    told = told.replace(value.rpartition(",")[2].encode(), b"", 1)
                assert MARK.encode() not in told, path
                assert NOBODYS.encode() not in answer.body, path
            if "{" not in route.path:
                break


@pytest.mark.parametrize("route", NAMED, ids=lambda route: route.path)
def test_what_is_anothers_answers_as_what_is_not_there(app: ASGIApp, route: Route) -> None:
    for name in NAMES:
        other = "x" * len(name)  # as long, so that not even the length tells
        theirs, nothing = (
            said(app, "our-secret", route.path.replace("{id}", one).replace("{kind}", one)) for one in (name, other)
        )
        assert theirs.status == nothing.status in (403, 404)
        assert theirs.body == nothing.body.replace(other.encode(), name.encode())
        assert {**theirs.headers} == {**nothing.headers}


# How a name can be written so that a check might take it for another; each with what stands for THEIRS in it.
TRICKS = (
    "{t}", "%{hex}", "{t}%00", "{t}%20", "%20{t}", "{t}/", "{t}//", "./{t}", "../device/{t}", "{own}/../{t}",
    "{own}%2f..%2f{t}", "{own}%00{t}", "{own}%0a{t}", "{t}%2f", "{t};x=1", "{t}%3fx", "{t}%23", "{lower}", "{upper}",
    "{t}%e2%80%8b", "%2e%2e%2fdevice%2f{t}", "{own}' OR '1'='1", "%25{hex}", "{t}?", "*", "%", "_", "%2a", "{own},{t}",
    '["{t}"]', "{t}%ef%bc%8f", "{own}%5c..%5c{t}",
)  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_of_writing_do_not_help(app: ASGIApp, trick: str) -> None:
    hexed = "%".join(f"{byte:02x}" for byte in THEIRS.encode())
    name = trick.replace("{t}", THEIRS).replace("{hex}", hexed).replace("{own}", OURS)
    name = name.replace("{lower}", THEIRS.lower()).replace("{upper}", THEIRS.upper()).replace(" ", "%20")
    for route in NAMED:
        answer = said(app, "our-secret", route.path.replace("{id}", name).replace("{kind}", name))
        assert answer.status in (400, 404) or "customer" not in route.roles, (route.path, name)


@pytest.mark.parametrize("path", OF_DEVICES)
def test_its_own_is_there_for_everybody_who_may(app: ASGIApp, path: str) -> None:
    seen = {secret: said(app, secret, path.replace("{id}", OURS)).status for secret in SECRETS}
    assert seen == {"service-secret": 200, "lab-secret": 200, "our-secret": 200, "their-secret": 404}


def test_there_is_nothing_beside_the_table(app: ASGIApp) -> None:
    addresses = {getattr(route, "path", "?") for route in app._app.routes}  # type: ignore[attr-defined]
    assert addresses - {route.path for route in ROUTES} <= {"/control/{path:path}", ""}, "the run's, and the pages"
    for method in ("GET", "POST"):
        assert ask(app, method, "/control/faults").status == 401
        for secret in ("our-secret", "lab-secret"):
            assert said(app, secret, "/control/faults", method).status == 403


def test_a_new_route_cannot_be_left_out(app: ASGIApp) -> None:
    """What a customer may ask at all is written down here, too: who adds a route decides it."""
    may = {f"{route.method} {route.path}" for route in ROUTES if "customer" in route.roles}
    assert may == {
        "GET /api/overview", "GET /api/latest", "GET /api/devices", "GET /api/device/{id}",
        "GET /api/device/{id}/shadow", "GET /api/realtime/{id}",
        "GET /api/telemetry/{id}", "GET /api/jobs", "GET /api/alarms", "GET /api/events", "GET /api/history/{kind}",
        "GET /api/dispatches", "GET /api/dispatches/{id}", "GET /api/notifications", "GET /api/aggregates",
        "GET /api/archive/{id}", "GET /api/uploads", "GET /api/hubs", "GET /api/stream", "GET /api/sites",
        "POST /api/codes", "GET /api/session", "DELETE /api/session",
    }  # fmt: skip
    public = {f"{route.method} {route.path}" for route in ROUTES if not route.roles}
    assert public == {"GET /api/health", "GET /api/openapi.json", "POST /api/session", "GET /enter"}


@pytest.mark.parametrize("route", [r for r in ROUTES if r.roles], ids=lambda route: f"{route.method} {route.path}")
def test_roles_hold_for_every_route(app: ASGIApp, route: Route) -> None:
    path = route.path.replace("{id}", "x").replace("{kind}", "x")
    assert ask(app, route.method, path, {} if route.body else None).status == 401
    assert said(app, "wrong", path, route.method).status == 401
    for secret, (role, _) in SECRETS.items():
        if role not in route.roles:
            answer = said(app, secret, path, route.method)
            assert (answer.status, answer.json) == (403, {"error": f"not for the role '{role}'"}), secret


def test_counts_are_of_its_own(app: ASGIApp) -> None:
    mine, all_ = (said(app, secret, "/api/overview").json for secret in ("our-secret", "service-secret"))
    assert (mine["total"], mine["active"], mine["risk"]["HIGH"], len(mine["recent_alerts"])) == (1, 1, 1, 1)
    assert (all_["total"], all_["active"], all_["risk"]["HIGH"], len(all_["recent_alerts"])) == (3, 3, 2, 3)
    [hub] = said(app, "our-secret", "/api/hubs").json["hubs"]
    assert hub["nodes"] == [{"device_id": OURS, "role": "EndDevice"}]
    [aggregate] = said(app, "our-secret", "/api/aggregates?period=day").json["aggregates"]
    assert aggregate["customer"] == "us"


def test_the_lab_sees_all_devices_and_no_customers(app: ASGIApp) -> None:
    devices = said(app, "lab-secret", "/api/devices").json["devices"]
    assert [device["thing"] for device in devices] == sorted([OURS, THEIRS, NOBODYS])
    assert {device["customer_id"] for device in devices} == {None}
    for path in (
        f"/api/device/{THEIRS}",
        f"/api/realtime/{THEIRS}",
        "/api/aggregates",
        "/api/overview",
        "/api/devices",
    ):
        answer = said(app, "lab-secret", path)
        assert answer.status == 200
        assert b"site-" not in answer.body, path
        assert b"them-" not in answer.body, path
    for path in ("/api/devices?customer=us", "/api/devices?site=our-site", "/api/aggregates?customer=us", "/api/sites"):
        assert said(app, "lab-secret", path).status == 403
