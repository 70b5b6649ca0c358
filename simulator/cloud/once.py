"""Requests that are repeated with the same `clientToken`: done once, answered each time.

Rules: the same token with the same request gets the first answer again, with another request it is a conflict. A
request that was refused leaves no trace. The oldest token is forgotten first.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from simulator.cloud.service import ServiceError

_TOKENS_MAX = 1000

Parameters = dict[str, Any]


class Once:
    """What was answered to which token."""

    def __init__(self, conflict: type[ServiceError]) -> None:
        self._conflict = conflict
        self._answered: OrderedDict[str, tuple[str, Parameters, Parameters]] = OrderedDict()

    def __call__(
        self, operation: str, parameters: Mapping[str, Any], do: Callable[[Parameters], Parameters | None]
    ) -> Parameters:
        """Do it, or give the answer of the first time."""
        asked = dict(parameters)
        token = asked.pop("clientToken", None)
        if token is not None and token in self._answered:
            before, same, result = self._answered[token]
            if (before, same) != (operation, asked):
                raise self._conflict(f"clientToken {token} was used for another request ({before})")
            return dict(result)
        result = do(asked) or {}
        if token is not None:
            self._answered[token] = (operation, asked, result)
            if len(self._answered) > _TOKENS_MAX:
                self._answered.popitem(last=False)
        return dict(result)
