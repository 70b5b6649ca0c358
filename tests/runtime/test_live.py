"""The live view: plain lines without a terminal, a picture no wider than the terminal on one."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from simulator.ledger import Event
from simulator.runtime.live import LINES_MAX, Alarm, Job, Live, Snapshot, live_view

START_MS = 1_767_225_600_000
OVERHEAT: dict[str, Any] = {"rule_id": "engine-overheat", "value": 112.31, "limit": 110}


def happened(at_s: float, kind: str, thing: str = "Vehicle-VIN-007", source: str = "fleet", **detail: Any) -> Event:
    return Event(START_MS + round(at_s * 1000), source, kind, thing, detail)


def snapshot_at(elapsed_s: float, *events: Event) -> Snapshot:
    return Snapshot(
        elapsed_s=elapsed_s,
        phase="hurt it",
        started_at_ms=START_MS,
        devices={"connected": 38, "connecting": 2},
        profiles={"vehicle-sedan": (9, 10), "fire-sensor": (10, 10)},
        sent_per_s=31.04,
        acknowledged_per_s=30.8,
        sent=1204,
        acknowledged=1203,
        alarms={"open": 1, "acting": 2, "closed": 0},
        alarms_latest=[Alarm("Vehicle-VIN-007", "engine-overheat", "acting", 112.31)],
        jobs={"IN_PROGRESS": 1},
        jobs_latest=[Job("Vehicle-VIN-012", "1.1.0", "IN_PROGRESS", 62)],
        events=events,
    )


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_plain_lines_tell_each_notable_event_once() -> None:
    stream = io.StringIO()
    events = [happened(0.5, "connected"), happened(12.4, "alarm_raised", source="backend", **OVERHEAT)]
    with Live(stream) as live:
        live.update(snapshot_at(12.5, *events))
        events.append(happened(12.9, "acted", name="restart-fan", result="done"))
        live.update(snapshot_at(13.0, *events))
        live.update(snapshot_at(13.1, *events))
        live.update(snapshot_at(17.5, *events))
    assert stream.getvalue().splitlines() == [
        "  12.4s  alarm raised          Vehicle-VIN-007   engine-overheat, 112.3 > 110",
        "  12.5s  hurt it | 38 of 40 connected, 2 connecting | 31.0 sent/s | 30.8 acknowledged/s"
        " | alarms: 1 open, 2 acting | jobs: 1 in progress",
        "  12.9s  device acted          Vehicle-VIN-007   restart-fan, done",
        "  17.5s  hurt it | 38 of 40 connected, 2 connecting | 31.0 sent/s | 30.8 acknowledged/s"
        " | alarms: 1 open, 2 acting | jobs: 1 in progress",
    ]


def test_events_of_both_lists_are_told_in_order() -> None:
    stream = io.StringIO()
    now = replace(snapshot_at(3), events=[happened(1, "acted"), happened(3, "installed")])
    heard = [happened(2, "in_range", source="backend")]
    Live(stream).update(replace(now, backend_events=heard))
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["1.0s", "2.0s", "3.0s", "3.0s"]
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        console.print(live_view(replace(now, backend_events=heard)))
    assert [line[2:9].strip() for line in capture.get().splitlines() if "VIN-007" in line][1:] == [
        "1.0s",
        "2.0s",
        "3.0s",
    ]


def test_plain_lines_are_bounded_and_harmless() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    evil = happened(1, "acted", "car\x1b[2J\n", reason="≤ 5")
    Live(stream).update(snapshot_at(1, evil, *[happened(1, "acted")] * LINES_MAX))
    stream.seek(0)
    lines = stream.read().splitlines()
    assert len(lines) == LINES_MAX + 2
    assert lines[0] == "   1.0s  device acted          car?[2J?          <= 5"
    assert lines[-2].strip() == "1 more events"


def test_a_terminal_gets_a_picture_at_most_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    live = Live(stream)
    for tenths in range(6):
        live.update(replace(snapshot_at(tenths / 10), phase=f"phase {tenths}"))
    assert [tenths for tenths in range(6) if f"phase {tenths}" in stream.getvalue()] == [0, 3]
    live.close()
    live.close()
    assert "phase 5" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
    assert "\x1b[32m" not in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_gets_plain_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    with Live(stream) as live:
        live.update(snapshot_at(1))
    assert stream.getvalue().startswith("   1.0s  hurt it")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("width", "height"), [(40, 12), (80, 24), (120, 40), (20, 5)])
def test_the_picture_fits(width: int, height: int) -> None:
    events = [happened(i, "alarm_raised", source="backend", **OVERHEAT) for i in range(60)]
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(live_view(snapshot_at(60, *events), height))
    lines = capture.get().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_the_picture_says_it_all() -> None:
    console = Console(file=io.StringIO(), width=100, height=30, no_color=True)
    event = happened(12.4, "alarm_raised", source="backend", **OVERHEAT)
    with console.capture() as capture:
        console.print(live_view(snapshot_at(12.5, event), 30))
    for wanted in (
        "12.5 s",
        "38 of 40",
        "9/10",
        "31.0 sent/s",
        "2 acting",
        "62 %",
        "alarm raised",
        "112.3 > 110",
    ):
        assert wanted in capture.get()


def test_an_empty_run_has_a_picture() -> None:
    console = Console(file=io.StringIO(), width=60, no_color=True)
    with console.capture() as capture:
        console.print(live_view(Snapshot(0, "starting", START_MS)))
    assert "0 of 0 connected" in capture.get()
