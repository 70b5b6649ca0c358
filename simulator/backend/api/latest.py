"""`/api/latest`: chosen metrics of every device's newest sample, for a map or a table of the whole fleet.

Rules: a row is a list, for there are many; a device whose newest sample lacks the first of the metrics is left out.
One question of SQL that gives one row, as `reads.py` says.
"""

import re
from typing import Annotated, Any

import orjson
from pydantic import Field, WithJsonSchema

from simulator.backend.api import answers
from simulator.backend.api.route import ALL, Call, Named, Number, Route
from simulator.backend.queries import PAGE, owned
from simulator.errors import UsageError

METRICS_MAX = 8
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)


_NAMES = r"^[A-Za-z0-9_]{1,64}(,[A-Za-z0-9_]{1,64}){0,7}$"
Names = Annotated[str, WithJsonSchema({"type": "string", "pattern": _NAMES})]


class LatestAsked(Named):
    limit: Number = Field(PAGE, description="At most so many; more than a page holds are not given.")
    metrics: Names = Field(description=f"Names of metrics with commas between, {METRICS_MAX} at most.")


def latest(call: Call[LatestAsked]) -> Any:
    names = names_of(call.asked.metrics)
    mine, whose = owned("d.device_id", call.who.owner)
    values = ", ".join(f"t.metrics ->> '$.{name}' AS m{i}" for i, name in enumerate(names))
    row = ", ".join(f"m{i}" for i in range(len(names)))
    found = call.reads.queries.db.execute(
        f"SELECT json_group_array(json_array(thing, product, at, {row})) FROM ("  # noqa: S608 - names are words
        f"SELECT d.device_id AS thing, d.product_id AS product, d.last_timestamp AS at, {values} FROM devices d"
        " CROSS JOIN telemetry t ON t.key = d.last_key AND t.device_id = d.device_id"
        f" WHERE d.device_id > ? AND m0 IS NOT NULL{mine} ORDER BY d.device_id LIMIT ?)",
        (call.asked.after, *whose, min(call.asked.limit, PAGE)),
    ).fetchone()
    rows = orjson.loads(found[0])
    return {"next": rows[-1][0] if rows else call.asked.after, "metrics": names, "rows": rows}


def names_of(text: str) -> list[str]:
    """`a,b` as names of metrics; UsageError."""
    names = list(dict.fromkeys(text.split(",")))
    if len(names) > METRICS_MAX:
        raise UsageError(f"metrics: {len(names)} names are more than {METRICS_MAX}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(f"metrics: '{name[:40]}' is no name of a metric")
    return names


ROUTES = (
    Route("GET", "/api/latest", ALL, "Chosen metrics of every device's newest sample.", latest, LatestAsked,
          answers.LatestPage, slow=True),
)  # fmt: skip
