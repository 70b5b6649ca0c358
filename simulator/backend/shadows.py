"""What AWS holds of a device, read for the API: desired and reported state, and the versions that it reported.

Rules: AWS may be slow or away, so it is asked in threads of its own, of which few may wait; nobody else waits for it.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.exceptions import HTTPException

from simulator.backend.actions import Account

THREADS = 2
WAITING_MAX = 16
PATIENCE_S = 5.0
REASON_MAX = 300


class Shadows:
    """Asks one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._pool = ThreadPoolExecutor(THREADS, "shadows")
        self._waiting = 0
        self.refused = 0

    async def read(self, thing: str) -> dict[str, Any] | None:
        """The shadow; None: AWS knows none. HTTPException when AWS does not say it, or not in time."""
        if self._waiting >= WAITING_MAX:
            self.refused += 1
            raise HTTPException(503, "too many requests are waiting for AWS; try again", {"Retry-After": "1"})
        self._waiting += 1
        asked = asyncio.get_running_loop().run_in_executor(self._pool, self._account.shadow, thing)
        asked.add_done_callback(self._over)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), PATIENCE_S)
        except TimeoutError:
            raise HTTPException(504, f"AWS did not tell the shadow within {PATIENCE_S:g} s") from None
        except Exception as error:  # whatever boto3 raises
            raise HTTPException(502, f"AWS: {error}"[:REASON_MAX]) from None

    def _over(self, asked: "asyncio.Future[Any]") -> None:
        self._waiting -= 1
        if not asked.cancelled():
            asked.exception()  # seen, though nobody may wait for it any more

    def close(self) -> None:
        """Take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
