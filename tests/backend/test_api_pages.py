"""What the pages ask beside the lists: metrics of the whole fleet, AWS's shadow of a device, the run's control."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from simulator.backend import shadows
from simulator.backend.api import Api
from simulator.backend.shadows import Shadows
from simulator.backend.store import Store
from tests.backend.asgi import Answer, ask
from tests.backend.two_customers import MARK, NOBODYS, NOW_MS, OURS, THEIRS, api, fill, tokens

SHADOW = {"desired": {"fan": 1}, "reported": {"fan": 0}, "package": {"Press": {"version": "1.1.0"}}, "version": 7}


async def _shadow(thing: str) -> dict[str, Any] | None:
    return SHADOW if thing == OURS else None


async def _control(request: Request) -> Response:
    return Response(f"{request.method} {request.path_params['path']} {(await request.body()).decode()}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    found = fill(tmp_path_factory.mktemp("store"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def app(store: Store) -> Iterator[ASGIApp]:
    made = Api(store.path, lambda: NOW_MS, tokens=tokens(), shadow=_shadow, control=_control, pages=Path("none"))
    yield made.app
    made.close()


def said(app: ASGIApp, secret: str, path: str, method: str = "GET") -> Answer:
    return ask(app, method, path, {} if method == "POST" else None, Authorization=f"Bearer {secret}")


def test_latest_has_a_row_for_each_device_that_measures_the_first(app: ASGIApp) -> None:
    found = said(app, "service-secret", "/api/latest?metrics=ours,other").json
    assert found == {"next": OURS, "metrics": ["ours", "other"], "rows": [[OURS, "Press", NOW_MS, 0.5, None]]}
    assert said(app, "our-secret", f"/api/latest?metrics={MARK}").json["rows"] == []
    assert said(app, "their-secret", f"/api/latest?metrics={MARK}").json["rows"] == [[THEIRS, "Press", NOW_MS, 0.5]]


def test_latest_comes_in_pages(app: ASGIApp) -> None:
    end = said(app, "service-secret", f"/api/latest?metrics=ours&after={OURS}&limit=1").json
    assert (end["rows"], end["next"]) == ([], OURS)
    assert said(app, "service-secret", "/api/latest?metrics=nobodys&limit=1").json["next"] == NOBODYS


@pytest.mark.parametrize(
    "names", ["", "a,", "a b", "a'", "$.a", "a%22", "a" * 65, "a,b,c,d,e,f,g,h,i", "a)--", "%C3%A4"]
)
def test_a_name_that_is_none_is_refused(app: ASGIApp, names: str) -> None:
    answer = said(app, "service-secret", f"/api/latest?metrics={names}")
    assert answer.status == 400
    assert answer.json["error"].startswith("metrics: ")


def test_the_shadow_is_told_of_devices_one_may_know(app: ASGIApp) -> None:
    assert said(app, "our-secret", f"/api/device/{OURS}/shadow").json == SHADOW
    assert said(app, "our-secret", f"/api/device/{THEIRS}/shadow").status == 404
    assert said(app, "service-secret", f"/api/device/{THEIRS}/shadow").status == 404


def test_without_aws_no_shadow_is_known(store: Store) -> None:
    made = api(store)
    assert said(made.app, "service-secret", f"/api/device/{OURS}/shadow").status == 404
    assert said(made.app, "service-secret", "/control/run").status == 503
    made.close()


class _Account:
    """AWS, as it may be: slow, away, or itself."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.go, self.asked = error, Event(), 0

    def shadow(self, thing: str) -> dict[str, Any] | None:
        self.asked += 1
        self.go.wait(30)
        if self.error:
            raise self.error
        return SHADOW


def test_few_wait_for_aws_and_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "WAITING_MAX", 2)
    account = _Account()

    async def play() -> None:
        reader = Shadows(account)  # type: ignore[arg-type]
        first = [asyncio.create_task(reader.read("a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await reader.read("a")
        assert (refused.value.status_code, reader.refused) == (503, 1)
        account.go.set()
        assert await asyncio.gather(*first) == [SHADOW, SHADOW]
        assert await reader.read("a") == SHADOW
        reader.close()

    asyncio.run(play())


def test_aws_that_fails_or_is_late_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "PATIENCE_S", 0.01)
    account = _Account(RuntimeError("x" * 1000))

    async def play() -> None:
        reader = Shadows(account)  # type: ignore[arg-type]
        with pytest.raises(HTTPException) as late:
            await reader.read("a")
        account.go.set()
        monkeypatch.setattr(shadows, "PATIENCE_S", 30)
        with pytest.raises(HTTPException) as failed:
            await reader.read("a")
        reader.close()
        assert (late.value.status_code, failed.value.status_code) == (504, 502)
        assert len(failed.value.detail) == shadows.REASON_MAX

    asyncio.run(play())


def test_the_run_is_controlled_by_the_service_alone(app: ASGIApp) -> None:
    assert said(app, "service-secret", "/control/events").body == b"GET events "
    assert said(app, "service-secret", "/control/steps", "POST").body == b"POST steps {}"
    assert said(app, "service-secret", "/control/steps", "DELETE").status == 405
    for secret, status in (("lab-secret", 403), ("our-secret", 403), ("wrong", 401)):
        assert said(app, secret, "/control/run").status == status
    foreign = ask(
        app, "POST", "/control/steps", {}, Authorization="Bearer service-secret", Origin="http://evil.example"
    )
    assert foreign.status == 403
