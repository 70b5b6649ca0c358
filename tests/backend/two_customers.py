"""A store with the devices of two customers, in every table that the API reads; what is theirs bears a mark."""

from pathlib import Path

import orjson

from simulator.backend.alarms import Alarm
from simulator.backend.api import Api
from simulator.backend.api.tokens import Role, Token, Tokens, digest
from simulator.backend.effects import (
    DeadLetter,
    OpenDispatch,
    Record,
    SaveDevice,
    SaveNodes,
    SaveUpload,
    StoreReport,
    StoreTelemetry,
)
from simulator.backend.fire.alerts import Alert, document_of
from simulator.backend.fire.outcomes import SaveFinding, SaveRisk, SaveWindow
from simulator.backend.platform.outcomes import Notify, SaveMaster, SaveSite
from simulator.backend.store import Store

NOW_MS = 1_800_000_000_000
MARK = "XTHEIRSX"  # in all that is the other customer's
OURS, THEIRS, NOBODYS = "our-press", f"press-{MARK}", "stray-press"
SECRETS: dict[str, tuple[Role, str]] = {
    "service-secret": ("service", ""), "lab-secret": ("lab", ""), "our-secret": ("customer", "us"),
    "their-secret": ("customer", f"them-{MARK}"),
}  # fmt: skip
EVENTS = (
    "alarm_raised", "command_sent", "control_result", "job_created", "job_succeeded", "alarm_escalated", "alarm_closed",
    "dispatch_opened",
)  # fmt: skip


def tokens(folder: Path | None = None) -> Tokens:
    """A token of each role, and of both customers."""
    return Tokens([Token(secret, role, of, digest(secret), 0) for secret, (role, of) in SECRETS.items()], folder)


def headers(secret: str) -> dict[str, str]:
    """What shows a token."""
    return {"Authorization": f"Bearer {secret}"}


def fill(folder: Path) -> Store:
    """The store."""
    store = Store(folder)
    for thing, customer, mark in ((OURS, "us", "ours"), (THEIRS, f"them-{MARK}", MARK), (NOBODYS, "", "nobodys")):
        _device(store, thing, customer, mark)
    for site, customer in (("our-site", "us"), (f"site-{MARK}", f"them-{MARK}")):
        store.add(SaveSite(site, customer, "put"))
    nodes = [{"device_id": f"kid-{MARK}", "role": "EndDevice"}, {"device_id": OURS, "role": "EndDevice"}, MARK]
    store.add(SaveNodes(OURS, NOW_MS, orjson.dumps(nodes).decode()))
    store.commit({"telemetry": 3}, {"payload.not_json": 1})
    db = store._db
    for customer, mark in (("us", "ours"), (f"them-{MARK}", MARK), ("", "all")):
        for period in ("hour", "day"):
            metrics = f'{{"{mark}": [1, 1000, 1, 1]}}'
            columns = "period, customer, product, start_ms, records, metrics"
            row = (period, customer, "Press", NOW_MS - 86_400_000, 1, metrics)
            db.execute(f"INSERT INTO aggregates ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
    for thing, mark in ((OURS, "ours"), (THEIRS, MARK)):
        said = orjson.dumps({"device_id": thing, "site": f"site-{mark}", "level": "HIGH", "risk": 0.7}).decode()
        fire = (thing, NOW_MS, 0.7, "HIGH", "HIGH", f"site-{mark}", said)
        db.execute("INSERT INTO fire_devices VALUES (?, ?, ?, ?, ?, ?, ?)", fire)
        raised = Alert(NOW_MS, "HIGH", "ARC_DETECTED", 0.7, 0.8, mark, {}, (f"go to {mark}",), "HIGH")
        alert = orjson.dumps(document_of(raised)).decode()
        db.execute("INSERT INTO fire_alerts (device_id, raised_ms, level, type, document) VALUES (?, ?, ?, ?, ?)",
                   (thing, NOW_MS, "HIGH", "ARC_DETECTED", alert))  # fmt: skip
        values = orjson.dumps([[f"formula-{mark}", 1, 0.5, NOW_MS]]).decode()
        db.execute("UPDATE devices SET formulas = ? WHERE device_id = ?", (values, thing))
    return store


def _device(store: Store, thing: str, customer: str, mark: str) -> None:
    alarm_id = f"{thing}-hot-1"
    alarm = Alarm(alarm_id, "hot", thing, "Press", "high", "t", 1.0, NOW_MS, about={"w": mark}, alarm_class="act_now")
    upload = {
        "upload_id": f"upload-{mark}", "thing": thing, "name": mark, "size": 1, "content_type": "text/plain",
        "parts": 1, "state": "stored", "reason": "", "bucket": "b", "key": mark, "etag": "e",
        "requested_at_ms": NOW_MS, "ended_at_ms": None,
    }  # fmt: skip
    said = {"data": {"provisioning": {"package": f"package-{mark}", "version": "1.0.0"}}}
    told = f'"{mark}"'
    if customer:
        store.add(SaveMaster(thing, f"site-{mark}" if mark == MARK else "our-site", customer, "put"))
    for n in range(3):
        at_ms = NOW_MS - 1000 * n
        store.add(StoreTelemetry(thing, "platform", at_ms, f"hub-{MARK}", at_ms, None, at_ms, f'{{"{mark}":{n}.5}}'))
    for write in (
        SaveDevice(thing, "Press", NOW_MS, NOW_MS),
        alarm.save(),
        OpenDispatch(NOW_MS, alarm_id, thing, "hot", "high", f"reason {mark}"),
        SaveUpload(f"upload-{mark}", thing, "stored", NOW_MS, orjson.dumps(upload).decode()),
        StoreReport(thing, "provisioning_complete", NOW_MS, NOW_MS, orjson.dumps(said).decode()),
        SaveNodes(f"hub-{mark}", NOW_MS, f'[{{"device_id": "{thing}"}}]'),
        DeadLetter(NOW_MS, "payload.not_json", f"a/{mark}", mark.encode()),
        Notify(f"n-{mark}", NOW_MS, alarm_id, thing, "act_now", "dashboard", "raised", 1, mark, told, "", "sent"),
        SaveRisk(thing, NOW_MS, 1, 0.7, "HIGH", 40.0),
        SaveWindow(thing, NOW_MS - 300_000, 5, 40, 41, 39, 0.5, 0.6, 0.7, 0, 5, None),
        SaveFinding(thing, f"site-{mark}", "SPIKE", NOW_MS, "HIGH", None, {"w": mark}),
    ):  # fmt: skip
        store.add(write)
    for kind in EVENTS:
        detail = {"job_id": f"job-{mark}", "package": mark, "version": "1.1.0", "reason": mark}
        store.add(Record(NOW_MS, kind, thing, alarm_id, detail))


def api(store: Store, folder: Path | None = None) -> Api:
    """The API over it."""
    return Api(store.path, lambda: NOW_MS, tokens=tokens(folder), state_dir=folder)
