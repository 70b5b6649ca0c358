"""Lists for people: rich tables on a terminal, plain columns elsewhere; and nested documents as an outline."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_GAP = "  "


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table for stdout; without rows, none."""
    texts = [[_cell(value) for value in row] for row in rows]
    if not texts:
        return []
    drawn = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return _drawn(columns, texts) if drawn else plain(columns, texts)


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns with two blanks between them and the names above: the same wherever it is printed."""
    widths = [max(len(line[n]) for line in (columns, *rows)) for n in range(len(columns))]
    return [
        _GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in (columns, *rows)
    ]


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        drawn.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in rows:
        drawn.add_row(*(Text(text) for text in row))
    console = Console(width=shutil.get_terminal_size().columns, force_terminal=True)
    with console.capture() as captured:
        console.print(drawn)
    return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]


def outline(document: Mapping[str, Any], indent: str = "") -> list[str]:
    """A document as `name: value` lines, what is in it two blanks further in."""
    lines = []
    for name, value in document.items():
        match value:
            case Mapping() if value:
                lines += [f"{indent}{name}:", *outline(value, indent + "  ")]
            case list() if any(isinstance(one, Mapping) for one in value):
                lines.append(f"{indent}{name}:")
                for one in value:
                    inner = outline(one, indent + "    ") if isinstance(one, Mapping) else [f"{indent}    {_cell(one)}"]
                    lines += [f"{indent}  - {inner[0].strip()}", *inner[1:]]
            case list():
                lines.append(f"{indent}{name}: {', '.join(map(_cell, value)) or '-'}")
            case _:
                lines.append(f"{indent}{name}: {_cell(value)}")
    return lines


def counted(number: int, one: str, many: str = "") -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _cell(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict() if value:
            return " ".join(f"{name}={inner}" for name, inner in value.items())
        case None | "" | dict():
            return "-"
    return "".join(c if c.isprintable() else "?" for c in str(value))
