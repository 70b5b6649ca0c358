"""`--debug`: every API call with its parameters and the whole response, in order, one at a time.

Calls of several threads are put in a row, so that an answer stands below its question; that is slow, and meant to be.
Tries after the first stand between the two.
"""

import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from simulator.ops.redact import redacted

STREAM_MAX = 65_536

Write = Callable[[str], None]
Call = Callable[[str, dict[str, Any]], Any]


class Trace:
    """Writes down the calls of an `Aws`."""

    def __init__(self, write: Write, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._turn = threading.Lock()  # held while a call is under way: one at a time is what a trace is for
        self._number = 0

    def call(self, service: str, operation: str, parameters: dict[str, Any], call: Call) -> Any:
        """Makes a call, and writes down what was asked and answered."""
        with self._turn:
            self._number += 1
            mark = f"#{self._number}"
            self._write(f"{mark} → {service} {operation} {_shown(parameters)}")
            start_s = self._clock()
            try:
                answer = call(operation, parameters)
            except ClientError as error:
                self._write(f"{mark} ← {self._since(start_s)}, error {_shown(error.response)}")
                raise
            except BaseException as error:
                self._write(f"{mark} ← {self._since(start_s)}, {type(error).__name__}: {redacted(str(error))}")
                raise
            streams = _read_small(answer)
            self._write(f"{mark} ← {self._since(start_s)} {_shown({**answer, **streams})}")
            return answer

    def retry(self, operation: str, attempt: int, why: str, pause_s: float) -> None:
        """Writes down that an attempt failed, while its call is under way."""
        self._write(f"#{self._number} … {operation}: attempt {attempt} failed ({why}), again in {pause_s:.1f} s")

    def _since(self, start_s: float) -> str:
        return f"{1000 * (self._clock() - start_s):.0f} ms"


def _read_small(answer: dict[str, Any]) -> dict[str, Any]:
    """What the streams of an answer hold, if it is little; the caller can read them as if nobody had."""
    found: dict[str, Any] = {}
    for name, value in answer.items():
        if not isinstance(value, StreamingBody):
            continue
        length = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-length", "")
        if not length.isdigit() or int(length) > STREAM_MAX:
            found[name] = f"<stream of {length or 'unknown'} bytes>"
            continue
        found[name] = body = value.read()
        value.close()
        answer[name] = StreamingBody(io.BytesIO(body), len(body))
    return found


def _shown(value: Any) -> str:
    return json.dumps(redacted(value), indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else f"<{type(value).__name__}>"
