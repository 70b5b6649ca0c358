"""What a backend can see of a fault: would a reading leave its normal range, or does no threshold notice?

Rules: judged by what a signal usually is, so it is right for most devices and not to the last volt for each.
"""

from collections.abc import Mapping

import numpy as np

from simulator import seeds
from simulator.faults import DETECT_WITHIN_S, Expected, Subject, no_signal
from simulator.plant import Plant
from simulator.signals import Signal

_SOME = np.array([seeds.key(0, "some device", n) for n in range(32)], dtype=np.uint64)


def untold(signal: str, subject: Subject) -> str | None:
    """What `unfit` says of a signal that the device does not have, or says nothing of."""
    if why := no_signal(signal, subject):
        return why
    return None if signal in subject.told else f"does not tell the backend its '{signal}'"


def usually(signals: Mapping[str, Signal], held: Mapping[str, float] | None = None) -> dict[str, float]:
    """What signals are when devices begin, in the mean of some; with some signals held at a value.

    What follows a held signal with a lag has reached it; a temperature is as at the start.
    """
    columns = Plant(signals, _SOME, 0).columns
    if held:
        columns |= {name: np.full(_SOME.shape, value) for name, value in held.items()}
        for name, signal in signals.items():
            if name not in held:
                columns[name] = signal.settle(columns[name], columns)
    return {name: float(column.mean()) for name, column in columns.items()}


def judged(subject: Subject, signal: str, reads: float, words: str, after_s: float = 0.0) -> Expected:
    """An alarm when `reads` is outside the signal's normal range; else nothing, and why."""
    limit = subject.signals[signal].limit
    if limit is None:
        return Expected(signal, f"{words}; it has no normal range, so no threshold sees it", "nothing")
    if limit.low <= reads <= limit.high:
        return Expected(signal, f"{words}; that is inside its normal range, so no threshold sees it", "nothing")
    return Expected(signal, words, "alarm", DETECT_WITHIN_S + after_s)
