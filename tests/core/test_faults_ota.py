"""Faults of updates: how a job ends with each of them, what the cloud is told, and that the next one goes well."""

from typing import Any, NamedTuple

import pytest

from simulator.faults import Fault
from simulator.faults.badly_signed import BadlySigned, wrong
from simulator.faults.corrupted import Corrupted
from simulator.faults.disk_full import DiskFull
from simulator.faults.expired_url import ExpiredUrl
from simulator.faults.fails_first import FailsFirst
from simulator.faults.job_hang import JobHang
from simulator.faults.job_timeout import JobTimeout
from simulator.faults.power_cut import PowerCut
from simulator.faults.reject import Reject
from simulator.faults.rollback import Rollback
from simulator.faults.slow_download import SlowDownload
from simulator.faults.truncated import Truncated
from simulator.faults.wrong_version import WrongVersion
from tests.core.fake_cloud import Execution, Json
from tests.core.fleets import START_MS, THING, World, image, profile

BROKEN_S, JOB_S, AGAIN_S = 5, 10, 3000  # the fault comes, the first job, and the job after the fault
IMAGES = {version: image(version) for version in ("1.1.0", "1.2.0")}
URL = "https://s3/pump-{}"


def document(version: str) -> Json:
    made = IMAGES[version]
    return {
        "operation": "ota", "package": "Pump", "version": version, "url": URL.format(version),
        "size": len(made.body), "sha256": made.sha256, "signature": made.signature,
    }  # fmt: skip


class Jobs:
    """A pump, its fault, a job under it, and one after it."""

    def __init__(self, *faults: Fault) -> None:
        self.world = World()
        self.cloud = self.world.cloud
        self.cloud.objects |= {URL.format(version): made.body for version, made in IMAGES.items()}
        for fault in faults:
            self.world.virtual.inject(0, fault, START_MS + 1000 * BROKEN_S)

    def job(self, version: str = "1.1.0") -> Execution:
        return self.cloud.create(THING, Execution(f"ota-{len(self.cloud.jobs.get(THING, []))}", document(version)))

    def clear(self) -> None:
        self.world.virtual.clear(0, None, self.world.virtual.clock.now_ms())

    def run(self, for_s: float) -> None:
        self.world.run(for_s)

    @property
    def version(self) -> str:
        """What it really runs."""
        return self.world.device.version

    @property
    def package(self) -> str:
        """What `$package` says."""
        return str(self.cloud.shadow(THING, "$package").reported["Pump"]["version"])

    def kinds(self, *of: str) -> list[str]:
        return [kind for kind in self.world.kinds() if kind in of]

    def updates(self) -> list[tuple[str, str]]:
        """What the cloud was told of jobs: status and, of a failure, the reason."""
        return [(u["status"], u["statusDetails"].get("reason", "")) for u in self.cloud.updates(THING)]


class Story(NamedTuple):
    """What becomes of the job under a fault."""

    fault: Fault
    status: str
    version: str = "1.0.0"  # that runs then
    package: str = ""  # that `$package` says; absent: the same
    reason: str = ""


