"""The twin's cloud: routing, shadows, jobs and files behave as their service does, told by what devices hear."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from simulator.clock import VIRTUAL_START_MS as START_MS
from simulator.faults.bad_certificate import BadCertificate
from simulator.faults.duplicate_client_id import DuplicateClientId
from simulator.firmware import public_bytes
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Chunk, Download, DownloadEnded, Input, Publish, Received, Upload, UploadEnded
from simulator.profiles import Profile
from simulator.twin.cloud import LATENCY_MS, Cloud
from simulator.twin.objects import URL_TTL_MS
from simulator.twin.refused import Refused
from simulator.twin.shadows import Shadow, differing, merge
from simulator.wire import artifact
from tests.core.fleets import KEY, PUMP, image, profile

THINGS = ("Pump-001", "Pump-002", "Pump-003")


class Platform:
    """Writes down what comes."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.heard: list[tuple[int, str, bytes]] = []

    def ingest(self, topic: str, payload: bytes) -> None:
        self.heard.append((self.now_ms() - START_MS, topic, payload))

    def frame(self, product: str, body: bytes) -> int:
        self.heard.append((self.now_ms() - START_MS, product, body))
        return 0x83 if b"wrong" in body else 0

    def post(self, path: str, body: bytes) -> int:
        return self.frame(path, body)


class World:
    """Some pumps that say nothing by themselves, their cloud, and what they hear."""

    def __init__(self, of: Profile | None = None) -> None:
        of = of or profile(PUMP.replace("every_s: 10", "every_s: 86400"))
        self.ledger = Ledger()
        fleet = Fleet([(thing, of.profile, None) for thing in THINGS], {of.profile: of}, 1, START_MS, public_bytes(KEY))
        self.cloud = Cloud(fleet, 1, self.ledger, None, START_MS)
        self.platform = self.cloud.platform = Platform(self.cloud.clock.now_ms)
        self.heard: dict[str, list[tuple[int, Input]]] = {thing: [] for thing in THINGS}
        self.virtual = self.cloud.virtual
        tell = self.virtual.hear

        def hear(index: int, said: Input) -> None:
            self.heard[THINGS[index]].append((self.cloud.clock.now_ms() - START_MS, said))
            tell(index, said)

        self.virtual.hear = hear  # type: ignore[method-assign]

    def connect(self) -> None:
        for index in range(len(THINGS)):
            self.virtual.start(index, START_MS)
        self.run(1)

    def run(self, for_s: float) -> None:
        self.virtual.run_until(self.cloud.clock.now_ms() + int(1000 * for_s))

    def say(self, topic: str, document: Any, thing: str = THINGS[0]) -> int:
        """A device says something; the reason code of the answer."""
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        index, before = THINGS.index(thing), self.ledger.refused.total()
        self.virtual.carry_out(index, [Publish("x", topic.replace("{thing}", thing), payload)])
        return int(self.ledger.refused.total() > before)

    def told(self, leaf: str, thing: str = THINGS[0]) -> list[Any]:
        """What a device was told on topics that end so."""
        found = [said for _, said in self.heard[thing] if isinstance(said, Received) and said.topic.endswith(leaf)]
        return [json.loads(said.payload) for said in found]

    def files(self, thing: str = THINGS[0]) -> list[tuple[int, Input]]:
        return [(at, said) for at, said in self.heard[thing] if isinstance(said, Chunk | DownloadEnded | UploadEnded)]


# The broker


def test_what_a_device_says_arrives_after_its_own_latency_in_order() -> None:
    world = World()
    world.connect()
    topics = ["iotlink/stg/nohub/{thing}/periodic/pub/telemetry/json", "devices/h/c/telemetry",
              "fire-prediction/device/{thing}/data"]  # fmt: skip
    for thing in THINGS:
        for topic in [*topics, "iotlink/too/short", "nobody/listens", "devices/h/c/other"]:
            assert world.say(topic, {}, thing) == 0
    assert world.cloud.in_flight == 9
    world.run(1)
    assert world.cloud.in_flight == 0
    by_thing = {thing: {at for at, topic, _ in world.platform.heard if thing in topic} for thing in THINGS}
    assert all(len(moments) == 1 for moments in by_thing.values())
    latencies = {at - 1000 for moments in by_thing.values() for at in moments}
    assert len(latencies) > 1
    assert all(LATENCY_MS[0] <= latency < LATENCY_MS[1] for latency in latencies)


