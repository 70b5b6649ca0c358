"""A curve as one line of text: eight heights of a block, or signs of growing weight where there are no blocks."""

from collections.abc import Sequence

_BLOCKS, _SIGNS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


def sparkline(values: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """The means of `width` equal stretches, between the lowest and the highest of them."""
    if not values:
        return ""
    width = min(width, len(values))
    stretches = [values[i * len(values) // width : (i + 1) * len(values) // width] for i in range(width)]
    means = [sum(stretch) / len(stretch) for stretch in stretches]
    low, high = min(means), max(means)
    signs = _BLOCKS if _can_show(encoding) else _SIGNS
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return signs[0] * width
    return "".join(signs[min(7, int(8 * (mean - low) / (high - low)))] for mean in means)


def _can_show(encoding: str) -> bool:
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
