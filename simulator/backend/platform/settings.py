"""What the backend's configuration says to the platform."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

AlarmClass = Literal["act_now", "watch", "information"]
ChannelName = Literal["email", "phone", "dashboard"]
Id = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=128)]
Seconds = Annotated[float, Field(gt=0, le=30 * 86_400)]

SnsTopics = Mapping[Literal["email", "phone"], Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:\S{1,256}$")]]

MASTER_MAX = 200_000  # devices, and sites
LEVELS_MAX = 5


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeviceMaster(_Strict):
    """Where a device stands; without a customer it belongs to that of the site."""

    device_id: Id
    site_id: Text = ""
    customer_id: Text = ""


class SiteMaster(_Strict):
    """Whose a site is."""

    site_id: Id
    customer_id: Text


class Master(_Strict):
    """Master data: device → site → customer."""

    devices: Annotated[list[DeviceMaster], Field(max_length=MASTER_MAX)] = []
    sites: Annotated[list[SiteMaster], Field(max_length=MASTER_MAX)] = []


class Escalation(_Strict):
    """After how long an open alarm of a class comes to the next level: [300, 900] are levels 2 and 3."""

    act_now: Annotated[list[Seconds], Field(max_length=LEVELS_MAX)] = [300.0, 900.0]
    watch: Annotated[list[Seconds], Field(max_length=LEVELS_MAX)] = [3600.0]
    information: Annotated[list[Seconds], Field(max_length=LEVELS_MAX)] = []


class DispatchDemo(_Strict):
    """Field engineers who go by themselves, for a demo: how long each step takes."""

    assign_after_s: Seconds
    leave_after_s: Seconds = 30.0
    arrive_after_s: Seconds = 60.0
    done_after_s: Seconds = 60.0
    engineers: Annotated[list[Id], Field(min_length=1, max_length=100)] = ["engineer-1", "engineer-2", "engineer-3"]


class Notifications(_Strict):
    """Who is told of what, how often at most."""

    act_now: list[ChannelName] = ["phone", "email", "dashboard"]
    watch: list[ChannelName] = ["email", "dashboard"]
    information: list[ChannelName] = ["dashboard"]
    quiet_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 600.0  # the same alarm of the same device again
    email_per_minute: Annotated[int, Field(ge=0)] = 300
    phone_per_minute: Annotated[int, Field(ge=0)] = 60
    dashboard_per_minute: Annotated[int, Field(ge=0)] = 3000


class Settings(_Strict):
    """All of it."""

    escalation: Escalation = Escalation()
    dispatch: DispatchDemo | None = None
    notifications: Notifications = Notifications()
    sns_topics: SnsTopics = {}