FAILED, SUCCEEDED, OPEN = "FAILED", "SUCCEEDED", "IN_PROGRESS"
STORIES = [
    Story(ExpiredUrl(), FAILED, reason="download failed 4 times: HTTP 403"),
    Story(ExpiredUrl(times=2), SUCCEEDED, "1.1.0"),
    Story(Truncated(percent=60), FAILED, reason="size mismatch: got 6144 bytes, the job says 10240"),
    Story(Truncated(percent=0), FAILED, reason="size mismatch: got 0 bytes"),
    Story(Corrupted(), FAILED, reason="sha256 mismatch"),
    Story(BadlySigned(), FAILED, reason="signature mismatch: not signed by this fleet's manufacturer"),
    Story(WrongVersion(version="1.0.9"), SUCCEEDED, "1.0.9", "1.0.9"),
    Story(WrongVersion(version="1.0.9", does="reports"), SUCCEEDED, "1.1.0", "1.0.9"),
    Story(SlowDownload(rate_kib_per_s=0.1), SUCCEEDED, "1.1.0"),
    *(Story(PowerCut(at=at, off_s=30), SUCCEEDED, "1.1.0") for at in ("download", "verify", "install", "reboot")),
    Story(PowerCut(at="download", percent=99, times=3), SUCCEEDED, "1.1.0"),
    Story(DiskFull(), FAILED, reason="no space left on device after 0 KiB"),
    Story(DiskFull(free_kib=4), FAILED, reason="no space left on device after 4 KiB"),
    Story(DiskFull(free_kib=10), SUCCEEDED, "1.1.0"),
    Story(Reject(reason="driving"), "REJECTED", reason="driving"),
    Story(JobHang(at="accept"), "QUEUED"),
    *(Story(JobHang(at=at), OPEN) for at in ("download", "verify", "install")),
    Story(JobHang(at="boot"), OPEN, "1.1.0"),
    Story(JobTimeout(late_s=900), SUCCEEDED, "1.1.0"),  # the cloud of this story waits forever
    Story(FailsFirst(), FAILED, reason="the image could not be written"),
    Story(Rollback(), FAILED, reason="1.1.0 does not start: back in 1.0.0"),
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: "-".join(str(v) for v in story.fault.params.values()))
def test_a_job_under_a_fault_and_one_after_it(story: Story) -> None:
    jobs = Jobs(story.fault)
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(AGAIN_S)
    assert (job.status, jobs.version, jobs.package) == (story.status, story.version, story.package or story.version)
    assert job.details.get("reason", "").startswith(story.reason)
    assert bool(story.reason) == (job.status in (FAILED, "REJECTED"))
    jobs.clear()
    later = jobs.job("1.2.0")
    jobs.run(600)
    assert later.status == SUCCEEDED
    assert (jobs.version, jobs.package) == ("1.2.0", "1.2.0")
    assert job.status in (SUCCEEDED, FAILED, "REJECTED"), "also the one that hung is done then"
    assert not jobs.world.device.faults


def test_a_fresh_url_is_asked_for_and_the_store_hears_nothing_of_the_bad_ones() -> None:
    jobs = Jobs(ExpiredUrl(times=2))
    jobs.run(JOB_S)
    jobs.job()
    jobs.run(100)
    assert len(jobs.cloud.downloads) == 1
    asked = [message.topic for _, _, message in jobs.cloud.said if message.kind == "job_get"]
    assert sum(topic.endswith("ota-0/get") for topic in asked) == 2
    assert sorted(jobs.kinds("url_refreshed", "fault_cleared")) == ["fault_cleared", "url_refreshed", "url_refreshed"]


def test_only_one_bit_is_wrong_and_only_of_what_is_hit() -> None:
    never: Any = {"probability": 1e-9}
    missed = Jobs(Corrupted(**never), Truncated(**never), BadlySigned(**never), JobHang(at="download", **never))
    missed.run(JOB_S)
    job = missed.job()
    missed.run(100)
    assert job.status == SUCCEEDED


def test_a_wrong_signature_is_the_same_again_and_has_the_form_of_one() -> None:
    """So that a description asked for anew is of the same artifact."""
    right = IMAGES["1.1.0"].signature
    assert wrong(right) == wrong(right) != right
    assert len(wrong(right)) == len(right)
    jobs = Jobs(BadlySigned(), ExpiredUrl(times=1))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(100)
    assert job.details["reason"].startswith("signature mismatch")


def test_documents_without_a_signature_go_through() -> None:
    jobs = Jobs(BadlySigned())
    jobs.run(JOB_S)
    kinds = [[1], {}, {"operation": "ota", "signature": 3}, {"operation": "ota", "signature": "§"}]
    done = [jobs.cloud.create(THING, Execution(f"odd-{n}", kind)) for n, kind in enumerate(kinds)]
    jobs.run(200)
    assert [job.status for job in done] == [FAILED] * 4


def test_a_wrong_version_is_told_to_nobody_but_shows_in_the_package() -> None:
    jobs = Jobs(WrongVersion(version="1.0.9"))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(100)
    assert (job.status, job.document["version"], jobs.package) == (SUCCEEDED, "1.1.0", "1.0.9")
    assert jobs.world.device.flash["version"] == "1.0.9"


@pytest.mark.parametrize("does", ["installs", "reports"])
def test_a_reboot_without_a_job_changes_no_version(does: Any) -> None:
    jobs = Jobs(WrongVersion(version="1.0.9", does=does), Rollback())
    jobs.world.virtual.power_cycle(0, START_MS + 20_000, 1000)
    jobs.run(60)
    assert (jobs.version, jobs.package) == ("1.0.0", "1.0.0")


