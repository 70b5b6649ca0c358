"""The operations of fleet indexing: parameters in, answer out.

Rules: a request is judged in the order of the service: its version, its index, its query, its page. A page begins
after the last name of the one before, so things that come and go between two pages neither repeat nor hide others; its
token is good for the same request only. What a dynamic group's query asks for cannot be switched off.
https://docs.aws.amazon.com/iot/latest/developerguide/iot-indexing.html
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from simulator.cloud.indexing import aggregations
from simulator.cloud.indexing.documents import Document, group_hit, thing_hit
from simulator.cloud.indexing.feed import Things
from simulator.cloud.indexing.index import Index
from simulator.cloud.indexing.query import Query, parse
from simulator.cloud.indexing.settings import (
    THING_GROUPS,
    THINGS,
    InvalidAggregationError,
    InvalidRequestError,
    NoIndexError,
    Settings,
)
from simulator.cloud.service import Request, ServiceError

_QUERY_VERSION = "2017-09-30"
_PAGE, _PAGE_MAX = 100, 500
_FIELD = "registry.version"
_BUCKETS = 10

Page = tuple[Iterable[Document], str | None]


class NoThingError(ServiceError):
    """There is no such thing."""

    code = "ResourceNotFoundException"
    status = 404


class FleetIndexing:
    """Answers for an index. `queries` are those that must go on working: of the dynamic groups."""

    operations = frozenset(
        {
            "DescribeIndex",
            "GetBucketsAggregation",
            "GetCardinality",
            "GetIndexingConfiguration",
            "GetPercentiles",
            "GetStatistics",
            "GetThingConnectivityData",
            "ListIndices",
            "SearchIndex",
            "UpdateIndexingConfiguration",
        }
    )
    invalid = "InvalidRequestException"
    _of_index = frozenset({"GetBucketsAggregation", "GetCardinality", "GetPercentiles", "GetStatistics", "SearchIndex"})

    def __init__(self, index: Index, things: Things, arn_prefix: str, queries: Callable[[], Iterable[str]]) -> None:
        self._index = index
        self._things = things
        self._arn_prefix = arn_prefix
        self._queries = queries

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the index. A query names its index in the body: it is judged as one of things."""
        if operation == "GetThingConnectivityData":
            return f"{self._arn_prefix}:thing/{in_path['thingName']}"
        if operation in self._of_index or "indexName" in in_path:
            return f"{self._arn_prefix}:index/{in_path.get('indexName', THINGS)}"
        return "*"

    async def answer(self, request: Request) -> Mapping[str, Any] | None:
        """Do one operation."""
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        result: Mapping[str, Any] | None = handler(request.parameters)
        return result

    # -- the configuration ---

    def _update_indexing_configuration(self, p: dict[str, Any]) -> None:
        settings = self._index.settings.updated(p)
        for text in self._queries():
            self._check_still_works(settings, text)
        self._index.configure(settings)

    @staticmethod
    def _check_still_works(settings: Settings, text: str) -> None:
        try:
            settings.check_index(THINGS)
            settings.check_fields(THINGS, parse(text).fields, text)
        except ServiceError as problem:
            raise InvalidRequestError(
                f"The configuration would break a dynamic thing group, whose query is {text}: {problem}"
            ) from None

    def _get_indexing_configuration(self, p: dict[str, Any]) -> dict[str, Any]:
        return self._index.settings.described()

    def _describe_index(self, p: dict[str, Any]) -> dict[str, Any]:
        name = p["indexName"]
        return {
            "indexName": name,
            "indexStatus": self._index.status(name),
            "schema": self._index.settings.schema(name),
        }

    def _list_indices(self, p: dict[str, Any]) -> dict[str, Any]:
        settings = self._index.settings
        names = [name for name, on in ((THING_GROUPS, settings.groups), (THINGS, settings.things)) if on]
        after = self._after(p, "ListIndices")
        names = [name for name in names if name > after]
        most = p.get("maxResults", _PAGE)
        token = self._token(names[most - 1], "ListIndices") if len(names) > most else None
        return {"indexNames": names[:most], "nextToken": token}

    # -- queries ---

    def _search_index(self, p: dict[str, Any]) -> dict[str, Any]:
        index, query = self._query(p)
        same = json.dumps([p.get("indexName"), p["queryString"], p.get("queryVersion")])
        most = min(p.get("maxResults", _PAGE), _PAGE_MAX)
        found = list(islice(self._index.documents(query, index, after=self._after(p, same)), most + 1))
        key = "thingName" if index == THINGS else "thingGroupName"
        token = self._token(found[most - 1][key], same) if len(found) > most else None
        if index == THINGS:
            return {"things": [thing_hit(document) for document in found[:most]], "nextToken": token}
        return {"thingGroups": [group_hit(document) for document in found[:most]], "nextToken": token}

    def _get_statistics(self, p: dict[str, Any]) -> dict[str, Any]:
        each, kind = self._aggregated(p)
        return {"statistics": aggregations.statistics(each, kind)}

    def _get_cardinality(self, p: dict[str, Any]) -> dict[str, Any]:
        each, _ = self._aggregated(p)
        return {"cardinality": aggregations.cardinality(each)}

    def _get_percentiles(self, p: dict[str, Any]) -> dict[str, Any]:
        each, kind = self._aggregated(p)
        if kind != "Number":
            raise InvalidAggregationError(
                f"Percentiles need a field of type Number, {p.get('aggregationField', _FIELD)} is a {kind}"
            )
        return {"percentiles": aggregations.percentiles(each, p.get("percents") or aggregations.PERCENTS)}

    def _get_buckets_aggregation(self, p: dict[str, Any]) -> dict[str, Any]:
        each = list(self._aggregated(p)[0])
        terms = p["bucketsAggregationType"].get("termsAggregation") or {}
        return {"totalCount": len(each), "buckets": aggregations.buckets(each, terms.get("maxBuckets", _BUCKETS))}

    def _query(self, p: Mapping[str, Any]) -> tuple[str, Query]:
        if p.get("queryVersion", _QUERY_VERSION) != _QUERY_VERSION:
            raise InvalidRequestError(f"Invalid queryVersion. Expected one of: [{_QUERY_VERSION}]")
        index: str = p.get("indexName", THINGS)
        self._index.check_ready(index)
        return index, self._index.parse(p["queryString"], index)

    def _aggregated(self, p: Mapping[str, Any]) -> tuple[Iterable[list[aggregations.Value]], str]:
        index, query = self._query(p)
        default = _FIELD if index == THINGS else "version"
        name: str = p.get("aggregationField", default)
        kind = self._index.settings.aggregated(index, name)
        return aggregations.values_of(self._index.documents(query, index), name, kind), kind

    # -- pages ---

    @staticmethod
    def _token(last: str, same: str) -> str:
        return base64.urlsafe_b64encode(json.dumps([_digest(same), last]).encode()).decode()

    @staticmethod
    def _after(p: Mapping[str, Any], same: str) -> str:
        """The name that the last page ended with."""
        if "nextToken" not in p:
            return ""
        try:
            digest, last = json.loads(base64.urlsafe_b64decode(p["nextToken"].encode()))
        except (ValueError, TypeError):
            raise InvalidRequestError("Invalid nextToken") from None
        if digest != _digest(same) or not isinstance(last, str):
            raise InvalidRequestError("nextToken was from a request with different parameters")
        return last

    # -- one thing ---

    def _get_thing_connectivity_data(self, p: dict[str, Any]) -> dict[str, Any]:
        name = p["thingName"]
        if not self._index.settings.connectivity:
            raise NoIndexError("Connectivity indexing is not enabled: set thingConnectivityIndexingMode to STATUS")
        self._index.check_ready()
        if self._things.thing(name) is None:
            raise NoThingError(f"Thing {name} not found")
        found = self._things.connectivity(name)
        result = {"thingName": name, "connected": found["connected"]}
        if "timestamp" in found:
            result["timestamp"] = found["timestamp"] / 1000
            result["disconnectReason"] = found.get("disconnectReason", "NONE" if found["connected"] else "UNKNOWN")
        return result


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
