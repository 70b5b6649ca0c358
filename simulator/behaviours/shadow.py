"""Shadow sync: hear the delta, do what it asks, say how it went, report the new state.

After every connect the device GETs its shadow, so that it catches up with what was desired while it was away.
An action is desired as `{"action": {"name": "restart-fan", "id": "…"}}`; the device acts once for each id,
publishes a `control_result` and reports the same `action`, which empties the delta. Every other key is a setting:
after the time it takes the value is in force, answered with a control_result whose id is `desired-<version>`, and
reported. A wrong value is answered as failed, once, and what is reported stays. A key that no setting has is left
alone and noted once. Deltas may repeat or come out of order: the shadow's version decides. A delta has only what
differs from what was reported, by this device or by the one that it stands for since a restart of the simulator: what
it does not know of that it takes from the reported state.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import Field, model_validator

from simulator.behaviours import NEVER_MS, Behaviour, Body, Duty, Outputs, _acting, _settings
from simulator.behaviours._acting import ACTIONS_MAX, ID_MAX, RESULT_TOPIC, Action
from simulator.behaviours._platform import asked as read
from simulator.behaviours._settings import Setting
from simulator.messages import Booted, Connected, Input, Note, Publish, Received
from simulator.schema import Misplaced
from simulator.signals import Signal

_STRANGE_MAX = 64
_ACTION = "action"
REPORT_EACH = 10  # a device that measures seldom reports its state no more often than every so many times


class Shadow(Behaviour):
    """Keeps the classic Device Shadow, and acts on what it desires."""

    through_hub = False

    kind: Literal["shadow"] = "shadow"
    actions: dict[str, Action] = Field({}, max_length=ACTIONS_MAX, description="Actions by their names.")
    settings: dict[str, Setting] = Field({}, max_length=64, description="What may be set, by its key.")
    reports: dict[str, str] = Field({}, description="Reported state: key → signal.")
    report_every_s: float = Field(60.0, ge=1, description="How often the reported state is refreshed.")
    result_topic: str = Field(RESULT_TOPIC, description="Where it says how an action or a setting went.")

    @model_validator(mode="after")
    def _keys_differ(self) -> "Shadow":
        for name in self.settings:
            if name == _ACTION or name in self.reports:
                raise Misplaced(
                    ("settings", name), f"'{name}' is {'an action' if name == _ACTION else 'reported'} already"
                )
        return self

    def every(self, period_s: float) -> "Shadow":
        return self.model_copy(update={"report_every_s": max(self.report_every_s, REPORT_EACH * period_s)})

    def signals(self) -> tuple[str, ...]:
        acting = (name for action in self.actions.values() for name in action.signals())
        held = (setting.holds for setting in self.settings.values() if setting.holds)
        return (*self.reports.values(), *acting, *held)

    def misfits(self, others: Sequence[Behaviour], signals: Mapping[str, Signal]) -> Iterator[Misplaced]:
        yield from _acting.misfits(self.actions, others)
        yield from _settings.misfits(self.settings, others)

    def duty(self) -> Duty:
        return ShadowDuty(self)


class Change(NamedTuple):
    """A setting on its way."""

    due_ms: int
    value: Any
    version: int


class ShadowDuty(Duty):
    __slots__ = (
        "act_at_ms", "acting", "asks", "changes", "owed", "refused", "report_at_ms", "seen_version", "strange", "what",
    )  # fmt: skip

    def __init__(self, what: Shadow) -> None:
        super().__init__()
        self.what = what
        self.seen_version = 0
        self.acting: dict[str, Any] = {}
        self.asks = False  # for its shadow, since it is connected
        self.owed = 0  # version of a delta that it could not understand without that answer
        self.changes: dict[str, Change] | None = None  # made when needed, like the next two
        self.refused: dict[str, Any] | None = None  # values that were answered as wrong
        self.strange: set[str] | None = None  # keys that no setting has
        self.act_at_ms = NEVER_MS
        self.report_at_ms = NEVER_MS

    def filters(self, body: Body) -> tuple[str, ...]:
        return tuple(_topic(body, leaf) for leaf in ("update/delta", "update/rejected", "get/accepted", "get/rejected"))

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if isinstance(said, Booted):
            self.acting, self.act_at_ms, self.seen_version, self.owed = {}, NEVER_MS, 0, 0
            self.changes = self.refused = None
            self._sleep()
        if isinstance(said, Connected):
            self.report_at_ms = now_ms + int(1000 * self.what.report_every_s * (0.5 + 0.5 * body.draw("report phase")))
            self._sleep()
            self.asks = True
            return [Publish("shadow_get", _topic(body, "get"), b"")]
        if not isinstance(said, Received) or not said.topic.startswith(_topic(body, "")):
            return []
        leaf = said.topic[len(_topic(body, "")) :]
        document = read(said.payload)
        if leaf == "update/delta":
            return self._desired(body, document, document.get("state"), now_ms)
        if leaf.startswith("get/"):
            self.asks = False
        if leaf == "get/accepted":
            state = document.get("state")
            if not isinstance(state, dict):
                state = {}
            self._remember(body, state.get("reported"))
            version = document.get("version")
            if isinstance(version, int) and version >= self.owed:
                self.owed = 0
            return self._desired(body, document, state.get("delta"), now_ms, True) + self._report(body, now_ms)
        if leaf == "get/rejected" and document.get("code") == 404:
            self.owed = 0
            return self._report(body, now_ms)
        if leaf.endswith("rejected"):
            code, message = document.get("code"), document.get("message")
            detail = {
                "code": code if isinstance(code, int) else 0,
                "message": message if isinstance(message, str) else "",
            }
            return [Note("shadow_rejected", detail)]
        return []

    def _remember(self, body: Body, reported: Any) -> None:
        """The last action, if it is not known any more."""
        last = reported.get(_ACTION) if isinstance(reported, dict) else None
        if isinstance(last, dict) and isinstance(last.get("name"), str) and isinstance(last.get("id"), str):
            body.flash.setdefault("last_action", {"name": last["name"], "id": last["id"]})

    def _desired(
        self, body: Body, document: dict[str, Any], delta: Any, now_ms: int, asked_for: bool = False
    ) -> Outputs:  # fmt: skip
        version = document.get("version")
        if not isinstance(delta, dict) or not isinstance(version, int) or version < self.seen_version:
            return []
        if version == self.seen_version and not asked_for:
            return []
        self.seen_version = version
        said = self._settings(body, delta, version, now_ms)
        said += self._action(body, delta.get(_ACTION), now_ms)
        self._sleep()
        return said

    def _action(self, body: Body, asked: Any, now_ms: int) -> Outputs:
        last = body.flash.get("last_action", {})
        # A delta carries only the leaves that differ: what is missing is as we reported it.
        action = {**last, **asked} if isinstance(asked, dict) else {}
        if not isinstance(action.get("id"), str) or action["id"] in (self.acting.get("id"), last.get("id")):
            return []
        if "name" not in action and (self.asks or self.owed):
            self.owed = self.seen_version  # The answer tells the whole of it.
            return []
        name = action.get("name")
        self.acting = {"name": name if isinstance(name, str) else "", "id": action["id"]}
        known = self.what.actions.get(self.acting["name"])
        self.act_at_ms = now_ms + (int(known.takes_s * 1000) if known else 0)
        return [Note("delta_received", {"action": self.acting["name"], "id": self.acting["id"]})]

    def _settings(self, body: Body, delta: dict[str, Any], version: int, now_ms: int) -> Outputs:
        said: Outputs = []
        report = False
        inside = body.flash.get("settings", {})
        for name, value in delta.items():
            setting = self.what.settings.get(name)
            if setting is None:
                said += self._unknown(name)
            elif wrong := setting.wrong(value):
                (self.changes or {}).pop(name, None)  # it is not desired any more
                self.refused = self.refused or {}
                if name in self.refused and self.refused[name] == value:
                    continue
                self.refused[name], report = value, True
                said.append(Note("setting_refused", {"setting": name, "reason": wrong}))
                said.append(self._answer(body, name, version, "failed", f"rejected: {wrong}", now_ms))
            elif value == inside.get(name, setting.first()):
                (self.changes or {}).pop(name, None)
                report = True  # It is so; the cloud did not know yet.
            else:
                self.changes = self.changes or {}
                before = self.changes.get(name)
                if before is None or before.value != value:
                    self.changes[name] = Change(now_ms + int(1000 * setting.takes_s), value, version)
                    said.append(Note("setting_received", {"setting": name, "value": value}))
        return said + self._report(body, now_ms) if report else said

    def _unknown(self, name: str) -> Outputs:
        strange = self.strange = self.strange or set()
        if name == _ACTION or name in strange or len(strange) >= _STRANGE_MAX:
            return []
        strange.add(name)
        return [Note("desired_unknown", {"key": name[:ID_MAX]})]

    def step(self, body: Body, now_ms: int) -> Outputs:
        said, last, news = self._change(body, now_ms), list[Any](), False
        if self.act_at_ms <= now_ms:
            done, last = self._act(body, now_ms)
            said, news = said + done, True
        if self.report_at_ms <= now_ms:
            self.report_at_ms = now_ms + int(1000 * self.what.report_every_s)
            news = True
            if self.owed:  # The answer did not come, or was of before.
                self.asks = True
                last = [*last, Publish("shadow_get", _topic(body, "get"), b"")]
        if news or said:
            said += self._report(body, now_ms)
        self._sleep()
        return said + last

    def _act(self, body: Body, now_ms: int) -> tuple[Outputs, Outputs]:
        done, self.acting, self.act_at_ms = self.acting, {}, NEVER_MS
        body.flash["last_action"] = done
        what = self.what
        return _acting.perform(body, what.actions, done["name"], done["id"], what.result_topic, now_ms)

    def _change(self, body: Body, now_ms: int) -> Outputs:
        """Put the settings in force whose time has come."""
        said: Outputs = []
        for name, (due_ms, value, version) in list((self.changes or {}).items()):
            if due_ms <= now_ms and self.changes:
                del self.changes[name]
                body.flash["settings"] = {**body.flash.get("settings", {}), name: value}
                said += self.what.settings[name].apply(body, value, now_ms)
                said.append(Note("setting_changed", {"setting": name, "value": value}))
                said.append(self._answer(body, name, version, "done", "", now_ms))
                (self.refused or {}).pop(name, None)
        self.changes = self.changes or None
        return said

    def _answer(self, body: Body, name: str, version: int, result: str, reason: str, now_ms: int) -> Publish:
        return _acting.answer(body, self.what.result_topic, name, f"desired-{version}", result, reason, now_ms)

    def _report(self, body: Body, now_ms: int) -> Outputs:
        reading = body.reading(now_ms) if self.what.reports else {}
        state: dict[str, Any] = {key: reading[signal] for key, signal in self.what.reports.items()}
        if self.what.settings:
            inside = body.flash.get("settings", {})
            for name, setting in self.what.settings.items():
                if (value := inside.get(name, setting.first())) is not None:
                    state[name] = value
        if last := body.flash.get("last_action"):
            state[_ACTION] = last
        payload = orjson.dumps({"state": {"reported": state}})
        return [Publish("shadow_update", _topic(body, "update"), payload)]

    def _sleep(self) -> None:
        self.wake_at_ms = min(self.act_at_ms, self.report_at_ms)
        if self.changes:
            self.wake_at_ms = min(self.wake_at_ms, *(change.due_ms for change in self.changes.values()))


def _topic(body: Body, leaf: str) -> str:
    return f"$aws/things/{body.thing}/shadow/{leaf}"
