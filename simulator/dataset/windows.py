"""Windows: sequences of 30 records of one sensor, as NPZ, for models that look at more than one record.

    x        [windows, 30, 31] float32, in the order of `features`      y, fire   of the window's last record
    lead_s   of the last record, NaN beyond the horizon                 device    its place in `devices`
    at_ms    of the last record                                         event     as in the card

Rules: a window has no gap: where a record or a value is missing there is none. The arrays go to disk as they are made,
and into the archive at the end, so memory does not grow with the data set. No pickles.
"""

import shutil
import zipfile
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from simulator.dataset.columns import FEATURE_NAMES
from simulator.dataset.making import WINDOW, Options, Rows
from simulator.dataset.writers import Put

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows
_COPY_BYTES = 1 << 20
_ARRAYS: dict[str, str] = {
    "x": "<f4", "y": "|u1", "fire": "|u1", "lead_s": "<f4", "device": "<i4", "at_ms": "<i8", "event": "<i2",
}  # fmt: skip


class Windows:
    """One NPZ."""

    def __init__(self, put: Put, name: str, options: Options) -> None:
        self._stride, self._things = options.stride, options.things()
        self._out = put.file(name)
        self._folder, self._name = put, name
        self._raw: dict[str, IO[bytes]] = {}
        for array in _ARRAYS:
            path = put.folder / f".{name}.{array}.raw"
            self._raw[array] = path.open("w+b")
            path.unlink()  # it is gone by itself, whatever happens
        self.count = 0
        self._before: NDArray[np.float32] = np.empty((0, 0, 0), np.float32)  # the last records of the block before
        self._first = 0  # the place of the first of them in the sensors' row of records
        self._of: NDArray[np.int32] = np.empty(0, np.int32)

    def write(self, rows: Rows) -> None:
        new = rows.features.astype(np.float32)
        if not np.array_equal(self._of, rows.numbers):
            self._of, self._first, self._before = rows.numbers, 0, new[:0]
        values = np.concatenate((self._before, new))
        behind = len(self._before)
        for end in range(WINDOW, len(values) + 1):
            at = end - 1 - behind  # the last record, in this block
            if at < 0 or (self._first + end - WINDOW) % self._stride:
                continue
            window = values[end - WINDOW : end].transpose(1, 0, 2)
            whole = ~np.isnan(window).any(axis=(1, 2))
            count = int(whole.sum())
            self._put(
                x=window[whole], y=rows.label[at][whole], fire=rows.fire[at][whole], lead_s=rows.lead_s[at][whole],
                device=rows.numbers[whole], at_ms=np.full(count, rows.at_ms[at]), event=rows.event[at][whole],
            )  # fmt: skip
            self.count += count
        kept = min(WINDOW - 1, len(values))
        self._first += len(values) - kept
        self._before = values[len(values) - kept :]

    def _put(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            self._raw[name].write(np.ascontiguousarray(array, _ARRAYS[name]).tobytes())

    def finish(self) -> None:
        with zipfile.ZipFile(self._out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, kind in _ARRAYS.items():
                shape = (self.count, WINDOW, len(FEATURE_NAMES)) if name == "x" else (self.count,)
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as into:
                    npy.write_array_header_2_0(into, {"descr": kind, "fortran_order": False, "shape": shape})
                    raw = self._raw[name]
                    raw.seek(0)
                    shutil.copyfileobj(raw, into, _COPY_BYTES)
                    raw.close()
            for name, texts in (("features", FEATURE_NAMES), ("devices", self._things)):
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w") as into:
                    npy.write_array(into, np.array(texts), allow_pickle=False)
