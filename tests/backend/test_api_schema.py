"""The description holds: schemathesis asks every route by it, rightly and wrongly, and compares the answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from simulator.backend.api import ROUTES, Api
from simulator.backend.api.openapi import document
from simulator.backend.api.route import Route
from tests.backend.asgi import ask, get
from tests.backend.tcp_peers import MACHINE
from tests.backend.test_backend_changes import HOT, Platform
from tests.backend.two_customers import NOW_MS, OURS, fill, tokens

SHADOW = "/api/device/{id}/shadow"  # is AWS's
STREAM = "/api/stream"  # has no end; test_api_stream.py
FORMULA = {"productId": "Press", "expression": "clamp(ours, 0, 100)"}
HEADERS = {"Host": "localhost", "Authorization": "Bearer service-secret"}
BOUNDED = settings(
    max_examples=12, database=None, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# `Changes` knows more than a schema can say: an expression, a state that may follow, a version that there was.
KNOWS_MORE = [positive_data_acceptance]
load_all_checks()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("store")
    fill(folder).close()
    platform = Platform(folder, [HOT])
    found = Api(platform.store.path, lambda: NOW_MS, tokens=tokens(), changes=platform.changes, tcp={"frames": 1})
    yield found
    found.close()
    platform.close()


@pytest.mark.filterwarnings("default")  # schemathesis and its libraries warn of themselves
@pytest.mark.parametrize("label", [f"{route.method} {route.path}" for route in ROUTES if route.path != STREAM])
def test_answers_are_as_they_are_described(made: Api, label: str) -> None:
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", made.app, headers={"Host": "localhost"})
    method, path = label.split(" ")
    operation = schema[path][method]

    @seed(7)
    @BOUNDED
    @given(case=operation.as_strategy())
    def holds(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, excluded_checks=[] if method == "GET" else KNOWS_MORE)

    holds()


# Names that there are, so that the good answer is looked at, too.
KNOWN = {
    "/api/dispatches/{id}": f"{OURS}-hot-1", "/api/history/{kind}": "control", "/api/rules/{id}": "hot",
    "/api/specs/{id}": "machine", "/api/formulas/{id}": "health",
}  # fmt: skip
GOOD = [
    r for r in ROUTES if r.method == "GET" and r.media == "application/json" and r.status == 200 and r.path != SHADOW
]


@pytest.mark.parametrize("route", GOOD, ids=lambda route: route.path)
def test_the_good_answer_is_as_it_is_described(made: Api, route: Route) -> None:
    for path, body in (("/api/specs/machine", MACHINE.encode()), ("/api/formulas/health", FORMULA)):
        assert ask(made.app, "PUT", path, body, **HEADERS, Content_Type="application/yaml").status == 200
    path = route.path.replace("{id}", KNOWN.get(route.path, OURS)).replace("{kind}", "control")
    answer = ask(made.app, "GET", path + ("?metrics=ours" if route.path == "/api/latest" else ""), **HEADERS)
    assert answer.status == 200
    whole = document(ROUTES)
    said = whole["paths"][route.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({"components": whole["components"], **said}).validate(answer.json)


def test_every_route_is_described_once() -> None:
    found = document(ROUTES)
    said = {f"{method.upper()} {path}" for path, one in found["paths"].items() for method in one}
    assert said == {f"{route.method} {route.path}" for route in ROUTES}
    assert len(said) == len(ROUTES)
    names = [one["operationId"] for path in found["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)
    for schema in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_description_is_the_same_every_time(made: Api) -> None:
    assert get(made.app, "/api/openapi.json") == (200, document(ROUTES))


def test_what_is_described_can_be_followed(made: Api, tmp_path: Path) -> None:
    """Every reference leads somewhere."""
    text = str(document(ROUTES))
    names = {part.partition("'")[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document(ROUTES)["components"]["schemas"])
