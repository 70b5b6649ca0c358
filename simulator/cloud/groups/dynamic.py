"""Dynamic thing groups: groups whose members are what a query finds in the index.

Rules: a group is BUILDING until the things that it finds are in it, REBUILDING after its query changed. The index says
which things changed; each is then put into and taken out of groups, oldest group first, by the rules of `membership`.
One task does this, in the order in which it hears of things, and lets others run in between. What goes into and out of
a group is told to jobs and events as for any group.
https://docs.aws.amazon.com/iot/latest/developerguide/dynamic-thing-groups.html
"""

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from simulator.cloud.groups.membership import DYNAMIC_GROUPS_MAX, dynamic_groups
from simulator.cloud.groups.operations import update_properties
from simulator.cloud.groups.registry import (
    AlreadyExistsError,
    Group,
    GroupRegistry,
    InvalidRequestError,
    LimitExceededError,
    Members,
    NotFoundError,
    check_version,
    is_dynamic,
)
from simulator.cloud.indexing.index import Index
from simulator.cloud.indexing.query import Query
from simulator.cloud.indexing.settings import THINGS
from simulator.cloud.rest_json import Answer
from simulator.cloud.service import Request

QUERY_VERSION = "2017-09-30"
_TERMS_MAX = 5
_SLICE = 50  # things between two chances for others to run
_LOG = logging.getLogger("fleetsim.cloud")


Scoped = Callable[[], "contextlib.AbstractContextManager[None]"]


