"""Line charts for the HTML report: inline SVG for the lines, HTML for the words around them.

Why not plotly, as the design suggests: the report draws nothing but a line over time, and plotly would put
4.7 MB of JavaScript into every report to do it. These are a few kilobytes, are there when JavaScript is not
(mail previews, print), follow the page's colours in light and dark, and can be forwarded.

The SVG is stretched to the width of the page, so it holds no text: labels would be stretched too, and
would shrink on a phone. Ticks and marks are HTML, placed by percent.

Rules: everything that came from outside goes through `escape`. A chart has a text for who cannot see it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from simulator.report.facts import thinned
from simulator.words import number

_SIDE = 1000  # of the SVG's own square, before it is stretched
_MARKS_MAX = 12
_MARK_ROOM_PERCENT = 4.0
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)


class Line(NamedTuple):
    """One line: its legend, its CSS class, its points (ms, value)."""

    name: str
    style: str
    points: Sequence[tuple[int, float]]


class Mark(NamedTuple):
    """A moment, marked with a letter that the page explains elsewhere."""

    at_ms: int
    letter: str
    words: str


class Span(NamedTuple):
    """A time that is shaded, with a number that the page explains elsewhere; no end: to the end."""

    begin_ms: int
    end_ms: int | None
    letter: str
    words: str


def line_chart(
    title: str,
    lines: Sequence[Line],
    start_ms: int,
    end_ms: int,
    limit: float | None = None,
    marks: Sequence[Mark] = (),
    zero_ms: int | None = None,
    low_at_most: float = math.inf,
    spans: Sequence[Span] = (),
) -> Markup:
    """A chart of lines over the time from start to end, with a limit, marked moments and shaded times.

    Times on the axis are told from `zero_ms`, else from the start. Counts start at zero: `low_at_most=0`.
    """
    zero_ms = start_ms if zero_ms is None else zero_ms
    end_ms = max(end_ms, start_ms + 1)
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    if not values:
        return Markup('<p class="none">No samples.</p>')
    low, high, ticks = scale(min([*values, *_some(limit), low_at_most]), max([*values, *_some(limit)]))

    def x(at_ms: float) -> float:
        return (at_ms - start_ms) / (end_ms - start_ms)

    def y(value: float) -> float:
        return (value - low) / (high - low)

    said = f"{title}: from {number(min(values))} to {number(max(values))}"
    said += f", limit {number(limit)}" if limit is not None else ""
    box = f'viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none"'
    shaded = [
        (max(0.0, x(span.begin_ms)), min(1.0, x(end_ms if span.end_ms is None else span.end_ms)), span)
        for span in spans[:_MARKS_MAX]
    ]
    if shaded:
        said += "; shaded: " + ", ".join(f"{span.letter} {span.words}" for _, _, span in shaded)
    drawn = [f'<svg {box} role="img" aria-label="{escape(said)}">']
    drawn += [_rectangle(left, max(0.004, right - left)) for left, right, _ in shaded]
    drawn += [_path(f"M0 {_at(y(tick))}H{_SIDE}", "grid") for tick in ticks]
    drawn += [_path(f"M{_SIDE * x(mark.at_ms):.0f} 0V{_SIDE}", "mark") for mark in marks[:_MARKS_MAX]]
    if limit is not None:
        drawn.append(_path(f"M0 {_at(y(limit))}H{_SIDE}", "limit"))
    for line in lines:
        steps = [f"{_SIDE * x(at):.1f} {_at(y(value))}" for at, value in thinned(line.points) if math.isfinite(value)]
        if len(steps) == 1:
            steps *= 2  # so that one point is seen, too
        if steps:
            drawn.append(_path("M" + "L".join(steps), line.style))
    drawn.append("</svg>")

    around = [_label("y", f"bottom:{100 * y(tick):.2f}%", number(tick)) for tick in ticks]
    if limit is not None:
        around.append(_label("at-limit", f"bottom:{100 * y(limit):.2f}%", f"limit {number(limit)}"))
    around += [
        _label("x", f"left:{100 * x(at):.2f}%", clock(at - zero_ms)) for at in moments(start_ms, end_ms, zero_ms)
    ]
    told = [(100 * x(mark.at_ms), mark) for mark in marks[:_MARKS_MAX]]
    told += [(100 * left, Mark(span.begin_ms, span.letter, span.words)) for left, _, span in shaded]
    letters, rows = _mark_labels(sorted(told, key=lambda one: one[0]))
    legend = "".join(f'<li class="{escape(line.style)}">{escape(line.name)}</li>' for line in lines)
    return Markup(  # noqa: S704 - every part of it was escaped above
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<div class="plot" style="--rows:{rows}">{"".join(drawn)}'
        f'<div aria-hidden="true">{"".join(around + letters)}</div></div>'
        f"{f'<ul class=legend>{legend}</ul>' if len(lines) > 1 else ''}</figure>"
    )


def scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """Round ends around the values and some four round ticks between them."""
    if high - low < 1e-9:
        low, high = low - (low > 0), high + 1
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * round_ for round_ in (1, 2, 5, 10) if power * round_ >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(step * i, 10) for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def moments(start_ms: int, end_ms: int, zero_ms: int) -> list[int]:
    """Round moments from the start to the end, counted from zero, at most nine."""
    length_s = (end_ms - start_ms) / 1000
    step_s = next((step for step in _STEPS_S if length_s / step <= 8), length_s / 8)
    first = math.ceil((start_ms - zero_ms) / 1000 / step_s)
    last = math.floor((end_ms - zero_ms) / 1000 / step_s)
    return [zero_ms + round(1000 * step_s * i) for i in range(first, last + 1)]


def clock(ms: float) -> str:
    """A moment on an axis: 0.5 s, 90 s, 12:30, 3:00:00."""
    seconds = ms / 1000
    if abs(seconds) < 120:
        return f"{number(round(seconds, 3))} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _some(limit: float | None) -> list[float]:
    return [] if limit is None else [limit]


def _at(share: float) -> str:
    return f"{_SIDE * (1 - share):.1f}"


def _path(steps: str, style: str) -> str:
    return f'<path d="{steps}" class="{escape(style)}"/>'


def _rectangle(left: float, width: float) -> str:
    return f'<rect x="{_SIDE * left:.1f}" y="0" width="{_SIDE * width:.1f}" height="{_SIDE}" class="span"/>'


def _label(style: str, place: str, text: str) -> str:
    return f'<span class="{style}" style="{place}">{escape(text)}</span>'


def _mark_labels(marks: Sequence[tuple[float, Mark]]) -> tuple[list[str], int]:
    """Letters above the plot, in as many rows as keep them apart, and how many that is."""
    rows: list[float] = []
    labels: list[str] = []
    for left, mark in marks:
        row = next((i for i, last in enumerate(rows) if left - last >= _MARK_ROOM_PERCENT), len(rows))
        rows[row:] = [left] if row == len(rows) else [left, *rows[row + 1 :]]
        labels.append(
            f'<span class="letter" style="left:{left:.2f}%;bottom:calc(100% + {1.15 * row:.2f}em)"'
            f' title="{escape(mark.words)}">{escape(mark.letter)}</span>'
        )
    return labels, len(rows)
