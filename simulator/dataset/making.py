"""Makes a data set: sensors in groups, records block by block, into one writer for each form and part.

Rules: a group is as large as memory allows, so rows come by group, then by time, then by sensor. A block waits until
what comes after it is known as far ahead as the lead time looks. Files have their names only once they are whole.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator import profiles, seeds
from simulator.clock import VIRTUAL_START_MS
from simulator.dataset import mix as mixes
from simulator.dataset.columns import AHEAD_S, BITS, FEATURES, METRICS, Flags, condition, features, lead_s
from simulator.dataset.course import Block, Course
from simulator.dataset.mix import Mix
from simulator.errors import UsageError
from simulator.profiles import Profile
from simulator.seeds import Floats

FORMS = ("csv", "jsonl", "parquet", "npz")
PARTS = ("train", "validation", "test")
DEVICES_MAX, DAYS_MAX, ROWS_MAX = 100_000, 3_660, 2_000_000_000
EVERY_MIN_S, EVERY_MAX_S = 1.0, 3_600.0
HORIZON_S = 3_600.0
WINDOW = 30
_CELLS_MAX = 4_000_000  # numbers in memory at a time
_GROUP_MAX = 1_000
_STATUS = slice(len(METRICS), len(METRICS) + len(BITS))

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What makes a data set what it is."""

    devices: int = 100
    days: float = 1.0
    every_s: float = 60.0
    step_s: float = 10.0
    profiles: tuple[str, ...] = ("fire-sensor",)
    mix: Mix = field(default_factory=mixes.usual)
    seed: int = 1
    forms: tuple[str, ...] = ("csv",)
    gzip: bool = False
    split: tuple[float, ...] = ()  # shares of the sensors, in the order of PARTS
    stride: int = WINDOW  # from one window to the next
    fires: float | None = None  # a day and sensor, when the mix was scaled …
    harmless: float | None = None
    mix_file: str = ""  # … and its name, when it is none of ours; what is in it is in the card

    @property
    def moments(self) -> int:
        """Records of each sensor."""
        return int(self.days * mixes.DAY_S / self.every_s)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts it comes in; one without a name when it is not split."""
        return PARTS[: len(self.split)] or ("",)

    def part_of(self, thing: str) -> str:
        """Where a sensor's records go: all of them to one part."""
        if not self.split:
            return ""
        where, upto = seeds.fraction(self.seed, "split", thing), 0.0
        for part, share in zip(PARTS, self.split, strict=False):
            upto += share
            if where < upto:
                return part
        return PARTS[len(self.split) - 1]

    def files(self) -> list[str]:
        """The names of all files that come of it."""
        ends = {"csv": "csv.gz" if self.gzip else "csv", "jsonl": "jsonl.gz" if self.gzip else "jsonl"}
        stems = {part: part or "data" for part in self.parts}
        data = [f"{stems[part]}.{ends.get(form, form)}" for form in self.forms for part in self.parts]
        return [*data, "card.json", "card.md"]

    def things(self) -> list[str]:
        """The sensors."""
        width = max(3, len(str(self.devices)))
        return [f"device-{n:0{width}}" for n in range(1, self.devices + 1)]

    def profile_of(self, number: int) -> str:
        """The profile of the n-th sensor."""
        return self.profiles[number % len(self.profiles)]

    def check(self) -> list[Profile]:
        """Its profiles; UsageError for what cannot be."""
        bounds = (
            ("--devices", self.devices, 1, DEVICES_MAX), ("--days", self.days, 1 / 1440, DAYS_MAX),
            ("--every", self.every_s, EVERY_MIN_S, EVERY_MAX_S), ("--step", self.step_s, 0.1, 60.0),
            ("--stride", self.stride, 1, 100_000),
        )  # fmt: skip
        for flag, value, low, high in bounds:
            if not low <= value <= high:
                raise UsageError(f"{flag} must lie between {low:g} and {high:g}, is {value:g}")
        if abs(self.every_s / self.step_s - round(self.every_s / self.step_s)) > 1e-9 or self.every_s < self.step_s:
            raise UsageError(f"--every {self.every_s:g} s is no whole number of steps of {self.step_s:g} s (--step)")
        if self.devices * self.moments > ROWS_MAX:
            raise UsageError(f"{self.devices * self.moments:,} rows are more than {ROWS_MAX:,}: fewer devices or days")
        if self.moments < 1:
            raise UsageError(f"in {self.days:g} days there is no record when one comes every {self.every_s:g} s")
        if wrong := [form for form in self.forms if form not in FORMS] or ([] if self.forms else ["nothing"]):
            raise UsageError(f"--format knows {', '.join(FORMS)}, not '{wrong[0]}'")
        if self.split and not (
            2 <= len(self.split) <= len(PARTS) and all(share > 0 for share in self.split)
            and abs(sum(self.split) - 1) < 1e-9
        ):  # fmt: skip
            raise UsageError("--split wants two or three shares that make 1, such as 0.8,0.2 or 0.7,0.15,0.15")
        found = [profiles.profile(name) for name in self.profiles]
        for one in found:
            if one.subject.codec != "fire_record" or "fire" not in one.signals:
                raise UsageError(f"profile '{one.profile}' is no fire sensor: it sends no fire records")
        self.mix.check([one.subject for one in found])
        return found


