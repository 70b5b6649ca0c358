"""report.json: the facts of a run as one document, for programs.

Rules: the same facts give the same bytes (fields in the order of the schema, details by key). The file is
there whole or not at all. `load` names what is missing or of the wrong type; keys it does not know, from a
newer fleetsim, are passed over.
"""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from simulator.errors import UsageError
from simulator.report.facts import Report

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


@cache
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def dumps(report: Report) -> bytes:
    """The report as JSON."""
    return orjson.dumps(report, option=_OPTIONS)


def write(report: Report, path: Path) -> None:
    """Write report.json, replacing an earlier one at once."""
    replace(path, dumps(report))


def replace(path: Path, data: bytes) -> None:
    """Put a file there whole: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def loads(data: bytes) -> Report:
    """A report from its JSON; UsageError says which key is wrong."""
    try:
        return _adapter().validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise UsageError(f"not a report.json: {where}: {first['msg']}") from None


def load(path: Path) -> Report:
    """A report from its file."""
    return loads(path.read_bytes())


def json_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    return _adapter().json_schema()
