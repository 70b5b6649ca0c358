"""What comes again and again: the strongest period in a series, by FFT."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BINS = (240, 120, 60, 30)  # the finest that the samples fill is taken
_FILLED = 0.8
_SHARE_MIN = 0.5  # of the variance, in the peak and beside it
_CYCLES_MIN = 3  # fewer are a trend or a bow
_SPREAD_MIN = 0.25  # in the unit of the values: less is noise


class Period(NamedTuple):
    """A period, and how much of the series it explains."""

    period_s: float
    share: float


def period_of(at_ms: Sequence[int], values: Sequence[float], spread_min: float = _SPREAD_MIN) -> Period | None:
    """The strongest period, or None; of samples in rising order of time, evenly spaced or not."""
    if len(at_ms) < _BINS[-1]:
        return None
    at = np.asarray(at_ms, np.float64)
    span_ms = at[-1] - at[0]
    if span_ms <= 0:
        return None
    series = np.asarray(values, np.float64)
    for bins in _BINS:
        place = np.minimum(((at - at[0]) * (bins / span_ms)).astype(np.intp), bins - 1)
        counts = np.bincount(place, minlength=bins)
        filled = counts > 0
        if filled.sum() >= _FILLED * bins:
            break
    else:
        return None
    means = np.bincount(place, series, bins)[filled] / counts[filled]
    even = np.interp(np.arange(bins), np.flatnonzero(filled), means)
    steps = np.arange(bins) - (bins - 1) / 2
    even = even - even.mean() - steps * (steps @ even) / (steps @ steps)  # without the line of least squares
    if even.std() < spread_min:
        return None
    power = np.abs(np.fft.rfft(even * np.hanning(bins))) ** 2
    power[0] = 0
    peak = int(power.argmax())
    share = float(power[max(1, peak - 1) : peak + 2].sum() / power.sum())
    if peak < _CYCLES_MIN or share < _SHARE_MIN:
        return None
    return Period(span_ms / 1000 / peak, share)