class Rows(NamedTuple):
    """A block of records, as writers take it: [moments, sensors]; what was said at `there` only."""

    things: Sequence[str]
    numbers: NDArray[np.int32]  # of the sensors, from 0
    at_ms: NDArray[np.int64]
    features: Floats  # [moments, sensors, 31]
    there: Flags
    label: Flags
    fire: Flags
    lead_s: Floats  # NaN: not within the horizon
    event: NDArray[np.int16]


class Writer(Protocol):
    """Takes blocks of one part."""

    def write(self, rows: Rows) -> None: ...

    def finish(self) -> None: ...


@dataclass(slots=True)
class Counts:
    """What became of it, by part."""

    devices: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    positive: Counter[str] = field(default_factory=Counter)
    condition: Counter[str] = field(default_factory=Counter)
    fire: Counter[str] = field(default_factory=Counter)
    not_said: Counter[str] = field(default_factory=Counter)  # values that are empty
    missing: int = 0  # records that were never made
    events: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)


def make(options: Options, writers: Mapping[str, Sequence[Writer]], progress: Progress) -> Counts:
    """Make all of it; `writers` are those of each part."""
    found = Counts()
    by_name = {one.profile: one for one in options.check()}
    things = options.things()
    done, total = 0, options.devices * options.moments
    for name in options.profiles:
        numbers = [n for n in range(len(things)) if options.profile_of(n) == name]
        for group in _groups(numbers, options):
            for rows in _blocks(group, by_name[name], things, options, found):
                _part(rows, options, writers, found)
                done += len(group) * len(rows.at_ms)
                progress("records", done, total)
    return found


