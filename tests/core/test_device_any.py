"""Whatever a device hears, in whatever order: it never fails, installs only what is genuine, and never gets stuck."""

import json
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simulator.behaviours import NEVER_MS
from simulator.behaviours.jobs import JobsDuty
from simulator.faults.hang import Hang
from simulator.messages import (
    Booted,
    Chunk,
    Connected,
    Disconnected,
    Download,
    DownloadEnded,
    Input,
    Note,
    Output,
    PowerCycle,
    Publish,
    Received,
    Subscribe,
)
from tests.core.fleets import PUBLIC_KEY, START_MS, THING, fleet, image

IMAGES = {version: image(version, size_kib=1) for version in ("1.1.0", "1.2.0")}
JOBS, SHADOW = f"$aws/things/{THING}/jobs", f"$aws/things/{THING}/shadow"

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
versions = st.sampled_from([*IMAGES, "1.0.0"])


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A job document: right, or with some of its keys spoilt, or anything at all."""
    made = IMAGES[draw(st.sampled_from(sorted(IMAGES)))]
    document: dict[str, Any] = {
        "operation": "ota", "package": "Pump", "version": made.version, "url": "https://s3/x",
        "size": len(made.body), "sha256": made.sha256, "signature": made.signature,
    }  # fmt: skip
    spoilt = draw(st.dictionaries(st.sampled_from(sorted(document)), any_json | versions, max_size=2))
    return draw(st.sampled_from([document, document, document | spoilt, draw(any_json)]))


jobs = st.sampled_from(["ota-1", "ota-2", "", "#/+", "x" * 65])
executions = st.fixed_dictionaries(
    {"jobId": jobs | any_json},
    optional={"jobDocument": documents(), "versionNumber": st.integers(0, 9) | any_json, "status": any_json},
)
codes = st.sampled_from(["VersionMismatch", "InvalidStateTransition", "RequestThrottled", "TerminalStateReached"])


class AnyLife(RuleBasedStateMachine):
    """One device; the rules are everything that can happen to it."""

    @initialize(retries=st.integers(0, 3))
    def power(self, retries: int) -> None:
        self.device = fleet().devices[0]
        [self.jobs] = [duty for duty in self.device.duties if isinstance(duty, JobsDuty)]
        self.jobs.what = self.jobs.what.model_copy(update={"retries": retries})
        self.now_ms = START_MS
        self.wanted: Download | None = None  # the download that runs
        self.body = b""  # what was handed over of it, from its very first byte
        self.hear(Connected(False))

    # What can happen

    @rule(execution=executions, leaf=st.sampled_from(["notify-next", "$next/get/accepted"]))
    def next_job(self, execution: Any, leaf: str) -> None:
        self.told(f"{JOBS}/{leaf}", {"execution": execution})

    @rule(document=documents(), version=st.integers(1, 9))
    def right_job(self, document: Any, version: int) -> None:
        self.told(
            f"{JOBS}/notify-next", {"execution": {"jobId": "ota-1", "versionNumber": version, "jobDocument": document}}
        )

    @rule(leaf=st.sampled_from(["notify-next", "$next/get/accepted"]), document=st.just({}) | any_json)
    def no_job(self, leaf: str, document: Any) -> None:
        self.told(f"{JOBS}/{leaf}", document)

    @rule(execution=executions)
    def described(self, execution: Any) -> None:
        self.told(f"{JOBS}/{self.jobs.job_id}/get/accepted", {"execution": execution})

    @rule()
    def described_as_it_is(self) -> None:
        self.told(f"{JOBS}/{self.jobs.job_id}/get/accepted", {"execution": dict(self.jobs.execution)})

    @rule(
        leaf=st.sampled_from(["get/rejected", "update/accepted", "update/rejected"]),
        code=codes | any_json,
        state=st.none() | st.fixed_dictionaries({"status": any_json, "versionNumber": any_json}),
        mine=st.booleans(),
    )
    def answered(self, leaf: str, code: Any, state: Any, mine: bool) -> None:
        token = self.jobs.update if mine else "other"
        self.told(f"{JOBS}/{self.jobs.job_id}/{leaf}", {"code": code, "executionState": state, "clientToken": token})

    @rule(
        leaf=st.sampled_from(["update/delta", "get/accepted", "get/rejected", "update/rejected"]),
        version=st.integers(0, 99),
        action=any_json | st.fixed_dictionaries({"name": st.just("restart-fan"), "id": st.sampled_from("abc")}),
    )
    def desired(self, leaf: str, version: int, action: Any) -> None:
        state = {"action": action, "delta": {"action": action}}
        self.told(f"{SHADOW}/{leaf}", {"state": state, "version": version, "code": 404})

    @rule(
        prefix=st.sampled_from([JOBS, SHADOW, ""]), leaf=st.text(max_size=20), payload=st.binary(max_size=40) | any_json
    )
    def noise(self, prefix: str, leaf: str, payload: Any) -> None:
        self.hear(Received(f"{prefix}/{leaf}", payload if isinstance(payload, bytes) else json.dumps(payload).encode()))

    @precondition(lambda self: self.wanted)
    @rule(length=st.integers(1, 2000), genuine=st.sampled_from([True, True, True, False]))
    def piece(self, length: int, genuine: bool) -> None:
        """The next bytes of an artifact, or others."""
        assert self.wanted
        of = next((made for made in IMAGES.values() if made.sha256 == self.artifact_sha256()), IMAGES["1.1.0"])
        data = of.body[len(self.body) :][:length] if genuine else b"x" * length
        if data:
            self.body += data
            self.hear(Chunk(self.wanted.token, data))

    @precondition(lambda self: self.wanted)
    @rule(status=st.sampled_from([200, 200, 206, 0, 403, 404, 503]), error=st.sampled_from(["", "", "reset"]))
    def download_ends(self, status: int, error: str) -> None:
        assert self.wanted
        ended, self.wanted = DownloadEnded(self.wanted.token, status, error), None
        self.hear(ended)

    @rule(token=st.sampled_from(["", "ota-1-1", "x"]), data=st.binary(max_size=9))
    def piece_of_another_download(self, token: str, data: bytes) -> None:
        if not self.wanted or token != self.wanted.token:
            self.hear(Chunk(token, data))
            self.hear(DownloadEnded(token, 200, ""))

    @rule(present=st.booleans())
    def connects(self, present: bool) -> None:
        self.hear(Connected(present))

    @rule()
    def loses_its_connection(self) -> None:
        self.hear(Disconnected("reset"))

    @rule()
    def reboots(self) -> None:
        self.wanted = None
        self.hear(Disconnected("power"))
        self.hear(Booted())
        self.hear(Connected(False))

    @rule(recurs_after_s=st.none() | st.floats(0, 100), fixed_in=st.none() | versions)
    def breaks(self, recurs_after_s: float | None, fixed_in: str | None) -> None:
        if len(self.device.faults) < 5:
            fault = Hang(part="fan", recurs_after_s=recurs_after_s, fixed_in=fixed_in)
            self.do(self.device.inject(fault, self.now_ms))

    @rule(for_ms=st.sampled_from([1, 100, 3_000, 10_000, 60_000]))
    def time_passes(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        for _ in range(1000):
            if self.device.wake_at_ms > end_ms:
                break
            self.now_ms = max(self.now_ms, self.device.wake_at_ms)
            self.do(self.device.step(self.now_ms))
        else:
            raise AssertionError("it never sleeps")
        self.now_ms = end_ms

    @precondition(lambda self: not self.device.powered)
    @rule()
    def comes_back(self) -> None:
        self.hear(Booted())
        self.hear(Connected(False))

    # What must be so

    @invariant()
    def has_nothing_to_do_or_an_alarm_set(self) -> None:
        jobs, device = self.jobs, self.device
        if device.powered and device.online:
            waits = {"idle": True, "downloading": self.wanted is not None}
            assert jobs.wake_at_ms < NEVER_MS or waits.get(jobs.phase, False), jobs.phase
            assert device.wake_at_ms < NEVER_MS
        assert jobs.phase == "rebooting" or device.powered
        assert len(device.faults) <= 5

    # How it is done

    def artifact_sha256(self) -> str:
        return self.jobs.artifact.sha256 if self.jobs.artifact else ""

    def told(self, topic: str, document: Any) -> None:
        self.hear(Received(topic, json.dumps(document).encode()))

    def hear(self, said: Input) -> None:
        self.do(self.device.receive(said, self.now_ms))

    def do(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Publish(kind, topic, payload):
                    assert not {"#", "+"} & set(topic)
                    assert THING not in kind
                    assert payload == b"" or isinstance(json.loads(payload), dict)
                    self.published(json.loads(payload or b"{}"))
                case Download(offset=offset):
                    assert 0 <= offset <= len(self.body)
                    self.wanted, self.body = output, self.body[:offset]
                case Note(kind) if kind != "installed":
                    event(kind)
                case Note("installed", detail):
                    event("installed")
                    made = IMAGES[detail["version"]]
                    assert self.body == made.body, "it installed what is not genuine"
                case PowerCycle():
                    assert not self.device.powered
                    self.wanted = None
                case Subscribe(filters):
                    assert len(set(filters)) == len(filters) > 0

    def published(self, request: dict[str, Any]) -> None:
        for value in request.get("statusDetails", {}).values():
            assert 0 < len(value) <= 1024
            assert value.isprintable()
        assert len(request.get("clientToken", "")) <= 64


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)


def test_the_key_of_these_images_is_the_fleets() -> None:
    assert fleet().devices[0].public_key == PUBLIC_KEY
