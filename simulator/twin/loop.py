"""An asyncio loop in virtual time: where another loop waits, this one lets the fleet's virtual time run on.

Whatever only sleeps and waits runs on it as it does live, so a timeline is played by the same code. Time moves only
while nothing is ready, and never past the next timer, so what happens is the same on every machine.
"""

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context
from math import ceil
from typing import TypeVarTuple, Unpack

from simulator.runtime.virtual import Virtual

_Ts = TypeVarTuple("_Ts")
_FINE_MS = 1e-6  # seconds as a float are no finer


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs a `Virtual`; its `time()` is what the virtual clock shows, in seconds."""

    def __init__(self, virtual: Virtual) -> None:
        self._virtual, self._start_ms = virtual, virtual.clock.now_ms()
        super().__init__(_Idle(self._let_run))

    def time(self) -> float:
        return (self._virtual.clock.now_ms() - self._start_ms) / 1000

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._virtual.halt()  # somebody has something to do at this moment
        return super().call_soon(callback, *args, context=context)

    def _let_run(self, timeout_s: float | None) -> None:
        if timeout_s is None:
            raise RuntimeError("somebody waits for what has no time")
        virtual = self._virtual
        virtual.run_until(virtual.clock.now_ms() + max(1, ceil(timeout_s * 1000 - _FINE_MS)))


class _Idle(selectors.DefaultSelector):
    """Waits by letting virtual time pass."""

    def __init__(self, wait: Callable[[float | None], None]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._wait(timeout)
        return super().select(0)
