"""Locust's users around the devices: operators and dashboards, and downloads of firmware without a device.

    Operator     boto3: desired states, searches, jobs, dynamic groups       tags: people, operators
    Dashboard    the backend's read API                                      tags: people, dashboards
    Downloader   firmware by presigned URLs, checked against its digest      tags: downloads

Rules: rows are named by what is done, and failures by why, never by a device or an ARN. All users of a process share
one set of boto3 clients, which boto3 allows, and whose sockets wait as greenlets do. Measured with 20 users on 2 cores:
a session for each costs 14 MB and 0.13 s of processor each and makes no call quicker, nor does a pool of threads. What
an operator makes beside the devices' work (groups), it takes away again.
"""

import hashlib
import logging
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import gevent
import orjson
import requests
from botocore.exceptions import BotoCoreError, ClientError
from locust import User, constant_pacing, tag, task
from locust.exception import StopUser

from simulator import firmware
from simulator.behaviours._settings import Setting
from simulator.behaviours.shadow import Shadow
from simulator.errors import FleetsimError
from simulator.load.cast import cast
from simulator.ops import jobs
from simulator.ops.aws import Aws, code
from simulator.ops.groundwork import bucket
from simulator.profiles import Profile
from simulator.workload import People, Workload

logger = logging.getLogger("fleetsim")

TIMEOUT_S = 30.0
URL_VALID_S = 3600
MS_PER_S = 1000
LONG_S = 86_400.0
_shared: dict[str, Aws] = {}  # endpoint → the clients of this process


class _Person(User):  # type: ignore[misc]  # Locust is not type-checked
    """Somebody who does one of several things every so often."""

    abstract = True
    born = 0  # in this process, so that each does something else
    part = ""  # what of a scenario's load it is
    pace = constant_pacing(1)

    def wait_time(self) -> float:
        """Nothing more once it is counted what came of it all."""
        return LONG_S if self.environment.fleet.silent else float(self.pace())

    @classmethod
    def take_part(cls, load: Workload | None) -> None:
        """As often and as many as the scenario wants."""
        said: People | None = getattr(load, cls.part) if load else None
        cls.fixed_count = said.count if said else 0
        if said:
            cls.pace = constant_pacing(said.every_s)
            cls.prepare(said)

    @classmethod
    def prepare(cls, said: Any) -> None:
        """What else the scenario says."""

    def on_start(self) -> None:
        brief = self.environment.fleet.brief
        assert brief
        cls = type(self)
        cls.born += 1
        self.brief = brief
        self.dice = random.Random(f"{brief.seed} {self.part} {self.environment.runner.worker_index} {cls.born}")  # noqa: S311 - chooses, keeps no secret
        gevent.sleep(self.dice.random() * self.pace())  # or all of them would do everything at once

    @contextmanager
    def timed(self, method: str, name: str) -> "Iterator[Said]":
        """One request: how long it took, how much came, and how it failed if it did."""
        said, why, began_s = Said(), None, time.perf_counter()
        try:
            yield said
        except (BotoCoreError, ClientError, FleetsimError, requests.RequestException) as error:
            why = Failed(_reason(error))
        self.environment.events.request.fire(
            request_type=method, name=name, response_time=(time.perf_counter() - began_s) * MS_PER_S,
            response_length=said.size, exception=why, context={},
        )  # fmt: skip

    def aws(self) -> Aws:
        """The account's clients."""
        addresses = self.brief.addresses
        if not addresses.has_account:
            logger.warning("target '%s' has no account, so there are no %s", addresses.name, self.part)
            raise StopUser
        if addresses.name not in _shared:
            _shared[addresses.name] = Aws(addresses)
        return _shared[addresses.name]


class Said:
    """What came back."""

    size = 0


class Failed(Exception):
    """Why a request failed, for any device."""

    def __repr__(self) -> str:  # what Locust shows
        return str(self)


