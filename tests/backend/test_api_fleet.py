"""What the API tells of devices: the whole fleet in numbers, one with its day, the last minute, jobs, figures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator.backend.api import Api
from simulator.backend.api.fleet_rows import ACTIVE_MS, DAY_MS, REALTIME_MS
from simulator.backend.effects import Effect, Record, SaveAlarm, SaveDevice, StoreReport, StoreTelemetry
from simulator.backend.store import Store
from simulator.backend.times import Times
from tests.backend.asgi import ask

NOW_MS = 1_800_000_000_000
Get = Callable[..., Any]


class World:
    """A store, and its API."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.store.commit({}, {})
        self.times = Times()
        self.api = Api(self.store.path, lambda: NOW_MS, times=self.times, tcp={"connections": 2})

    def has(self, *writes: Any) -> None:
        for write in writes:
            self.store.add(write)
        self.store.commit({}, {})

    def says(self, thing: str, *ages_ms: int, late_ms: int = 0, **metrics: float) -> None:
        """A device said something so long ago, which came so much later."""
        for age_ms in ages_ms:
            at_ms = NOW_MS - age_ms
            said = orjson.dumps(metrics or {"t": float(age_ms)}).decode()
            self.store.add(StoreTelemetry(thing, "platform", at_ms, None, at_ms, None, at_ms + late_ms, said))
        self.has(SaveDevice(thing, "Press", NOW_MS - min(ages_ms), NOW_MS - min(ages_ms)))

    def get(self, path: str, status: int = 200, **headers: str) -> Any:
        answer = ask(self.api.app, "GET", path, **headers)
        assert answer.status == status, answer.body
        return answer.json


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.api.close()
    found.store.close()


@pytest.mark.parametrize(
    ("active", "silent", "status"),
    [
        (0, 0, "DEGRADED"),
        (1, 0, "HEALTHY"),
        (4, 1, "DEGRADED"),
        (5, 1, "HEALTHY"),
        (9, 2, "HEALTHY"),
        (8, 2, "DEGRADED"),
    ],
)
def test_healthy_is_more_than_80_percent_active(world: World, active: int, silent: int, status: str) -> None:
    for n in range(active):
        world.says(f"a-{n}", ACTIVE_MS)
    for n in range(silent):
        world.says(f"s-{n}", ACTIVE_MS + 1)
    said = world.get("/api/overview")
    assert (said["status"], said["active"], said["total"]) == (status, active, active + silent)
    assert said["risk"] == {"NORMAL": 0, "LOW": 0, "MEDIUM": 0, "HIGH": 0, "CRITICAL": 0}


def test_a_day_has_so_many_points_and_each_is_a_sample(world: World) -> None:
    world.says("d", *range(0, DAY_MS, 60_000))
    world.says("d", DAY_MS, DAY_MS + 60_000)
    series = world.get("/api/device/d")["series"]
    assert len(series["at_ms"]) == 288
    assert series["at_ms"] == [NOW_MS - 300_000 * n for n in reversed(range(288))], "the last of each five minutes"
    assert series["metrics"]["t"] == [float(NOW_MS - at_ms) for at_ms in series["at_ms"]]
    assert len(world.get("/api/device/d?points=10")["series"]["at_ms"]) == 10
    assert len(world.get("/api/device/d?points=99999&hours=1")["series"]["at_ms"]) == 60
    assert len(world.get("/api/device/d?points=0")["series"]["at_ms"]) == 1


def test_a_metric_that_a_sample_lacks_is_none_there(world: World) -> None:
    world.says("d", 3000, a=1)
    world.says("d", 2000, b=2)
    series = world.get("/api/device/d?hours=1&points=1440")["series"]
    assert series["metrics"] == {"a": [1, None], "b": [None, 2]}


def test_the_last_minute_is_by_arrival(world: World) -> None:
    world.says("d", REALTIME_MS + 1)
    assert world.get("/api/realtime/d", 404) == {"error": "device 'd' said nothing within the last minute"}
    assert world.get("/api/realtime/e", 404) == {"error": "unknown device 'e'"}
    world.says("d", REALTIME_MS + 2, late_ms=2)
    assert world.get("/api/realtime/d")["ingest_timestamp"] == NOW_MS - REALTIME_MS
    world.says("d", 3_600_000, late_ms=3_600_000, slow_clock=1)
    assert world.get("/api/realtime/d")["metrics"] == {"slow_clock": 1}


def event(kind: str, at_ms: int, thing: str = "d", alarm_id: str = "a", **detail: Any) -> Record:
    return Record(at_ms, kind, thing, alarm_id, detail)


def test_jobs_versions_and_commands_of_a_device(world: World) -> None:
    world.says("d", 0)
    said = orjson.dumps({"data": {"provisioning": {"package": "P", "version": "1.0.0"}}}).decode()
    writes: list[Effect] = [
        StoreReport("d", "provisioning_complete", 5, 5, said),
        event("command_sent", 6, action="restart-fan", action_id="a-1"),
        event("control_result", 7, action="restart-fan", result="failed"),
        event("job_created", 8, job_id="j-1", package="P", version="1.1.0"),
        event("job_failed", 9, job_id="j-1", status="TIMED_OUT", reason="too slow"),
    ]
    world.has(*writes)
    found = world.get("/api/device/d")
    assert found["versions"] == {"package": "P", "version": "1.0.0", "provisioned": "1.0.0", "since_ms": None}
    assert [one["kind"] for one in found["shadow"]["desired"]] == ["command_sent"]
    assert found["shadow"]["reported"][0]["result"] == "failed"
    [job] = found["jobs"]
    assert (job["status"], job["reason"], job["ended_ms"]) == ("TIMED_OUT", "too slow", 9)
    world.has(event("job_created", 10, "d", "b", job_id="j-2", package="P", version="1.1.0"))
    assert world.get("/api/device/d")["jobs"][0]["status"] == "IN_PROGRESS"
    world.has(event("job_succeeded", 11, "d", "b", job_id="j-2"))
    found = world.get("/api/device/d")
    assert found["versions"] == {"package": "P", "version": "1.1.0", "provisioned": "1.0.0", "since_ms": 11}
    page = world.get("/api/jobs?limit=1")
    assert [job["job_id"] for job in page["jobs"]] == ["j-1"]
    assert [job["job_id"] for job in world.get(f"/api/jobs?after={page['next']}")["jobs"]] == ["j-2"]
    assert world.get("/api/jobs?thing=e")["jobs"] == []


