"""Calls that the service takes only after a while, because what was asked before is still under way there.

AWS detaches principals and policies asynchronously, so what they were attached to cannot be deleted at once.
"""

import time
from collections.abc import Callable
from itertools import count

from botocore.exceptions import ClientError

from simulator.ops.aws import code

FIRST_S, LONGEST_S, WHOLE_S = 0.1, 5.0, 90.0


def patiently(call: Callable[[], object], *codes: str, sleep: Callable[[float], object] = time.sleep) -> None:
    """`call`, again and again while it is refused with one of these codes; after a minute and a half that is raised."""
    waited_s = 0.0
    for attempt in count():
        try:
            call()
        except ClientError as error:
            if code(error) not in codes or waited_s >= WHOLE_S:
                raise
            pause_s = min(FIRST_S * 2**attempt, LONGEST_S)
            sleep(pause_s)
            waited_s += pause_s
        else:
            return
