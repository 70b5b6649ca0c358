"""`fleetsim describe`: a profile as a device lives it, or the members of a room."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from simulator import profiles, rooms
from simulator.cli import writable
from simulator.errors import UsageError, did_you_mean
from simulator.report.text import in_encoding

ROOMS = ("signals", "behaviours", "faults", "steps", "checks")
_WIDTH = 110


def describe(what: str, name: str | None, html: Path | None, seed: int) -> None:
    """Prints a portrait or a room; UsageError for what there is not."""
    encoding = sys.stdout.encoding or "ascii"
    if what == "profile":
        if name is None:
            raise UsageError(f"which profile?{did_you_mean('', profiles.names())}")
        print("\n".join(_profile(name, html, seed, encoding)))
    elif what in ROOMS:
        if name is not None or html is not None:
            raise UsageError(f"'describe {what}' takes no name and no --html")
        print("\n".join(in_encoding(line, encoding) for line in _room(what)))
    else:
        raise UsageError(f"cannot describe '{what}'{did_you_mean(what, ['profile', *ROOMS])}")


def _profile(name: str, html: Path | None, seed: int, encoding: str) -> list[str]:
    found = profiles.profile(name)
    from simulator.report import portrait
    from simulator.runtime import observe

    if html is None:
        return portrait.lines(observe.portrait(found, seed), encoding)
    writable.file(html, "--html").unlink()
    portrait.write_page(observe.portrait(found, seed), html)
    return [f"html  {html}"]


def _room(room: str) -> Iterator[str]:
    members: dict[str, type[BaseModel]] = {}
    for kind, cls in rooms.members(room).items():
        assert issubclass(cls, BaseModel)
        members[kind] = cls
    shared = set.intersection(*(set(cls.model_fields) for cls in members.values())) - {"kind"}
    for kind, cls in members.items():
        family = getattr(cls, "family", "")
        yield from _wrapped(f"{kind}{f' ({family})' if family else ''} — {_first_line(cls)}", 0)
        yield from _keys({key: field for key, field in cls.model_fields.items() if key not in shared and key != "kind"})
        if example := getattr(cls, "example", ""):
            yield f"    example: {example}"
        yield ""
    if shared:
        yield f"each of these {room} also takes"
        some = next(iter(members.values())).model_fields
        yield from _keys({key: field for key, field in some.items() if key in shared})


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _keys(fields: dict[str, FieldInfo]) -> Iterator[str]:
    for key, field in fields.items():
        says = field.description or ""
        default = "" if field.is_required() or field.default in (None, "") else f" = {_plain(field.default)}"
        needed = " (needed)" if field.is_required() else ""
        yield from _wrapped(f"{field.alias or key}{default}{needed}{f': {says}' if says else ''}", 4)


def _plain(value: object) -> str:
    text = str(list(value) if isinstance(value, tuple) else value) or "empty"
    return text if len(text) <= 40 else f"{text[:40]}…"


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=space, subsequent_indent=f"{space}    ")
