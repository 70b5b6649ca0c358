"""The figures of some scored records. Pure.

Two looks at the same thing:

    records   is a record rightly called positive? against the label of the contracts
    alerts    records called positive, less than QUIET_S apart, are one alert. It is true when a fire goes on in it,
              and false otherwise, whatever the label says of it; a fire is noticed when there is an alert in it

Rules: a record without a score counts as one of score 0, and is counted. Scores are taken to the ten-thousandth.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.scoring.known import Known

QUIET_S = 600
FINE = 10_000
BINS = 10
MISSED_MAX = 100
_DAY_MS = 86_400_000


class Bin(NamedTuple):
    """Records whose score is about the same."""

    low: float
    high: float
    records: int
    score: float | None  # in the mean
    positive: float | None  # what part of them is


class Fire(NamedTuple):
    """One fire that was not noticed."""

    thing: str
    begin_ms: int
    highest: float  # score while it burned

    @property
    def why(self) -> str:
        return f"its highest score was {self.highest:.2f}"


@dataclass(slots=True)
class Figures:
    """All of them. None: there was nothing to measure it by."""

    threshold: float
    rows: int = 0
    devices: int = 0
    device_days: float = 0.0
    without_score: int = 0
    positive: int = 0
    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0
    auc: float | None = None
    fires: int = 0
    fires_noticed: int = 0
    alerts: int = 0
    false_alerts: int = 0
    devices_falsely_alarmed: int = 0
    onsets: int = 0
    onsets_foreseen: int = 0
    lead_s: list[float] = field(default_factory=list)  # of each onset that was noticed; below 0: after it
    bins: list[Bin] = field(default_factory=list)
    brier: float | None = None
    calibration_error: float | None = None
    missed: list[Fire] = field(default_factory=list)

    @property
    def precision(self) -> float | None:
        return _share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float | None:
        return _share(self.true_positive, self.positive)

    @property
    def f1(self) -> float | None:
        return _share(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def accuracy(self) -> float | None:
        return _share(self.true_positive + self.true_negative, self.rows)

    @property
    def false_positive_rate(self) -> float | None:
        return _share(self.false_positive, self.false_positive + self.true_negative)

    @property
    def alert_precision(self) -> float | None:
        return _share(self.alerts - self.false_alerts, self.alerts)

    @property
    def fire_recall(self) -> float | None:
        return _share(self.fires_noticed, self.fires)

    @property
    def false_per_device_day(self) -> float | None:
        return self.false_alerts / self.device_days if self.device_days else None

    @property
    def devices_alarmed_share(self) -> float | None:
        return _share(self.devices_falsely_alarmed, self.devices)

    @property
    def lead_p50_s(self) -> float | None:
        return float(np.median(self.lead_s)) if self.lead_s else None

    @property
    def lead_mean_s(self) -> float | None:
        return float(np.mean(self.lead_s)) if self.lead_s else None


def _share(part: float, of: float) -> float | None:
    return part / of if of else None


def figures(known: Known, threshold: float) -> Figures:
    """Everything, when a score of `threshold` or more is called positive."""
    found = Figures(threshold, len(known), len(known.names), known.device_days)
    missing = np.isnan(known.score)
    found.without_score = int(missing.sum())
    score = np.where(missing, np.float32(0), known.score)
    fine = np.rint(score.astype(np.float64) * FINE).astype(np.int32)
    called = fine >= round(threshold * FINE)
    _records(found, known, called)
    _ranks(found, known, fine)
    _calibration(found, known, score)
    _alerts(found, known, called, score)
    return found


def _records(found: Figures, known: Known, called: NDArray[np.bool_]) -> None:
    label = known.label
    found.positive = int(label.sum())
    found.true_positive = int((called & label).sum())
    found.false_positive = int(called.sum()) - found.true_positive
    found.false_negative = found.positive - found.true_positive
    found.true_negative = found.rows - found.positive - found.false_positive


def _ranks(found: Figures, known: Known, fine: NDArray[np.int32]) -> None:
    """AUC: how often a positive record has a higher score than a negative one; equal ones count half."""
    positive = np.bincount(fine[known.label], minlength=FINE + 1).astype(np.float64)
    negative = np.bincount(fine[~known.label], minlength=FINE + 1).astype(np.float64)
    if positive.sum() and negative.sum():
        below = np.cumsum(negative) - negative / 2
        found.auc = float((positive * below).sum() / (positive.sum() * negative.sum()))


def _calibration(found: Figures, known: Known, score: NDArray[np.float32]) -> None:
    if not len(score):
        return
    exact = score.astype(np.float64)
    where = np.minimum((exact * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(where, minlength=BINS)
    scores, positives = np.bincount(where, exact, BINS), np.bincount(where, known.label, BINS)
    found.bins = [
        Bin(
            i / BINS,
            (i + 1) / BINS,
            int(n),
            float(scores[i] / n) if n else None,
            float(positives[i] / n) if n else None,
        )
        for i, n in enumerate(counts)
    ]
    found.brier = float(((exact - known.label) ** 2).mean())
    found.calibration_error = float(np.abs(scores - positives).sum() / len(exact))


def _spells(device: NDArray[np.int32], at_ms: NDArray[np.int64], on: NDArray[np.bool_], gap_ms: int) -> tuple[
    NDArray[np.intp], NDArray[np.intp]
]:  # fmt: skip
    """First and last record of each spell in which `on` holds; those of a sensor less than `gap_ms` apart are one."""
    places = np.flatnonzero(on)
    if not len(places):
        return places, places
    apart = (np.diff(device[places]) != 0) | (np.diff(at_ms[places]) > gap_ms)
    return places[np.append(True, apart)], places[np.append(apart, True)]


def _alerts(found: Figures, known: Known, called: NDArray[np.bool_], score: NDArray[np.float32]) -> None:
    device, at_ms = known.device, known.at_ms
    first, last = _spells(device, at_ms, called, QUIET_S * 1000)
    reason = np.append(0, np.cumsum(known.fire))
    founded = reason[last + 1] > reason[first]
    found.alerts, found.false_alerts = len(first), int((~founded).sum())
    found.devices_falsely_alarmed = len(np.unique(device[first[~founded]]))
    in_alert = np.zeros(len(device) + 1, np.int32)
    np.add.at(in_alert, first, 1)
    np.add.at(in_alert, last + 1, -1)
    alerted = np.append(0, np.cumsum(np.cumsum(in_alert[:-1]) > 0))
    begin, end = _spells(device, at_ms, known.fire, QUIET_S * 1000)
    noticed = alerted[end + 1] > alerted[begin]
    found.fires, found.fires_noticed = len(begin), int(noticed.sum())
    for start, stop in zip(begin[~noticed][:MISSED_MAX], end[~noticed], strict=False):
        highest = float(score[start : stop + 1].max())
        found.missed.append(Fire(known.names[device[start]], int(at_ms[start]), highest))
    _leads(found, known, first, last)


def _leads(found: Figures, known: Known, first: NDArray[np.intp], last: NDArray[np.intp]) -> None:
    """From an alert to the onset of the fire condition that it leads into, or that it comes after."""
    device, at_ms = known.device, known.at_ms
    onset, over = _spells(device, at_ms, known.lead_s == 0, QUIET_S * 1000)
    found.onsets = len(onset)
    for start, stop in zip(onset, over, strict=True):
        place = int(np.searchsorted(last, start))  # the first alert that is not over then …
        if place and device[last[place - 1]] == device[start]:
            place -= int(at_ms[start] - at_ms[last[place - 1]] <= QUIET_S * 1000)  # … or has just been
        if place < len(first) and first[place] <= stop:
            lead_s = (int(at_ms[start]) - int(at_ms[first[place]])) / 1000
            found.lead_s.append(lead_s)
            found.onsets_foreseen += lead_s > 0
