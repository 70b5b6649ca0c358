"""The job agent in stories: what the cloud and the world do to it, and how it must end."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.behaviours.jobs import JobsDuty
from tests.core.fake_cloud import Execution, Json
from tests.core.fleets import PUMP, START_MS, THING, World, image, profile

IMAGE = image()
Act = Callable[[World, Execution], None]
URL = "https://s3/pump-1.1.0"
JOB_AT_MS = START_MS + 5_000  # the device is up and has asked for jobs
STOLEN = image(key=Ed25519PrivateKey.from_private_bytes(bytes(32)))


def document(**changes: Any) -> Json:
    """A job document for the image; a change to None leaves the key out."""
    whole = {
        "operation": "ota", "package": "Pump", "version": IMAGE.version, "url": URL,
        "size": len(IMAGE.body), "sha256": IMAGE.sha256, "signature": IMAGE.signature,
    } | changes  # fmt: skip
    return {key: value for key, value in whole.items() if value is not None}


RIGHT = document()


def nothing(world: World, job: Execution) -> None:
    """The sunny way."""


def script(*acts: Act) -> Act:
    def play(world: World, job: Execution) -> None:
        for act in acts:
            act(world, job)

    return play


def expiring(*ttls_ms: int) -> Act:
    return lambda world, job: world.cloud.expiries.extend(ttls_ms)


def cut(*after_bytes: int) -> Act:
    return lambda world, job: world.cloud.cuts.extend(after_bytes)


def losing(*operations: str) -> Act:
    return lambda world, job: world.cloud.lose(*operations)


def off(after_ms: int, for_ms: int = 2_000) -> Act:
    """The power goes so long after the job came."""
    return lambda world, job: world.virtual.power_cycle(0, JOB_AT_MS + after_ms, for_ms)


def away(after_ms: int, for_ms: int) -> Act:
    """The network goes."""
    return lambda world, job: world.virtual.sever(0, JOB_AT_MS + after_ms, for_ms)


def ended(after_ms: int, status: str) -> Act:
    """The cloud ends the execution by itself."""
    return lambda world, job: world.virtual.at(JOB_AT_MS + after_ms, lambda: world.cloud.end(THING, job, status))


def meddled(after_ms: int) -> Act:
    """Somebody else updates the execution, so its version is not what the device believes."""

    def meddle(job: Execution) -> None:
        job.version += 5

    return lambda world, job: world.virtual.at(JOB_AT_MS + after_ms, lambda: meddle(job))


def slow(latency_ms: int) -> Act:
    return lambda world, job: setattr(world.cloud, "latency_ms", latency_ms)


def stored(body: bytes) -> Act:
    """The bucket holds something else."""
    return lambda world, job: world.cloud.objects.update({URL: body})


def terminal_code(code: str) -> Act:
    return lambda world, job: setattr(world.cloud, "terminal_code", code)


def refusing(operation: str, code: str) -> Act:
    """The next such update is refused with a code, and not done."""

    return lambda world, job: world.cloud.refusals.update({operation: code})


class Story(NamedTuple):
    """`notes`: kinds of notes that come in this order; `version`: what runs at the end and is in `$package`."""

    name: str
    play: Act = nothing
    document: Any = RIGHT
    status: str = "SUCCEEDED"
    version: str = "1.1.0"
    notes: tuple[str, ...] = ()
    reason: str = ""


OTA = ("job_notified", "download_started", "downloaded", "verified", "installed", "rebooting", "disconnected",
       "connected", "version_reported", "job_succeeded")  # fmt: skip
REDONE = ("download_started", "connected", "download_started", *OTA[2:])
DARK = tuple(kind for kind in OTA if kind != "disconnected")  # the link was down already


def failing(
    name: str, play: Act = nothing, document: Any = RIGHT, notes: tuple[str, ...] = (), reason: str = ""
) -> Story:
    """A job that ends as FAILED with a reason, and the old version stays."""
    return Story(name, play, document, "FAILED", "1.0.0", notes, reason)


STORIES = [
    Story("the sunny way", notes=OTA),
    Story("the URL has expired", expiring(5), notes=("download_started", "url_refreshed", *OTA[2:])),
    Story("broken, then expired, then resumed", script(expiring(500), cut(3000)),
          notes=("download_broken", "download_resumed", "url_refreshed", *OTA[2:])),
    Story("broken three times", cut(1000, 4000, 1), notes=("download_broken",) * 3 + OTA[2:]),
    Story("broken after the last byte", cut(len(IMAGE.body)), notes=OTA),
    failing("broken too often", cut(1, 1, 1, 1), reason="download failed 4 times: connection reset"),
    failing("no URL is ever good", expiring(*[5] * 9), reason="download failed 4 times: HTTP 403"),
    failing("no such object", document=document(url="https://s3/none"), reason="HTTP 404"),
    # Wrong artifacts: the old version stays.
    failing("wrong bytes", stored(b"x" * len(IMAGE.body)), notes=("downloaded", "verify_failed", "job_failed"),
          reason="sha256 mismatch"),
    failing("one bit flipped", stored(IMAGE.body[:-1] + bytes([IMAGE.body[-1] ^ 1])), reason="sha256 mismatch"),
    failing("too short", stored(IMAGE.body[:-1]), reason="size mismatch: got 10239 bytes, the job says 10240"),
    failing("too long", stored(IMAGE.body + b"x"), reason="size mismatch: got 10241 bytes"),
    failing("endless", stored(IMAGE.body * 99), reason="size mismatch: got 10241 bytes"),
    failing("signed by another", document=document(signature=STOLEN.signature), reason="signature mismatch"),
    failing("a signature for another version", document=document(version="1.2.0"), reason="signature mismatch"),
    failing("not base64", document=document(signature="§"), reason="signature mismatch"),
    failing("for another package", document=document(package="Fan"), reason="package mismatch"),
    # Wrong documents.
    failing("no operation", document=document(operation=None), reason="operation"),
    failing("no signature", document=document(signature=None), reason="'signature' is missing"),
    failing("size in words", document=document(size="10240"), reason="'size' is not a whole number"),
    failing("size is true", document=document(size=True), reason="'size' is not a whole number"),
    failing("too big", document=document(size=1 << 40), reason="between 1 and 67108864"),
    failing("a path for a version", document=document(version="../1"), reason="not a version name"),
    failing("a file for a URL", document=document(url="file:///etc/passwd"), reason="neither https nor http"),
    failing("a list", document=[1], reason="operation"),
    failing("control characters", document=document(package="a\nb\x00"), reason="for 'a?b?'"),
    failing("a bomb", document=document(size=json.loads("[" * 900 + "]" * 900)), reason="'size' is not"),
    # Nothing to do.
    Story("already installed", document=document(version="1.0.0"), version="1.0.0",
          notes=("job_notified", "job_succeeded")),
    # Answers get lost, or come as a refusal.
    Story("no answer to the end", losing("update SUCCEEDED"), status="SUCCEEDED", notes=(*OTA[:-1], "job_dropped")),
    Story("no news of the job", script(losing("notify-next"), away(60_000, 1_000)), notes=OTA),
    Story("no answer to the first question", losing("get $next"), notes=OTA),
    Story("no answer for a fresh URL", script(expiring(5), losing("get")), notes=("url_refreshed", *OTA[2:])),
    Story("no answer at all any more", script(expiring(5), losing(*["get"] * 9)), status="IN_PROGRESS", version="1.0.0",
          notes=("job_dropped",)),
    Story("somebody else's update", meddled(50), notes=OTA),
    Story("somebody else's update at the end", meddled(3_500), notes=OTA),
    Story("throttled at the start", refusing("update IN_PROGRESS", "RequestThrottled"), notes=OTA),
    Story("throttled at the end", refusing("update SUCCEEDED", "RequestThrottled"), notes=OTA),
    failing("a late answer to an earlier update is not the end", script(slow(60), stored(b"x" * 10240), meddled(205)),
          reason="sha256 mismatch"),
    Story("an end refused for good", refusing("update SUCCEEDED", "InvalidRequest"), status="IN_PROGRESS",
          notes=(*OTA[:-1], "job_dropped")),
    # The job goes away.
    Story("cancelled during the download", ended(60, "CANCELED"), status="CANCELED", version="1.0.0",
          notes=("download_started", "job_dropped")),
    Story("cancelled while it waits to resume", script(cut(10), ended(500, "CANCELED")), status="CANCELED",
          version="1.0.0", notes=("download_broken", "job_dropped")),
    Story("cancelled while the image is written", ended(1_000, "CANCELED"), status="CANCELED",
          notes=("installed", "version_reported")),
    Story("timed out during the reboot", ended(4_000, "TIMED_OUT"), status="TIMED_OUT",
          notes=("rebooting", "version_reported")),
    Story("cancelled when all but the report was done", ended(5_160, "CANCELED"),
          status="CANCELED", notes=("version_reported", "job_dropped")),
    # Power and network.
    Story("a reboot during the download", off(70), notes=REDONE),
    Story("a reboot while the image is written", off(1_500), notes=REDONE),
    Story("a reboot during the reboot", off(4_000), notes=OTA),
    Story("a reboot while the end is reported", script(losing("update SUCCEEDED"), off(6_000)),
          notes=("version_reported",)),
    Story("the network is away during the download", away(70, 300_000), notes=DARK),
    Story("away while it waits to resume", script(cut(10), away(500, 300_000)),
          notes=("download_broken", "connected", "download_resumed", *OTA[2:])),
    Story("away when a fresh URL is asked for", script(expiring(5), away(45, 300_000)),
          notes=("download_started", "connected", "url_refreshed", *OTA[2:])),
    Story("away while the image is written", away(1_000, 300_000), notes=DARK),
    Story("away while the end is reported", away(5_165, 300_000), notes=OTA[:-1]),
]  # fmt: skip


def play(story: Story) -> tuple[World, Execution]:
    world = World()
    world.cloud.objects[URL] = IMAGE.body
    job = Execution("ota-1", story.document)
    story.play(world, job)

    def create() -> None:
        world.cloud.create(THING, job)

    world.virtual.at(JOB_AT_MS, create)
    world.run(3600)
    return world, job


def duty(world: World) -> JobsDuty:
    return next(duty for duty in world.device.duties if isinstance(duty, JobsDuty))


def at_rest(world: World) -> bool:
    device = world.device
    return device.powered and device.online and duty(world).phase == "idle"


def in_order(wanted: tuple[str, ...], kinds: list[str]) -> bool:
    left = iter(kinds)
    return all(kind in left for kind in wanted)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("code", ["InvalidStateTransition", "TerminalStateReached"])
def test_story(story: Story, code: str) -> None:
    world, job = play(story._replace(play=script(terminal_code(code), story.play)))
    kinds = [kind for kind in world.kinds() if not kind.startswith("delta")]
    assert in_order(story.notes, kinds), kinds
    assert (job.status, world.device.version) == (story.status, story.version)
    assert world.cloud.shadow(THING, "$package").reported["Pump"]["version"] == story.version
    assert story.reason in job.details.get("reason", "")
    assert bool(story.reason) == (job.status == "FAILED")
    assert at_rest(world), duty(world).phase
    assert "installed_by" not in world.device.flash or job.status == "IN_PROGRESS"


def test_progress_and_the_versions_of_an_execution() -> None:
    world, job = play(Story(""))
    asked = [(u["status"], u["expectedVersion"], u["statusDetails"].get("percent")) for u in world.cloud.updates(THING)]
    assert asked == [
        ("IN_PROGRESS", 1, None),
        ("IN_PROGRESS", 2, "25"),
        ("IN_PROGRESS", 3, "50"),
        ("IN_PROGRESS", 4, "75"),
        ("IN_PROGRESS", 5, None),
        ("SUCCEEDED", 6, None),
    ]
    assert [note["percent"] for note in world.notes("download_progress")] == [25, 50, 75]
    assert job.history == [status for status, _, _ in asked]


def test_a_resumed_download_asks_for_the_rest_only() -> None:
    world, _ = play(Story("", script(cut(3000, 2500), expiring(1_500))))
    assert [wanted.offset for wanted in world.cloud.downloads] == [0, 3000, 5500, 5500]
    assert len({wanted.token for wanted in world.cloud.downloads}) == 4


def test_waits_longer_after_each_failure() -> None:
    world, _ = play(Story("", cut(1, 1, 1)))
    at_ms = [event.at_ms for event in world.ledger.events if event.kind in ("download_broken", "download_resumed")]
    assert [b - a for a, b in zip(at_ms[::2], at_ms[1::2], strict=True)] == [1000, 2000, 4000]


def test_one_job_after_the_other() -> None:
    world = World()
    newer = image("1.2.0")
    world.cloud.objects |= {URL: IMAGE.body, "https://s3/new": newer.body}
    second = document(version="1.2.0", url="https://s3/new", sha256=newer.sha256, signature=newer.signature)
    world.run(5)
    jobs = [world.cloud.create(THING, Execution(f"ota-{i}", d)) for i, d in enumerate([document(), [], second])]
    world.run(600)
    assert [job.status for job in jobs] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert world.device.version == "1.2.0"


def test_the_next_job_may_be_announced_too_early() -> None:
    """AWS IoT keeps no order of messages: the news of job 2 may come before the answer that ends job 1."""
    world = World()
    world.run(5)
    first = world.cloud.create(THING, Execution("ota-1", []))
    world.cloud.lose("notify-next")  # the one about ota-2: too early is as good as never
    second = world.cloud.create(THING, Execution("ota-2", []))
    world.run(60)
    assert (first.status, second.status) == ("FAILED", "FAILED")


def test_another_job_comes_first() -> None:
    world = World()
    world.cloud.objects[URL] = IMAGE.body
    world.run(5)
    late = world.cloud.create(THING, Execution("late", document()))
    world.run(0.04)  # its download has begun
    urgent = Execution("urgent", document())
    late.status = "QUEUED"  # the cloud put it back …
    world.cloud.jobs[THING].insert(0, urgent)  # … and another one before it
    world.cloud._news(THING, late)
    world.run(600)
    assert (urgent.status, late.status) == ("SUCCEEDED", "SUCCEEDED")
    assert world.notes("job_dropped") == [{"job": "late", "why": "another job came first"}]
    assert world.notes("job_succeeded")[1]["note"] == "already installed"


def test_pieces_of_a_dropped_download_do_not_count() -> None:
    """The job is taken away and given back while its first download still runs."""
    world = World()
    world.cloud.objects[URL] = IMAGE.body
    world.run(5)
    job = world.cloud.create(THING, Execution("ota-1", document()))
    world.run(0.05)
    world.cloud._answer(THING, "jobs/notify-next", {})
    world.virtual.at(world.virtual.clock.now_ms() + 30, lambda: world.cloud._news(THING, None))
    world.run(600)
    assert (job.status, len(world.cloud.downloads)) == ("SUCCEEDED", 2)


def test_the_name_of_a_job_may_come_again() -> None:
    """What an earlier job of the same name installed proves nothing about the new one."""
    world, _ = play(Story("", losing("update SUCCEEDED")))
    newer = image("1.2.0")
    world.cloud.objects["https://s3/new"] = newer.body
    again = document(version="1.2.0", url="https://s3/new", sha256=newer.sha256, signature=newer.signature)
    job = world.cloud.create(THING, Execution("ota-1", again))
    world.run(600)
    assert (job.status, world.device.version) == ("SUCCEEDED", "1.2.0")


def test_a_device_away_for_days_catches_up() -> None:
    world = World(profile(PUMP.replace("firmware: 1.0.0", "")))
    world.cloud.objects[URL] = IMAGE.body
    world.run(5)
    world.virtual.sever(0, world.virtual.clock.now_ms(), 3 * 86_400_000)
    world.run(60)
    job = world.cloud.create(THING, Execution("ota-1", document()))
    world.run(3 * 86_400 + 60)
    assert (job.status, world.device.version, at_rest(world)) == ("SUCCEEDED", "1.1.0", True)


def test_a_reboot_is_a_power_cycle_of_that_length() -> None:
    world, _ = play(Story(""))
    assert [note["off_ms"] for note in world.notes("rebooting")] == [2000]
    gone, back = (
        next(e.at_ms for e in world.ledger.events if e.kind == kind and e.at_ms > JOB_AT_MS)
        for kind in ("disconnected", "connected")
    )
    assert back - gone == 2000
