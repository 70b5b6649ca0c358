"""Aggregates: what the readings of a product came to in an hour, six hours, a day; of a customer's product, in a day.

Rules: a reading counts in the window of its own time. Only what the store took in as new is read, in the order of
its rows, and how far that is stands in the same transaction as the sums; so what comes late, twice or in disorder, and
what a crash interrupts, comes to the same. Sums are whole numbers of 2⁻⁶⁴, which no order of adding can change; a
`true` counts as 1. What a device says before its product is known is held for it, and added when it is.
A customer's windows are those of the devices that were his when they were read (master data).
"""

import sqlite3
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from math import fsum
from typing import Any

import orjson

from simulator.backend.platform.outcomes import Placed, SaveMaster

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ROWS_MAX = 5_000  # in one go
METRICS_MAX = 200  # of a window; what has no room is counted
OPEN_MAX = 5_000  # windows in memory
HELD_MAX = 200_000  # windows of devices whose product is not known
PLACES_MAX = 200_000
LOST = "aggregates.metrics_lost"  # readings that found no room in their window
MARK = "aggregated_up_to"  # the last row of telemetry that was read

SCALE = 1 << 64
_SCALE = float(SCALE)
_WHOLE = 2.0**-12  # a float of this size or more is a multiple of 2⁻⁶⁴

# Kept for so long.
KEPT_MS = {"held": 30 * DAY_MS, "hour": 90 * DAY_MS, "6h": 366 * DAY_MS, "day": 5 * 366 * DAY_MS}
ROWS_KEPT_MAX = 2_000_000
PRUNE_ROWS = 20_000

# Only these are read: a text is no number.
_NUMBERS = frozenset((float, int, bool))
_WRITE = (
    "INSERT INTO aggregates (period, customer, product, start_ms, records, metrics) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (period, customer, product, start_ms) DO UPDATE SET records = excluded.records,"
    " metrics = excluded.metrics"
)
_READ = "SELECT records, metrics FROM aggregates WHERE period = ? AND customer = ? AND product = ? AND start_ms = ?"
_DELETE = "DELETE FROM aggregates WHERE period = ? AND customer = ? AND product = ? AND start_ms = ?"
_PLACED = (
    "SELECT DISTINCT device_id, product_id FROM aggregates JOIN devices ON device_id = customer"
    " WHERE period = 'held' AND product_id IS NOT NULL"
)
_COUNT = "INSERT INTO platform_counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n"

Key = tuple[str, str, str, int]  # period, customer, product, start
Place = tuple[str, str]  # product, customer


class Window:
    """Count, sum, minimum and maximum of every metric."""

    __slots__ = ("metrics", "records")

    def __init__(self, records: int = 0, metrics: dict[str, list[Any]] | None = None) -> None:
        self.records = records
        self.metrics = {} if metrics is None else metrics  # name → [count, sum in 2⁻⁶⁴, minimum, maximum]

    def take(self, samples: list[dict[str, Any]]) -> int:
        """Add samples; how many readings found no room."""
        self.records += len(samples)
        lost = 0
        shapes: defaultdict[tuple[str, ...], list[Any]] = defaultdict(list)
        for sample in samples:
            shapes[tuple(sample)].append(sample.values())
        for names, rows in shapes.items():
            for name, column in zip(names, zip(*rows, strict=True), strict=True):
                if not _NUMBERS.issuperset(map(type, column)):
                    column = tuple(value for value in column if type(value) in _NUMBERS)
                    if not column:
                        continue
                low, high = float(min(column)), float(max(column))
                lost += self._add(name, len(column), exact_sum(column, low, high), low, high)
        return lost

    def add(self, other: "Window") -> int:
        """Add another window; how many readings found no room."""
        self.records += other.records
        return sum(self._add(name, *metric) for name, metric in other.metrics.items())

    def _add(self, name: str, count: int, total: int, low: float, high: float) -> int:
        mine = self.metrics.get(name)
        if mine is None:
            if len(self.metrics) >= METRICS_MAX:
                return count
            self.metrics[name] = [count, total, low, high]
            return 0
        mine[0] += count
        mine[1] += total
        if low < mine[2]:
            mine[2] = low
        if high > mine[3]:
            mine[3] = high
        return 0

    def document(self) -> str:
        """JSON; a sum is a text, because it may be longer than JSON's numbers."""
        said = {name: (count, str(total), low, high) for name, (count, total, low, high) in self.metrics.items()}
        return orjson.dumps(said).decode()


