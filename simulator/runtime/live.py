"""The live view: what a run is doing, in the terminal, while it does it.

On a terminal a picture that is drawn again at most four times a second; anywhere else (a file, CI, a
terminal that cannot draw) plain lines: one for each notable event, and a summary every five seconds.

Rules: it writes to stderr, since stdout is for data. It has no clock and no thread: time is the
snapshot's. It never draws wider or higher than the terminal. NO_COLOR is kept (by rich).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from simulator.ledger import Event
from simulator.report.facts import in_order
from simulator.report.text import in_encoding
from simulator.words import detail_text, number, printable, word

DRAW_EVERY_S = 0.25
SUMMARY_EVERY_S = 5.0
LINES_MAX = 100  # of plain text for one snapshot
LOOK_BACK_MAX = 2000  # events searched for the latest notable ones
ALARMS_SHOWN = 4
JOBS_SHOWN = 5
PROFILES_SHOWN = 8
BAR_CELLS = 16

_TONE_STYLES = {"good": "green", "bad": "red", "action": "yellow", "plain": ""}
_STATE_STYLES = {"closed": "green", "escalated": "red", "open": "red", "SUCCEEDED": "green", "FAILED": "red"}


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as it is now."""

    thing: str
    rule_id: str
    state: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job execution on one device as it is now."""

    thing: str
    version: str
    status: str
    percent: float = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment. The two lists of events hold all so far, in order of arrival; they only grow."""

    elapsed_s: float
    phase: str
    started_at_ms: int
    devices: Mapping[str, int] = field(default_factory=dict)  # by state; "connected" is one
    profiles: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # connected, all
    sent_per_s: float = 0
    acknowledged_per_s: float = 0
    sent: int = 0
    acknowledged: int = 0
    alarms: Mapping[str, int] = field(default_factory=dict)  # by state
    alarms_latest: Sequence[Alarm] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)  # by status
    jobs_latest: Sequence[Job] = ()
    events: Sequence[Event] = ()  # of the ledger
    backend_events: Sequence[Event] = ()  # of the backend, where the ledger does not hold them


