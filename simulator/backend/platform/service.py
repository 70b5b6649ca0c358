"""The platform's part of the core: what follows an alarm, whose a device is, what time brings.

Rules: pure, as the core is. The core hands on what an alarm did and does what it is answered.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from simulator.backend.alarms import Alarm
from simulator.backend.effects import CloseDispatch, Effect, OpenDispatch, Record
from simulator.backend.platform.classes import Levels
from simulator.backend.platform.deployments import Deployments
from simulator.backend.platform.dispatches import Dispatches
from simulator.backend.platform.master import Master
from simulator.backend.platform.outbox import TOLD, Outbox
from simulator.backend.platform.outcomes import DispatchState, Notify, SaveMaster, SaveSite
from simulator.backend.platform.settings import Settings


class Restored(NamedTuple):
    """What a restart takes up."""

    master: Sequence[SaveMaster] = ()
    sites: Sequence[SaveSite] = ()
    dispatches: Sequence[tuple[str, str, DispatchState, str, int]] = ()
    waiting: Sequence[tuple[Notify, int]] = ()  # notifications, with the tries so far


class Platform:
    """Escalation, dispatches, notifications, master data."""

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.master = Master()
        self.deployments = Deployments()
        self.levels = Levels(settings.escalation)
        self.dispatches = Dispatches(settings.dispatch)
        self.outbox = Outbox(settings.notifications, settings.sns_topics)

    def followed(self, alarm: Alarm, effects: Iterable[Effect]) -> Iterator[Effect]:
        """What follows from what an alarm did."""
        for effect in effects:
            kind = type(effect)
            if kind is Record:
                assert isinstance(effect, Record)
                if effect.kind in TOLD:
                    yield from self.outbox.tell(alarm, effect)
                if effect.kind in ("alarm_raised", "alarm_risen", "alarm_level"):
                    self.expect(alarm)
                elif effect.kind == "alarm_closed":
                    self.levels.forget(alarm.alarm_id)
            elif isinstance(effect, OpenDispatch):
                self.dispatches.opened(effect)
            elif isinstance(effect, CloseDispatch):
                yield from self.dispatches.closed(effect.alarm_id, effect.at_ms)

    def expect(self, alarm: Alarm) -> None:
        """An alarm is open: look when it comes to its next level."""
        self.levels.expect(alarm.alarm_id, alarm.alarm_class, alarm.level, alarm.raised_at_ms)

    def tick(self, now_ms: int) -> list[Effect]:
        """Let time pass."""
        return self.dispatches.tick(now_ms) + self.outbox.tick(now_ms)

    def resume(self, saved: Restored) -> list[Effect]:
        """Take up what the store remembers."""
        self.master.resume(saved.master, saved.sites)
        self.dispatches.resume(saved.dispatches)
        return self.outbox.resume(saved.waiting)