class DynamicGroups:
    """Makes the groups, and keeps their members what the index says. Without an index there are none."""

    operations = frozenset({"CreateDynamicThingGroup", "DeleteDynamicThingGroup", "UpdateDynamicThingGroup"})
    invalid = "InvalidRequestException"

    def __init__(self, registry: GroupRegistry, index: Index, scoped: Scoped, arn_prefix: str) -> None:
        self._registry = registry
        self._index = index
        self._scoped = scoped
        self._arn_prefix = arn_prefix
        self._queries: dict[str, Query] = {}  # group → its query, oldest group first
        self._unbuilt: dict[str, Query] = {}  # groups whose things are not all in them, or out of them
        self._changed: set[str] = set()  # things that must be looked at
        self._following: asyncio.Task[None] | None = None
        index.subscribe(self._hear)

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the group."""
        return f"{self._arn_prefix}:thinggroup/{in_path['thingGroupName']}"

    async def answer(self, request: Request) -> Mapping[str, Any] | Answer | None:
        """Do one operation."""
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        result: Mapping[str, Any] | Answer | None = await handler(request.parameters, request.now_ms)
        return result

    # -- groups ---

    async def _create_dynamic_thing_group(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        name, query = p["thingGroupName"], self._query(p)
        properties = p.get("thingGroupProperties", {})
        tags = p.get("tags", [])
        group: Group = {
            "thingGroupName": name,
            "thingGroupId": str(uuid.uuid4()),
            "thingGroupArn": self._registry.arn(name),
            "thingGroupProperties": {
                "thingGroupDescription": properties.get("thingGroupDescription"),
                "attributePayload": {"attributes": properties.get("attributePayload", {}).get("attributes", {})},
            },
            "version": 1,
            "things": Members(),
            "creationDate": now_ms / 1000,
            "indexName": THINGS,
            "queryString": p["queryString"],
            "queryVersion": QUERY_VERSION,
            "status": "BUILDING",
            "dynamicGroupMappingId": str(uuid.uuid4()),
        }
        there = self._registry.find(name)
        if there is not None:
            same = ("queryString", "thingGroupProperties")
            given_tags = {tag["Key"]: tag.get("Value", "") for tag in tags}
            if any(there.get(key) != group[key] for key in same) or self._registry.tags(there["thingGroupArn"]) != (
                given_tags
            ):
                raise AlreadyExistsError(
                    f"Thing Group {name} already exists in current account with different properties"
                )
            return self._identified(there)
        if len(self._queries) >= DYNAMIC_GROUPS_MAX:
            raise LimitExceededError(f"An account has at most {DYNAMIC_GROUPS_MAX} dynamic thing groups")
        await self._registry.create(group, tags)
        self._queries[name] = query
        self._build(name)
        return self._identified(group)

    async def _update_dynamic_thing_group(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        name = p["thingGroupName"]
        group = self._dynamic(name)
        if group is None:
            raise NotFoundError(f"Group {name} does not exist")
        check_version(group, p.get("expectedVersion"))
        query = self._query({"queryString": group["queryString"], **p})
        update_properties(group, p["thingGroupProperties"])
        if p.get("queryString", group["queryString"]) != group["queryString"]:
            group.update(queryString=p["queryString"], status="REBUILDING")
            self._queries[name] = query
            self._build(name)
        await self._registry.changed(group)
        return {"version": group["version"]}

    async def _delete_dynamic_thing_group(self, p: dict[str, Any], now_ms: int) -> Answer | None:
        name = p["thingGroupName"]
        group = self._dynamic(name)
        if group is None:
            return None
        check_version(group, p.get("expectedVersion"))
        self._queries.pop(name, None)
        self._unbuilt.pop(name, None)
        members = frozenset(group["things"])
        answer = await self._registry.delete(name)
        self._hear(members)  # there is room for another group now
        return answer

    def _dynamic(self, name: str) -> Group | None:
        group = self._registry.find(name)
        if group is not None and not is_dynamic(group):
            raise InvalidRequestError(
                f"This operation supports only dynamic thing groups. Thing group arn: {group['thingGroupArn']}"
            )
        return group

    def _query(self, p: Mapping[str, Any]) -> Query:
        if not self._index.settings.things:
            raise InvalidRequestError(f"Dynamic thing groups need the index {THINGS}: enable thing indexing first")
        if p.get("indexName", THINGS) != THINGS:
            raise InvalidRequestError(f"indexName must be {THINGS}, got {p['indexName']}")
        if p.get("queryVersion", QUERY_VERSION) != QUERY_VERSION:
            raise InvalidRequestError(f"queryVersion must be {QUERY_VERSION}, got {p['queryVersion']}")
        query = self._index.parse(p["queryString"], terms_max=_TERMS_MAX)
        if "thingGroupNames" in query.fields and p["thingGroupName"].lower() in query.text.lower():
            # Things would go in and out without an end.
            raise InvalidRequestError("The query of a dynamic thing group cannot depend on the group itself")
        return query

    @staticmethod
    def _identified(group: Group) -> dict[str, Any]:
        names = ("thingGroupName", "thingGroupArn", "thingGroupId", "indexName", "queryString", "queryVersion")
        return {name: group[name] for name in names}

    # -- members ---

    def _hear(self, things: frozenset[str]) -> None:
        if self._queries:
            self._changed |= things
            self._wake()

    def _build(self, name: str) -> None:
        self._unbuilt[name] = self._queries[name]
        self._wake()

    def _wake(self) -> None:
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Look at what changed until there is nothing left."""
        with self._scoped():
            try:
                while self._unbuilt or self._changed:
                    if self._changed:
                        changed, self._changed = self._changed, set()
                        await self._settle(sorted(changed))
                    else:
                        await self._fill(*next(iter(self._unbuilt.items())))
            except Exception:
                _LOG.exception("dynamic groups: what changed in the index was not followed")

    async def _fill(self, name: str, query: Query) -> None:
        group = self._registry.find(name)
        if group is None:  # without credentials there are other accounts, which the index does not have
            del self._unbuilt[name], self._queries[name]
            return
        await self._settle({**group["things"], **dict.fromkeys(self._index.matching(query))})
        if self._unbuilt.get(name) is query:  # else it changed again meanwhile, or went
            del self._unbuilt[name]
            self._registry.group(name)["status"] = "ACTIVE"

    async def _settle(self, things: Iterable[str]) -> None:
        for number, thing in enumerate(things, 1):
            await self._settle_one(thing)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    async def _settle_one(self, thing: str) -> None:
        groups = self._registry.groups_of(thing)
        if groups is None:
            return
        current = [name for name in groups if name in self._queries]
        matching = [name for name, query in self._queries.items() if self._index.matches(query, thing)]
        wanted = dynamic_groups(matching, len(groups) - len(current))
        if len(wanted) < len(matching):
            _LOG.info("thing %s is in no more groups: not in %s", thing, ", ".join(matching[len(wanted) :]))
        for name in current:
            if name not in wanted:
                await self._registry.leave(thing, name)
        for name in wanted:
            if name not in current:
                await self._registry.join(thing, name)
