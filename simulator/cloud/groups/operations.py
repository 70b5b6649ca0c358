"""The operations on thing groups, static and dynamic, where MiniStack lacks them or has them otherwise than AWS.

Rules: lists are sorted by name and come in pages. A group is no deeper than seven levels, has at most a hundred
children, and none when it is dynamic. What edits a group or its members by hand refuses dynamic ones.
https://docs.aws.amazon.com/iot/latest/developerguide/thing-groups.html
"""

import re
from collections.abc import Mapping
from typing import Any

from simulator.cloud.groups.membership import CHILDREN_MAX, DEPTH_MAX, ancestors, below, depth
from simulator.cloud.groups.registry import (
    AlreadyExistsError,
    Group,
    GroupRegistry,
    InvalidRequestError,
    Members,
    NotFoundError,
    check_version,
    is_dynamic,
    refuse_dynamic,
)
from simulator.cloud.packages.catalog import InvalidError, page
from simulator.cloud.rest_json import Answer
from simulator.cloud.service import Request

_PAGE = 50
_GROUP_TARGET = re.compile(r"arn:aws:iot:[^:]+:\d+:thinggroup/(.+)")


class ThingGroups:
    """Answers for the groups of a registry. `arn_prefix` is that of the account's IoT resources."""

    operations = frozenset(
        {
            "AttachPolicy",
            "CreateThingGroup",
            "DeleteThingGroup",
            "DescribeThingGroup",
            "ListThingGroups",
            "ListThingGroupsForThing",
            "ListThingsInThingGroup",
            "UpdateThingGroup",
            "UpdateThingGroupsForThing",
        }
    )
    invalid = "InvalidRequestException"
    _forwarded = frozenset({"AttachPolicy", "CreateThingGroup"})

    def __init__(self, registry: GroupRegistry, arn_prefix: str) -> None:
        self._registry = registry
        self._arn_prefix = arn_prefix

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str | None:
        """What a policy calls the group; MiniStack judges what it is given."""
        if operation in self._forwarded:
            return None
        if "thingGroupName" in in_path:
            return f"{self._arn_prefix}:thinggroup/{in_path['thingGroupName']}"
        # The name of the thing is in the body, so the caller must be allowed all of them.
        return f"{self._arn_prefix}:thing/{in_path.get('thingName', '*')}"

    async def answer(self, request: Request) -> Mapping[str, Any] | Answer | None:
        """Do one operation."""
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        result: Mapping[str, Any] | Answer | None = await handler(request, request.parameters)
        return result

    # -- groups ---

    async def _create_thing_group(self, request: Request, p: dict[str, Any]) -> Answer:
        name, parent = p["thingGroupName"], p.get("parentGroupName")
        there, above = self._registry.find(name), self._registry.find(parent or "")
        if there is not None and is_dynamic(there):
            raise AlreadyExistsError(f"Thing Group {name} already exists in current account with different properties")
        if there is None and parent is not None and above is not None:
            refuse_dynamic(above)
            if depth(parent, self._registry.parent) >= DEPTH_MAX:
                raise InvalidRequestError(f"A thing group hierarchy cannot be deeper than {DEPTH_MAX} levels")
            children = below(parent, self._registry.names(), self._registry.parent, recursive=False)
            if len(children) >= CHILDREN_MAX:
                raise InvalidRequestError(f"Thing group {parent} cannot have more than {CHILDREN_MAX} child groups")
        answer = await request.forward()
        group = self._registry.find(name)
        if there is None and group is not None:
            group["things"] = Members.fromkeys(group["things"])
        return answer

    async def _update_thing_group(self, request: Request, p: dict[str, Any]) -> dict[str, Any]:
        group = self._registry.find(p["thingGroupName"])
        if group is None:
            raise NotFoundError(f"Group {p['thingGroupName']} does not exist")
        refuse_dynamic(group)
        check_version(group, p.get("expectedVersion"))
        update_properties(group, p["thingGroupProperties"])
        await self._registry.changed(group)
        return {"version": group["version"]}

    async def _delete_thing_group(self, request: Request, p: dict[str, Any]) -> Answer | None:
        group = self._registry.find(p["thingGroupName"])
        if group is None:
            return None
        refuse_dynamic(group)
        check_version(group, p.get("expectedVersion"))
        return await self._registry.delete(p["thingGroupName"])

    async def _describe_thing_group(self, request: Request, p: dict[str, Any]) -> dict[str, Any]:
        group = self._registry.group(p["thingGroupName"])
        above = ancestors(p["thingGroupName"], self._registry.parent)
        metadata = {
            "parentGroupName": above[-1] if above else None,
            "rootToParentThingGroups": [self._name_and_arn(name) for name in above] or None,
            "creationDate": group["creationDate"],
        }
        return {
            "thingGroupName": group["thingGroupName"],
            "thingGroupId": group["thingGroupId"],
            "thingGroupArn": group["thingGroupArn"],
            "version": group["version"],
            "thingGroupProperties": _without_none(group["thingGroupProperties"]),
            "thingGroupMetadata": _without_none(metadata),
            **{key: group.get(key) for key in ("indexName", "queryString", "queryVersion", "status")},
        }

    async def _list_thing_groups(self, request: Request, p: dict[str, Any]) -> dict[str, Any]:
        parent = p.get("parentGroup")
        if parent is not None:
            self._registry.group(parent)
        recursive = p.get("recursive", parent is None)
        names = below(parent, self._registry.names(), self._registry.parent, recursive=recursive)
        names = [name for name in names if name.startswith(p.get("namePrefixFilter", ""))]
        names, token = _paged(names, p)
        return {"thingGroups": [self._name_and_arn(name) for name in names], "nextToken": token}

    # -- members ---

    async def _list_things_in_thing_group(self, request: Request, p: dict[str, Any]) -> dict[str, Any]:
        name = p["thingGroupName"]
        groups = [self._registry.group(name)]
        if p.get("recursive"):
            beneath = below(name, self._registry.names(), self._registry.parent, recursive=True)
            groups += [self._registry.group(other) for other in beneath]
        things, token = _paged(sorted({thing for group in groups for thing in group["things"]}), p)
        return {"things": things, "nextToken": token}

    async def _list_thing_groups_for_thing(self, request: Request, p: dict[str, Any]) -> dict[str, Any]:
        groups = self._registry.groups_of(p["thingName"])
        if groups is None:
            raise NotFoundError("thing does not exist")
        names, token = _paged(sorted(groups), p)
        return {"thingGroups": [self._name_and_arn(name) for name in names], "nextToken": token}

    async def _update_thing_groups_for_thing(self, request: Request, p: dict[str, Any]) -> None:
        thing = p.get("thingName")
        if thing is None:
            raise InvalidRequestError("thingName cannot be null")
        adding, removing = p.get("thingGroupsToAdd", []), p.get("thingGroupsToRemove", [])
        if set(adding) & set(removing):
            raise InvalidRequestError("A thing group cannot be both in thingGroupsToAdd and in thingGroupsToRemove")
        for name in (*adding, *removing):
            refuse_dynamic(self._registry.group(name))
        for name in removing:
            await self._registry.remove_by_hand(thing, name)
        for name in adding:
            await self._registry.add_by_hand(thing, name, override=p.get("overrideDynamicGroups", False))

    # -- policies ---

    async def _attach_policy(self, request: Request, p: dict[str, Any]) -> Answer:
        found = _GROUP_TARGET.fullmatch(p["target"])
        group = self._registry.find(found[1]) if found else None
        if group is not None:
            refuse_dynamic(group)
        return await request.forward()

    def _name_and_arn(self, name: str) -> dict[str, str]:
        return {"groupName": name, "groupArn": self._registry.arn(name)}


def update_properties(group: Group, given: Mapping[str, Any]) -> None:
    """Change the description and the attributes of a group, as far as they are given, and count its version up."""
    stored = group["thingGroupProperties"]
    if "thingGroupDescription" in given:
        stored["thingGroupDescription"] = given["thingGroupDescription"]
    payload = given.get("attributePayload") or {}
    if "attributes" in payload:
        merged = {**(stored["attributePayload"]["attributes"] if payload.get("merge") else {}), **payload["attributes"]}
        stored["attributePayload"] = {"attributes": {key: value for key, value in merged.items() if value != ""}}
    group["version"] += 1


def _paged(names: list[str], parameters: Mapping[str, Any]) -> tuple[list[str], str | None]:
    try:
        part, token = page(names, parameters.get("nextToken"), parameters.get("maxResults", _PAGE))
    except InvalidError as problem:
        raise InvalidRequestError(str(problem)) from None
    return names[part], token


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
