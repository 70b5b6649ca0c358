"""Checksums of binary frames, by name.

Rules: a function of bytes that gives a whole number of `SIZES[kind]` bytes; none of them walks over the bytes
one by one in Python where a faster way gives the same number.
"""

import binascii
import zlib
from collections.abc import Callable
from functools import cache, reduce
from operator import xor
from typing import Literal

import numpy as np

Kind = Literal["none", "xor", "sum8", "sum16", "crc16-modbus", "crc16-ccitt", "crc16-xmodem", "crc32"]
Buffer = bytes | memoryview
Checksum = Callable[[Buffer], int]

SIZES: dict[Kind, int] = {
    "none": 0,
    "xor": 1,
    "sum8": 1,
    "sum16": 2,
    "crc16-modbus": 2,
    "crc16-ccitt": 2,
    "crc16-xmodem": 2,
    "crc32": 4,
}
_BLOCK = 256  # bytes
_MODBUS_POLYNOMIAL = 0xA001  # 0x8005, reflected


def _crc16_modbus() -> Checksum:
    """What each byte adds to a CRC depends on what follows only by how much that is: a table of both, and no loop.

    (One of what 16 bits add, which takes half the steps, is so large that a busy fleet does not find it in its cache.)
    """
    one = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        one = np.where(one & 1, one >> 1 ^ _MODBUS_POLYNOMIAL, one >> 1).astype(np.uint16)
    added = [one]  # by a byte with so many behind it
    while len(added) < _BLOCK:
        added.append(one[added[-1] & 0xFF] ^ added[-1] >> 8)
    table = np.concatenate(added[::-1])
    places = np.arange(_BLOCK) * 256

    def checksum(data: Buffer) -> int:
        crc, size = 0xFFFF, len(data)
        for at in range(0, size, _BLOCK):
            count = min(_BLOCK, size - at)
            block = table[places[_BLOCK - count :] + np.frombuffer(data, np.uint8, count, at)]
            # What was there so far is added like the first two bytes.
            before = int(added[count - 1][crc & 0xFF]) ^ (int(added[count - 2][crc >> 8]) if count > 1 else crc >> 8)
            crc = int(np.bitwise_xor.reduce(block)) ^ before
        return crc

    return checksum


@cache
def checksum(kind: Kind) -> Checksum:
    """The function of a kind; of "none" the number is always 0."""
    match kind:
        case "none":
            return lambda data: 0
        case "xor":
            return lambda data: reduce(xor, data, 0)
        case "sum8":
            return lambda data: sum(data) & 0xFF
        case "sum16":
            return lambda data: sum(data) & 0xFFFF
        case "crc16-modbus":
            return _crc16_modbus()
        case "crc16-ccitt":
            return _started(0xFFFF)
        case "crc16-xmodem":
            return _started(0)
        case "crc32":
            return zlib.crc32


def _started(at: int) -> Checksum:
    return lambda data: binascii.crc_hqx(data, at)
