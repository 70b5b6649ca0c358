"""What the index knows of a thing, and how it is shown: documents out of the registry, shadows and connectivity.

Rules: a document has its members as a query names them, and only those that there are. Parts of the registry and of
shadows are taken over as they are, not copied: a document is read between two changes of its thing, never during one.
Delta is what desired has and reported lacks or has otherwise.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]

_MISSING = object()
_SHOWN = ("reported", "desired", "metadata", "hasDelta", "version")


def thing_document(
    thing: Mapping[str, Any],
    classic: Mapping[str, Any] | None,
    named: Mapping[str, Mapping[str, Any]],
    connectivity: Mapping[str, Any] | None,
) -> Document:
    """The document of a thing; shadows as the shadow service keeps them, None: not indexed or not there."""
    document: Document = {
        "thingName": thing["thingName"],
        "thingId": thing["thingId"],
        "registry": {"version": thing.get("version", 1)},
    }
    for name in ("thingTypeName", "thingGroupNames", "attributes"):
        if thing.get(name):
            document[name] = thing[name]
    shadow = shadow_part(classic) if classic is not None else {}
    if named:
        shadow["name"] = {name: shadow_part(record) for name, record in named.items()}
    if shadow:
        document["shadow"] = shadow
    if connectivity is not None:
        document["connectivity"] = dict(connectivity)
    return document


def shadow_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says of one shadow."""
    state, metadata = record.get("state") or {}, record.get("metadata") or {}
    part: dict[str, Any] = {section: state[section] for section in ("reported", "desired") if state.get(section)}
    shown = {section: metadata[section] for section in ("reported", "desired") if metadata.get(section)}
    if shown:
        part["metadata"] = shown
    delta = difference(part["desired"], part.get("reported") or {}) if "desired" in part else {}
    if delta:
        part["delta"] = delta
    part["hasDelta"] = bool(delta)
    part["version"] = record.get("version", 1)
    return part


def difference(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    """The part of desired that reported does not have."""
    found: dict[str, Any] = {}
    for name, wanted in desired.items():
        own = reported.get(name, _MISSING)
        if isinstance(wanted, dict) and isinstance(own, dict):
            below = difference(wanted, own)
            if below:
                found[name] = below
        elif own != wanted or isinstance(own, bool) is not isinstance(wanted, bool):
            found[name] = wanted
    return found


def group_document(group: Mapping[str, Any], ancestors: Iterable[str]) -> Document:
    """The document of a thing group; `ancestors` from the root down."""
    properties = group.get("thingGroupProperties") or {}
    document: Document = {
        "thingGroupName": group["thingGroupName"],
        "thingGroupId": group["thingGroupId"],
        "version": group.get("version", 1),
    }
    if properties.get("thingGroupDescription"):
        document["description"] = properties["thingGroupDescription"]
    attributes = (properties.get("attributePayload") or {}).get("attributes")
    if attributes:
        document["attributes"] = attributes
    above = list(ancestors)
    if above:
        document["parentGroupNames"] = above
    return document


def thing_hit(document: Mapping[str, Any]) -> dict[str, Any]:
    """A thing, as SearchIndex shows it."""
    names = ("thingName", "thingId", "thingTypeName", "thingGroupNames", "attributes", "connectivity")
    hit = {name: document[name] for name in names if name in document}
    if "shadow" in document:
        shown = _shown(document["shadow"])
        if "name" in document["shadow"]:
            shown["name"] = {name: _shown(part) for name, part in document["shadow"]["name"].items()}
        hit["shadow"] = json.dumps(shown, separators=(",", ":"), ensure_ascii=False)
    return hit


def group_hit(document: Mapping[str, Any]) -> dict[str, Any]:
    """A thing group, as SearchIndex shows it."""
    hit = {name: document[name] for name in ("thingGroupName", "thingGroupId", "attributes", "parentGroupNames")
           if name in document}  # fmt: skip
    if "description" in document:
        hit["thingGroupDescription"] = document["description"]
    return hit


def _shown(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in _SHOWN if name in part}