def _groups(numbers: Sequence[int], options: Options) -> Iterator[Sequence[int]]:
    ahead = int(HORIZON_S / options.every_s) + 1
    most = max(1, min(_GROUP_MAX, _CELLS_MAX // (2 * ahead * len(FEATURES))))
    for first in range(0, len(numbers), most):
        yield numbers[first : first + most]


def _blocks(
    group: Sequence[int], profile: Profile, names: Sequence[str], options: Options, found: Counts
) -> Iterator[Rows]:
    """All records of a group of sensors, some moments at a time."""
    things = [names[n] for n in group]
    events = [mixes.events(options.mix, options.seed, thing, options.days) for thing in things]
    course = Course(
        things, profile, options.mix, events, options.seed, VIRTUAL_START_MS, options.every_s, options.step_s
    )
    ahead = int(HORIZON_S / options.every_s)
    size = max(1, min(options.moments, _CELLS_MAX // (len(group) * len(FEATURES)) - ahead))
    numbers = np.array(group, np.int32)
    never = np.full(len(group), np.inf)
    held: Block | None = None
    values = np.empty(0)
    left = options.moments
    while left > 0:
        now = min(size, left)
        more = now + ahead - (len(held.at_ms) if held else 0)
        new = course.block(max(0, more))
        fresh = features(new.metrics)
        values = np.concatenate((values, fresh)) if held else fresh
        held = _joined(held, new) if held else new
        holds = condition(held.metrics, values[..., _STATUS])
        lead = lead_s(holds, options.every_s, never)[:now]
        yield Rows(
            things, numbers, np.array(held.at_ms[:now], np.int64), values[:now], held.there[:now],
            lead <= AHEAD_S, held.fire[:now], np.where(lead <= HORIZON_S, lead, np.nan), held.event[:now],
        )  # fmt: skip
        held, values, left = _after(held, now), values[now:], left - now
    for _, kind, at_ms in course.happened:
        if at_ms <= VIRTUAL_START_MS + 1000 * options.every_s * options.moments:
            found.events[options.mix.happenings[kind].name] += 1


def _joined(first: Block, second: Block) -> Block:
    return Block(
        first.at_ms + second.at_ms, np.concatenate((first.metrics, second.metrics)),
        np.concatenate((first.there, second.there)), np.concatenate((first.fire, second.fire)),
        np.concatenate((first.event, second.event)),
    )  # fmt: skip


def _after(block: Block, moments: int) -> Block:
    return Block(
        block.at_ms[moments:], block.metrics[moments:], block.there[moments:], block.fire[moments:],
        block.event[moments:],
    )  # fmt: skip


def _part(rows: Rows, options: Options, writers: Mapping[str, Sequence[Writer]], found: Counts) -> None:
    """Each part's sensors to its writers."""
    parts = [options.part_of(thing) for thing in rows.things]
    for part in options.parts:
        chosen = np.array([one == part for one in parts])
        if not chosen.any():
            continue
        some = rows if chosen.all() else _chosen(rows, chosen)
        there = some.there
        if rows.at_ms[0] == VIRTUAL_START_MS + int(1000 * options.every_s):
            found.devices[part] += len(some.things)
        found.rows[part] += int(there.sum())
        found.positive[part] += int((some.label & there).sum())
        found.condition[part] += int(((some.lead_s == 0) & there).sum())
        found.fire[part] += int((some.fire & there).sum())
        found.not_said[part] += int(np.isnan(some.features[..., : len(METRICS)][there]).sum())
        found.missing += int((~there).sum())
        for writer in writers[part]:
            writer.write(some)


def _chosen(rows: Rows, chosen: Flags) -> Rows:
    things = [thing for thing, one in zip(rows.things, chosen, strict=True) if one]
    return Rows(
        things, rows.numbers[chosen], rows.at_ms, rows.features[:, chosen], rows.there[:, chosen],
        rows.label[:, chosen], rows.fire[:, chosen], rows.lead_s[:, chosen], rows.event[:, chosen],
    )  # fmt: skip


def refuse_to_overwrite(folder: Path, options: Options, force: bool) -> None:
    """UsageError when one of the files is there already."""
    there = [name for name in options.files() if (folder / name).exists()]
    if there and not force:
        raise UsageError(f"{folder / there[0]} is there already; --force writes over it")


def write(folder: Path, options: Options, progress: Progress) -> Counts:
    """Make it into files in a folder, all of them or none."""
    from simulator.dataset import card, writers

    profiles_used = options.check()
    parts: dict[str, list[Writer]] = {part: [] for part in options.parts}
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        put = stack.enter_context(writers.Put(folder))
        for form in options.forms:
            for part in options.parts:
                parts[part].append(writers.writer(form, put, part or "data", options))
        counts = make(options, parts, progress)
        for part, some in parts.items():
            for one in some:
                one.finish()
                counts.windows[part] += getattr(one, "count", 0)
        card.write(put, options, profiles_used, counts)
        put.keep()
    return counts