def test_a_message_that_is_too_large_is_refused() -> None:
    world = World()
    world.connect()
    assert world.say("devices/h/c/telemetry", b"x" * (128 * 1024 + 1))
    assert not world.say("devices/h/c/telemetry", b"x" * (128 * 1024))


@pytest.mark.parametrize("channel", ["tcp", "rest"])
def test_a_gateway_answers_by_itself_and_at_once(channel: Any) -> None:
    world = World(profile(PUMP.replace("every_s: 10", "every_s: 86400")).over(channel, "pump"))
    world.connect()
    assert world.say("/ingest/telemetry", b"right") == 0
    assert world.say("/ingest/telemetry", b"wrong") == 1
    assert [where for _, where, _ in world.platform.heard] == ["Pump" if channel == "tcp" else "/ingest/telemetry"] * 2
    assert world.cloud.thing(THINGS[0]) == (None, {})  # only who speaks MQTT is registered


def test_two_with_one_client_id_end_each_other_and_the_copy_may_say_nothing() -> None:
    world = World()
    world.connect()
    device = world.cloud.fleet.devices[0]
    fault = DuplicateClientId(of=THINGS[1])
    world.virtual.inject(0, fault, world.cloud.clock.now_ms())
    world.run(0.1)
    assert device.online
    assert world.say("devices/h/c/telemetry", {}) == 1
    world.run(10)
    reasons = [event.detail["reason"] for event in world.ledger.events if event.kind == "disconnected"]
    assert reasons.count("session taken over") > 10
    assert {event.thing for event in world.ledger.events if event.kind == "disconnected"} == {THINGS[0], THINGS[1]}
    world.virtual.clear(0, None, world.cloud.clock.now_ms())
    world.run(5)
    assert all(one.online for one in world.cloud.fleet.devices)
    assert world.say("devices/h/c/telemetry", {}) == 0


def test_a_certificate_that_is_no_good_is_refused_until_it_is_good() -> None:
    world = World()
    world.connect()
    world.virtual.inject(0, BadCertificate(certificate="expired", for_s=60), world.cloud.clock.now_ms())
    world.run(30)
    assert not world.cloud.fleet.devices[0].online
    assert "its certificate is expired" in {e.detail.get("reason") for e in world.ledger.events}
    world.run(60)
    assert world.cloud.fleet.devices[0].online


# Shadows


def test_objects_merge_null_removes_and_the_delta_is_what_differs() -> None:
    state: dict[str, Any] = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    merge(state, {"a": {"b": None, "e": {"f": None, "g": 2}}, "d": {"h": 1}})
    assert state == {"a": {"c": [1, 2], "e": {"g": 2}}, "d": {"h": 1}}
    assert differing({"a": 1, "b": {"c": 1, "d": 2}, "e": True, "f": 1.0}, {"a": 1, "b": {"c": 1}, "e": 1, "f": 1}) == {
        "b": {"d": 2}, "e": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (None, 400), ([], 400), ({}, 400), ({"state": 1}, 400), ({"state": {"strange": {}}}, 400),
        ({"state": {"reported": 1}}, 400), ({"state": {"reported": {}}, "version": 7}, 409),
    ],
)  # fmt: skip
def test_a_wrong_update_changes_nothing(request_: Any, code: int) -> None:
    shadow = Shadow()
    shadow.update({"state": {"reported": {"a": 1}}, "version": 0})
    with pytest.raises(Refused) as refused:
        shadow.update(request_)
    assert refused.value.code == code
    assert (shadow.reported, shadow.version) == ({"a": 1}, 1)
    with pytest.raises(Refused, match="maximum size"):
        shadow.update({"state": {"reported": {}}}, 8193)
    shadow.update({"state": {"reported": None, "desired": {"b": 1}}})
    assert shadow.document() == {"state": {"desired": {"b": 1}, "delta": {"b": 1}}, "version": 2}


