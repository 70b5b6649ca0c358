"""What nobody here implements says so, by its name; and a request that does not fit its model is the caller's mistake.

Rules: MiniStack's three parts of AWS IoT refuse an unknown path or method as an invalid request, each in its own words;
that becomes NotImplementedException, 501: the one server error that SDKs do not repeat. They take most of what they
are given for what it should be; where they stumble over it, the request is held against botocore's model.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from simulator.cloud.rest_json import Answer, BadRequestError, api, error, unsupported

_REFUSALS = (
    "Unsupported IoT path",
    "Unsupported iot-data path",
    "Unsupported iot-jobs-data path",
    "Unsupported method",
)


def install(iot: Any) -> None:
    """Into MiniStack's module `services.iot` and those of the two data planes."""
    from ministack.services import iot_data, iot_jobs_data

    iot.handle_request = _named("iot", iot.handle_request)
    iot_data.handle_request = _named("iot-data", iot_data.handle_request)
    iot_jobs_data.handle_request = _named("iot-jobs-data", iot_jobs_data.handle_request)


def _named(service: str, handle: Callable[..., Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
    async def handled(method: str, path: str, headers: Any, body: bytes, query: Any) -> Answer:
        try:
            answer = await handle(method, path, headers, body, query)
        except Exception:
            problem = _misfit(service, method, path, headers, body, query)
            if problem is None:
                raise
            return error(400, "InvalidRequestException", problem)
        return unsupported(api(service), method, path) if _is_refusal(answer) else answer

    return handled


def _misfit(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> str | None:
    """What the model of the operation says against a request; None: nothing."""
    model = api(service)
    found = model.match(method, path)
    try:
        if found:
            model.parameters(*found, query, body, {name.lower(): value for name, value in headers.items()})
    except BadRequestError as problem:
        return str(problem)
    return None


def _is_refusal(answer: Answer) -> bool:
    status, _, body = answer
    if status != 400 or b"Unsupported" not in body:
        return False
    try:
        return str(json.loads(body).get("message", "")).startswith(_REFUSALS)
    except (ValueError, AttributeError):
        return False
