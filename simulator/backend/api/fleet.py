"""The devices: all at a glance, by pages, and one with everything that is known of it."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema
from starlette.exceptions import HTTPException

from simulator.backend.api import answers
from simulator.backend.api.fleet_rows import COMMANDS, DAY_MS, FleetRows
from simulator.backend.api.route import ALL, LIMIT, Asked, Call, Number, Paged, Route, Word
from simulator.backend.queries import PAGE

POINTS_DEFAULT = 288  # five minutes each, of a day
POINTS_MAX = 1440
HOURS_MAX = 240

# What somebody can do about an alarm that is no fire alert, by its state.
_TO_DO = {
    "open": "look at it: rule '{rule_id}' has nothing more that is done by itself",
    "acting": "wait for the device's answer to the command",
    "verifying": "wait: it is measured whether it helped",
    "updating": "wait for job '{job_id}'",
    "escalated": "a field engineer was asked for: see to the dispatch",
}


class DevicesAsked(Paged):
    site: Word | None = Field(None, description="Of this site only; not for the role lab.")
    customer: Word | None = Field(None, description="Of this customer only; for the service.")


class DeviceAsked(Asked):
    hours: Number = Field(24, description=f"So much of the past; {HOURS_MAX} at most.")
    points: Number = Field(POINTS_DEFAULT, description=f"Of the series; {POINTS_MAX} at most.")


class TelemetryAsked(Asked):
    after: Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,18}\.[0-9]{1,18})?$"})] = Field(
        "", description="`next` of the page before; empty: the newest."
    )
    limit: Number = LIMIT


class JobsAsked(Paged):
    thing: Word | None = Field(None, description="Of this device only.")


def overview(call: Call[Asked]) -> answers.OverviewAnswer:
    found = FleetRows(call.reads.queries.db).overview(call.now_ms, call.who.owner)
    return {
        "at_ms": call.now_ms,
        "status": "HEALTHY" if 10 * found.active > 8 * found.total else "DEGRADED",
        "total": found.total,
        "active": found.active,
        "risk": found.risk,
        "recent_alerts": found.recent_alerts,
        "newest": {"events": call.reads.queries.last_event(call.who.owner)},
    }


def devices(call: Call[DevicesAsked]) -> Any:
    asked, who = call.asked, call.who
    if who.role == "lab" and (asked.site or asked.customer):
        call.forbid("who looks for devices by site or customer")
    if who.role == "customer" and asked.customer not in (None, who.customer):
        return {"next": asked.after, "devices": []}
    customer = who.owner or asked.customer or None
    page = call.reads.platform.devices(customer, asked.site or None, asked.after, min(asked.limit, PAGE))
    for device in page["devices"]:
        if who.role == "lab":
            device |= {"site_id": None, "customer_id": None}
    return page


def device(call: Call[DeviceAsked]) -> Any:
    thing, asked, queries = call.name, call.asked, call.reads.queries
    call.known(thing)
    rows, platform = FleetRows(queries.db), call.reads.platform
    end_ms = call.now_ms
    begin_ms = end_ms - min(asked.hours, HOURS_MAX) * DAY_MS // 24
    state = rows.device(thing)
    fire = state["fire"]
    alarms, alerts, said = rows.alarms(thing), rows.fire_alerts(thing), rows.events(thing, COMMANDS)
    jobs = rows.latest_jobs(thing)
    place = platform.master(thing) if call.who.role != "lab" else None
    if fire:  # it was said when the device may have stood elsewhere, on a site of another customer's
        fire["site"] = (place or {}).get("site_id")
    return {
        "thing": thing,
        "state": state | (place or {"site_id": None, "customer_id": None}),
        "series": rows.series(thing, begin_ms, end_ms, max(1, min(asked.points, POINTS_MAX))),
        "windows": rows.windows(thing, begin_ms, end_ms) if fire else [],
        "alarms": alarms,
        "alerts": alerts,
        "recommendations": recommendations(alarms, alerts),
        "formulas": platform.formula_values(thing),
        "shadow": {
            "desired": [one for one in said if one["kind"] != "control_result"],
            "reported": [one for one in said if one["kind"] == "control_result"],
        },
        "versions": versions(rows.provisioned(thing), jobs),
        "jobs": jobs,
    }


def recommendations(alarms: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> list[str]:
    """What to do now, the most urgent first."""
    fire = [action for alert in alerts if alert.get("resolved_ms") is None for action in alert.get("actions", ())]
    others = [
        _TO_DO[alarm["state"]].format_map({"rule_id": alarm.get("rule_id"), "job_id": alarm.get("job_id")})
        for alarm in alarms
        if alarm.get("state") in _TO_DO
    ]
    return list(dict.fromkeys([*fire, *others]))


def versions(provisioned: dict[str, Any], jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """The software as the device named it when it came to life, or as the last job that succeeded left it."""
    done = next((job for job in jobs if job["status"] == "SUCCEEDED"), None)
    last = done or provisioned
    return {
        "package": last.get("package"), "version": last.get("version"), "provisioned": provisioned.get("version"),
        "since_ms": done["ended_ms"] if done else None,
    }  # fmt: skip


def realtime(call: Call[Asked]) -> Any:
    call.known(call.name)
    rows = FleetRows(call.reads.queries.db)
    found = rows.latest(call.name, call.now_ms)
    if found is None:
        raise HTTPException(404, f"device '{call.name}' said nothing within the last minute")
    fire = rows.device(call.name)["fire"]
    if fire:
        place = call.reads.platform.master(call.name) if call.who.role != "lab" else None
        fire["site"] = (place or {}).get("site_id")
    return {"thing": call.name, **found, "fire": fire}


def telemetry(call: Call[TelemetryAsked]) -> Any:
    call.known(call.name)
    page = call.reads.queries.telemetry(call.name, call.asked.limit, call.asked.after)
    without_foreign_hubs(call, page["telemetry"])
    return page


def without_foreign_hubs(call: Call[Any], samples: list[dict[str, Any]]) -> None:
    """A sample may have come by a hub that is another customer's."""
    if (owner := call.who.owner) is None:
        return
    hubs: set[str] = {sample["hub_id"] for sample in samples if sample.get("hub_id") is not None}
    foreign = {hub for hub in hubs if not call.reads.queries.owns(hub, owner)}
    for sample in samples:
        if sample.get("hub_id") in foreign:
            del sample["hub_id"]


