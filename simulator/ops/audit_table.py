"""What a backend got, read from its DynamoDB table: every item is a message.

Rules: read only, page by page, and only the attributes that are needed. An item without them is passed over and
counted: the table may hold other things, too.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from simulator.ops.aws import Aws
from simulator.targets import AuditTable


class Item(NamedTuple):
    """One message; `stored_ms` -1: the table does not say."""

    kind: str
    thing: str
    stamp: int
    stored_ms: int


def items(aws: Aws, table: AuditTable) -> Iterator[Item | None]:
    """Every item, in no order; None for one that is no message."""
    names = [table.thing, table.stamp, *(name for name in (table.kind, table.stored) if name)]
    aliases = {f"#{i}": name for i, name in enumerate(dict.fromkeys(names))}
    pages = (
        aws.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=table.dynamodb, ProjectionExpression=", ".join(aliases), ExpressionAttributeNames=aliases)
    )
    for page in pages:
        for item in page["Items"]:
            yield _read(item, table)


def _read(item: dict[str, dict[str, Any]], table: AuditTable) -> Item | None:
    thing, stamp = _text(item.get(table.thing)), _stamp(item.get(table.stamp), table.unit)
    stored_ms = _stamp(item.get(table.stored), table.unit) if table.stored else None
    kind = (_text(item.get(table.kind)) if table.kind else None) or table.messages
    if thing is None or stamp is None:
        return None
    return Item(kind, thing, stamp, -1 if stored_ms is None else stored_ms)


def _text(value: dict[str, Any] | None) -> str | None:
    found = (value or {}).get("S")
    return found if isinstance(found, str) else None


def _stamp(value: dict[str, Any] | None, unit: str) -> int | None:
    """A number, or a text that is one or is a moment of ISO 8601; None for anything else."""
    found = (value or {}).get("N") or _text(value)
    if not found:
        return None
    try:
        return round(float(found) * (1000 if unit == "s" else 1))
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