class Operator(_Person):
    """Works on the account's APIs."""

    part = "operators"
    job_devices = 1

    @classmethod
    def prepare(cls, said: Any) -> None:
        known = {"set_desired": cls.set_desired, "search": cls.search, "create_job": cls.create_job,
                 "dynamic_group": cls.dynamic_group}  # fmt: skip
        cls.tasks = [known[name] for name, weight in said.tasks.items() for _ in range(weight)]
        cls.job_devices = said.job_devices

    def on_start(self) -> None:
        super().on_start()
        self._aws = self.aws()
        self._things = [(thing, profile) for thing, profile in cast.things() if profile.channel == "mqtt"]
        if not self._things:
            logger.warning("no device of the fleet has a thing, so operators have nothing to do")
            raise StopUser

    @tag("people", "operators")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def set_desired(self) -> None:
        """Desire a setting of a device, or an action."""
        thing, profile = self.dice.choice(self._things)
        payload = orjson.dumps({"state": {"desired": desire(profile, self.dice)}})
        with self.timed("AWS", "set desired"):
            self._aws.data.update_thing_shadow(thingName=thing, payload=payload)

    @tag("people", "operators")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def search(self) -> None:
        """Look for devices of a type, or of a version."""
        _, profile = self.dice.choice(self._things)
        query = f"thingTypeName:{profile.thing_type}"
        if self.dice.random() < 0.5:
            query += f" AND shadow.name.$package.reported.{profile.software}.version:{profile.firmware}"
        with self.timed("AWS", "search"):
            self._aws.iot.search_index(queryString=query, maxResults=100)

    @tag("people", "operators")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def create_job(self) -> None:
        """Update the firmware of a few devices, up or down."""
        _, profile = self.dice.choice([one for one in self._things if one[1].managed] or self._things)
        able = [thing for thing, of in self._things if of.software == profile.software and of.managed]
        things = self.dice.sample(able, min(self.job_devices, len(able)))
        versions = [one.version for one in firmware.releases() if profile.software in one.packages]
        if not (things and versions):
            return
        with self.timed("AWS", "create job"):
            document, arn = jobs.ota_document(self._aws, profile.software, self.dice.choice(versions))
            where = f"arn:aws:iot:{self.brief.addresses.region}:{self._aws.account}:thing/"
            wanted = jobs.parameters(
                self._aws, jobs.generated_id(f"load-{uuid.uuid4().hex[:12]}", datetime.now(UTC)),
                [where + thing for thing in things], document, destinations=[arn],
            )  # fmt: skip
            jobs.create(self._aws, wanted)

    @tag("people", "operators")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def dynamic_group(self) -> None:
        """Make a dynamic group, look who is in it, and take it away."""
        _, profile = self.dice.choice(self._things)
        name, made = f"load-{uuid.uuid4().hex[:12]}", False
        try:
            with self.timed("AWS", "create dynamic group"):
                self._aws.iot.create_dynamic_thing_group(
                    thingGroupName=name, queryString=f"thingTypeName:{profile.thing_type}"
                )
                made = True
            if made:
                with self.timed("AWS", "list things in group"):
                    self._aws.iot.list_things_in_thing_group(thingGroupName=name, maxResults=100)
        finally:
            if made:
                with self.timed("AWS", "delete dynamic group"):
                    self._aws.iot.delete_dynamic_thing_group(thingGroupName=name)


class Dashboard(_Person):
    """Watches the backend's read API."""

    part = "dashboards"

    @classmethod
    def prepare(cls, said: Any) -> None:
        known = {"counts": cls.counts, "alarms": cls.alarms, "events": cls.history, "telemetry": cls.telemetry}
        cls.tasks = [known[name] for name, weight in said.pages.items() for _ in range(weight)]

    def on_start(self) -> None:
        super().on_start()
        self._url = self.brief.addresses.api_url
        if not self._url:
            logger.warning("target '%s' has no read API, so there are no dashboards", self.brief.addresses.name)
            raise StopUser
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the host's is not meant for the sandbox
        self._session.headers.update(self.brief.addresses.api_headers)
        self._after = 0
        self._names = [thing for thing, _ in cast.things()]

    @tag("people", "dashboards")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def counts(self) -> None:
        """Messages by kind."""
        self._get("GET counts", "/api/counts")

    @tag("people", "dashboards")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def alarms(self) -> None:
        """The first alarms, as many as a page has."""
        self._get("GET alarms", "/api/alarms")

    @tag("people", "dashboards")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def history(self) -> None:
        """What happened since it was asked last."""
        if page := self._get("GET events", "/api/events", after=self._after):
            self._after = page["next"]

    @tag("people", "dashboards")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def telemetry(self) -> None:
        """The curve of a device; one that has not said anything yet has none."""
        self._get("GET telemetry", f"/api/telemetry/{self.dice.choice(self._names)}", missing=True, limit=100)

    def _get(self, row: str, path: str, *, missing: bool = False, **query: int) -> Any:
        with self.timed("GET", row) as said:
            answer = self._session.get(f"{self._url}{path}", params=query, timeout=TIMEOUT_S)
            said.size = len(answer.content)
            if missing and answer.status_code == requests.codes.not_found:
                return None
            answer.raise_for_status()
            return answer.json()
        return None


