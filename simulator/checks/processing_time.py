"""How long is a message on its way into the store?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from simulator.checks import Check, Facts, Measured, Percentile


class ProcessingTime(Check):
    """The time from a message being said to its being stored, in seconds, where no fault is in between: a percentile.

    By itself at most 2 s for 95 % of them.
    """

    usual: ClassVar[Mapping[str, float]] = {"at_most": 2}

    kind: Literal["processing_time"] = "processing_time"
    percentile: Percentile = 95
    messages: list[str] = Field([], max_length=20, description="Kinds of message to look at; absent: all.")

    @property
    def title(self) -> str:
        return f"time from said to stored, {'slowest' if self.percentile == 100 else f'p{self.percentile:g}'}"

    @property
    def unit(self) -> str:
        return "s"

    def measure(self, facts: Facts) -> Measured:
        if facts.audit is None:
            return Measured(None, facts.no_audit)
        chosen = [took for kind, took in facts.audit.took_ms.items() if not self.messages or kind in self.messages]
        took_ms = np.concatenate([np.empty(0, np.int64), *chosen])
        if not len(took_ms):
            return Measured(None, "the backend does not say when it stored anything")
        value = float(np.percentile(took_ms, self.percentile, method="inverted_cdf")) / 1000
        return Measured(value, f"of {len(took_ms):,} messages; slowest {int(took_ms.max()) / 1000:g} s")
