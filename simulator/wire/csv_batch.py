"""Batches of standard telemetry as CSV (RFC 4180): one row a message, one column a metric.

    device_id,productId,device_timestamp,tempC,note
    press-01,prod-a,1767225600000,26.3,"door open"
    press-02,prod-a,1767225600000,,

Rules: `device_id`, `productId` and `device_timestamp` are required columns, `hub_id`, `hub_timestamp` and
`childDeviceId` optional ones, every other column is a metric. An empty cell is absent; a metric that is null gives
one. In a metric's column a quoted cell is text, an unquoted one a number as JSON writes it, or `true` or `false`; so
types and values come back exactly. UTF-8, LF or CR LF, a byte order mark is skipped. Whatever the bytes are, `decode`
raises nothing but `CsvError`; rows are counted as a spreadsheet shows them: the header is row 1.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple

ROWS_MAX = 1000
COLUMNS_MAX = 256
CELL_MAX = 1024
PROBLEMS_MAX = 20
NUMBER_MAX = 64  # characters

REQUIRED = ("device_id", "productId", "device_timestamp")
OPTIONAL = ("hub_id", "hub_timestamp", "childDeviceId")
_WHOLE = frozenset(("device_timestamp", "hub_timestamp"))
_KNOWN = frozenset(REQUIRED + OPTIONAL)

# A cell with what ends it; a quoted one may hold everything, with its quotes doubled.
_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"|([^",\r\n]*+))(,|\r?\n|\Z)')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_QUOTED = re.compile(r'[",\r\n]|^\ufeff')
_WORDS: Mapping[str, bool] = {"true": True, "false": False}

Cell = tuple[str, bool]  # its text, and was it quoted?


class Problem(NamedTuple):
    """What is wrong, and where."""

    row: int  # 1 is the header
    column: str  # its name, or its number when it has none
    text: str


class CsvError(ValueError):
    """The bytes are no batch. Names the first problems, `PROBLEMS_MAX` at most."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.row, self.column, self.text = problems[0]
        super().__init__(f"row {self.row}, column {self.column}: {self.text}")


def encode(messages: Iterable[Mapping[str, Any]]) -> bytes:
    """A batch of standard telemetry messages; CsvError for a value that a cell cannot hold."""
    rows = list(messages)
    if len(rows) > ROWS_MAX:
        raise CsvError([Problem(ROWS_MAX + 2, "1", f"more than {ROWS_MAX} messages")])
    for number, row in enumerate(rows, 2):
        if not isinstance(row, Mapping) or not isinstance(row.get("metrics"), Mapping):
            raise CsvError([Problem(number, "metrics", "no message with metrics")])
        if strange := row.keys() - _KNOWN - {"metrics"}:
            raise CsvError([Problem(number, str(min(map(str, strange)))[:40], "no column for it")])
    optional = [name for name in OPTIONAL if any(name in row for row in rows)]
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    columns = [*REQUIRED, *optional, *metrics]
    if clash := _KNOWN.intersection(metrics):
        raise CsvError([Problem(1, min(clash), "a metric cannot have this name in CSV")])
    if len(columns) > COLUMNS_MAX:
        raise CsvError([Problem(1, str(COLUMNS_MAX + 1), f"more than {COLUMNS_MAX} columns")])
    lines = [",".join(map(_header_cell, columns))]
    for number, row in enumerate(rows, 2):
        cells = [_fixed_cell(row.get(name), name, number) for name in (*REQUIRED, *optional)]
        values = row["metrics"]
        cells += [_metric_cell(values[name], name, number) if name in values else "" for name in metrics]
        lines.append(",".join(cells))
    return "\n".join([*lines, ""]).encode()


def decode(data: bytes) -> list[dict[str, Any]]:
    """The messages of a batch, as their JSON would have them."""
    rows, problems = parse(data)
    if problems:
        raise CsvError(problems)
    return [message for _, message in rows]


