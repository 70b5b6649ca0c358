"""Shadow sync: hear the delta, do what it asks, say how it went, report the new state.

After every connect the device GETs its shadow, so that it catches up with what was desired while it was away.
An action is desired as `{"action": {"name": "restart-fan", "id": "…"}}`; the device acts once for each id,
publishes a `control_result` and reports the same `action`, which empties the delta. Deltas may repeat or come
out of order: the shadow's version decides.
"""

from typing import Any, Literal

import orjson
from pydantic import Field

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs
from simulator.messages import Booted, Connected, Input, Note, Publish, Received
from simulator.schema import Strict

_ACTIONS_MAX = 16


class Restart(Strict):
    """An action that restarts a part."""

    restarts: str = Field(description="The part (a signal) that is restarted.")
    takes_s: float = Field(1.0, ge=0, le=3600, description="How long the device takes to do it.")


class Shadow(Behaviour):
    """Keeps the classic Device Shadow, and acts on what it desires."""

    kind: Literal["shadow"] = "shadow"
    actions: dict[str, Restart] = Field({}, max_length=_ACTIONS_MAX, description="Actions by their names.")
    reports: dict[str, str] = Field({}, description="Reported state: key → signal.")
    report_every_s: float = Field(60.0, ge=1, description="How often the reported state is refreshed.")
    result_topic: str = Field("iotlink/{env}/nohub/{thing}/event/pub/control_result/json")

    def signals(self) -> tuple[str, ...]:
        return (*self.reports.values(), *(action.restarts for action in self.actions.values()))

    def duty(self) -> Duty:
        return ShadowDuty(self)


class ShadowDuty(Duty):
    __slots__ = ("act_at_ms", "acting", "report_at_ms", "seen_version", "what")

    def __init__(self, what: Shadow) -> None:
        super().__init__()
        self.what = what
        self.seen_version = 0
        self.acting: dict[str, Any] = {}
        self.act_at_ms = NEVER_MS
        self.report_at_ms = NEVER_MS

    def filters(self, body: Body) -> tuple[str, ...]:
        return tuple(_topic(body, leaf) for leaf in ("update/delta", "update/rejected", "get/accepted", "get/rejected"))

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if isinstance(said, Booted):
            self.acting, self.act_at_ms, self.seen_version = {}, NEVER_MS, 0
            self._sleep()
        if isinstance(said, Connected):
            self.report_at_ms = now_ms + int(1000 * self.what.report_every_s * (0.5 + 0.5 * body.draw("report phase")))
            self._sleep()
            return [Publish("shadow_get", _topic(body, "get"), b"")]
        if not isinstance(said, Received) or not said.topic.startswith(_topic(body, "")):
            return []
        leaf = said.topic[len(_topic(body, "")) :]
        document = _document(said.payload)
        if leaf == "update/delta":
            return self._desired(body, document, document.get("state"), now_ms)
        if leaf == "get/accepted":
            state = document.get("state")
            delta = state.get("delta") if isinstance(state, dict) else None
            return self._desired(body, document, delta, now_ms) + self._report(body, now_ms)
        if leaf == "get/rejected" and document.get("code") == 404:
            return self._report(body, now_ms)
        if leaf.endswith("rejected"):
            return [Note("shadow_rejected", {"code": document.get("code"), "message": document.get("message")})]
        return []

    def _desired(self, body: Body, document: dict[str, Any], delta: Any, now_ms: int) -> Outputs:
        version = document.get("version")
        if not isinstance(delta, dict) or not isinstance(version, int) or version <= self.seen_version:
            return []
        self.seen_version = version
        asked, last = delta.get("action"), body.flash.get("last_action", {})
        # A delta carries only the leaves that differ: what is missing is as we reported it.
        action = {**last, **asked} if isinstance(asked, dict) else {}
        if not isinstance(action.get("id"), str) or action["id"] in (self.acting.get("id"), last.get("id")):
            return []
        self.acting = {"name": str(action.get("name")), "id": action["id"]}
        known = self.what.actions.get(self.acting["name"])
        self.act_at_ms = now_ms + (int(known.takes_s * 1000) if known else 0)
        self._sleep()
        return [Note("delta_received", {"action": self.acting["name"], "id": self.acting["id"]})]

    def step(self, body: Body, now_ms: int) -> Outputs:
        said: Outputs = []
        if self.act_at_ms <= now_ms:
            said += self._act(body, now_ms)
        if self.report_at_ms <= now_ms:
            self.report_at_ms = now_ms + int(1000 * self.what.report_every_s)
            said += self._report(body, now_ms)
        self._sleep()
        return said

    def _act(self, body: Body, now_ms: int) -> Outputs:
        done, self.acting, self.act_at_ms = self.acting, {}, NEVER_MS
        known = self.what.actions.get(done["name"])
        if known:
            body.restart_part(known.restarts, now_ms)
        body.flash["last_action"] = done
        result, reason = ("done", "") if known else ("failed", f"unknown action '{done['name']}'")
        control = {**done, "result": result, "reason": reason}
        answer = orjson.dumps({"device_timestamp": now_ms, "data": {"control": control}})
        return [
            Note("acted", {"action": done["name"], "id": done["id"], "result": result}),
            Publish("control_result", body.topic(self.what.result_topic), answer),
            *self._report(body, now_ms),
        ]

    def _report(self, body: Body, now_ms: int) -> Outputs:
        reading = body.reading(now_ms) if self.what.reports else {}
        state: dict[str, Any] = {key: reading[signal] for key, signal in self.what.reports.items()}
        if last := body.flash.get("last_action"):
            state["action"] = last
        payload = orjson.dumps({"state": {"reported": state}})
        return [Publish("shadow_update", _topic(body, "update"), payload)]

    def _sleep(self) -> None:
        self.wake_at_ms = min(self.act_at_ms, self.report_at_ms)


def _topic(body: Body, leaf: str) -> str:
    return f"$aws/things/{body.thing}/shadow/{leaf}"


def _document(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload; empty for anything else: a device ignores what it cannot read."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
