"""Reads a data set again: a folder with its card, or one of its files; block by block.

Rules: what is no data set says so with its file and line. Nothing is unpickled.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import orjson
from numpy.typing import NDArray

from simulator.dataset.columns import COLUMNS, FEATURE_NAMES
from simulator.errors import UsageError
from simulator.seeds import Floats

ENDS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet", ".npz")
LINE_BYTES_MAX = 10_000
_LINES = 20_000
_CHUNK = 1 << 20
_NAMES = tuple(column.name for column in COLUMNS)


class Table(NamedTuple):
    """Some records, or windows; a row each."""

    devices: list[str]
    at_ms: NDArray[np.int64]
    features: Floats | NDArray[np.float32]  # [rows, 31], of windows [rows, 30, 31]
    label: NDArray[np.bool_]
    fire: NDArray[np.bool_]
    lead_s: Floats


def file_of(path: Path, part: str | None = None) -> Path:
    """The file to read: itself, or one in a data set's folder."""
    if path.is_file():
        if not path.name.endswith(ENDS):
            raise UsageError(f"'{path}' is no data set: its name ends with none of {', '.join(ENDS)}")
        return path
    card = path / "card.json"
    if not card.is_file():
        raise UsageError(f"'{path}' is no data set: {'it has no card.json' if path.is_dir() else 'it is not there'}")
    try:
        files = [str(name) for name in json.loads(card.read_bytes())["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{card}: is no data card ({error})") from None
    stems = sorted({name.split(".")[0] for name in files})
    wanted = part or ("data" if "data" in stems else "")
    if wanted not in stems:
        raise UsageError(f"'{path}' comes in parts: choose one with --part ({', '.join(stems)})")
    for end in (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".npz"):
        if f"{wanted}{end}" in files and (path / f"{wanted}{end}").is_file():
            return path / f"{wanted}{end}"
    raise UsageError(f"'{path}' has none of the files of its card")


def tables(path: Path) -> Iterator[Table]:
    """All records of a file, in their order."""
    if path.name.endswith(".npz"):
        yield from _windows(path)
    elif path.name.endswith(".parquet"):
        yield from _parquet(path)
    else:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            lines = _some(file, path)
            yield from _csv(lines, path) if ".csv" in path.name else _jsonl(lines, path)


def count(path: Path) -> int:
    """How many records a file has, without a look into them: for progress, and for nothing else."""
    try:
        if path.name.endswith(".npz"):
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
                return len(archive["y"])
        if path.name.endswith(".parquet"):
            parquet: Any = import_module("pyarrow.parquet")
            return int(parquet.read_metadata(path).num_rows)
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            lines = sum(some.count(b"\n") for some in iter(lambda: file.read(_CHUNK), b""))
        return max(0, lines - (".csv" in path.name))
    except (ImportError, OSError, EOFError, ValueError, KeyError, zlib.error, BadZipFile):
        return 0  # `tables` will say what is wrong with it


def _some(file: Any, path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first, lines), some at a time."""
    number, held = 1, list[bytes]()
    try:
        while line := file.readline(LINE_BYTES_MAX + 1):
            if len(line) > LINE_BYTES_MAX:
                raise UsageError(f"{path}:{number + len(held)}: a line of more than {LINE_BYTES_MAX} bytes")
            held.append(line)
            if len(held) >= _LINES:
                yield number, held
                number, held = number + len(held), []
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    if held:
        yield number, held


def _csv(lines: Iterator[tuple[int, list[bytes]]], path: Path) -> Iterator[Table]:
    head = ",".join(_NAMES).encode()
    for number, some in lines:
        if number == 1:
            if some[0].rstrip(b"\r\n") != head:
                raise UsageError(f"{path}:1: these are not the columns of a data set")
            some, number = some[1:], 2
        try:
            devices, rest = zip(*(line.rstrip(b"\r\n").split(b",", 1) for line in some), strict=True)
            text = b"[[" + b"],[".join(rest) + b"]]"
            text = text.replace(b",,", b",null,").replace(b",,", b",null,").replace(b"[,", b"[null,")
            values = np.array(orjson.loads(text), np.float64)
            yield _table([device.decode() for device in devices], values)
        except ValueError:
            yield _table(*_slowly(some, number, path))


def _slowly(some: list[bytes], number: int, path: Path) -> tuple[list[str], Floats]:
    """Line by line, to say which one is wrong."""
    devices: list[str] = []
    rows: list[list[float]] = []
    for place, line in enumerate(some, number):
        device, *values = line.decode("utf-8", "replace").rstrip("\r\n").split(",")
        if len(values) != len(_NAMES) - 1:
            raise UsageError(f"{path}:{place}: {len(values) + 1} columns, not {len(_NAMES)}")
        try:
            rows.append([float(value) if value else np.nan for value in values])
        except ValueError as error:
            raise UsageError(f"{path}:{place}: {error}") from None
        devices.append(device)
    return devices, np.array(rows)


def _jsonl(lines: Iterator[tuple[int, list[bytes]]], path: Path) -> Iterator[Table]:
    for number, some in lines:
        devices: list[str] = []
        rows: list[list[float | None]] = []
        for place, line in enumerate(some, number):
            try:
                row = orjson.loads(line)
                devices.append(str(row["device"]))
                rows.append([None if (value := row[name]) is None else float(value) for name in _NAMES[1:]])
            except (ValueError, TypeError, KeyError) as error:
                raise UsageError(f"{path}:{place}: is no record of a data set: {error}") from None
        yield _table(devices, np.array(rows, np.float64))


def _parquet(path: Path) -> Iterator[Table]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'fleetsim[parquet]'") from None
    try:
        file = parquet.ParquetFile(path)
        if tuple(file.schema_arrow.names) != _NAMES:
            raise UsageError(f"{path}: these are not the columns of a data set")
        for batch in file.iter_batches(_LINES):
            columns = [batch.column(i).to_numpy(zero_copy_only=False).astype(np.float64) for i in range(1, len(_NAMES))]
            yield _table(batch.column(0).to_pylist(), np.stack(columns, axis=1))
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these
        raise UsageError(f"{path}: cannot be read: {error}") from None


def _windows(path: Path) -> Iterator[Table]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if tuple(archive["features"].tolist()) != FEATURE_NAMES:
                raise UsageError(f"{path}: its features are not those of the contracts, or not in their order")
            names, x = archive["devices"], archive["x"]
            devices = names[archive["device"]].tolist()
            yield Table(
                devices, archive["at_ms"], x, archive["y"].astype(np.bool_), archive["fire"].astype(np.bool_),
                archive["lead_s"].astype(np.float64),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None


def _table(devices: list[str], values: Floats) -> Table:
    count = len(FEATURE_NAMES)
    if values.shape != (len(devices), len(_NAMES) - 1):
        raise ValueError("rows of another length")
    label, fire, lead_s = values[:, 1 + count], values[:, 2 + count], values[:, 3 + count]
    return Table(devices, values[:, 0].astype(np.int64), values[:, 1 : 1 + count], label > 0, fire > 0, lead_s)
