"""Pages of the lists that MiniStack answers whole: maxResults, nextToken, and the filters it does not look at.

Rules: a token says where the next page begins and which list it belongs to; one of another list is refused.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from simulator.cloud.rest_json import Answer

_PAGE_MAX = 250


class WrongPageError(ValueError):
    """A page that cannot be given."""


def page(items: list[Any], kind: str, size: str | None, token: str | None) -> tuple[list[Any], str | None]:
    """The page of a list, and the token of the next one; raises WrongPageError."""
    start = 0
    if token:
        try:
            which, _, at = urlsafe_b64decode(token.encode()).decode().rpartition(":")
            start = int(at) if which == kind else -1
        except ValueError:
            start = -1
        if start < 0:
            raise WrongPageError("The nextToken is not valid")
    try:
        count = _PAGE_MAX if size is None else int(size)
    except ValueError:
        count = 0
    if not 1 <= count <= _PAGE_MAX:
        raise WrongPageError(f"The size of a page must be between 1 and {_PAGE_MAX}")
    end = start + count
    following = urlsafe_b64encode(f"{kind}:{end}".encode()).decode() if end < len(items) else None
    return items[start:end], following


def _paged(
    iot: Any,
    function: Callable[..., Answer],
    member: str,
    fits: Callable[[Any, dict[str, str]], bool],
    names: tuple[str, str, str] = ("maxResults", "nextToken", "nextToken"),
) -> Any:
    size, token_in, token_out = names

    def answer(*args: Any) -> Answer:
        query: dict[str, str] = args[-1]
        whole: Answer = function(*args)
        if whole[0] != 200:
            return whole
        document = json.loads(whole[2])
        items = [item for item in document[member] if fits(item, query)]
        try:
            document[member], token = page(items, member, query.get(size), query.get(token_in))
        except WrongPageError as error:
            refused: Answer = iot.error_response_json("InvalidRequestException", str(error), 400)
            return refused
        if token:
            document[token_out] = token
        paged: Answer = iot.json_response(document)
        return paged

    return answer


def _any(item: Any, query: dict[str, str]) -> bool:
    return True


def _type_fits(item: Any, query: dict[str, str]) -> bool:
    return query.get("thingTypeName") in (None, item["thingTypeName"])


def install(iot: Any) -> None:
    """Page the answers of MiniStack's module `services.iot`."""
    for name, member, fits in (
        ("_list_things", "things", _any),
        ("_list_thing_types", "thingTypes", _type_fits),
        ("_list_jobs", "jobs", _any),
        ("_list_job_executions_for_thing", "executionSummaries", _any),
    ):
        setattr(iot, name, _paged(iot, getattr(iot, name), member, fits))
    for name, member in (("_list_certificates", "certificates"), ("_list_policies", "policies")):
        setattr(iot, name, _paged(iot, getattr(iot, name), member, _any, ("pageSize", "marker", "nextMarker")))
