"""The thing groups that MiniStack keeps, static and dynamic ones alike, and the one way into and out of them.

Rules: a dynamic group lies among MiniStack's own groups, so that listings, jobs, tags and events know it as any other;
it is told by its query. MiniStack lets everything into every group, so `install` puts the rules of membership before
its two functions, through which HTTP and provisioning templates pass. What the service itself does (a dynamic group
follows its query, a group is deleted) goes past those rules by `join` and `leave`.
"""

from typing import Any, ClassVar

from simulator.cloud.groups.membership import displaced, same_hierarchy
from simulator.cloud.rest_json import Answer, error
from simulator.cloud.service import ServiceError

Group = dict[str, Any]


class InvalidRequestError(ServiceError):
    code, status = "InvalidRequestException", 400


class NotFoundError(ServiceError):
    code, status = "ResourceNotFoundException", 404


class AlreadyExistsError(ServiceError):
    code, status = "ResourceAlreadyExistsException", 409


class VersionConflictError(ServiceError):
    code, status = "VersionConflictException", 409


class LimitExceededError(ServiceError):
    code, status = "LimitExceededException", 410


class Members(dict[str, None]):
    """The names of a group's things, for MiniStack, which takes them for a list and looks for each in it."""

    def append(self, thing: str) -> None:
        self[thing] = None

    def remove(self, thing: str) -> None:
        del self[thing]


def is_dynamic(group: Group) -> bool:
    """Whether a query decides who is in a group."""
    return "queryString" in group


def refuse_dynamic(group: Group) -> None:
    """Refuse what cannot be done with a dynamic group, in the words of the service."""
    if is_dynamic(group):
        raise InvalidRequestError(
            f"This operation does not support dynamic thing groups. Thing group arn: {group['thingGroupArn']}"
        )


def check_version(group: Group, expected: int | None) -> None:
    """Raise VersionConflictError for a group that is not of the version that a caller expects."""
    if expected is not None and expected != group["version"]:
        raise VersionConflictError(
            f"The version for thing group {group['thingGroupName']} does not match the expected version."
        )


