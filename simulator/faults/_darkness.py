"""What faults share that leave a device dark: from when on it is missed."""

from simulator.faults import DETECT_WITHIN_S, Expected, Notice

MISSED_AFTER_S = 60.0  # a backend that missed a device after less would miss every one that restarts


def missed(off_s: float, words: str, after_s: float = 0.0) -> Expected:
    """Silence, when it is long enough to be one."""
    notice: Notice = "silence" if off_s >= MISSED_AFTER_S else "nothing"
    return Expected("", words, notice, DETECT_WITHIN_S + after_s)
