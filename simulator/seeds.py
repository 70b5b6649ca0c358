"""Counter-based randomness: a number is a function of (seed, device, channel, index) and of nothing else.

Rules: no generator has a state, so what a device draws does not depend on which others run beside it, on
the number of workers, on batch size or on the order of calls. Only + - * / and shifts on 64-bit words are
used, which every machine computes alike, so the same seed gives the same bytes everywhere.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_UNIT = 1.0 / (1 << 53)


def key(seed: int, *words: str | int) -> int:
    """A 64-bit key for a named thing, stable over runs and machines."""
    text = "\x1f".join((str(seed), *map(str, words)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _mix(z: Keys) -> Keys:
    """The finaliser of splitmix64, on columns."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_M1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_M2)
    return z ^ (z >> np.uint64(31))


def salted(keys: Keys, channel: int) -> Keys:
    """The keys of one channel of each device."""
    return keys + np.uint64(channel * 0xD1342543DE82EF95 & _MASK)


def words(keys: Keys, index: int) -> Keys:
    """64 random bits for each (salted) key at an index."""
    return _mix(keys + np.uint64(index * _GOLDEN & _MASK))


def ahead(keys: Keys, index: int, count: int) -> Keys:
    """The keys at `index`, `index + 1`, …, a row each, as if each were asked for by its index."""
    first = index * _GOLDEN & _MASK
    return keys + (np.arange(count, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(first))[:, None]


def uniform(keys: Keys, index: int) -> Floats:
    """Numbers in [0, 1), one for each key."""
    return (words(keys, index) >> np.uint64(11)).astype(np.float64) * _UNIT


def normal(keys: Keys, index: int) -> Floats:
    """Numbers of mean 0 and standard deviation 1, bounded by ±3.5: the sum of four 16-bit uniforms.

    Near enough to a normal law for sensor noise, and made of exact operations only (no log, no cos).
    """
    w = words(keys, index)
    low = np.uint64(0xFFFF)
    total = (w & low) + ((w >> np.uint64(16)) & low) + ((w >> np.uint64(32)) & low) + (w >> np.uint64(48))
    # Four uniforms on 0..65535 have mean 131070 and standard deviation 65536/sqrt(3).
    scaled: Floats = (total.astype(np.float64) - 131070.0) * (1.7320508075688772 / 65536.0)
    return scaled


def fraction(seed: int, *names: str | int) -> float:
    """One number in [0, 1) for a named purpose."""
    return (key(seed, *names) >> 11) * _UNIT
