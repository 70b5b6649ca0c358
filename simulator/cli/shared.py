"""The flags of `flags.py`, added to a command by one line, which gets them together as `options`.

    @jobs.command("list")
    @reads
    def every(status: …, *, options: Options) -> None:

Rules: light, since `--help` imports it; `Options` itself is imported when a command is used.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from simulator.cli import flags

if TYPE_CHECKING:
    from simulator.cli.operation import Operation

Command = Callable[..., None]

_ALWAYS: dict[str, tuple[Any, Any]] = {
    "target": (flags.TargetOpt, "sandbox"),
    "sandbox_env": (flags.SandboxOpt, None),
    "as_json": (flags.JsonOpt, False),
    "debug": (flags.DebugOpt, False),
    "explain": (flags.ExplainOpt, False),
}
_WRITING: dict[str, tuple[Any, Any]] = {"yes": (flags.YesOpt, False), "dry_run": (flags.DryRunOpt, False)}


def reads(command: Command) -> Command:
    """A command that writes nothing."""
    return _with(command, _ALWAYS)


def writes(command: Command) -> Command:
    """A command that writes: it can be agreed to beforehand, and tried without writing."""
    return _with(command, _ALWAYS | _WRITING)


def _with(command: Command, added: dict[str, tuple[Any, Any]]) -> Command:
    def run(**given: Any) -> None:
        from simulator.cli.operation import Options

        options = Options(**{name: given.pop(name) for name in added})
        command(**given, options=options)

    own = [one for one in inspect.signature(command).parameters.values() if one.name != "options"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__annotations__ = {}  # typer reads the signature
    return run


def one_of(op: "Operation", given: str | None, what: str, known: Callable[[], Iterable[str]]) -> str:
    """What was given; otherwise one of those there are, by a question."""
    return given or op.choose(f"Which {what}?", sorted(known()), flag=what.upper())


def some_of(op: "Operation", given: list[str] | None, what: str, known: Callable[[], Iterable[str]]) -> list[str]:
    """What was given; otherwise one or more of those there are, by a question."""
    return given or op.choose_many(f"Which {what}s?", sorted(known()), flag=what.upper())


def words(texts: list[str] | None) -> list[str]:
    """`--x a,b --x c` as a, b, c."""
    return [word.strip() for text in texts or [] for word in text.split(",") if word.strip()]
