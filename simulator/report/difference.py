"""Two answers side by side: what was said, and what is said now, down to the byte."""

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from typing import Any

from simulator import tape

WIDTH = 16  # bytes in a line
AROUND = 2  # lines of bytes shown before and after the first that differs
JSON_MAX = 20
SHOWN_MAX = 400


def lines(expected: Sequence[Any] | None, got: Sequence[Any]) -> Iterator[str]:
    """The first of the answers that differs, in words, as bytes, and as JSON where it is that."""
    if expected is None:
        yield "expected: not kept, only its digest; got:"
        yield from (f"  {shown(said)}" for said in got)
        return
    for i, (then, now) in enumerate(zip_longest(expected, got)):
        if tape.dumps(then) == tape.dumps(now):
            continue
        yield f"answer {i + 1} of {len(expected)}:" if then is not None else f"answer {i + 1}, which is one too many:"
        yield f"  expected {'nothing' if then is None else shown(then)}"
        yield f"  got      {'nothing' if now is None else shown(now)}"
        if then is not None and now is not None:
            yield from _inside(then, now)
        return


def shown(said: Any) -> str:
    """`Publish kind=telemetry topic=… payload=…`, shortened."""
    [(kind, fields)] = said.items()
    if not isinstance(fields, dict):
        return f"{kind}: {fields}"
    text = " ".join(f"{name}={of if isinstance(of, str) else tape.dumps(of).decode()}" for name, of in fields.items())
    return f"{kind} {text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + '…'}".rstrip()


def _inside(then: Any, now: Any) -> Iterator[str]:
    [(kind, old)], [(other, new)] = then.items(), now.items()
    if kind != other or not isinstance(old, dict):
        return
    for name in [*old, *(name for name in new if name not in old)]:
        was, becomes = old.get(name), new.get(name)
        if was == becomes:
            continue
        if isinstance(was, str) and isinstance(becomes, str):
            yield f"  {name}:"
            yield from (f"    {line}" for line in _json(was, becomes))
            yield from (f"    {line}" for line in _bytes(tape.raw(was), tape.raw(becomes)))
        else:
            yield from (f"  {line}" for line in islice(_values((name,), was, becomes), JSON_MAX))


def _json(was: str, becomes: str) -> Iterator[str]:
    try:
        old, new = tape.loads(was.encode()), tape.loads(becomes.encode())
    except ValueError:
        return
    if isinstance(old, (dict, list)):
        yield from islice(_values((), old, new), JSON_MAX)


def _values(at: tuple[str, ...], was: Any, becomes: Any) -> Iterator[str]:
    """`data.metrics.temp_c: 88.3 → 88.4` for each value that differs."""
    if isinstance(was, dict) and isinstance(becomes, dict):
        for key in [*was, *(key for key in becomes if key not in was)]:
            if key not in becomes or key not in was:
                yield f"{'.'.join((*at, key))}: " + ("is new" if key not in was else "is missing")
            else:
                yield from _values((*at, key), was[key], becomes[key])
    elif isinstance(was, list) and isinstance(becomes, list) and len(was) == len(becomes):
        for i, (old, new) in enumerate(zip(was, becomes, strict=True)):
            yield from _values((*at, str(i)), old, new)
    elif tape.dumps(was) != tape.dumps(becomes):
        yield f"{'.'.join(at) or 'all'}: {tape.dumps(was).decode():.80} → {tape.dumps(becomes).decode():.80}"


def _bytes(was: bytes, becomes: bytes) -> Iterator[str]:
    """Hex around the first byte that differs."""
    first = next((i for i, (a, b) in enumerate(zip(was, becomes, strict=False)) if a != b), min(len(was), len(becomes)))
    yield f"{len(was)} bytes, now {len(becomes)}; the first that differs is byte {first}"
    start = max(0, first // WIDTH - AROUND) * WIDTH
    end = (first // WIDTH + AROUND + 1) * WIDTH
    for at in range(start, min(end, max(len(was), len(becomes))), WIDTH):
        old, new = was[at : at + WIDTH], becomes[at : at + WIDTH]
        if old == new:
            yield f"  {at:06x}  {_hex(old)}"
        else:
            yield f"- {at:06x}  {_hex(old)}"
            yield f"+ {at:06x}  {_hex(new)}"


def _hex(data: bytes) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{data.hex(' '):<{3 * WIDTH - 1}}  {text}"
