"""The workload of a scenario: its key `load`. Who is there beside the devices, how often they do what, and the shape.

Rules: pure. The shape says how many devices are on; who works and who watches is there from the beginning.
"""

from collections.abc import Mapping

from pydantic import Field, model_validator

from simulator.behaviours.telemetry import Telemetry
from simulator.behaviours.upload import Upload
from simulator.profiles import Profile
from simulator.schema import Strict
from simulator.shapes import Shape

PEOPLE_MAX = 10_000


class _Weights(Strict):
    """How often each of several things is done, beside the others."""

    @model_validator(mode="after")
    def _something(self) -> "_Weights":
        if not any(weight for _, weight in self):
            raise ValueError("at least one of the weights must be more than 0")
        return self

    def items(self) -> list[tuple[str, int]]:
        """Those that are done at all, by name."""
        return [(name, weight) for name, weight in self if weight]


class Tasks(_Weights):
    """What an operator does."""

    set_desired: int = Field(0, ge=0, le=1000)
    search: int = Field(0, ge=0, le=1000)
    create_job: int = Field(0, ge=0, le=1000)
    dynamic_group: int = Field(0, ge=0, le=1000)


class Pages(_Weights):
    """What a dashboard shows."""

    counts: int = Field(0, ge=0, le=1000)
    alarms: int = Field(0, ge=0, le=1000)
    events: int = Field(0, ge=0, le=1000)
    telemetry: int = Field(0, ge=0, le=1000)


class People(Strict):
    """How many, and how often each of them does something."""

    count: int = Field(ge=0, le=PEOPLE_MAX)
    every_s: float = Field(5.0, gt=0, le=86_400, description="From one thing that each does to the next.")


class Operators(People):
    """Work on the account's APIs."""

    tasks: Tasks = Field(
        Tasks(set_desired=3, search=5, create_job=1, dynamic_group=1), description="What they do, by weight."
    )
    job_devices: int = Field(2, ge=1, le=100, description="Devices that a job is for.")


class Dashboards(People):
    """Watch the backend's read API."""

    pages: Pages = Field(Pages(counts=3, alarms=3, events=2, telemetry=2), description="What they look at, by weight.")


class Downloads(People):
    """Fetch firmware by presigned URLs, as devices do in an update, and check its digest."""

    parallel: int = Field(1, ge=1, le=1000, description="Files that each of them fetches at once.")


class Uploads(Strict):
    """Files that devices send, those whose profile has an `upload`."""

    every_s: float = Field(ge=1, le=604_800, description="From one of a device to its next.")


class Workload(Strict):
    """A load on the whole backend."""

    shape: Shape | None = Field(None, description="How many devices are on; absent: as --users says.")
    every_s: float | None = Field(None, ge=0.001, le=86_400, description="Telemetry period of all devices.")
    in_turn: bool = Field(
        False, description="Closed loop: each device's next telemetry is due when its last one was answered."
    )
    operators: Operators | None = None
    dashboards: Dashboards | None = None
    downloads: Downloads | None = None
    uploads: Uploads | None = None

    def paced(self, profiles: Mapping[str, Profile]) -> dict[str, Profile]:
        """The profiles, as often as it wants."""
        return {name: self._paced(profile) for name, profile in profiles.items()}

    def _paced(self, profile: Profile) -> Profile:
        behaviours = []
        for behaviour in profile.behaviours:
            update: dict[str, float] = {}
            if isinstance(behaviour, Telemetry):
                update = {"every_s": self.every_s} if self.every_s else {}
                update |= {"in_turn": True} if self.in_turn else {}
            elif isinstance(behaviour, Upload) and self.uploads:
                update = {"every_s": self.uploads.every_s}
            behaviours.append(behaviour.model_copy(update=update) if update else behaviour)
        return profile.model_copy(update={"behaviours": behaviours})