def parse(data: bytes) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """The good messages with their row numbers, and what is wrong with the others; raises nothing."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        return [], [Problem(row, "1", f"not UTF-8 (byte {error.start})")]
    messages: list[tuple[int, dict[str, Any]]] = []
    problems: list[Problem] = []
    columns: list[str] = []
    try:
        for number, cells in enumerate(_rows(text), 1):
            if number == 1:
                columns = _columns(cells)
            elif number > ROWS_MAX + 1:
                problems.append(Problem(number, "1", f"more than {ROWS_MAX} rows of data"))
                break
            else:
                try:
                    messages.append((number, _message(columns, cells, number)))
                except _Wrong as wrong:
                    problems.append(wrong.problem)
                    if len(problems) >= PROBLEMS_MAX:
                        break
    except _Wrong as wrong:
        problems.append(wrong.problem)
    if not (columns or problems):
        problems.append(Problem(1, "1", "no header row"))
    return messages, problems


class _Wrong(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _rows(text: str) -> Iterator[list[Cell]]:
    """The cells row by row."""
    at, number, end = 0, 1, len(text)
    match = _CELL.match
    while at < end:
        cells: list[Cell] = []
        while True:
            found = match(text, at)
            if found is None:
                why = "a quote that is not closed, text beside a quoted cell, or a lone CR"
                raise _Wrong(Problem(number, str(len(cells) + 1), why))
            quoted, plain, stop = found.groups()
            cell = (plain, False) if quoted is None else (quoted.replace('""', '"'), True)
            cells.append(cell)
            if len(cell[0]) > CELL_MAX:
                raise _Wrong(Problem(number, str(len(cells)), f"longer than {CELL_MAX} characters"))
            if len(cells) > COLUMNS_MAX:
                raise _Wrong(Problem(number, str(len(cells)), f"more than {COLUMNS_MAX} columns"))
            at = found.end()
            if stop != ",":
                break
        yield cells
        number += 1


def _columns(cells: list[Cell]) -> list[str]:
    names = [text for text, _ in cells]
    for at, name in enumerate(names):
        if not name:
            raise _Wrong(Problem(1, str(at + 1), "a column without a name"))
        if name in names[:at]:
            raise _Wrong(Problem(1, name, "the column is there twice"))
    for name in REQUIRED:
        if name not in names:
            raise _Wrong(Problem(1, name, "the column is missing"))
    return names


def _message(columns: list[str], cells: list[Cell], row: int) -> dict[str, Any]:
    if len(cells) != len(columns):
        where = columns[len(cells)] if len(cells) < len(columns) else str(len(columns) + 1)
        raise _Wrong(Problem(row, where, f"{len(cells)} cells, but the header has {len(columns)}"))
    message: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for name, (text, quoted) in zip(columns, cells, strict=True):
        if not text and not quoted:
            continue
        if name not in _KNOWN:
            metrics[name] = text if quoted else _value(text, row, name)
        elif name not in _WHOLE:
            message[name] = text
        elif _WHOLE_NUMBER.fullmatch(text):
            message[name] = int(text)
        else:
            raise _Wrong(Problem(row, name, f"'{text[:40]}' is not a whole number of milliseconds"))
    message["metrics"] = metrics
    return message


def _value(text: str, row: int, column: str) -> float | bool:
    if (word := _WORDS.get(text)) is not None:
        return word
    found = _NUMBER.fullmatch(text) if len(text) <= NUMBER_MAX else None
    if found is None:
        raise _Wrong(Problem(row, column, f"'{text[:40]}' is not a number, true or false; text is quoted"))
    value = float(text) if found.lastindex else int(text)
    if not isfinite(value):
        raise _Wrong(Problem(row, column, f"'{text[:40]}' is too large"))
    return value


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _header_cell(name: str) -> str:
    if not name:
        raise CsvError([Problem(1, "1", "a metric without a name")])
    return _checked(_quote(name) if _QUOTED.search(name) else name, name, 1)


def _fixed_cell(value: Any, column: str, row: int) -> str:
    if value is None:
        return ""
    if column in _WHOLE:
        if type(value) is not int or not _WHOLE_NUMBER.fullmatch(str(value)):
            raise CsvError([Problem(row, column, "not a whole number of milliseconds")])
        return str(value)
    if not isinstance(value, str):
        raise CsvError([Problem(row, column, "not text")])
    return _checked(_quote(value) if not value or _QUOTED.search(value) else value, column, row)


def _metric_cell(value: Any, column: str, row: int) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _checked(_quote(value), column, row)
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 10 ** (NUMBER_MAX - 1):
        return str(value)
    if isinstance(value, float) and isfinite(value):
        return repr(float(value))
    raise CsvError([Problem(row, column, "not a finite number, text, true or false")])


def _checked(cell: str, column: str, row: int) -> str:
    """Is there nothing in it that `parse` would refuse?"""
    if len(cell) - 2 > CELL_MAX:
        raise CsvError([Problem(row, column[:40], f"longer than {CELL_MAX} characters")])
    if not cell.isascii():
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise CsvError([Problem(row, ascii(column[:40]), "text that UTF-8 cannot hold")]) from None
    return cell