async def shadow(call: Call[Asked]) -> Any:
    call.known(call.name)
    read = call.desk.shadow
    found = await read(call.name) if read else None
    if found is None:
        raise HTTPException(404, f"no shadow of device '{call.name}' is known")
    return found


def jobs(call: Call[JobsAsked]) -> Any:
    asked, owner = call.asked, call.who.owner
    return FleetRows(call.reads.queries.db).jobs(asked.after, min(asked.limit, PAGE), owner, asked.thing)


ROUTES = (
    Route("GET", "/api/overview", ALL, "All devices in numbers, and the alarms raised last.", overview,
          answer=answers.OverviewAnswer, slow=True),
    Route("GET", "/api/devices", ALL, "Devices by name.", devices, DevicesAsked, answers.DevicePage, slow=True),
    Route("GET", "/api/device/{id}", ALL, "One device: state, series, alarms, recommendations, versions, jobs.",
          device, DeviceAsked, answers.DeviceAnswer, slow=True),
    Route("GET", "/api/device/{id}/shadow", ALL, "What AWS holds of a device: desired, reported, versions.", shadow,
          answer=answers.ShadowAnswer),
    Route("GET", "/api/realtime/{id}", ALL, "A device's latest sample, if it is of the last minute.", realtime,
          answer=answers.RealtimeAnswer),
    Route("GET", "/api/telemetry/{id}", ALL, "A device's samples, newest first.", telemetry, TelemetryAsked,
          answers.TelemetryPage),
    Route("GET", "/api/jobs", ALL, "The firmware jobs that the platform made, oldest first.", jobs, JobsAsked,
          answers.JobPage, slow=True),
)  # fmt: skip