def exact_sum(column: Sequence[float], low: float, high: float) -> int:
    """The sum of numbers of [low, high] in 2⁻⁶⁴, of each what is below that cut off.

    As a rule they are all multiples of 2⁻⁶⁴; then `fsum`, which rounds once, is asked again for what it rounded off.
    """
    least = low if low > 0 else -high if high < 0 else min(map(abs, filter(None, column)), default=1.0)
    if least < _WHOLE:
        return sum(map(int, map(_SCALE.__mul__, column)))
    total, part = 0, fsum(column)
    while part:
        total += int(part * _SCALE)
        column = (*column, -part)
        part = fsum(column)
    return total


def read_window(records: int, document: str) -> Window:
    """The window that was kept."""
    said = orjson.loads(document)
    return Window(records, {name: [count, int(total), low, high] for name, (count, total, low, high) in said.items()})


class Rollup:
    """Reads the telemetry that came since the last time, and adds it up. Uses the store's connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        row = db.execute("SELECT n FROM platform_counts WHERE name = ?", (MARK,)).fetchone()
        self.mark: int = row[0] if row else 0  # the last row of telemetry that is in the sums
        self._customers = dict(db.execute("SELECT thing, customer_id FROM master WHERE customer_id <> ''"))
        self._places: dict[str, Place] = {}
        self._none: set[str] = set()  # devices that are known to have no product
        self._placed: dict[str, str] = {}  # whose product became known since the last time
        self._held: defaultdict[str, set[int]] = defaultdict(set)  # beginnings of windows, by device
        for thing, start_ms in db.execute("SELECT customer, start_ms FROM aggregates WHERE period = 'held'"):
            self._held[thing].add(start_ms)
        self._held_count = sum(map(len, self._held.values()))
        self._placed.update(db.execute(_PLACED))  # a crash came between that and the adding up
        self._open: OrderedDict[Key, Window] = OrderedDict()
        self._changed: dict[Key, Window] = {}
        self._lost: Counter[str] = Counter()

    def add(self, write: Placed | SaveMaster) -> None:
        """Whose a device is, or what, from now on."""
        if isinstance(write, Placed):
            self._placed[write.thing] = write.product
        elif write.customer_id:
            self._customers[write.thing] = write.customer_id
        else:
            self._customers.pop(write.thing, None)
        self._places.pop(write.thing, None)

    def run(self) -> int:
        """Add up what came, at most ROWS_MAX samples, in a transaction; how many it were."""
        db = self._db
        rows = db.execute(
            "SELECT id, device_id, device_timestamp, metrics FROM telemetry WHERE id > ? ORDER BY id LIMIT ?",
            (self.mark, ROWS_MAX),
        ).fetchall()
        if not rows and not self._placed:
            return 0
        db.execute("BEGIN IMMEDIATE")
        try:
            products: Products = defaultdict(Window)
            days: Days = defaultdict(Window)
            for thing, product in self._placed.items():
                self._release(thing, product, products, days)
            self._take(rows, products, days)
            self._add_up(products, days)
            changed = [(*key, window.records, window.document()) for key, window in self._changed.items()]
            db.executemany(_WRITE, changed)
            db.executemany(_COUNT, self._lost.items())
            if rows:
                db.execute("INSERT OR REPLACE INTO platform_counts VALUES (?, ?)", (MARK, rows[-1][0]))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.mark = rows[-1][0] if rows else self.mark
        for done in (self._placed, self._changed, self._lost):
            done.clear()
        while len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)
        return len(rows)

    def _take(self, rows: Iterable[tuple[int, str, int, str]], products: "Products", days: "Days") -> None:
        places = self._places
        said: defaultdict[tuple[Place | str, int], list[str]] = defaultdict(list)
        for _, thing, at_ms, metrics in rows:
            said[places.get(thing) or self._place(thing), at_ms // HOUR_MS].append(metrics)
        for (place, hour), texts in said.items():
            window = Window()
            self._lost[LOST] += window.take(orjson.loads(f"[{','.join(texts)}]"))
            if isinstance(place, str):
                if self._hold(place, hour * HOUR_MS, window):
                    continue
                place = ("", "")
            self._share(place, hour, window, products, days)

    def _place(self, thing: str) -> Place | str:
        """Product and customer of a device; its name while the product is not known."""
        row = self._db.execute("SELECT product_id FROM devices WHERE device_id = ?", (thing,)).fetchone()
        if row is None or row[0] is None:
            return ("", self._customers.get(thing, "")) if thing in self._none else thing
        return self._known(thing, row[0])

    def _known(self, thing: str, product: str) -> Place:
        if len(self._places) >= PLACES_MAX:
            self._places.clear()
        place = self._places[thing] = (product, self._customers.get(thing, ""))
        return place

    def _share(self, place: Place, hour: int, window: Window, products: "Products", days: "Days") -> None:
        self._lost[LOST] += products[place[0], hour].add(window)
        if place[1]:
            self._lost[LOST] += days[place, hour // 24].add(window)

    def _add_up(self, products: "Products", days: "Days") -> None:
        for (product, hour), window in products.items():
            for period, hours in (("hour", 1), ("6h", 6), ("day", 24)):
                self._lost[LOST] += self._window((period, "", product, hour // hours * hours * HOUR_MS)).add(window)
        for ((product, customer), day), window in days.items():
            self._lost[LOST] += self._window(("day", customer, product, day * DAY_MS)).add(window)

    def _window(self, key: Key) -> Window:
        """The window to add to, which will be written."""
        window = self._open.get(key)
        if window is None:
            row = self._db.execute(_READ, key).fetchone()
            window = self._open[key] = read_window(*row) if row else Window()
        else:
            self._open.move_to_end(key)
        self._changed[key] = window
        return window

    # -- devices whose product is not known yet

    def _hold(self, thing: str, start_ms: int, window: Window) -> bool:
        """Keep it for the device; False when too many wait."""
        if start_ms not in self._held[thing]:
            if self._held_count >= HELD_MAX:
                self._lost["aggregates.not_held"] += window.records
                return False
            self._held[thing].add(start_ms)
            self._held_count += 1
        self._lost[LOST] += self._window(("held", thing, "", start_ms)).add(window)
        return True

    def _release(self, thing: str, product: str, products: "Products", days: "Days") -> None:
        """The product is known: what was held for the device counts now."""
        place = self._known(thing, product) if product else ("", self._customers.get(thing, ""))
        if product:
            self._none.discard(thing)
        elif len(self._none) < PLACES_MAX:
            self._none.add(thing)
        held = self._held.pop(thing, ())
        self._held_count -= len(held)
        for start_ms in sorted(held):
            key = ("held", thing, "", start_ms)
            self._share(place, start_ms // HOUR_MS, self._window(key), products, days)
            del self._open[key], self._changed[key]
            self._db.execute(_DELETE, key)

    def prune(self, now_ms: int) -> None:
        """Keep the table within its bounds, a little at a time."""
        for period, kept_ms in KEPT_MS.items():
            self._db.execute(
                "DELETE FROM aggregates WHERE id IN (SELECT id FROM aggregates WHERE period = ? AND start_ms < ?"
                " LIMIT ?)",
                (period, now_ms - kept_ms, PRUNE_ROWS),
            )
        self._db.execute("DELETE FROM aggregates WHERE id <= (SELECT max(id) FROM aggregates) - ?", (ROWS_KEPT_MAX,))


Products = defaultdict[tuple[str, int], Window]  # by product and hour
Days = defaultdict[tuple[Place, int], Window]
