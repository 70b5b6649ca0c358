"""How urgent an alarm is: its class, from what its rule says or how severe it is, and its level, by time."""

from collections.abc import Mapping, Sequence

from simulator.backend.platform.settings import AlarmClass, Escalation
from simulator.backend.silence import Moments

_OF_SEVERITY: Mapping[str, AlarmClass] = {
    "critical": "act_now", "high": "act_now", "medium": "watch", "low": "watch", "info": "information",
}  # fmt: skip


def class_of(severity: str, said: AlarmClass | None = None) -> AlarmClass:
    """The class of an alarm; `said` by its rule, it is that whatever the severity."""
    return said or _OF_SEVERITY.get(severity, "watch")


class Levels:
    """When each open alarm comes to its next level: 1 is where it begins."""

    def __init__(self, escalation: Escalation) -> None:
        self._after: Mapping[str, Sequence[float]] = {
            "act_now": sorted(escalation.act_now), "watch": sorted(escalation.watch),
            "information": sorted(escalation.information),
        }  # fmt: skip
        self.due = Moments()

    def level_of(self, alarm_class: str, open_ms: int) -> int:
        """The level of an alarm that is open for so long."""
        return 1 + sum(open_ms >= 1000 * after_s for after_s in self._after[alarm_class])

    def top(self, alarm_class: str) -> int:
        """The last level."""
        return 1 + len(self._after[alarm_class])

    def expect(self, alarm_id: str, alarm_class: str, level: int, raised_at_ms: int) -> None:
        """Say when it is to be looked at again."""
        after = self._after[alarm_class]
        self.due.expect(alarm_id, raised_at_ms + int(1000 * after[level - 1]) if level <= len(after) else None)

    def forget(self, alarm_id: str) -> None:
        """It is closed."""
        self.due.expect(alarm_id, None)
