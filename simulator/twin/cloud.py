"""What is between the devices and the platform: a broker that passes on, shadows, jobs, and an object store. Pure.

Rules: every device has a latency of its own, drawn by the seed. What it says over MQTT is with the cloud at once and
with the platform after that, in order; the cloud's answers come back after twice as long. Over TCP and REST the
platform's gateway itself answers, and at once. Whatever is said to a device gets lost while its connection is down.
Ids count, so the same run makes the same ones.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import orjson

from simulator import identity, seeds
from simulator.audit import Audit
from simulator.clock import VirtualClock
from simulator.firmware import Image
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.messages import Download, Input, Publish, Received, Upload
from simulator.profiles import Profile
from simulator.runtime.virtual import Virtual
from simulator.twin.jobs import Execution, Job, Jobs
from simulator.twin.objects import Objects
from simulator.twin.refused import Refused
from simulator.twin.shadows import Json, Shadow

LATENCY_MS = (20, 60)  # of each device: somewhere between these
PAYLOAD_MAX = 128 * 1024  # of a message; the broker does not take more
TOPICS_MAX = 200_000
NOT_AUTHORIZED, TOO_LARGE = 0x87, 0x95
PACKAGE = "$package"
HEEDED = ("site",)  # attributes; to make the others up takes long

# What the platform listens to, each with its number of levels.
_HEARD = (("iotlink", 8, ""), ("devices", 4, "telemetry"), ("fire-prediction", 4, "data"))


class Platform(Protocol):
    """The platform, as the cloud knows it."""

    def ingest(self, topic: str, payload: bytes) -> None:
        """A message of the broker."""

    def frame(self, product: str, body: bytes) -> int:
        """A frame's body at the gateway for TCP; the reason code of its answer."""

    def post(self, path: str, body: bytes) -> int:
        """A request at the gateway for REST; the reason code of its answer."""


class Way:
    """How one device reaches the platform."""

    __slots__ = ("channel", "index", "is_copy", "latency_ms", "product", "thing")

    def __init__(self, index: int, thing: str, channel: str, product: str, latency_ms: int) -> None:
        self.index, self.thing, self.channel, self.product = index, thing, channel, product
        self.latency_ms = latency_ms
        self.is_copy = False  # it is connected as somebody else, so its own topics are not for it