def test_a_device_hears_of_its_shadow() -> None:
    world = World()
    world.connect()
    assert world.told("shadow/get/rejected")[0]["code"] == 404  # it asked when it connected
    world.run(1)
    assert world.cloud.shadow(THINGS[0]).reported["temp"] == 40.0  # and reported
    world.cloud.desire(THINGS[0], {"action": {"name": "restart-fan", "id": "1"}})
    world.run(5)
    assert world.told("update/delta")[0]["state"] == {"action": {"name": "restart-fan", "id": "1"}}
    assert world.cloud.shadow(THINGS[0]).delta() == {}
    world.say("$aws/things/{thing}/shadow/update", b"{no json")
    world.say("$aws/things/{thing}/shadow/name/other/update", {"state": {"desired": {"a": 1}}})
    world.say("$aws/things/{thing}/shadow/name/other/get", {})
    world.run(1)
    assert world.told("shadow/update/rejected")[0]["code"] == 400
    assert world.told("name/other/update/delta")[0]["state"] == {"a": 1}
    assert world.told("name/other/get/accepted")[0]["state"]["delta"] == {"a": 1}


def test_what_is_said_to_a_device_that_is_away_is_lost() -> None:
    world = World()
    world.connect()
    world.virtual.sever(0, world.cloud.clock.now_ms(), 10_000)
    world.run(1)
    world.cloud.desire(THINGS[0], {"action": {"name": "restart-fan", "id": "1"}})
    world.run(5)
    assert not world.told("update/delta")
    world.run(10)
    assert world.told("shadow/get/accepted")[-1]["state"]["delta"]["action"]["id"] == "1"


# Jobs


def test_a_job_goes_its_way_and_the_platform_hears_of_its_end() -> None:
    world = World()
    world.connect()
    with pytest.raises(Refused, match=r"package version Pump 1\.1\.0 does not exist"):
        world.cloud.create_job("j", "Pump", "1.1.0", THINGS)
    world.cloud.catalogue(image("1.1.0", size_kib=300))
    world.cloud.create_job("j", "Pump", "1.1.0", THINGS[:2])
    world.cloud.create_job("j", "Pump", "1.1.0", THINGS)  # is there already
    world.run(60)
    assert [device.version for device in world.cloud.fleet.devices] == ["1.1.0", "1.1.0", "1.0.0"]
    assert world.cloud.packages([(thing, "Pump") for thing in THINGS])[THINGS[0]] == "1.1.0"
    assert [(one["thing"], one["status"], one["version"]) for one in world.cloud.jobs.outcome()] == [
        (thing, "SUCCEEDED", "1.1.0") for thing in THINGS[:2]
    ]
    events = [(topic, json.loads(payload)) for _, topic, payload in world.platform.heard if "jobExecution" in topic]
    assert [topic for topic, _ in events] == ["$aws/events/jobExecution/j/succeeded"] * 2
    assert events[0][1]["statusDetails"] == {"version": "1.1.0"}


def dead(world: World) -> None:
    """The devices hear nothing of jobs any more, so a test can answer for them."""
    world.virtual.hear = lambda index, said: world.heard[THINGS[index]].append((0, said))  # type: ignore[method-assign]


def updated(world: World, job: str, status: str, thing: str = THINGS[0], **more: Any) -> Any:
    """What is answered to a report: the code of a refusal, or nothing."""
    before = len(world.told("update/accepted", thing)), len(world.told("update/rejected", thing))
    world.say(f"$aws/things/{{thing}}/jobs/{job}/update", {"status": status, "clientToken": "t", **more}, thing)
    world.run(1)
    if accepted := world.told("update/accepted", thing)[before[0] :]:
        assert accepted[0]["clientToken"] == "t"
        return None
    return world.told("update/rejected", thing)[before[1] :][0]["code"]


