"""The portrait of a device type, as lines for a terminal and as a page: what it measures, sends and accepts.

Rules: it shows what a device of the type did and said, not what code says about it, so a new behaviour or
codec is shown without a change here. The page is one file, works offline and has no script.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from simulator.report.html import environment, source
from simulator.report.json_report import replace
from simulator.report.plot import sparkline
from simulator.report.svg import Line, line_chart
from simulator.report.text import in_encoding
from simulator.words import number, span

_PLOT = 48  # characters; half an hour each
_WIDTH = 110
_SQUASHES = 4  # a limit so many times as far away as the curve is high would make it a flat line


@dataclass(frozen=True, slots=True)
class Measured:
    """A signal that a behaviour uses, and its day."""

    name: str
    unit: str
    sensor: tuple[float, float] | None
    resolution: float
    limit: tuple[float, float] | None
    points: Sequence[tuple[int, float]]

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.points]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.points)

    @property
    def range_text(self) -> str:
        return _ends(self.sensor)

    @property
    def limit_text(self) -> str:
        return _ends(self.limit)

    @property
    def chart(self) -> Markup:
        low, high = min(self.values), max(self.values)
        limit = self.limit[1] if self.limit and not (self.sensor and self.limit[1] >= self.sensor[1]) else None
        if limit is not None and limit - low > _SQUASHES * max(high - low, 1e-9):
            limit = None
        title = f"{self.name}, {self.unit}" if self.unit else self.name
        return line_chart(title, [Line(self.name, "reading", self.points)], 0, 86_400_000, limit)


@dataclass(frozen=True, slots=True)
class Sent:
    """A kind of message: `every_ms` is None when it has no period."""

    kind: str
    topic: str
    every_ms: int | None
    example: str

    @property
    def rhythm(self) -> str:
        return f"every {span(self.every_ms)}" if self.every_ms else "now and then"


@dataclass(frozen=True, slots=True)
class Duty:
    """A behaviour: what it is for, what it hears, and what can be asked of it (name → how)."""

    kind: str
    words: str
    settings: Mapping[str, str]
    hears: Sequence[str]
    offers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Portrait:
    """All of a device type, seen on one device for one simulated day."""

    profile: str
    title: str
    facts: Mapping[str, str]
    thing: str
    seed: int
    attributes: Mapping[str, str]
    measured: Sequence[Measured]
    inner: Sequence[str]  # signals that only others read
    sends: Sequence[Sent]
    duties: Sequence[Duty]


def lines(portrait: Portrait, encoding: str = "utf-8") -> list[str]:
    """For a terminal."""
    return [in_encoding(line, encoding) for line in _lines(portrait, encoding)]


def _lines(portrait: Portrait, encoding: str) -> list[str]:
    said = [f"{portrait.profile} — {portrait.title or 'no title'}"]
    said += _columns([[f"  {name}", value] for name, value in portrait.facts.items()], encoding)
    attributes = ", ".join(f"{name}={value}" for name, value in portrait.attributes.items())
    said += _wrapped(f"attributes of {portrait.thing}: {attributes}", 2) if attributes else []
    said += ["", "Measures"]
    rows = [["  signal", "unit", "range", "step", "normal"]]
    rows += [[f"  {m.name}", m.unit, m.range_text, f"{m.resolution:g}", m.limit_text] for m in portrait.measured]
    said += _columns(rows, encoding)
    said += _wrapped(f"inside: {', '.join(portrait.inner)}", 2) if portrait.inner else []
    said += ["", "A simulated day, from midnight to midnight"]
    rows = [["  signal", "lowest", "mean", "highest", ""]]
    for m in portrait.measured:
        low, mean, high = (f"{value:.6g}" for value in (min(m.values), m.mean, max(m.values)))
        rows.append([f"  {m.name}", low, mean, high, sparkline(m.values, _PLOT, encoding)])
    said += _columns(rows, encoding, right=(1, 2, 3))
    said += ["", "Sends"]
    for sent in portrait.sends:
        said += [f"  {sent.kind}, {sent.rhythm}, on {sent.topic}", *_wrapped(sent.example or "(nothing in it)", 6)]
    said += ["", "Does and accepts"]
    for duty in portrait.duties:
        said.append(f"  {duty.kind}: {duty.words}")
        said += _wrapped("; ".join(f"{name} {value}" for name, value in duty.settings.items()), 6)
        said += [f"      {name}: {how}" for name, how in duty.offers]
        said += _wrapped(f"hears {', '.join(duty.hears)}", 6) if duty.hears else []
    return said


def write_page(portrait: Portrait, path: Path) -> None:
    """Write the page, replacing an earlier one at once."""
    style = Markup(source("_style.html.j2"))  # noqa: S704 - our own file
    template = environment().get_template("portrait.html.j2")
    replace(path, template.render(portrait=portrait, style=style).encode())


def _ends(ends: tuple[float, float] | None) -> str:
    return f"{number(ends[0])} to {number(ends[1])}" if ends else "–"


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=space, subsequent_indent=space, break_on_hyphens=False)


def _columns(rows: Sequence[Sequence[str]], encoding: str, right: Sequence[int] = ()) -> list[str]:
    shown = [[in_encoding(cell, encoding) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    ]
