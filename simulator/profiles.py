"""Profiles: a device type in YAML. The one reader of the folder `profiles/`.

A new device type is one new file there; nothing here knows any of them.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.behaviours import Behaviour
from simulator.errors import UsageError, did_you_mean
from simulator.folders import folder
from simulator.schema import Misplaced, OneOf, Strict, load
from simulator.signals import Signal

NAME = r"^[a-z][a-z0-9-]{0,63}$"
VERSION = r"^[a-zA-Z0-9._-]{1,64}$"


class LinkSettings(Strict):
    """How a device of this type talks to the backend."""

    kind: Literal["mqtt", "sdk"] = Field("mqtt", description="mqtt: our own client; sdk: AWS's own (awsiotsdk).")
    mqtt_version: Literal["3.1.1", "5"] = "5"
    keep_alive_s: int = Field(60, ge=5, le=1200)
    in_flight_max: int = Field(10, ge=1, le=100, description="Unacknowledged messages at a time.")
    queue_max: int = Field(1000, ge=1, le=100_000, description="Messages kept while the link is down.")


class Profile(Strict):
    """A device type: what it measures, does and sends."""

    profile: str = Field(pattern=NAME, description="Its name: that of the file.")
    title: str = Field("", max_length=200)
    thing_type: str = Field(pattern=r"^[a-zA-Z0-9:_-]{1,128}$", description="Thing type of its things.")
    package: str = Field(
        "", pattern=r"^[a-zA-Z0-9._-]{0,128}$", description="Software package; absent: the thing type."
    )
    firmware: str = Field("1.0.0", pattern=VERSION, description="The version it comes with.")
    attributes: dict[str, str] = Field({}, max_length=50, description="Attributes of its things.")
    step_s: float = Field(1.0, gt=0, le=60, description="Length of a step of the physics, in simulated seconds.")
    link: LinkSettings = LinkSettings()
    signals: dict[str, Annotated[Signal, OneOf("signals")]] = Field(min_length=1, max_length=64)
    behaviours: list[Annotated[Behaviour, OneOf("behaviours")]] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _names_exist(self) -> "Profile":
        Misplaced.raise_any(self._unknown_signals())
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
    return load(path_of(name), Profile)
