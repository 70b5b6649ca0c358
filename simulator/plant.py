"""The plant: the signals of all devices of one profile, in columns, advanced together in fixed steps.

Rules: the state at a step is a function of the seed, the profile and the holds set before that step;
never of who asked, how often, or which other rows exist. The plant never runs ahead of the time it was
asked for, so a hold (a part that hangs) always takes effect at the next step.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from operator import itemgetter

import numpy as np

from simulator import seeds
from simulator.seeds import Floats, Keys
from simulator.signals import Draw, Range, Signal

_MEASURE_CHANNEL = 500_000
_EVERYTHING = (-np.inf, np.inf)


class Sensors:
    """What stands between values and readings: noise, resolution and range, for all signals in one go."""

    __slots__ = ("_deviation", "_keys", "_noisy", "_parts", "_ranges", "_wholes")

    def __init__(self, signals: Mapping[str, Signal], keys: Keys) -> None:
        channels = [(i, s.noise) for i, s in enumerate(signals.values()) if s.noise]
        self._noisy = [i for i, _ in channels]
        self._deviation = np.array([noise for _, noise in channels])
        salted = [seeds.salted(keys, _MEASURE_CHANNEL + i) for i in self._noisy]
        self._keys = np.stack(salted, axis=1) if salted else np.zeros((len(keys), 0), dtype=np.uint64)
        # A resolution as a fraction of whole numbers gives the shortest decimal (88.3); multiplying by 0.1 does not.
        resolutions = [Fraction(str(s.resolution)) for s in signals.values()]
        self._wholes = np.array([float(r.numerator) for r in resolutions])
        self._parts = np.array([float(r.denominator) for r in resolutions])
        everything = Range(-np.inf, np.inf)
        self._ranges = [
            np.array(ends) for ends in zip(*(s.sensor or everything for s in signals.values()), strict=True)
        ]

    def apply(self, values: Floats, step: int) -> None:
        """Turn values (a row a device, a column a signal) into readings, in place."""
        if self._noisy:
            values[:, self._noisy] += self._deviation * seeds.normal(self._keys, step)
        values *= self._parts / self._wholes
        np.rint(values, out=values)
        values *= self._wholes
        values /= self._parts
        np.clip(values, *self._ranges, out=values)
        values += 0.0  # -0.0 becomes 0.0: which of the two a clip at 0 gives is the machine's choice.


class Plant:
    """Columns of signals, one row a device."""

    __slots__ = (
        "_held", "_measure", "_measured", "_measured_step", "_moves", "_odd", "_odd_step", "_picks", "columns",
        "keys", "limits", "names", "next_ms", "signals", "speed", "start_ms", "step", "step_s",
    )  # fmt: skip

    def __init__(
        self,
        signals: Mapping[str, Signal],
        keys: Keys,
        start_ms: int,
        speed: float = 1.0,
        step_s: float = 1.0,
    ) -> None:
        """Rows for `keys`; `speed` simulated seconds pass in a second; `step_s` is in simulated seconds."""
        self.signals = dict(signals)
        self.names = tuple(signals)
        self.keys = keys
        self.start_ms, self.speed, self.step_s = start_ms, speed, step_s
        self.step = 0
        self.next_ms = self._due_ms(1)  # when the next step is to be run
        self._held: dict[str, Floats] = {}
        self.columns: dict[str, Floats] = {}
        self._moves = [(name, s, Draw(keys, channel, 0)) for channel, (name, s) in enumerate(self.signals.items())]
        for name, signal, draw in self._moves:
            first = signal.start(draw)
            self.columns[name] = np.ascontiguousarray(np.broadcast_to(first, keys.shape), dtype=np.float64)
        for name, signal in self.signals.items():
            self.columns[name] = signal.settle(self.columns[name], self.columns)
        self.limits = {name: s.limit for name, s in self.signals.items() if s.limit}
        self._measure = Sensors(self.signals, keys)
        self._measured: Floats = np.zeros((len(keys), len(self.names)))
        self._measured_step = self._odd_step = -1
        self._odd: frozenset[int] = frozenset()  # rows with something out of its normal range
        self._picks: dict[tuple[str, ...], Callable[[list[float]], tuple[float, ...]]] = {}

    def _due_ms(self, step: int) -> int:
        return self.start_ms + int(step * self.step_s * 1000 / self.speed)

    def advance(self, now_ms: int) -> None:
        """Run to the last step at or before `now_ms`; cheap when there is none to run."""
        while now_ms >= self.next_ms:
            self._advance_one()

    def _advance_one(self) -> None:
        index, at_s, dt_s = self.step + 1, self.step * self.step_s, self.step_s
        columns, all_held = self.columns, self._held
        for name, signal, draw in self._moves:
            draw.step = index
            new = signal.advance(columns[name], columns, at_s, dt_s, draw)
            held = all_held.get(name) if all_held else None
            columns[name] = new if held is None else np.where(np.isnan(held), new, held)
        self.step = index
        self.next_ms = self._due_ms(index + 1)

    def hold(self, row: int, name: str, value: float | None, now_ms: int) -> None:
        """Force a signal of one row to a value from now on; None lets it go."""
        self.advance(now_ms)
        held = self._held.get(name)
        if held is None:
            if value is None:
                return
            held = self._held[name] = np.full(len(self.keys), np.nan)
        held[row] = np.nan if value is None else value
        if np.isnan(held).all():
            del self._held[name]

    def reading(self, row: int, now_ms: int) -> list[float]:
        """What the row's sensors read now, in the order of `names`."""
        reading: list[float] = self.readings(now_ms)[row].tolist()
        return reading

    def readings(self, now_ms: int) -> Floats:
        """What all sensors read now, a row a device; true until the next step, and not to be changed."""
        self.advance(now_ms)
        if self._measured_step != self.step:
            np.stack([self.columns[name] for name in self.names], axis=1, out=self._measured)
            self._measure.apply(self._measured, self.step)
            self._measured_step = self.step
        return self._measured

    def healthy(self, row: int, names: tuple[str, ...], now_ms: int) -> dict[str, float] | None:
        """What the row's named sensors read now; None: something in it is out of its normal range."""
        measured = self._measured
        if self._measured_step != self.step or now_ms >= self.next_ms:
            measured = self.readings(now_ms)
        if self._odd_step != self.step:
            lows, highs = np.array([self.limits.get(name, _EVERYTHING) for name in self.names]).reshape(-1, 2).T
            self._odd = frozenset(np.flatnonzero(((measured < lows) | (measured > highs)).any(axis=1)).tolist())
            self._odd_step = self.step
        if row in self._odd:
            return None
        pick = self._picks.get(names)
        if pick is None:
            pick = self._picks[names] = itemgetter(*self.positions(names), 0)  # of one alone it would give no tuple
        return dict(zip(names, pick(measured[row].tolist()), strict=False))

    def positions(self, names: Sequence[str]) -> list[int]:
        """Where the named signals stand in a reading."""
        return [self.names.index(name) for name in names]