def took_s(jobs: Jobs) -> float:
    at_ms = {event.kind: event.at_ms for event in jobs.world.ledger.events}
    return (at_ms["downloaded"] - at_ms["download_started"]) / 1000


def test_a_slow_download_takes_its_time() -> None:
    jobs = Jobs(SlowDownload(rate_kib_per_s=0.5))
    jobs.run(JOB_S)
    jobs.job()
    jobs.run(100)
    assert jobs.cloud.downloads[0].rate_kib_per_s == 0.5
    assert 19 < took_s(jobs) < 22
    jobs.clear()
    jobs.job("1.2.0")
    jobs.run(60)
    assert jobs.cloud.downloads[1].rate_kib_per_s is None
    assert took_s(jobs) < 1


CUTS = {
    "download": ["download_started", "disconnected", "connected", "download_started", "downloaded", "verified"],
    "verify": ["download_started", "disconnected", "connected", "download_started", "downloaded", "verified"],
    "install": ["download_started", "downloaded", "verified", "disconnected", "connected", "download_started"],
    "reboot": ["download_started", "downloaded", "verified", "installed", "disconnected", "connected"],
}


@pytest.mark.parametrize("at", CUTS)
def test_where_the_power_goes(at: Any) -> None:
    jobs = Jobs(PowerCut(at=at, off_s=30))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(0.01)
    before = len(jobs.world.ledger.events)
    jobs.run(200)
    marks = {kind for way in CUTS.values() for kind in way}
    events = [event for event in jobs.world.ledger.events[before - 1 :] if event.kind in marks]
    kinds = [event.kind for event in events]
    at_ms = {event.kind: event.at_ms for event in reversed(events)}
    assert kinds[kinds.index("download_started") :][:6] == CUTS[at]
    assert at_ms["connected"] - at_ms["disconnected"] == 30_000 + (2000 if at == "reboot" else 0)
    assert (job.status, jobs.world.kinds().count("fault_cleared")) == (SUCCEEDED, 1)
    again = 1 if at == "reboot" else 2
    assert [wanted.offset for wanted in jobs.cloud.downloads] == [0] * again


def test_the_power_goes_when_so_much_has_come() -> None:
    jobs = Jobs(PowerCut(at="download", percent=50))
    jobs.run(JOB_S)
    jobs.job()
    jobs.run(100)
    assert [note["percent"] for note in jobs.world.notes("download_progress")] == [25, 50, 25, 50, 75]


def test_nothing_is_cut_after_the_last_time() -> None:
    jobs = Jobs(PowerCut(at="verify", times=2, off_s=5))
    jobs.run(JOB_S)
    jobs.job()
    jobs.run(200)
    assert jobs.kinds("disconnected") == ["disconnected"] * 3, "two cuts, and the reboot of the update"


@pytest.mark.parametrize("at", ["accept", "download", "verify", "install", "boot"])
def test_an_agent_hangs_until_the_cloud_ends_the_job_and_lives_on_after(at: Any) -> None:
    jobs = Jobs(JobHang(at=at))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(60)
    said = len(jobs.updates())
    before = len([message for _, _, message in jobs.cloud.said if message.kind == "telemetry"])
    jobs.cloud.end(THING, job, "TIMED_OUT")
    jobs.run(600)
    assert len(jobs.updates()) == said, "not a word of it"
    assert len([m for _, _, m in jobs.cloud.said if m.kind == "telemetry"]) > before + 50, "all else goes on"
    [note] = jobs.world.notes("job_hangs")
    assert note["at"] == at
    second = jobs.job("1.2.0")
    jobs.run(60)
    assert second.status == "QUEUED"
    jobs.clear()
    jobs.run(60)
    assert (job.status, second.status, jobs.version) == ("TIMED_OUT", SUCCEEDED, "1.2.0")


def test_power_frees_an_agent_that_hung_by_chance() -> None:
    jobs = Jobs(JobHang(at="download", percent=50))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(60)
    assert job.status == OPEN
    jobs.world.virtual.power_cycle(0, jobs.world.virtual.clock.now_ms(), 1000)
    jobs.run(0.5)
    jobs.clear()
    jobs.run(100)
    assert job.status == SUCCEEDED


