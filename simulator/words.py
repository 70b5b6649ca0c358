"""What an event is called: one table for the report, the live view and the waterfalls.

Rules: a kind that is not in the table is still shown, by its own name, so a new event needs no change here
to be seen. `order` settles which of two events of the same millisecond came first: cause before effect.
`routine` events are true and dull; a reader asks for them.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Tone = Literal["good", "bad", "action", "plain"]

DETAIL_CHARS_MAX = 200


class Word(NamedTuple):
    """How one kind of event is spoken of."""

    name: str
    tone: Tone = "plain"
    routine: bool = False
    order: int = 0


# In the order of the story, which is also the order in which events of one millisecond are told.
_TABLE: tuple[tuple[str, str, Tone, bool], ...] = (
    ("connected", "connected", "plain", True),
    ("disconnected", "disconnected", "plain", True),
    ("fault_injected", "fault injected", "bad", False),
    ("fault_cleared", "fault cleared", "good", False),
    ("disturbed", "message disturbed", "bad", True),
    ("waited_in_vain", "waited in vain", "bad", False),
    ("step_by_hand", "step by hand", "action", False),
    ("step_refused", "step refused", "bad", False),
    ("desired_set", "desired state set", "action", False),
    ("control_sent", "control request sent", "action", False),
    ("firmware_published", "firmware published", "action", False),
    ("job_made", "job made", "action", False),
    ("part_kill", "part killed", "bad", False),
    ("part_restart", "part restarted", "bad", False),
    ("part_pause", "part paused", "bad", False),
    ("part_back", "part back", "good", False),
    ("provisioned", "provisioning told", "plain", True),
    ("child_joined", "child joined", "plain", True),
    ("child_left", "child left", "plain", True),
    ("backlog_begun", "backlog begun", "plain", False),
    ("backlog_sent", "backlog sent", "good", False),
    ("out_of_range", "out of range", "bad", False),
    ("alert_raised", "device alerts", "bad", False),
    ("alarm_raised", "alarm raised", "bad", False),
    ("alarm_risen", "alarm risen", "bad", False),
    ("command_sent", "command sent", "action", False),
    ("command_failed", "command not sent", "bad", False),
    ("delta_received", "device received", "action", False),
    ("request_received", "request received", "action", False),
    ("command_received", "command received", "action", False),
    ("command_refused", "command report refused", "bad", False),
    ("setting_received", "setting received", "action", False),
    ("setting_changed", "setting changed", "good", False),
    ("setting_refused", "setting refused", "bad", False),
    ("desired_unknown", "desired state not known", "plain", False),
    ("acted", "device acted", "action", False),
    ("control_result", "result received", "action", False),
    ("back_in_range", "in range again", "good", False),
    ("in_range", "recovery noticed", "good", False),
    ("alert_cleared", "device's alert over", "good", False),
    ("relapsed", "relapse noticed", "bad", False),
    ("action_timed_out", "action timed out", "bad", False),
    ("job_created", "job created", "action", False),
    ("job_notified", "device notified", "action", False),
    ("download_started", "download started", "plain", True),
    ("download_progress", "download progress", "plain", True),
    ("download_broken", "download broken off", "bad", False),
    ("download_resumed", "download resumed", "plain", False),
    ("url_refreshed", "fresh URL obtained", "plain", False),
    ("downloaded", "downloaded", "action", False),
    ("verified", "verified", "good", False),
    ("verify_failed", "verification failed", "bad", False),
    ("installed", "installed", "action", False),
    ("rebooting", "rebooting", "action", False),
    ("version_reported", "version reported", "good", False),
    ("job_succeeded", "job succeeded", "good", False),
    ("job_failed", "job failed", "bad", False),
    ("job_dropped", "job dropped by the device", "bad", False),
    ("upload_started", "upload started", "plain", True),
    ("upload_broken", "upload broken off", "bad", False),
    ("uploaded", "uploaded", "good", False),
    ("upload_failed", "upload failed", "bad", False),
    ("shadow_rejected", "shadow update refused", "bad", False),
    ("alarm_closed", "alarm closed", "good", False),
    ("alarm_escalated", "alarm escalated", "bad", False),
    ("dispatch_opened", "field dispatch opened", "bad", False),
)
WORDS: Mapping[str, Word] = {
    kind: Word(name, tone, routine, order) for order, (kind, name, tone, routine) in enumerate(_TABLE)
}

# Told without their key, in this order, before everything else.
_BARE = ("fault", "rule_id", "action", "name", "version", "result", "status", "reason", "why", "params")
# Ids that help a program, not a reader, and what the first words already said.
_IDS = frozenset({"alarm_id", "action_id", "id", "job", "job_id", "thing", "device_timestamp"})
_UNSAID = _IDS | {"metric", "value", "limit", "percent", "kind"}


def word(kind: str) -> Word:
    """The words for a kind of event."""
    return WORDS.get(kind) or Word(kind.replace("_", " "), order=len(WORDS))


def number(value: float) -> str:
    """A number as a reader wants it: 88.4, 1,200, 0.035."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def span(ms: float) -> str:
    """A length of time: 40 ms, 12.4 s, 3 min 05 s, 2 h 07 min."""
    if ms == 0:
        return "0 s"
    if abs(ms) < 1000:
        return f"{ms:.0f} ms"
    if abs(ms) < 59_950:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    if abs(seconds) < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds // 60 % 60:02d} min"


def printable(text: str) -> str:
    """A text without control characters: a name must not move a terminal's cursor."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return detail_text(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)


def _keyed(key: str, value: Any) -> str:
    if key.endswith("_ms") and isinstance(value, int | float):
        # A moment means nothing to a reader; a length of time does.
        return "" if key.endswith("_at_ms") else f"{key[:-3].replace('_', ' ')} {span(value)}"
    if key.endswith("_per_s") and isinstance(value, int | float):
        return f"{key[:-6].replace('_', ' ')} {number(value)}/s"
    if key.endswith("_s") and isinstance(value, int | float):
        return f"{key[:-2].replace('_', ' ')} {number(value)} s"
    if key in ("bytes", "size") and isinstance(value, int):
        return f"{value:,} bytes"
    return f"{key.replace('_', ' ')} {_plain(value)}"


def detail_text(detail: Mapping[str, Any]) -> str:
    """An event's detail as one short line: `engine-overheat, engine_temp_c 112.3 > 110`."""
    said = [_plain(detail[key]) for key in _BARE if detail.get(key) not in (None, "")]
    if "value" in detail or "metric" in detail:
        said.append(_measured(detail))
    if "percent" in detail:
        said.append(f"{_plain(detail['percent'])} %")
    said += [
        _keyed(key, value)
        for key, value in detail.items()
        if key not in _BARE and key not in _UNSAID and value not in (None, "")
    ]
    text = " ".join(", ".join(filter(None, said)).split())
    return text if len(text) <= DETAIL_CHARS_MAX else text[: DETAIL_CHARS_MAX - 1] + "…"


def _measured(detail: Mapping[str, Any]) -> str:
    metric, value, limit = detail.get("metric", ""), detail.get("value"), detail.get("limit")
    if value is None:
        return str(metric)
    if not isinstance(value, int | float) or not isinstance(limit, int | float):
        return " ".join(filter(None, (str(metric), _plain(value))))
    sign = ">" if value > limit else "≤"
    return " ".join(filter(None, (str(metric), number(value), sign, number(limit))))
