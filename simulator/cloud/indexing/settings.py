"""What is indexed: the configuration of fleet indexing, and what it means for fields.

Rules: an update replaces the configuration of an index as a whole, and `OFF` forgets the rest of it. A field that no
index ever has is a wrong query; a field of data that is not indexed is a wrong request. Versions are in the answers,
but cannot be searched. Aggregated are managed fields and those that the configuration names (`customFields`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simulator.cloud.indexing.tokens import InvalidQueryError
from simulator.cloud.service import ServiceError

THINGS, THING_GROUPS = "AWS_Things", "AWS_ThingGroups"
_NAMED_SHADOWS_MAX = 10
_CUSTOM_FIELDS_MAX = 5

_REGISTRY = frozenset({"thingName", "thingId", "thingTypeName", "thingGroupNames"})
_SECTIONS = frozenset({"desired", "reported", "delta", "metadata"})
_CONNECTIVITY = frozenset({"connected", "timestamp", "disconnectReason"})
_GROUP_FIELDS = frozenset({"thingGroupName", "thingGroupId", "description", "parentGroupNames"})

_GROUP_MANAGED = {
    "description": "String",
    "parentGroupNames": "String",
    "thingGroupId": "String",
    "thingGroupName": "String",
    "version": "Number",
}
_MANAGED = {
    "registry": {
        "thingId": "String",
        "thingName": "String",
        "registry.version": "Number",
        "registry.thingTypeName": "String",
        "registry.thingGroupNames": "String",
    },
    "shadow": {"shadow.version": "Number", "shadow.hasDelta": "Boolean"},
    "named": {"shadow.name.*.version": "Number", "shadow.name.*.hasDelta": "Boolean"},
    "connectivity": {
        "connectivity.timestamp": "Number",
        "connectivity.version": "Number",
        "connectivity.connected": "Boolean",
        "connectivity.disconnectReason": "String",
    },
    "defender": {"deviceDefender.violationCount": "Number"},
}


class InvalidRequestError(ServiceError):
    """The request cannot be done."""

    code = "InvalidRequestException"
    status = 400


class NoIndexError(ServiceError):
    """The index is not enabled."""

    code = "ResourceNotFoundException"
    status = 404


class InvalidAggregationError(ServiceError):
    """The field cannot be aggregated in this way."""

    code = "InvalidAggregationException"
    status = 400


@dataclass(frozen=True)
class Settings:
    """What is indexed."""

    mode: str = "OFF"
    connectivity: bool = False
    defender: bool = False
    named_shadows: tuple[str, ...] = ()
    custom: Mapping[str, str] = field(default_factory=dict)  # name → String, Number or Boolean
    filter: Mapping[str, Any] = field(default_factory=dict)  # as it was sent
    groups: bool = False
    group_custom: Mapping[str, str] = field(default_factory=dict)

    @property
    def things(self) -> bool:
        """Whether there is an index of things."""
        return self.mode != "OFF"

    @property
    def shadows(self) -> bool:
        """Whether classic shadows are indexed."""
        return self.mode == "REGISTRY_AND_SHADOW"

    def schema(self, index: str) -> str:
        """What DescribeIndex calls it; raises the error for an index that is not there."""
        self.check_index(index)
        if index == THING_GROUPS:
            return "THING_GROUPS"
        if self.named_shadows or self.defender:
            return "MULTI_INDEXING_MODE"
        return f"{self.mode}_AND_CONNECTIVITY_STATUS" if self.connectivity else self.mode

    def check_index(self, index: str) -> None:
        """Raise the error for an index that is not there."""
        if index not in (THINGS, THING_GROUPS):
            raise InvalidRequestError(f"Unrecognized indexName {index}")
        if not (self.things if index == THINGS else self.groups):
            raise NoIndexError(
                f"Index {index} does not exist. Please enable index by calling UpdateIndexingConfiguration"
            )

    def check_fields(self, index: str, names: Iterable[str], text: str) -> None:
        """Raise the error for a field that a query may not name."""
        for name in sorted(names):
            if not (self._is_field(name) if index == THINGS else _is_group_field(name)):
                raise InvalidQueryError(
                    f"Unable to parse query, invalid field name, field name: {name}, query string: {text}"
                )
            what = self._not_indexed(name) if index == THINGS else None
            if what:
                raise InvalidRequestError(
                    f"Query includes one or more constraints for {what} attribute, but {what} indexing is not "
                    f"enabled for {index} index (field name: {name})"
                )

    def _is_field(self, name: str) -> bool:
        top, _, rest = name.partition(".")
        if name in _REGISTRY:
            return True
        if top == "connectivity":
            return rest in _CONNECTIVITY
        if top == "shadow" and rest.startswith("name."):
            shadow, _, below = rest.removeprefix("name.").partition(".")
            listed = shadow in self.named_shadows or not (self.named_shadows or self.shadows)
            return listed and _in_shadow(below)
        if top == "shadow":
            return _in_shadow(rest)
        return top in ("attributes", "deviceDefender") and bool(rest)

    def _not_indexed(self, name: str) -> str | None:
        top, _, rest = name.partition(".")
        if top == "connectivity" and not self.connectivity:
            return "Connectivity"
        if top == "deviceDefender" and not self.defender:
            return "Devicedefender"
        named = rest.startswith("name.")
        if top == "shadow" and not (self.named_shadows if named else self.shadows):
            return "Shadow"
        return None

    # -- aggregations ---

    def managed(self, index: str) -> dict[str, str]:
        """The fields that the service itself knows the types of."""
        if index == THING_GROUPS:
            return dict(_GROUP_MANAGED) if self.groups else {}
        parts = {
            "registry": self.things,
            "shadow": self.shadows,
            "named": bool(self.named_shadows),
            "connectivity": self.connectivity,
            "defender": self.defender,
        }
        return {name: kind for part, on in parts.items() if on for name, kind in _MANAGED[part].items()}

    def aggregated(self, index: str, name: str) -> str:
        """The type of a field that is to be aggregated."""
        known = {**self.managed(index), **(self.custom if index == THINGS else self.group_custom)}
        general = name
        for shadow in self.named_shadows:
            general = general.replace(f"shadow.name.{shadow}.", "shadow.name.*.", 1)
        kind = known.get(name) or known.get(general)
        if kind is None:
            hint = f"; its managed name is registry.{name}" if f"registry.{name}" in known else ""
            raise InvalidAggregationError(
                f"Aggregation field {name} is neither a managed field of {index} nor one of its customFields{hint}"
            )
        return kind

    # -- the configuration, as the operations have it ---

    def updated(self, parameters: Mapping[str, Any]) -> "Settings":
        """After UpdateIndexingConfiguration."""
        things = parameters.get("thingIndexingConfiguration")
        groups = parameters.get("thingGroupIndexingConfiguration")
        if things is None and groups is None:
            raise InvalidRequestError(
                "At least one configuration to update (thingIndexingConfiguration / thingGroupIndexingConfiguration) "
                "is required"
            )
        after = self if things is None else _with_things(self, things)
        if groups is None:
            return after
        on = groups["thingGroupIndexingMode"] == "ON"
        custom = _fields(groups.get("customFields") or (), set(_GROUP_MANAGED), THING_GROUPS) if on else {}
        return replace(after, groups=on, group_custom=custom)

    def described(self) -> dict[str, Any]:
        """The result of GetIndexingConfiguration."""
        things: dict[str, Any] = {
            "thingIndexingMode": self.mode,
            "thingConnectivityIndexingMode": "STATUS" if self.connectivity else "OFF",
            "deviceDefenderIndexingMode": "VIOLATIONS" if self.defender else "OFF",
            "namedShadowIndexingMode": "ON" if self.named_shadows else "OFF",
        }
        if self.things:
            things["managedFields"] = _listed(self.managed(THINGS))
            things["customFields"] = _listed(self.custom)
        if self.filter:
            things["filter"] = dict(self.filter)
        groups: dict[str, Any] = {"thingGroupIndexingMode": "ON" if self.groups else "OFF"}
        if self.groups:
            groups["managedFields"] = _listed(self.managed(THING_GROUPS))
            groups["customFields"] = _listed(self.group_custom)
        return {"thingIndexingConfiguration": things, "thingGroupIndexingConfiguration": groups}


def _with_things(before: Settings, wanted: Mapping[str, Any]) -> Settings:
    mode = wanted["thingIndexingMode"]
    connectivity = wanted.get("thingConnectivityIndexingMode", "OFF") == "STATUS"
    defender = wanted.get("deviceDefenderIndexingMode", "OFF") == "VIOLATIONS"
    named = wanted.get("namedShadowIndexingMode", "OFF") == "ON"
    off = Settings(groups=before.groups, group_custom=before.group_custom)
    if mode == "OFF":
        for on, what in ((connectivity, "ThingConnectivity"), (named, "NamedShadow"), (defender, "DeviceDefender")):
            if on:
                raise InvalidRequestError(f"ThingIndexingMode must be turned ON for enabling {what}IndexingMode")
        return off
    filters = wanted.get("filter") or {}
    shadows = tuple(dict.fromkeys(filters.get("namedShadowNames") or ()))
    if named and not shadows:
        raise InvalidRequestError("NamedShadowNames Filter must not be empty for enabling NamedShadowIndexingMode")
    if len(shadows) > _NAMED_SHADOWS_MAX:
        raise InvalidRequestError(f"At most {_NAMED_SHADOWS_MAX} namedShadowNames can be indexed, got {len(shadows)}")
    after = replace(
        off,
        mode=mode,
        connectivity=connectivity,
        defender=defender,
        named_shadows=shadows if named else (),
        filter=filters,
    )
    custom = _fields(wanted.get("customFields") or (), set().union(*_MANAGED.values()), THINGS)
    for name in custom:
        if not after._is_field(name):
            raise InvalidRequestError(f"Invalid custom field name: {name}")
        missing = after._not_indexed(name)
        if missing:
            raise InvalidRequestError(f"Custom field {name} needs {missing} indexing, which is not enabled")
    return replace(after, custom=custom)


def _fields(wanted: Iterable[Mapping[str, Any]], managed: set[str], index: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in wanted:
        name, kind = one.get("name"), one.get("type")
        if not name:
            raise InvalidRequestError("Custom field name cannot be null")
        if not kind:
            raise InvalidRequestError(f"Invalid field type: null of {name}. Expecting one of [String, Number, Boolean]")
        if name in managed:
            raise InvalidRequestError(f"Defined field is a reserved field for {index}. Field: {name}")
        found[name] = kind
    if len(found) > _CUSTOM_FIELDS_MAX:
        raise InvalidRequestError(f"At most {_CUSTOM_FIELDS_MAX} customFields can be indexed, got {len(found)}")
    return found


def _listed(fields: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields.items()]


def _in_shadow(rest: str) -> bool:
    section, dot, below = rest.partition(".")
    return rest == "hasDelta" or (section in _SECTIONS and (bool(below) or not dot))


def _is_group_field(name: str) -> bool:
    return name in _GROUP_FIELDS or (name.startswith("attributes.") and name != "attributes.")