class GroupRegistry:
    """What this package knows of MiniStack's groups. Its tables are those of the request (or of `scoped`)."""

    _SEAMS: ClassVar[tuple[str, ...]] = ("_add_thing_to_group", "_remove_thing_from_group")

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._add, self._remove = (getattr(iot, name) for name in self._SEAMS)

    def install(self) -> None:
        """Put the rules before MiniStack's functions, and the mapping of dynamic groups into their events."""
        self._iot._add_thing_to_group = self._add_by_hand
        self._iot._remove_thing_from_group = self._remove_by_hand
        original = self._iot._thing_group_event

        def event(operation: str, group: Group) -> None:
            queued = self._iot._pending_events.get()
            before = len(queued or ())
            original(operation, group)
            if is_dynamic(group) and queued is not None:
                for *_, payload in queued[before:]:
                    payload["dynamicGroupMappingId"] = group["dynamicGroupMappingId"]

        self._iot._thing_group_event = event

    # -- what there is ---

    def find(self, name: str) -> Group | None:
        found: Group | None = self._iot._thing_groups.get(name)
        return found

    def group(self, name: str) -> Group:
        """A group; raises NotFoundError."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(f"ThingGroup {self._iot.get_account_id()}:{name} not found.")
        return found

    def names(self) -> list[str]:
        """All groups, sorted."""
        return sorted(self._iot._thing_groups.keys())

    def dynamic(self) -> list[Group]:
        """The dynamic groups, oldest first."""
        return [group for group in self._iot._thing_groups.values() if is_dynamic(group)]

    def parent(self, name: str) -> str | None:
        group = self.find(name) or {}
        return (group.get("thingGroupMetadata") or {}).get("parentGroupName")

    def arn(self, name: str) -> str:
        return str(self._iot._thing_group_arn(name))

    def groups_of(self, thing: str) -> list[str] | None:
        """The groups that a thing is in, in the order in which it came into them; None: no such thing."""
        found = self._iot._things.get(thing)
        if found is None:
            return None
        return [name for name in found.get("thingGroupNames", []) if name in self._iot._thing_groups]

    async def create(self, group: Group, tags: list[dict[str, str]]) -> None:
        """Take in a new dynamic group."""
        self._iot._thing_groups[group["thingGroupName"]] = group
        self._iot._set_created_tags(group["thingGroupArn"], [{"Value": "", **tag} for tag in tags])
        async with self._iot.publishing_events():
            self._iot._thing_group_event("CREATED", group)

    def tags(self, arn: str) -> dict[str, str]:
        return dict(self._iot._tags.get(arn) or {})

    async def changed(self, group: Group) -> None:
        """Tell of a group that was changed."""
        async with self._iot.publishing_events():
            self._iot._thing_group_event("UPDATED", group)

    # -- in and out ---

    async def join(self, thing: str, group: str) -> None:
        """A thing comes into a group: jobs and events hear of it."""
        async with self._iot.publishing_events():
            await self._add({"thingGroupName": group, "thingName": thing})

    async def leave(self, thing: str, group: str) -> None:
        """A thing goes out of a group."""
        async with self._iot.publishing_events():
            await self._remove({"thingGroupName": group, "thingName": thing})

    async def delete(self, name: str) -> Answer:
        """Everything goes out of a group, then it is deleted. One with children stays, and so do its things."""
        if not any(self.parent(other) == name for other in self.names()):
            for thing in list(self.group(name)["things"]):
                await self.leave(thing, name)
        async with self._iot.publishing_events():
            answer: Answer = self._iot._delete_thing_group(name)
        return answer

    async def add_by_hand(self, thing: str, name: str, *, override: bool) -> None:
        """A caller adds a thing to a static group; raises a ServiceError."""
        group, member_of = self.group(name), self.groups_of(thing)
        refuse_dynamic(group)
        if member_of is None:
            raise NotFoundError(f"Thing {thing} not found.")
        if name in member_of:
            return
        static = [other for other in member_of if not is_dynamic(self.group(other))]
        relative = same_hierarchy(name, static, self.parent)
        if relative is not None:
            raise InvalidRequestError(
                f"Thing {thing} cannot be added to thing group {name}: it is already in {relative}, "
                "a thing group of the same hierarchy"
            )
        dynamic = [group["thingGroupName"] for group in self.dynamic() if group["thingGroupName"] in member_of]
        leaving = displaced(len(static), dynamic, override=override)
        if leaving is None:
            raise InvalidRequestError(f"Thing {thing} cannot be added to more thing groups: the limit is reached")
        for other in leaving:
            await self.leave(thing, other)
        await self.join(thing, name)

    async def remove_by_hand(self, thing: str, name: str) -> None:
        """A caller removes a thing from a static group; a group that does not exist is no error."""
        if self.groups_of(thing) is None:
            raise NotFoundError(f"Thing {thing} not found.")
        group = self.find(name)
        if group is not None:
            refuse_dynamic(group)
            await self.leave(thing, name)

    async def _add_by_hand(self, payload: dict[str, Any]) -> Answer:
        name, thing, refusal = self._names(payload)
        if refusal is not None or self.find(name) is None or self.groups_of(thing) is None:
            answer: Answer = refusal if refusal is not None else await self._add(payload)
            return answer
        try:
            await self.add_by_hand(thing, name, override=bool(payload.get("overrideDynamicGroups")))
        except ServiceError as problem:
            return error(problem.status, problem.code, str(problem))
        return self._nothing()

    async def _remove_by_hand(self, payload: dict[str, Any]) -> Answer:
        name, thing, refusal = self._names(payload)
        if refusal is None:
            try:
                await self.remove_by_hand(thing, name)
            except ServiceError as problem:
                refusal = error(problem.status, problem.code, str(problem))
        return refusal if refusal is not None else self._nothing()

    def _names(self, payload: dict[str, Any]) -> tuple[str, str, Answer | None]:
        """Group and thing, which may be given by ARN; or why they are refused."""
        name, thing, refusal = self._iot._membership_names(payload)
        if refusal is None:
            own = {"thingGroupArn": self.arn(name), "thingArn": self._iot._thing_arn(thing)}
            other = next((payload[key] for key in own if payload.get(key) not in (None, "", own[key])), None)
            if other is not None:
                refusal = error(404, NotFoundError.code, f"{other} is not of this account and region")
        return name, thing, refusal

    def _nothing(self) -> Answer:
        return 200, {"Content-Type": "application/json"}, b"{}"