def pages(world: World, path: str, name: str) -> list[Any]:
    """Everything, two at a time, by `next` alone."""
    found, after = list[Any](), ""
    while True:
        page = world.get(f"{path}{'&' if '?' in path else '?'}limit=2" + (f"&after={after}" if after != "" else ""))
        if not page[name]:
            assert str(page["next"]) == after, "the end stays where it was"
            return found
        assert len(page[name]) <= 2
        found += page[name]
        after = str(page["next"])


def test_pages_miss_nothing_and_repeat_nothing(world: World) -> None:
    for n in range(5):
        world.says(f"d-{n}", 0)
        world.has(event("job_created", n, f"d-{n}", f"a-{n}", job_id=f"j-{n}"))
    world.says("d-0", 1, 1, 2, 3)
    world.has(StoreTelemetry("d-0", "fire", 1, None, NOW_MS - 1, None, NOW_MS, "{}", 1))
    stamps = [sample["device_timestamp"] for sample in pages(world, "/api/telemetry/d-0", "telemetry")]
    assert stamps == [NOW_MS, NOW_MS - 1, NOW_MS - 1, NOW_MS - 2, NOW_MS - 3], "one stamp twice, of two streams"
    assert [one["seq"] for one in pages(world, "/api/events", "events")] == [1, 2, 3, 4, 5]
    assert [one["seq"] for one in pages(world, "/api/events?thing=d-3", "events")] == [4]
    assert [one["thing"] for one in pages(world, "/api/devices", "devices")] == [f"d-{n}" for n in range(5)]
    assert [one["job_id"] for one in pages(world, "/api/jobs", "jobs")] == [f"j-{n}" for n in range(5)]


def test_an_alarm_that_changes_comes_again(world: World) -> None:
    def save(alarm_id: str, state: str) -> None:
        document = orjson.dumps({"alarm_id": alarm_id, "state": state}).decode()
        world.store.add(SaveAlarm(alarm_id, "d", "hot", state, 1, document))
        world.store.commit({}, {})

    save("a", "open")
    save("b", "open")
    page = world.get("/api/alarms")
    assert [one["alarm_id"] for one in page["alarms"]] == ["a", "b"]
    save("b", "closed")
    news = world.get(f"/api/alarms?after={page['next']}")
    assert news["alarms"] == [{"alarm_id": "b", "state": "closed"}], "also the newest of all"
    assert world.get(f"/api/alarms?after={news['next']}")["alarms"] == []
    assert [one["alarm_id"] for one in world.get("/api/alarms?state=open")["alarms"]] == ["a"]
    assert [one["alarm_id"] for one in world.get("/api/alarms?state=closed&thing=d")["alarms"]] == ["b"]


def test_figures_as_json_and_for_prometheus(world: World) -> None:
    world.says("d", 0, 1)
    world.times.note(3, 0.004)
    world.times.note(1, 9.0)
    said = world.get("/api/metrics")
    assert said["messages"]["stored"] == {"telemetry": 2}
    assert said["messages"]["tcp"] == {"connections": 2}
    assert (said["processing"]["count"], said["processing"]["p50_s"], said["processing"]["max_s"]) == (4, 0.005, 9.0)
    answer = ask(world.api.app, "GET", "/api/metrics", Accept="text/plain;version=0.0.4, */*;q=0.1")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode()) for sample in family.samples
    }  # fmt: skip
    assert found["fleetsim_messages_stored_total", "telemetry"] == 2
    assert found["fleetsim_processing_seconds_bucket", "0.005"] == 3
    assert found["fleetsim_processing_seconds_bucket", "+Inf"] == found["fleetsim_processing_seconds_count",] == 4
    assert found["fleetsim_api_answers_total", "200"] == 1


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/api/alarms?limti=1", "limti: unknown parameter (did you mean 'limit'?)"),
        ("/api/alarms?limit=1&limit=2", "limit: given twice"),
        ("/api/notifications?channel=fax", "channel: 'fax': input should be 'email', 'phone' or 'dashboard'"),
        ("/api/dead_letters?replayed=1", "replayed: '1' is neither true nor false"),
        ("/api/telemetry/d?after=x", "after: 'x' is not the 'next' of a page"),
        ("/enter", "code: is missing"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_told_what_is_wrong(world: World, path: str, error: str) -> None:
    world.says("d", 0)
    assert world.get(path, 400) == {"error": error}


def test_a_method_that_is_not_there(world: World) -> None:
    answer = ask(world.api.app, "PATCH", "/api/rules/x")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")
    assert ask(world.api.app, "PUT", "/api/rules/x", {}).json == {"error": "nothing can be changed here"}
