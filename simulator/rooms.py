"""Rooms: packages in which `kind: delay` means class `Delay` in `delay.py`.

Rules: a member is found by its file name, never registered. The file is the catalogue, so
`kinds("faults")` is a directory listing and a new member is one new file.
"""

from functools import cache
from importlib import import_module
from importlib.resources import files

from simulator.errors import UsageError, did_you_mean

ROOMS = ("signals", "behaviours", "faults", "links", "steps", "checks")


@cache
def kinds(room: str) -> tuple[str, ...]:
    """The kinds a room holds, sorted."""
    names = (entry.name for entry in files(f"simulator.{room}").iterdir())
    return tuple(sorted(n[:-3] for n in names if n.endswith(".py") and not n.startswith("_")))


def class_name(kind: str) -> str:
    """`first_order` → `FirstOrder`."""
    return "".join(word.capitalize() for word in kind.split("_"))


@cache
def member(room: str, kind: str) -> type:
    """The class of one kind; UsageError when the room has no such file."""
    if kind not in kinds(room):
        raise UsageError(f"unknown {room} kind '{kind}'{did_you_mean(kind, kinds(room))}")
    found = getattr(import_module(f"simulator.{room}.{kind}"), class_name(kind))
    assert isinstance(found, type)
    return found


def members(room: str) -> dict[str, type]:
    """Every member of a room by its kind."""
    return {kind: member(room, kind) for kind in kinds(room)}
