"""What faults of clocks share: what a backend makes of timestamps that are wrong."""

from simulator.faults import Expected

AHEAD_MAX_S = 86_400  # a message from farther in the future is refused


def wrong_time(ahead_s: float, words: str) -> Expected:
    """Times that are wrong are kept as they are, but for those of a day that has not come."""
    if ahead_s > AHEAD_MAX_S:
        return Expected("", f"{words}: more than a day ahead, so it is refused", "refusal")
    return Expected("", f"{words}: kept with the time it says, beside the time it came", "nothing")
