"""How a part of the cloud answers requests: what a feature is, what it is asked, and how it refuses.

Rules: a feature names the operations it answers as botocore's model calls them, and gives the members of the answer
as that model has them. A feature may also let MiniStack answer (`forward`), with another body or before it has its
own say about the answer. The clock comes with the request.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

from simulator.cloud.rest_json import Answer, Api


class ServiceError(Exception):
    """An answer of the service; `code` is the name of the exception, `status` that of HTTP."""

    code: ClassVar[str]
    status: ClassVar[int]


@dataclass(frozen=True)
class Request:
    """A request whose signature holds."""

    api: Api
    operation: str
    in_path: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes
    now_ms: int
    _forward: Callable[[bytes | None], Awaitable[Answer]]

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Its parameters, checked against the model; raises BadRequestError."""
        return self.api.parameters(self.operation, self.in_path, self.query, self.body)

    async def forward(self, body: bytes | None = None) -> Answer:
        """What MiniStack answers to this request. With another body it judges no policy: `arn` is for that."""
        return await self._forward(body)


class Feature(Protocol):
    """A part of the cloud that MiniStack lacks, or has otherwise than AWS."""

    operations: frozenset[str]  # of `iot`; those of another service as `iot-jobs-data:StartCommandExecution`
    invalid: str  # the exception that its operations raise for a request that does not fit the model

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str | None:
        """What a policy calls the resource. None: the signature alone is checked, MiniStack judges what it is given."""
        ...

    async def answer(self, request: Request) -> Mapping[str, Any] | Answer | None:
        """The members of the answer, or a whole answer; raises ServiceError or BadRequestError."""
        ...


def document(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer."""
    found = json.loads(answer[2] or b"{}")
    return found if isinstance(found, dict) else {}
