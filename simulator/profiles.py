"""Profiles: a device type in YAML. The one reader of the folder `profiles/`.

A new device type is one new file there; nothing here knows any of them.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator import identity, seeds
from simulator.behaviours import Behaviour, Channel
from simulator.errors import UsageError, did_you_mean
from simulator.faults import Subject
from simulator.folders import folder
from simulator.schema import Misplaced, OneOf, Strict, YamlProblems, load_marked
from simulator.signals import Signal
from simulator.wire.payloads import NEED_SPEC
from simulator.wire.spec import ProductSpec

NAME = r"^[a-z][a-z0-9-]{0,63}$"
VERSION = r"^[a-zA-Z0-9._-]{1,64}$"


class Will(Strict):
    """What the broker publishes when a device is gone without a goodbye."""

    topic: str = Field(min_length=1, max_length=1024, pattern=r"^[^+#]+$", description="With {env} and {thing}.")
    payload: str = Field("", max_length=16_384)
    qos: Literal[0, 1, 2] = 1
    retain: bool = False


class LinkSettings(Strict):
    """How a device of this type talks to the backend."""

    kind: Literal["mqtt", "sdk"] = Field("mqtt", description="mqtt: our own client; sdk: AWS's own (awsiotsdk).")
    mqtt_version: Literal["3.1.1", "5"] = "5"
    transport: Literal["tcp", "tls", "websocket"] | None = Field(
        None, description="What carries it; absent: by target."
    )
    keep_alive_s: int = Field(60, ge=5, le=1200)
    clean_start: bool = Field(True, description="Begin with a new session; false: take up the one that the broker has.")
    session_expiry_s: int = Field(
        0, ge=0, le=0xFFFF_FFFF, description="How long the broker keeps the session (MQTT 5)."
    )
    subscribe_qos: Literal[0, 1, 2] = Field(1, description="At most; a broker may grant less.")
    will: Will | None = None
    username: str | None = Field(None, max_length=1024, description="With {env} and {thing}; absent: the target's.")

    @model_validator(mode="after")
    def _sdk_can(self) -> "LinkSettings":
        if self.kind == "sdk":
            wrong = {
                "mqtt_version": self.mqtt_version != "5" and "MQTT 3.1.1",
                "transport": self.transport in ("tcp", "websocket") and f"transport {self.transport}",
                "subscribe_qos": self.subscribe_qos == 2 and "QoS 2",
                "will": self.will is not None and self.will.qos == 2 and "QoS 2",
            }
            Misplaced.raise_any(Misplaced((key,), f"the sdk link has no {what}") for key, what in wrong.items() if what)
        return self

    in_flight_max: int = Field(10, ge=1, le=100, description="Unacknowledged messages at a time.")
    queue_max: int = Field(1000, ge=1, le=100_000, description="Messages kept while the link is down.")


class TcpSettings(Strict):
    """The channel tcp: binary frames on one connection that is kept."""

    heartbeat_s: float = Field(30.0, ge=1, le=3600, description="A sign of life after so long without a word.")
    ack_timeout_s: float = Field(10.0, ge=0.1, le=600)
    in_flight_max: int = Field(10, ge=1, le=100)
    queue_max: int = Field(1000, ge=1, le=100_000)


class RestSettings(Strict):
    """The channel rest: one POST a message, or a batch as JSON or CSV."""

    mode: Literal["one", "batch", "csv"] = "one"
    batch_max: int = Field(100, ge=1, le=1000, description="Messages in a batch.")
    batch_wait_s: float = Field(1.0, ge=0, le=600, description="How long the first message waits for others.")
    gzip: bool = False
    retries_max: int = Field(8, ge=0, le=100)
    queue_max: int = Field(1000, ge=1, le=100_000)


class Profile(Strict):
    """A device type: what it measures, does and sends."""

    profile: str = Field(pattern=NAME, description="Its name: that of the file.")
    title: str = Field("", max_length=200)
    thing_type: str = Field(pattern=r"^[a-zA-Z0-9:_-]{1,128}$", description="Thing type of its things.")
    package: str = Field(
        "", pattern=r"^[a-zA-Z0-9._-]{0,128}$", description="Software package; absent: the thing type."
    )
    firmware: str = Field("1.0.0", pattern=VERSION, description="The version it comes with.")
    attributes: dict[str, str] = Field(
        {}, max_length=50,
        description=f"Attributes of its things; {', '.join(f'{{{name}}}' for name in identity.FIELDS)} are filled in.",
    )  # fmt: skip
    step_s: float = Field(1.0, gt=0, le=60, description="Length of a step of the physics, in simulated seconds.")
    channel: Channel = Field("mqtt", description="How it reaches the backend; a scenario may choose another.")
    link: LinkSettings = Field(LinkSettings(), description="The channel mqtt.")
    tcp: TcpSettings = TcpSettings()
    rest: RestSettings = RestSettings()
    payload: ProductSpec | None = Field(None, description="How its bytes map to metrics, for tcp and binary codecs.")
    signals: dict[str, Annotated[Signal, OneOf("signals")]] = Field(min_length=1, max_length=64)
    behaviours: list[Annotated[Behaviour, OneOf("behaviours")]] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _names_exist(self) -> "Profile":
        Misplaced.raise_any(self._unknown_signals())
        Misplaced.raise_any(self._misfits())
        Misplaced.raise_any(Misplaced(("attributes", name), said) for name, said in identity.mistakes(self.attributes))
        return self

    def _unknown_signals(self) -> Iterator[Misplaced]:
        known = list(self.signals)
        uses: list[tuple[tuple[str | int, ...], str]] = [
            (("signals", name), used) for name, signal in self.signals.items() for used in signal.inputs()
        ]
        uses += [(("behaviours", i), used) for i, b in enumerate(self.behaviours) for used in b.signals()]
        for loc, used in uses:
            if used not in self.signals:
                yield Misplaced(loc, f"unknown signal '{used}'{did_you_mean(used, known)}")

    def _misfits(self) -> Iterator[Misplaced]:
        for i, behaviour in enumerate(self.behaviours):
            codec = getattr(behaviour, "codec", None)
            if codec in NEED_SPEC and self.payload is None and self.channel == "mqtt":
                yield Misplaced(("behaviours", i, "codec"), f"codec '{codec}' needs the profile's 'payload'")
            elif self.payload and (codec in NEED_SPEC or self.channel == "tcp") and isinstance(codec, str):
                missing = sorted(self.payload.fields("telemetry") - set(behaviour.signals()))
                if missing:
                    yield Misplaced(("behaviours", i), f"the payload wants '{missing[0]}', which is not in 'metrics'")
        for i, behaviour in enumerate(self.behaviours):
            for found in behaviour.misfits(self.behaviours, self.signals):
                yield from (Misplaced(("behaviours", i, *loc), said) for loc, said in found.spots)

    def children(self, thing: str) -> list[tuple[str, str]]:
        """(thing, profile) of the devices that speak through a device of this profile."""
        return [child for behaviour in self.behaviours for child in behaviour.brings(thing)]

    def over(self, channel: Channel, name: str) -> "Profile":
        """The same devices on a channel, doing what that channel can carry, under a name of their own."""
        spec = self.payload
        if channel == "tcp" and (spec is None or spec.frame is None):
            metrics = sorted({name for b in self.behaviours if "tcp" in b.channels for name in b.signals()})
            spec = ProductSpec.plain(f"{seeds.key(0, 'start marker', self.thing_type):016X}"[:8], metrics)
        behaviours = [b.over(channel) for b in self.behaviours if channel in b.channels]
        if not behaviours or any(b.brings("") for b in self.behaviours if channel not in b.channels):
            what = "its children need MQTT" if behaviours else "nothing it does can go that way"
            raise UsageError(f"profile '{self.profile}' cannot go over {channel}: {what}")
        return self.model_copy(update={"profile": name, "channel": channel, "payload": spec, "behaviours": behaviours})

    def every(self, period_s: float) -> "Profile":
        """The same devices with another period of telemetry."""
        return self.model_copy(update={"behaviours": [b.every(period_s) for b in self.behaviours]})

    @property
    def subject(self) -> Subject:
        """What a fault must know of its devices."""
        link = self.link.kind if self.channel == "mqtt" else self.channel
        duties = frozenset(str(behaviour.model_dump()["kind"]) for behaviour in self.behaviours)
        told = frozenset(name for behaviour in self.behaviours for name in behaviour.signals())
        codec = next((str(codec) for b in self.behaviours if (codec := getattr(b, "codec", None))), "")
        return Subject(self.profile, self.signals, self.channel, link, duties, told, codec)

    @property
    def managed(self) -> bool:
        """Has it a job agent?"""
        return any(behaviour.manages for behaviour in self.behaviours)

    @property
    def software(self) -> str:
        """The name of the software package."""
        return self.package or self.thing_type


def path_of(name: str) -> Path:
    """The file of a profile; UsageError when there is none."""
    found = folder("profiles") / f"{name}.yaml"
    if not found.is_file():
        raise UsageError(f"no profile '{name}'{did_you_mean(name, names())}")
    return found


def names() -> list[str]:
    """The profiles there are."""
    return sorted(path.stem for path in folder("profiles").glob("*.yaml"))


@cache
def profile(name: str) -> Profile:
    """A profile by its name; UsageError or YamlProblems."""
    loaded = load_marked(path_of(name), Profile)
    if loaded.value.profile != name:
        message = f"the name must be the file's: '{name}', is '{loaded.value.profile}'"
        raise YamlProblems([loaded.problem(("profile",), message)])
    for i, behaviour in enumerate(loaded.value.behaviours):
        for of in sorted({of for _, of in behaviour.brings(name)} - set(names())):
            raise YamlProblems([loaded.problem(("behaviours", i), f"no profile '{of}'{did_you_mean(of, names())}")])
    return loaded.value


def family(of: Profile) -> dict[str, Profile]:
    """A profile and those of its children, by name; UsageError when a child would have children."""
    found = {of.profile: of}
    for name in sorted({child for _, child in of.children("")}):
        found[name] = profile(name) if name != of.profile else of
        if found[name].children(""):
            raise UsageError(f"profile '{of.profile}': its children are of '{name}', which is a hub itself")
    return found
