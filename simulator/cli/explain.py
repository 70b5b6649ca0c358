"""`fleetsim explain`: a scenario's timeline, drawn before anything runs."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap

from simulator import parameters, scenarios
from simulator.cli.rules import read_scenario
from simulator.outline import Row, bound, outline
from simulator.profiles import Profile
from simulator.scenarios import Scenario

BAR_CELLS_MAX = 40
WIDTH_MAX = 160


def explain(scenario: str, seed: int | None, given: Sequence[str], as_json: bool) -> None:
    """Prints it: lines, or one JSON document."""
    read, profiles = read_scenario(scenarios.find(scenario), parameters.settings(list(given)), seed)
    used_seed = read.seed if seed is None else seed
    rows = outline(read, profiles, used_seed)
    if as_json:
        import json

        document = {"scenario": read.scenario, "seed": used_seed, "parameters": read.parameters}
        print(json.dumps({**document, "steps": [row._asdict() for row in rows]}, indent=2))
        return
    width = min(shutil.get_terminal_size((120, 40)).columns, WIDTH_MAX)
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    for line in (*_head(read, profiles, used_seed), "", *_timeline(rows, width, plain), "", *_checks(read)):
        print(line.encode("ascii", "replace").decode() if plain else line)


def _head(read: Scenario, profiles: dict[str, Profile], seed: int) -> Iterator[str]:
    yield f"{read.scenario}: {read.title}" if read.title else read.scenario
    counts = Counter(name for _, name, _ in read.things())
    yield f"  seed        {seed}"
    if read.parameters:
        yield f"  parameters  {', '.join(f'{name} {value}' for name, value in read.parameters.items())}"
    yield f"  fleet       {counts.total()} devices: {', '.join(f'{count} {name}' for name, count in counts.items())}"
    if children := len(read.children(profiles)):
        yield f"              and {children} children of hubs"
    rules = [str(rule.get("ruleId")) for rule in read.sandbox.rules]
    yield f"  rules       {', '.join(rules) or 'none'} (of the sandbox's backend)"


def _timeline(rows: list[Row], width: int, plain: bool) -> Iterator[str]:
    """A line for each step, with a bar: solid for as long as it takes, light for as long as it may take."""
    end_s = max((row.ends_latest_s for row in rows), default=0.0) or 1.0
    cells = max(10, min(BAR_CELLS_MAX, width // 4))
    solid, light, dot = ("#", ".", "|") if plain else ("█", "░", "▏")
    name_chars = max((len(row.title) + 2 * row.depth for row in rows), default=0)
    for row in rows:
        first = int(row.begins_s / end_s * (cells - 1))
        sure = int((row.ends_s - row.begins_s) / end_s * cells)
        may = int((row.ends_latest_s - row.ends_s) / end_s * cells)
        bar = (" " * first + (solid * sure + light * may or dot))[:cells]
        title = "  " * row.depth + row.title
        said = " · ".join(part for part in (row.waits_for, row.does) if part)
        yield f"  {_span(row):>13}  {bar:<{cells}}  {title:<{name_chars}}".rstrip()
        for line in (said, f"to be noticed: {row.notice}" if row.notice else ""):
            if line:
                yield from wrap(line, max(width, 80), initial_indent=" " * 17, subsequent_indent=" " * 19)


def _span(row: Row) -> str:
    if row.ends_latest_s > row.begins_s:
        return f"{row.begins_s:g} – {row.ends_latest_s:g} s"
    return f"{row.begins_s:g} s"


def _checks(read: Scenario) -> Iterator[str]:
    yield "  then the checks:"
    for check in read.checks:
        yield f"    {check.name or check.title}: {bound(check)} {check.unit}".rstrip()
