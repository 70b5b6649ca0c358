"""The history of firmware: jobs that somebody else than an alarm gave a device, and devices that fell back.

Rules: the end of an execution is recorded once, however often it is told; how many are remembered for that has a bound.
A device says in the reason of a failed job that it is back in its old version.
"""

import re
from collections import OrderedDict

from simulator.backend.effects import Effect, Record

REMEMBERED_MAX = 100_000
REASON_MAX = 300
ROLLED_BACK = re.compile(r"\b(?:rolled back|back in)\b")


class Deployments:
    """Ends of executions."""

    def __init__(self) -> None:
        self._ended: OrderedDict[tuple[str, str], None] = OrderedDict()

    def ended(self, thing: str, job_id: str, status: str, reason: str, now_ms: int) -> list[Effect]:
        """An execution ended; nothing where it is not said whose."""
        if not thing or (thing, job_id) in self._ended:
            return []
        self._ended[thing, job_id] = None
        if len(self._ended) > REMEMBERED_MAX:
            self._ended.popitem(last=False)
        told = {"job_id": job_id, "status": status.upper(), "reason": reason[:REASON_MAX]}
        return [Record(now_ms, "job_ended", thing, "", told), *rolled_back(thing, job_id, "", reason, now_ms)]


def rolled_back(thing: str, job_id: str, alarm_id: str, reason: str, now_ms: int) -> list[Effect]:
    """What the history says of a device that fell back."""
    if not ROLLED_BACK.search(reason):
        return []
    told = {"job_id": job_id, "reason": reason[:REASON_MAX]}
    return [Record(now_ms, "firmware_rolled_back", thing, alarm_id, told)]
