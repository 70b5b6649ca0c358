"""What an uploaded file is made of: bytes that follow from a seed, made a piece at a time and never held whole.

Text (`text/…`) comes in lines, everything else is bytes of any value. Any stretch of a file can be made alone.
"""

from base64 import b64encode
from collections.abc import Iterator

import numpy as np

from simulator import seeds

PIECE_BYTES = 65_536
_LINE = 80


def pieces(seed: int, content_type: str, offset: int, size: int) -> Iterator[bytes]:
    """The `size` bytes of a file from `offset` on, in pieces."""
    end = offset + size
    while offset < end:
        index, start = divmod(offset, PIECE_BYTES)
        piece = _piece(seed, index, content_type.startswith("text/"))[start : start + end - offset]
        offset += len(piece)
        yield piece


def _piece(seed: int, index: int, text: bool) -> bytes:
    """The file's bytes from `index * PIECE_BYTES` on."""
    key = np.array([seeds.key(seed, "content", index)], dtype=np.uint64)
    count = PIECE_BYTES // 8
    data = seeds.words(seeds.ahead(key, 0, count).ravel(), 0).astype("<u8").tobytes()
    if not text:
        return data
    lines = bytearray(b64encode(data[: PIECE_BYTES * 3 // 4]))
    lines[_LINE - 1 :: _LINE] = b"\n" * len(lines[_LINE - 1 :: _LINE])
    return bytes(lines)