class Downloader(_Person):
    """Fetches firmware as devices do in an update."""

    part = "downloads"
    parallel = 1

    @classmethod
    def prepare(cls, said: Any) -> None:
        cls.parallel = said.parallel

    def on_start(self) -> None:
        super().on_start()
        self._aws = self.aws()
        used = {profile.software for profile in cast.profiles.values() if profile.managed}
        self._images = [
            (release.version, package) for release in firmware.releases() for package in release.packages
            if package in used
        ]  # fmt: skip
        if not self._images:
            logger.warning("no device of the fleet takes firmware, so there is nothing to download")
            raise StopUser
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = self.brief.addresses.ca_file or True

    @tag("downloads")  # type: ignore[untyped-decorator]
    @task  # type: ignore[untyped-decorator]
    def download(self) -> None:
        """One image, or several at once."""
        gevent.joinall([gevent.spawn(self._fetch) for _ in range(self.parallel)])

    def _fetch(self) -> None:
        version, package = self.dice.choice(self._images)
        key = f"firmware/{package}/{version}/{package}-{version}.bin"
        with self.timed("HTTP", "artifact download") as said:
            attributes = self._aws.iot.get_package_version(packageName=package, versionName=version)["attributes"]
            where = {"Bucket": bucket(self._aws), "Key": key}
            url = self._aws.s3.generate_presigned_url("get_object", Params=where, ExpiresIn=URL_VALID_S)
            digest = hashlib.sha256()
            with self._session.get(url, stream=True, timeout=TIMEOUT_S) as answer:
                answer.raise_for_status()
                for piece in answer.iter_content(1 << 16):
                    digest.update(piece)
                    said.size += len(piece)
            if digest.hexdigest() != attributes["sha256"]:
                raise requests.RequestException("the digest differs")


def desire(profile: Profile, dice: random.Random) -> dict[str, Any]:
    """Something that a device of the profile understands, if there is anything."""
    shadow = next((behaviour for behaviour in profile.behaviours if isinstance(behaviour, Shadow)), None)
    free = {
        name: setting for name, setting in (shadow.settings if shadow else {}).items()
        if not (setting.applies_to or setting.holds)
    }  # fmt: skip  # those that change how the device behaves would change the load itself
    if free:
        name = dice.choice(sorted(free))
        return {name: _value(free[name], dice)}
    actions = {name for name, action in (shadow.actions if shadow else {}).items() if action.reboots_s is None}
    if actions:
        return {"action": {"name": dice.choice(sorted(actions)), "id": f"load-{dice.getrandbits(48):012x}"}}
    return {"load": dice.getrandbits(16)}


def _value(setting: Setting, dice: random.Random) -> bool | float | str:
    """One that the setting takes."""
    if isinstance(setting.start, bool):
        return dice.random() < 0.5
    if isinstance(setting.start, str):
        return dice.choice(setting.one_of) if setting.one_of else f"load-{dice.getrandbits(16)}"
    low, high = setting.min or 0.0, 1.0 if setting.max is None else setting.max
    return round(low + (high - low) * dice.random(), 3)


def _reason(error: Exception) -> str:
    """Why, without names of devices."""
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {code(error)}"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return "the digest differs" if "digest" in str(error) else type(error).__name__