def test_an_agent_that_is_freed_offline_asks_when_it_is_back() -> None:
    jobs = Jobs(JobHang(at="verify"))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(20)
    jobs.world.virtual.sever(0, jobs.world.virtual.clock.now_ms(), 60_000)
    jobs.run(1)
    jobs.clear()
    jobs.run(40)
    assert job.status == OPEN
    jobs.run(60)
    assert job.status == SUCCEEDED


def test_a_time_out_comes_before_the_reboot_and_the_version_is_new_all_the_same() -> None:
    jobs = Jobs(JobTimeout(late_s=900))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(600)
    assert (job.status, jobs.version, jobs.package) == (OPEN, "1.0.0", "1.0.0")
    jobs.cloud.end(THING, job, "TIMED_OUT")
    jobs.run(400)
    assert (job.status, jobs.version, jobs.package) == ("TIMED_OUT", "1.1.0", "1.1.0")
    assert jobs.world.device.online


def test_a_reboot_that_waits_comes_when_the_fault_goes() -> None:
    jobs = Jobs(JobTimeout(late_s=900))
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(100)
    jobs.clear()
    jobs.run(10)
    assert (job.status, jobs.version) == (SUCCEEDED, "1.1.0")
    jobs.run(2000)
    assert jobs.kinds("disconnected") == ["disconnected"], "it does not come again"


def test_updates_fail_at_first_and_succeed_then() -> None:
    jobs = Jobs(FailsFirst(times=2, reason="flash worn out"))
    jobs.run(JOB_S)
    done = []
    for _ in range(3):
        done.append(jobs.job())
        jobs.run(60)
    assert [job.status for job in done] == [FAILED, FAILED, SUCCEEDED]
    assert [job.details.get("reason") for job in done[:2]] == ["flash worn out"] * 2
    assert jobs.world.notes("fault_cleared") == [{"fault": "fails_first"}]


def test_a_rejected_job_is_not_begun() -> None:
    jobs = Jobs(Reject())
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.run(60)
    assert jobs.updates() == [("REJECTED", "not now")]
    assert job.history == ["REJECTED"]
    assert jobs.cloud.downloads == []
    assert jobs.world.notes("job_failed") == [{"job": "ota-0", "reason": "not now"}]


def test_a_rollback_is_told_and_leaves_the_package_alone() -> None:
    jobs = Jobs(Rollback())
    jobs.run(JOB_S)
    jobs.job()
    jobs.run(100)
    assert jobs.updates()[-1] == (FAILED, "1.1.0 does not start: back in 1.0.0")
    assert jobs.kinds("installed", "version_reported") == ["installed"]


def test_the_end_of_a_rollback_may_get_lost() -> None:
    """The answer to FAILED never comes, the device reboots, and says the same again."""
    jobs = Jobs(Rollback())
    jobs.cloud.lose("update FAILED")
    jobs.run(JOB_S)
    job = jobs.job()
    jobs.world.virtual.power_cycle(0, START_MS + 20_000, 1000)
    jobs.run(100)
    assert (job.status, jobs.version) == (FAILED, "1.0.0")


# --- whom they fit ---

FAULTS = list({story.fault.model_dump()["kind"]: story.fault for story in STORIES}.values())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_only_who_executes_jobs_can_have_it(fault: Fault) -> None:
    what = profile()
    assert fault.family == "ota"
    assert fault.unfit(what.subject) is None
    assert fault.unfit(what.over("tcp", "pump-tcp").subject) == "has no job agent"


@pytest.mark.parametrize(
    ("fault", "notice"),
    [
        (ExpiredUrl(), "job"), (ExpiredUrl(times=1), "nothing"), (Truncated(), "job"), (Corrupted(), "job"),
        (BadlySigned(), "job"), (WrongVersion(version="2"), "version"), (SlowDownload(rate_kib_per_s=1), "nothing"),
        (PowerCut(), "nothing"), (PowerCut(off_s=600), "silence"), (DiskFull(), "job"), (Reject(), "job"),
        (JobHang(), "job"), (JobTimeout(), "job"), (FailsFirst(), "job"), (Rollback(), "job"),
    ],
)  # fmt: skip
def test_what_should_be_noticed(fault: Fault, notice: str) -> None:
    expected = fault.expects(profile().subject)
    assert expected.notice == notice
    assert expected.words
