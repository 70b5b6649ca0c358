"""Writers: rows to CSV, JSON lines, Parquet.

Rules: one and the same row gives the same bytes anywhere. A gzip file has no name and no time in it. Numbers are the
shortest decimals that mean them; what was not said is empty (CSV), null (JSON lines, Parquet).
"""

import gzip
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import orjson

from simulator.dataset.columns import COLUMNS, FEATURE_NAMES
from simulator.dataset.making import Options, Rows, Writer
from simulator.errors import UsageError
from simulator.seeds import Floats

_NUMBERS = orjson.OPT_SERIALIZE_NUMPY
_GZIP_LEVEL = 3
_ROWS = 50_000  # at a time
_PARQUET_ROWS = 200_000


class Put:
    """Files that get their names when all of them are whole; before that, or when it fails, there are none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[IO[bytes]] = []
        self._made: list[tuple[Path, Path]] = []

    def path(self, name: str) -> Path:
        """Where to write what will have that name."""
        path = self.folder / f".{name}.part"
        self._made.append((path, self.folder / name))
        return path

    def file(self, name: str) -> IO[bytes]:
        """The same, opened."""
        file = self.path(name).open("wb")
        self._open.append(file)
        return file

    def keep(self) -> None:
        """All of them are whole."""
        for file in self._open:
            file.close()
        for path, name in self._made:
            path.replace(name)
        self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._open:
            file.close()
        for path, _ in self._made:
            with suppress(OSError):
                path.unlink()


def writer(form: str, put: Put, stem: str, options: Options) -> Writer:
    """The writer of a form; UsageError when something is missing for it."""
    match form:
        case "csv" | "jsonl":
            file = put.file(f"{stem}.{form}{'.gz' if options.gzip else ''}")
            out = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) if options.gzip else file
            return (Csv if form == "csv" else Jsonl)(out, own=options.gzip)
        case "parquet":
            return Parquet(put.path(f"{stem}.parquet"))
    from simulator.dataset.windows import Windows

    return Windows(put, f"{stem}.npz", options)


def table(rows: Rows) -> Floats:
    """All columns but the first, [records that are there, columns]."""
    moments, sensors = rows.there.shape
    at_ms = np.broadcast_to(rows.at_ms[:, None], (moments, sensors))
    found: Floats = np.concatenate(
        (
            at_ms[..., None], rows.features, rows.label[..., None], rows.fire[..., None], rows.lead_s[..., None],
            rows.event[..., None],
        ),
        axis=-1,
    )  # fmt: skip
    return found[rows.there]


def names(rows: Rows) -> list[bytes]:
    """The sensor of each record."""
    encoded = np.array([thing.encode() for thing in rows.things])
    result: list[bytes] = np.broadcast_to(encoded, rows.there.shape)[rows.there].tolist()
    return result


class Lines:
    """A file of lines."""

    def __init__(self, out: Any, own: bool) -> None:
        self.out, self._own = out, own

    def finish(self) -> None:
        if self._own:
            self.out.close()


def as_lines(numbers: Floats) -> list[bytes]:
    """Rows of numbers as text: `1,2.5,,0`. A quarter of a microsecond a row, where csv takes twenty."""
    text = orjson.dumps(numbers, option=_NUMBERS)[2:-2]
    text = text.replace(b"],[", b"\n").replace(b".0,", b",").replace(b".0\n", b"\n").replace(b"null", b"")
    return text.removesuffix(b".0").split(b"\n")


class Csv(Lines):
    """Comma-separated, with a line of names."""

    def __init__(self, out: Any, own: bool) -> None:
        super().__init__(out, own)
        self.out.write((",".join(column.name for column in COLUMNS) + "\n").encode())

    def write(self, rows: Rows) -> None:
        things, numbers = names(rows), table(rows)
        for first in range(0, len(things), _ROWS):
            lines = as_lines(np.ascontiguousarray(numbers[first : first + _ROWS]))
            text = b"\n".join(map(b",".join, zip(things[first : first + _ROWS], lines, strict=True)))
            self.out.write(text + b"\n")


class Jsonl(Lines):
    """One JSON object a line, with the names of the columns."""

    def write(self, rows: Rows) -> None:
        keys = [column.name for column in COLUMNS]
        whole = {0, *(i for i, name in enumerate(keys) if name.startswith("status_"))}
        whole |= {keys.index(name) for name in ("at_ms", "arc_count", "label", "fire", "event")}
        dumps = orjson.dumps
        things, numbers = names(rows), table(rows)
        for first in range(0, len(things), _ROWS):
            lists = numbers[first : first + _ROWS].tolist()
            lines = []
            for thing, values in zip(things[first : first + _ROWS], lists, strict=True):
                row = dict(zip(keys, (thing.decode(), *values), strict=True))
                for i in whole:
                    value = row[keys[i]]
                    if type(value) is float and value == value:
                        row[keys[i]] = int(value)
                lines.append(dumps(row))
            self.out.write(b"\n".join(lines) + b"\n" if lines else b"")


class Parquet:
    """Columns; needs the extra `parquet`."""

    def __init__(self, path: Path) -> None:
        try:
            pa: Any = import_module("pyarrow")
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError:
            raise UsageError("Parquet needs pyarrow: pip install 'fleetsim[parquet]'") from None
        self._pa = pa
        kinds = {"device": pa.string(), "at_ms": pa.int64(), "event": pa.int16(), "lead_s": pa.float64()}
        kinds |= {"label": pa.int8(), "fire": pa.int8()}
        self._schema = pa.schema(
            [
                pa.field(column.name, kinds.get(column.name, _kind(pa, column.name)), metadata={"unit": column.unit})
                for column in COLUMNS
            ]
        )
        self._out = parquet.ParquetWriter(
            path, self._schema, compression="zstd", use_dictionary=["device"], version="2.6", store_schema=False
        )

    def write(self, rows: Rows) -> None:
        pa = self._pa
        numbers = table(rows)
        columns = [pa.array([name.decode() for name in names(rows)], pa.string())]
        for place, field in enumerate(list(self._schema)[1:]):
            column = np.ascontiguousarray(numbers[:, place])
            array = pa.array(column, pa.float64(), from_pandas=True)  # NaN becomes null
            columns.append(array.cast(field.type) if field.type != pa.float64() else array)
        self._out.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=_PARQUET_ROWS)

    def finish(self) -> None:
        self._out.close()


def _kind(pa: Any, name: str) -> Any:
    return pa.int8() if name.startswith("status_") and name in FEATURE_NAMES else pa.float64()
