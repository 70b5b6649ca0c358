"""Field engineers: opened → assigned → on_the_way → on_site → done; cancelled when the alarm closes by itself before.

Rules: one dispatch an alarm. A step follows the one before it; somebody else may be assigned until he is on the way.
An alarm that closes while somebody is on site was mended by him. Every step is recorded. With a `DispatchDemo` the
steps come by themselves, and an operator may be quicker.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, get_args

from simulator.backend.effects import Effect, OpenDispatch, Record
from simulator.backend.platform.outcomes import DispatchState, SaveDispatch
from simulator.backend.platform.settings import DispatchDemo
from simulator.backend.silence import Moments
from simulator.errors import UsageError, did_you_mean

STATES: tuple[DispatchState, ...] = get_args(DispatchState)
TEXT_MAX = 300

_NEXT: dict[DispatchState, tuple[DispatchState, ...]] = {
    "opened": ("assigned", "cancelled"),
    "assigned": ("assigned", "on_the_way", "cancelled"),
    "on_the_way": ("on_site", "cancelled"),
    "on_site": ("done", "cancelled"),
}
_BY_ITSELF: dict[DispatchState, tuple[DispatchState, str]] = {
    "opened": ("assigned", "assign_after_s"),
    "assigned": ("on_the_way", "leave_after_s"),
    "on_the_way": ("on_site", "arrive_after_s"),
    "on_site": ("done", "done_after_s"),
}


class Dispatch:
    """One that has not ended."""

    __slots__ = ("at_ms", "state", "thing", "who")

    def __init__(self, thing: str, state: DispatchState, who: str, at_ms: int) -> None:
        self.thing, self.state, self.who, self.at_ms = thing, state, who, at_ms


class Dispatches:
    """All that have not ended, by alarm."""

    def __init__(self, demo: DispatchDemo | None = None) -> None:
        self._demo = demo
        self._live: dict[str, Dispatch] = {}
        self._moments = Moments()

    def opened(self, opened: OpenDispatch) -> None:
        """Somebody is to be sent."""
        self._is(opened.alarm_id, Dispatch(opened.thing, "opened", "", opened.at_ms))

    def resume(self, rows: Iterable[tuple[str, str, DispatchState, str, int]]) -> None:
        """Take up what the store remembers: (alarm, thing, state, who, since when)."""
        for alarm_id, thing, state, who, at_ms in rows:
            self._is(alarm_id, Dispatch(thing, state, who, at_ms))

    def advance(self, alarm_id: str, state: str, who: str, note: str, now_ms: int) -> list[Effect]:
        """The next step; UsageError when it is none, [] when there is no such dispatch."""
        if state not in STATES:
            raise UsageError(f"state: '{state[:40]}' is none{did_you_mean(state[:40], list(STATES))}")
        dispatch = self._live.get(alarm_id)
        if dispatch is None:
            return []
        if state not in _NEXT[dispatch.state]:
            follows = " or ".join(_NEXT[dispatch.state])
            raise UsageError(f"state: after '{dispatch.state}' comes {follows}, not '{state}'")
        if len(who) > TEXT_MAX or len(note) > TEXT_MAX:
            raise UsageError(f"{'who' if len(who) > TEXT_MAX else 'note'}: longer than {TEXT_MAX} characters")
        if state == "assigned" and not who:
            raise UsageError("who: 'assigned' needs somebody")
        return self._step(alarm_id, dispatch, state, who or dispatch.who, note, now_ms)

    def closed(self, alarm_id: str, now_ms: int) -> list[Effect]:
        """The alarm behind it is closed."""
        dispatch = self._live.get(alarm_id)
        if dispatch is None:
            return []
        state: DispatchState = "done" if dispatch.state == "on_site" else "cancelled"
        return self._step(alarm_id, dispatch, state, dispatch.who, "the alarm closed", now_ms)

    def tick(self, now_ms: int) -> list[Effect]:
        """Let those go on that go by themselves."""
        effects: list[Effect] = []
        for alarm_id in list(self._moments.come(now_ms)):
            dispatch = self._live[alarm_id]
            state, _ = _BY_ITSELF[dispatch.state]
            who = dispatch.who or self._somebody(alarm_id)
            effects += self._step(alarm_id, dispatch, state, who, "by itself", now_ms)
        return effects

    def _somebody(self, alarm_id: str) -> str:
        assert self._demo is not None, "only then do they go by themselves"
        digest = blake2b(alarm_id.encode(), digest_size=4).digest()
        return self._demo.engineers[int.from_bytes(digest, "big") % len(self._demo.engineers)]

    def _is(self, alarm_id: str, dispatch: Dispatch) -> None:
        self._live[alarm_id] = dispatch
        if self._demo is not None:
            after_s: float = getattr(self._demo, _BY_ITSELF[dispatch.state][1])
            self._moments.expect(alarm_id, dispatch.at_ms + int(1000 * after_s))

    def _step(self, alarm_id: str, dispatch: Dispatch, state: Any, who: str, note: str, now_ms: int) -> list[Effect]:
        ended = state in ("done", "cancelled")
        if ended:
            del self._live[alarm_id]
            self._moments.expect(alarm_id, None)
        else:
            self._is(alarm_id, Dispatch(dispatch.thing, state, who, now_ms))
        return [
            SaveDispatch(alarm_id, state, who, now_ms, ended),
            Record(now_ms, f"dispatch_{state}", dispatch.thing, alarm_id, {"who": who, "note": note}),
        ]