def test_reports_are_held_to_their_rules_and_the_next_one_is_told() -> None:
    world = World()
    world.connect()
    dead(world)
    world.cloud.catalogue(image())
    for job in ("a", "b"):
        world.cloud.create_job(job, "Pump", "1.1.0", THINGS[:1])
    world.run(1)
    assert [told["execution"]["jobId"] for told in world.told("notify-next")] == ["a"]
    assert updated(world, "c", "FAILED") == "ResourceNotFound"
    assert updated(world, "a", "STRANGE") == "InvalidRequest"
    assert updated(world, "a", "IN_PROGRESS", expectedVersion=7) == "VersionMismatch"
    assert world.told("update/rejected")[-1]["executionState"] == {
        "status": "QUEUED", "statusDetails": {}, "versionNumber": 1,
    }  # fmt: skip
    assert updated(world, "b", "IN_PROGRESS") is None  # out of order: it comes first from now on
    assert world.told("notify-next")[-1]["execution"]["jobId"] == "b"
    assert updated(world, "b", "FAILED", expectedVersion=2, statusDetails={"reason": "why"}) is None
    assert updated(world, "b", "SUCCEEDED") == "TerminalStateReached"
    world.say("$aws/things/{thing}/jobs/$next/get", {})
    world.say("$aws/things/{thing}/jobs/b/get", {})
    world.say("$aws/things/{thing}/jobs/c/get", {})
    world.run(1)
    assert world.told("$next/get/accepted")[-1]["execution"]["jobId"] == "a"
    assert world.told("b/get/accepted")[-1]["execution"]["status"] == "FAILED"
    assert world.told("c/get/rejected")[-1]["code"] == "ResourceNotFound"
    assert {one["job"]: one["reason"] for one in world.cloud.jobs.outcome()} == {"a": "", "b": "why"}


def test_a_job_that_takes_too_long_times_out() -> None:
    world = World()
    world.connect()
    dead(world)
    world.cloud.catalogue(image())
    world.cloud.create_job("a", "Pump", "1.1.0", THINGS[:2], timeout_minutes=2)
    assert updated(world, "a", "IN_PROGRESS") is None
    world.run(100)
    assert updated(world, "a", "IN_PROGRESS") is None  # a report does not prolong it
    world.run(30)
    assert [one["status"] for one in world.cloud.jobs.outcome()] == ["TIMED_OUT", "QUEUED"]
    assert world.told("notify-next")[-1] == {}


def test_a_rollout_goes_by_its_rate_and_stops_when_too_many_fail() -> None:
    world = World()
    world.connect()
    dead(world)
    world.cloud.catalogue(image())
    world.cloud.create_job("a", "Pump", "1.1.0", THINGS, rate_per_minute=2, abort_percent=60)
    assert [one["thing"] for one in world.cloud.jobs.outcome()] == list(THINGS[:2])
    assert updated(world, "a", "SUCCEEDED") is None
    world.run(60)
    assert len(world.cloud.jobs.outcome()) == 3
    assert updated(world, "a", "FAILED", THINGS[1]) is None  # 50 %
    assert world.cloud.jobs.outcome()[2]["status"] == "QUEUED"
    world.cloud.create_job("b", "Pump", "1.1.0", THINGS, rate_per_minute=2, abort_percent=60)
    assert updated(world, "b", "FAILED", THINGS[1]) is None
    world.run(120)
    assert [(one["thing"], one["status"]) for one in world.cloud.jobs.outcome() if one["job"] == "b"] == [
        (THINGS[0], "CANCELED"), (THINGS[1], "FAILED"),
    ]  # fmt: skip


# Files


