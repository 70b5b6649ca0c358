"""What the APIs answer, made fit for people and for JSON; and the refusals a person can do something about."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from simulator.errors import UsageError, did_you_mean
from simulator.ops.aws import CONNECTIONS_MAX, code

MISSING = ("ResourceNotFoundException", "NoSuchEntity", "NoSuchKey", "404")
THERE = ("ConflictException", "ResourceAlreadyExistsException")
REFUSED = ("InvalidRequestException", "ValidationException", "InvalidStateTransitionException")
KNOWN_MAX = 1000  # names looked at for `did you mean`

One = TypeVar("One")
Made = TypeVar("Made")


def plain(value: Any) -> Any:
    """Without the metadata of HTTP; times as ISO 8601 in UTC, bytes as text."""
    match value:
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items() if key != "ResponseMetadata"}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case bytes():
            return value.decode(errors="replace")
    return value


@contextmanager
def named(kind: str, name: str, known: Callable[[], Iterable[str]] = tuple) -> Iterator[None]:
    """A call about something that may not be there: `no job 'x' (did you mean 'y'?)`, as a UsageError."""
    try:
        yield
    except ClientError as error:
        if code(error) not in MISSING:
            raise
        raise UsageError(missing(kind, name, known())) from None


@contextmanager
def refused(what: str, *codes: str) -> Iterator[None]:
    """A request that the service does not take, by its exception's name, as one line: `<what>: <its words>`."""
    try:
        yield
    except ClientError as error:
        if code(error) not in (*REFUSED, *codes):
            raise
        raise UsageError(f"{what}: {said(error)}") from None


def missing(kind: str, name: str, known: Iterable[str]) -> str:
    """`no job 'x' (did you mean 'y'?)`."""
    names = [other for other, _ in zip(known, range(KNOWN_MAX), strict=False)]
    hint = did_you_mean(name, names)
    if hint.startswith(" (known") and len(names) > 10:
        hint = f" ({len(names)} others are there; `list` shows them)"
    return f"no {kind} '{name}'{hint}"


def said(error: ClientError) -> str:
    """The service's own words."""
    return str(error.response.get("Error", {}).get("Message") or code(error))


def pages(client: Any, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
    """Every item of a list, page by page."""
    for page in client.get_paginator(operation).paginate(**parameters):
        yield from page.get(key, [])


def at_once(
    do: Callable[[One], Made], items: Sequence[One], progress: Callable[[int], object] = lambda done: None
) -> list[Made]:
    """`do` for each, several at a time; `progress` hears how many are done. After Ctrl-C only those under way end."""
    pool = ThreadPoolExecutor(CONNECTIONS_MAX, thread_name_prefix="ops")
    made = []
    try:
        for done, one in enumerate(pool.map(do, items), 1):
            made.append(one)
            progress(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return made