class Live:
    """Shows snapshots until it is closed. Use it as a context manager, so that the terminal is given back."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._encoding = getattr(self._stream, "encoding", None) or "utf-8"
        can_draw = self._encoding.lower().startswith("utf") and os.environ.get("TERM", "") not in ("", "dumb")
        self._is_terminal = can_draw and self._stream.isatty()
        self._drawn: RichLive | None = None
        self._undrawn: Snapshot | None = None
        self._due_s = 0.0
        self._events_told = (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, snapshot: Snapshot) -> None:
        """Show this, now or, when something was shown a moment ago, unless something newer comes."""
        if not self._is_terminal:
            self._tell(snapshot)
        elif snapshot.elapsed_s >= self._due_s:
            self._due_s = snapshot.elapsed_s + DRAW_EVERY_S
            self._draw(snapshot)
        else:
            self._undrawn = snapshot

    def close(self) -> None:
        """Show the last snapshot and leave it standing. Closing twice does nothing."""
        if self._undrawn is not None:
            self._draw(self._undrawn)
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None

    def _draw(self, snapshot: Snapshot) -> None:
        self._undrawn = None
        if self._drawn is None:
            console = Console(file=self._stream, highlight=False)
            self._drawn = RichLive(console=console, auto_refresh=False, vertical_overflow="crop")
            self._drawn.start()
        self._drawn.update(live_view(snapshot, self._drawn.console.height), refresh=True)

    def _tell(self, snapshot: Snapshot) -> None:
        own, heard = self._events_told
        new = in_order([*snapshot.events[own:], *snapshot.backend_events[heard:]])
        self._events_told = (len(snapshot.events), len(snapshot.backend_events))
        told = [event for event in new if not word(event.kind).routine]
        lines = [event_line(event, snapshot.started_at_ms) for event in told[:LINES_MAX]]
        if len(told) > LINES_MAX:
            lines.append(f"{'':>9}{len(told) - LINES_MAX:,} more events")
        if snapshot.elapsed_s >= self._due_s:
            self._due_s = snapshot.elapsed_s + SUMMARY_EVERY_S
            lines.append(summary_line(snapshot))
        for line in lines:
            self._stream.write(in_encoding(line, self._encoding) + "\n")
        if lines:
            self._stream.flush()


def event_line(event: Event, started_at_ms: int) -> str:
    """`  12.4s  alarm raised          Vehicle-VIN-007   engine-overheat, 112.3 > 110`."""
    name, thing = word(event.kind).name, event.thing
    return f"{_since(event, started_at_ms)}  {name:<20}  {thing:<16}  {detail_text(event.detail)}".rstrip()


def summary_line(snapshot: Snapshot) -> str:
    """One line that says how far the run is."""
    parts = [
        snapshot.phase,
        _connected(snapshot),
        f"{snapshot.sent_per_s:.1f} sent/s",
        f"{snapshot.acknowledged_per_s:.1f} acknowledged/s",
    ]
    parts += [f"alarms: {_counts(snapshot.alarms)}"] if snapshot.alarms else []
    parts += [f"jobs: {_counts(snapshot.jobs)}"] if snapshot.jobs else []
    return f"{snapshot.elapsed_s:>6.1f}s  " + " | ".join(parts)


def live_view(snapshot: Snapshot, height: int = 24) -> RenderableType:
    """The whole picture, for a terminal of that height."""
    facts = Table.grid(padding=(0, 2), expand=True)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    rows = [("devices", Text(_connected(snapshot)))]
    rows += [("", _profile(*profile)) for profile in list(snapshot.profiles.items())[:PROFILES_SHOWN]]
    rows.append(("messages", _messages(snapshot)))
    rows.append(("alarms", _tally(snapshot.alarms)))
    rows += [("", _alarm(alarm)) for alarm in snapshot.alarms_latest[-ALARMS_SHOWN:]]
    rows.append(("jobs", _tally(snapshot.jobs)))
    rows += [("", _job(job)) for job in snapshot.jobs_latest[-JOBS_SHOWN:]]
    rows = rows[: max(1, height - 4)]
    for name, said in rows:
        facts.add_row(name, said)
    room = height - len(rows) - 4  # the frame, the rule and the line of the cursor
    parts: list[RenderableType] = [facts]
    if room > 0 and (latest := _latest(snapshot, room)):
        parts += [Rule(style="dim"), _happened(latest, snapshot.started_at_ms)]
    title = Text.assemble((f" {snapshot.elapsed_s:.1f} s ", "bold"), f" {printable(snapshot.phase)} ")
    return Panel(Group(*parts), title=title, title_align="left", border_style="dim")


def _since(event: Event, started_at_ms: int) -> str:
    return f"{(event.at_ms - started_at_ms) / 1000:>6.1f}s"


def _connected(snapshot: Snapshot) -> str:
    others = {state: count for state, count in snapshot.devices.items() if state != "connected" and count}
    said = f"{snapshot.devices.get('connected', 0):,} of {sum(snapshot.devices.values()):,} connected"
    return f"{said}, {_counts(others)}" if others else said


def _counts(counts: Mapping[str, int]) -> str:
    said = ", ".join(f"{count:,} {state.lower().replace('_', ' ')}" for state, count in counts.items() if count)
    return said or "none"


def _tally(counts: Mapping[str, int]) -> Text:
    shown = [(state, count) for state, count in counts.items() if count]
    parts = [
        (f"{count:,} {_counts({state: count}).split(' ', 1)[1]}", _STATE_STYLES.get(state, "yellow"))
        for state, count in shown
    ]
    return Text("   ").join(Text(said, style) for said, style in parts) if parts else Text("none", "dim")


def _messages(snapshot: Snapshot) -> Text:
    rates = f"{snapshot.sent_per_s:,.1f} sent/s   {snapshot.acknowledged_per_s:,.1f} acknowledged/s"
    return Text.assemble(rates, (f"   {snapshot.sent:,} and {snapshot.acknowledged:,} in all", "dim"))


def _bar(share: float, style: str) -> Text:
    full = round(BAR_CELLS * min(1.0, max(0.0, share)))
    return Text.assemble(("━" * full, style), ("─" * (BAR_CELLS - full), "dim"))


def _profile(name: str, counts: tuple[int, int]) -> Text:
    connected, count = counts
    bar = _bar(connected / count if count else 0, "green" if connected == count else "yellow")
    return Text.assemble(f"{printable(name):<16}  ", bar, f"  {connected:,}/{count:,}")


def _alarm(alarm: Alarm) -> Text:
    value = "" if alarm.value is None else number(alarm.value)
    state = (f"{alarm.state:<10}", _STATE_STYLES.get(alarm.state, "yellow"))
    return Text.assemble(f"{printable(alarm.thing):<16}  ", state, f"  {printable(alarm.rule_id)}  {value}")


def _job(job: Job) -> Text:
    style = _STATE_STYLES.get(job.status, "yellow")
    said = f"  {job.percent:>3.0f} %  {printable(job.version)}  "
    status = (job.status.lower().replace("_", " "), style)
    return Text.assemble(f"{printable(job.thing):<16}  ", _bar(job.percent / 100, style), said, status)


def _latest(snapshot: Snapshot, limit: int) -> list[Event]:
    """The last notable events of both lists."""
    found = [*_last(snapshot.events, limit), *_last(snapshot.backend_events, limit)]
    return in_order(found)[-limit:]


def _last(events: Sequence[Event], limit: int) -> list[Event]:
    found: list[Event] = []
    for i in range(len(events) - 1, max(-1, len(events) - 1 - LOOK_BACK_MAX), -1):
        if len(found) == limit:
            break
        if not word(events[i].kind).routine:
            found.append(events[i])
    return found


def _happened(events: Sequence[Event], started_at_ms: int) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for event in events:
        said = word(event.kind)
        table.add_row(
            _since(event, started_at_ms),
            Text(printable(said.name), _TONE_STYLES[said.tone]),
            Text(printable(event.thing)),
            Text(printable(detail_text(event.detail)), "dim"),
        )
    return table