def get(world: World, url: str, **more: Any) -> tuple[bytes, DownloadEnded, list[int]]:
    """A download: its bytes, its end, and when everything came."""
    dead(world)
    before, began_ms = len(world.files()), world.cloud.clock.now_ms()
    moments: list[int] = []
    world.virtual.hear = lambda index, said: (  # type: ignore[method-assign]
        world.heard[THINGS[index]].append((world.cloud.clock.now_ms() - began_ms, said))
    )
    world.virtual.carry_out(0, [Download("t", url, **more)])
    world.run(60)
    found = world.files()[before:]
    moments = [at for at, _ in found]
    end = found[-1][1]
    assert isinstance(end, DownloadEnded)
    return b"".join(said.data for _, said in found if isinstance(said, Chunk)), end, moments


def test_a_download_takes_as_long_as_its_line_needs() -> None:
    world = World()
    world.connect()
    body = image(size_kib=300).body
    world.cloud.objects.put("a/b.bin", body)
    url = world.cloud.objects.url("a/b.bin")
    got, end, moments = get(world, url)
    assert (got, end.status, end.error) == (body, 200, "")
    got, end, slow = get(world, url, rate_kib_per_s=30)
    assert got == body
    assert 10_000 <= slow[-1] < 10_200
    assert moments[-1] < slow[-1]
    rest, end, _ = get(world, url, offset=200_000)
    assert (rest, end.status) == (body[200_000:], 206)
    cut, end, _ = get(world, url, size_max=1000)
    assert cut == body[:1001]  # one byte more, so that the device sees it
    assert get(world, url, offset=len(body))[1].status == 416
    assert get(world, world.cloud.objects.url("a/c.bin"))[1].status == 404
    assert get(world, url + "0x")[1].status == 403
    world.run(URL_TTL_MS / 1000)
    assert get(world, url)[1] == DownloadEnded("t", 403, "HTTP 403")


def test_a_download_ends_with_the_power() -> None:
    world = World()
    world.connect()
    dead(world)
    world.cloud.objects.put("a", bytes(1024 * 1024))
    world.virtual.carry_out(0, [Download("t", world.cloud.objects.url("a"), rate_kib_per_s=100)])
    world.run(3)
    world.virtual.power_cycle(0, world.cloud.clock.now_ms(), 60_000)
    world.run(30)
    assert not any(isinstance(said, DownloadEnded) for _, said in world.files())
    assert 0 < sum(isinstance(said, Chunk) for _, said in world.files()) < 20


def test_parts_become_an_object() -> None:
    world = World()
    world.connect()
    dead(world)
    objects = world.cloud.objects
    begun = objects.begin("uploads/x", "", 2)
    assert objects.begin("uploads/x", begun["s3_id"], 2)["s3_id"] == begun["s3_id"]
    for part, size in ((1, 5000), (2, 300)):
        world.virtual.carry_out(0, [Upload("t", begun["urls"][part - 1], part, 7, "text/plain", 0, size)])
    world.run(10)
    ended = [said for _, said in world.files() if isinstance(said, UploadEnded)]
    assert [(end.status, end.part, end.error) for end in ended] == [
        (200, 2, ""),
        (200, 1, ""),
    ]  # the small one first
    assert len({end.etag for end in ended}) == 2
    assert objects.complete(begun["s3_id"], "uploads/x")["size"] == 5300
    with pytest.raises(Refused, match="is gone"):
        objects.complete(begun["s3_id"], "uploads/x")
    objects.abort(begun["s3_id"])
    world.virtual.carry_out(0, [Upload("t", begun["urls"][0], 1, 7, "text/plain", 0, 10)])
    world.run(URL_TTL_MS / 1000)
    world.virtual.carry_out(0, [Upload("t", begun["urls"][0], 1, 7, "text/plain", 0, 10)])
    world.run(10)
    assert [said.status for _, said in world.files()[2:] if isinstance(said, UploadEnded)] == [404, 403]


def test_a_jobs_document_is_what_a_device_can_check() -> None:
    world = World()
    world.connect()
    dead(world)
    made = image()
    world.cloud.catalogue(made)
    world.cloud.create_job("a", "Pump", "1.1.0", THINGS[:1])
    world.run(1)
    [told] = world.told("notify-next")
    found = artifact.parse(told["execution"]["jobDocument"])
    artifact.check(found, "Pump", len(made.body), made.sha256, public_bytes(KEY))