class Cloud:
    """Everything a fleet talks to but the platform. `virtual` runs the fleet."""

    def __init__(self, fleet: Fleet, seed: int, ledger: Ledger, audit: Audit | None, start_ms: int) -> None:
        self.fleet, self.seed = fleet, seed
        self.clock = VirtualClock(start_ms)
        self.virtual = Virtual(fleet, self.clock, ledger, self._hear, self._fetch, self._take, audit)
        self.virtual.gate = self
        self.platform: Platform
        self._sessions: dict[str, int] = {}  # client id → who has it, where several want to
        self._ways: dict[str, Way] = {}
        self._registered: dict[str, Profile] = {}  # things
        self.in_flight = 0  # messages on their way to the platform
        for index, device in enumerate(fleet.devices):
            channel = fleet.profiles[device.profile].channel
            low, high = LATENCY_MS
            latency_ms = low + int((high - low) * seeds.fraction(seed, "latency", device.thing))
            for one in (device, *device.children):
                self._ways[one.thing] = Way(index, one.thing, channel, one.product, latency_ms)
                if channel == "mqtt":
                    self._registered[one.thing] = fleet.profiles[one.profile]
        self._shadows: dict[tuple[str, str], Shadow] = {}
        self.jobs = Jobs(self.after, self._tell_next, self._job_ended)
        self.objects = Objects(seed, self.clock.now_ms, self.after, self._say)
        self._versions: dict[tuple[str, str], Image] = {}  # of packages
        self._heard: dict[str, bool] = {}  # topics

    def after(self, after_ms: int, do: Callable[[], None]) -> None:
        """Do something so much later."""
        self.virtual.at(self.clock.now_ms() + after_ms, do)

    def _say(self, thing: str, said: Input, after_ms: int) -> None:
        self.virtual.tell(self._ways[thing].index, said, self.clock.now_ms() + after_ms)

    def publish(self, thing: str, topic: str, payload: bytes) -> None:
        """Somebody says something on a topic that a device listens to."""
        way = self._ways.get(thing)
        if way is not None:
            self._say(thing, Received(topic, payload), way.latency_ms)

    # Whom the broker lets in (virtual.Gate)

    def refuses(self, index: int) -> str | None:
        disguise = self.fleet.devices[index].disguise()
        return f"its certificate is {disguise.certificate}" if disguise and disguise.certificate else None

    def entered(self, index: int) -> None:
        device = self.fleet.devices[index]
        disguise = device.disguise()
        client_id = (disguise and disguise.client_id) or device.thing
        self._ways[device.thing].is_copy = client_id != device.thing
        if client_id != device.thing or client_id in self._sessions:
            of = self.fleet.by_thing.get(client_id, index)
            before, self._sessions[client_id] = self._sessions.get(client_id, of), index
            if before != index:
                self.virtual.lose(before, "session taken over")

    # What the devices say

    def _hear(self, now_ms: int, thing: str, message: Publish) -> int:
        way = self._ways[thing]
        if way.channel == "tcp":
            return self.platform.frame(way.product, message.payload)
        if way.channel == "rest":
            return self.platform.post(message.topic, message.payload)
        topic, payload = message.topic, message.payload
        if len(payload) > PAYLOAD_MAX or way.is_copy:
            return TOO_LARGE if len(payload) > PAYLOAD_MAX else NOT_AUTHORIZED
        heard = self._heard.get(topic)
        if heard is None:
            heard = self._listens(topic)
        if heard:
            self.in_flight += 1
            self.virtual.at(now_ms + way.latency_ms, partial(self._arrive, topic, payload))
        elif topic.startswith("$aws/things/"):
            self._asked(way, topic, payload)
        return 0

    def _listens(self, topic: str) -> bool:
        """Does the platform listen to this topic? The broker passes on what nobody listens to, and that is all."""
        parts = topic.split("/")
        found = any(
            parts[0] == first and len(parts) == levels and (not last or parts[-1] == last)
            for first, levels, last in _HEARD
        )
        if len(self._heard) < TOPICS_MAX:
            self._heard[topic] = found
        return found

    def _arrive(self, topic: str, payload: bytes) -> None:
        self.in_flight -= 1
        self.platform.ingest(topic, payload)

    def _asked(self, way: Way, topic: str, payload: bytes) -> None:
        """A request on one of the reserved topics."""
        _, _, thing, service, *rest = [*topic.split("/"), ""]
        prefix = f"$aws/things/{thing}/{service}/"
        try:
            request = orjson.loads(payload or b"{}")
        except ValueError:
            request = None
        if service == "shadow":
            self._asked_shadow(way, prefix, thing, rest[:-1], request, len(payload))
        elif service == "jobs" and type(request) is dict:
            self._asked_jobs(way, prefix, thing, rest[:-1], request)

    def _answer(self, way: Way, topic: str, document: Json) -> None:
        if topic.endswith("d"):  # accepted or rejected
            document["timestamp"] = self.clock.now_ms() // 1000
        said = Received(topic, orjson.dumps(document))
        self.virtual.tell(way.index, said, self.clock.now_ms() + 2 * way.latency_ms)

    # Shadows

    def shadow(self, thing: str, name: str = "") -> Shadow:
        """A shadow, which is there from now on."""
        return self._shadows.setdefault((thing, name), Shadow())

    def desire(self, thing: str, state: Mapping[str, Any]) -> None:
        """UpdateThingShadow with a desired state."""
        shadow = self.shadow(thing)
        shadow.update({"state": {"desired": orjson.loads(orjson.dumps(state))}})
        self._tell_delta(thing, "", shadow)

    def _asked_shadow(self, way: Way, prefix: str, thing: str, leaf: list[str], request: Any, size: int) -> None:
        name = ""
        if leaf[:1] == ["name"] and len(leaf) == 3:
            name, prefix = leaf[1], f"{prefix}name/{leaf[1]}/"
        shadow = self._shadows.get((thing, name))
        match leaf[-1:]:
            case ["update"]:
                shadow = shadow or self.shadow(thing, name)
                try:
                    shadow.update(request, size)
                except Refused as why:
                    self._answer(way, f"{prefix}update/rejected", {"code": why.code, "message": str(why)})
                else:
                    self._tell_delta(thing, name, shadow)
            case ["get"] if shadow and shadow.version:
                self._answer(way, f"{prefix}get/accepted", shadow.document())
            case ["get"]:
                missing = {"code": 404, "message": f"No shadow exists with name: '{thing}'"}
                self._answer(way, f"{prefix}get/rejected", missing)

    def _tell_delta(self, thing: str, name: str, shadow: Shadow) -> None:
        delta, way = shadow.delta(), self._ways.get(thing)
        if delta and way:
            prefix = f"$aws/things/{thing}/shadow/" + (f"name/{name}/" if name else "")
            self._answer(way, f"{prefix}update/delta", {"state": delta, "version": shadow.version})

    def packages(self, things: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Thing → version of its package in the `$package` shadow, for (thing, package) pairs that have one."""
        found: dict[str, str] = {}
        for thing, package in things:
            shadow = self._shadows.get((thing, PACKAGE))
            entry = shadow.reported.get(package) if shadow else None
            if type(entry) is dict and type(entry.get("version")) is str:
                found[thing] = entry["version"]
        return found

    # Jobs

    def catalogue(self, image: Image) -> None:
        """Publish a version of a package."""
        self.objects.put(image.key, image.body)
        self._versions[image.package, image.version] = image

    def create_job(self, job_id: str, package: str, version: str, things: Sequence[str], **options: Any) -> None:
        """Create an OTA job; Refused when there is no such version."""
        image = self._versions.get((package, version))
        if image is None:
            raise Refused(f"package version {package} {version} does not exist")
        document: Json = {
            "operation": "ota", "package": package, "version": version, "url": image.key, "size": len(image.body),
            "sha256": image.sha256, "signature": image.signature,
        }  # fmt: skip
        self.jobs.create(Job(job_id, document, **options), things)

    def _told(self, execution: Execution) -> Json:
        """An execution as its device is told of it, with a fresh URL."""
        document = execution.job.document
        return {
            "jobId": execution.job.job_id, "thingName": execution.thing, "status": execution.status,
            "versionNumber": execution.version, "executionNumber": 1,
            "jobDocument": {**document, "url": self.objects.url(str(document["url"]))},
        }  # fmt: skip

    def _tell_next(self, thing: str, head: Execution | None) -> None:
        if way := self._ways.get(thing):
            self._answer(way, f"$aws/things/{thing}/jobs/notify-next", {"execution": self._told(head)} if head else {})

    def _job_ended(self, execution: Execution) -> None:
        job = execution.job
        if execution.status == "SUCCEEDED":  # as the package configuration of the account wants it
            entry = {"version": job.document["version"], "attributes": {}}
            self.shadow(execution.thing, PACKAGE).update({"state": {"reported": {job.document["package"]: entry}}})
        event = {"jobId": job.job_id, "status": execution.status, "statusDetails": dict(execution.details)}
        topic = f"$aws/events/jobExecution/{job.job_id}/{execution.status.lower()}"
        self.in_flight += 1
        self.after(LATENCY_MS[0], partial(self._arrive, topic, orjson.dumps(event)))

    def _asked_jobs(self, way: Way, prefix: str, thing: str, leaf: list[str], request: Json) -> None:
        token = {name: value for name, value in request.items() if name == "clientToken"}

        def answer(result: str, document: Json) -> None:
            self._answer(way, f"{prefix}{'/'.join(leaf)}/{result}", {**document, **token})

        match leaf:
            case ["$next", "get"]:
                head = self.jobs.head(thing)
                answer("accepted", {"execution": self._told(head)} if head else {})
            case [job_id, "get"]:
                found = self.jobs.find(thing, job_id)
                if found is None:
                    answer("rejected", {"code": "ResourceNotFound"})
                else:
                    answer("accepted", {"execution": self._told(found)})
            case [job_id, "update"]:
                found = self.jobs.find(thing, job_id)
                if found is None:
                    answer("rejected", {"code": "ResourceNotFound"})
                    return
                code, tells = self.jobs.update(found, request)
                if code:
                    answer("rejected", {"code": code, **({"executionState": found.state()} if tells else {})})
                else:
                    answer("accepted", {})

    # What the platform asks of the account

    def thing(self, thing: str) -> tuple[str | None, Mapping[str, str]]:
        """The thing type of a thing, and those attributes that the platform heeds; None, {}: it is not registered."""
        profile = self._registered.get(thing)
        if profile is None:
            return None, {}
        heeded = {name: text for name, text in profile.attributes.items() if name in HEEDED}
        return profile.thing_type, identity.attributes(heeded, self.seed, thing)

    # Files

    def _fetch(self, now_ms: int, thing: str, wanted: Download) -> None:
        way = self._ways[thing]
        self.objects.get(self.fleet.devices[way.index], wanted, 2 * way.latency_ms)

    def _take(self, now_ms: int, thing: str, wanted: Upload) -> None:
        self.objects.take(thing, wanted, 2 * self._ways[thing].latency_ms)
