"""Questions to the fleet index: which things match a query, page by page."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from simulator.errors import UsageError
from simulator.ops.answers import plain, said
from simulator.ops.aws import Aws, code

PAGE_MAX = 250
THINGS_MAX = 100_000  # of one answer of ours


def search(aws: Aws, query: str, most: int = THINGS_MAX) -> list[dict[str, Any]]:
    """Things that match, by name; UsageError for a query that the service does not understand."""
    return sorted(islice(_found(aws, query, min(PAGE_MAX, most)), most), key=lambda thing: str(thing["thingName"]))


def _found(aws: Aws, query: str, page: int) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        try:
            answer = aws.iot.search_index(queryString=query, maxResults=page, **token)
        except ClientError as error:
            raise _explained(error, query) from None
        yield from (plain(thing) for thing in answer.get("things", []))
        if not answer.get("nextToken"):
            return
        token = {"nextToken": answer["nextToken"]}


def count(aws: Aws, query: str) -> int:
    """How many things match."""
    try:
        return int(aws.iot.get_statistics(queryString=query)["statistics"]["count"])
    except ClientError as error:
        raise _explained(error, query) from None


def _explained(error: ClientError, query: str) -> Exception:
    match code(error):
        case "InvalidQueryException":
            return UsageError(f"query '{query}': {said(error)}")
        case "IndexNotReadyException" | "ResourceNotFoundException":
            return UsageError("the fleet index is off, or still being built; `fleetsim provision` switches it on")
        case "InvalidRequestException":
            return UsageError(f"query '{query}': {said(error)} (the index must be on: `fleetsim provision`)")
    return error
