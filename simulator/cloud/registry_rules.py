"""What AWS IoT refuses in its registry and MiniStack takes: attributes, deprecated types, versions, too early deletes.

Rules: each check stands before MiniStack's own function, which then does the work.
"""

import re
import time
from typing import Any

from simulator.cloud.rest_json import Answer

_KEY = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")
_WITHOUT_TYPE_MAX, _WITH_TYPE_MAX = 3, 50
_SEARCHABLE_MAX = 3


def attributes_wrong(attributes: Any, *, typed: bool) -> str:
    """Why the attributes of a thing are refused; empty when they are right."""
    if not isinstance(attributes, dict):
        return "attributes must be a map of strings"
    maximum = _WITH_TYPE_MAX if typed else _WITHOUT_TYPE_MAX
    if len(attributes) > maximum:
        kind = "with" if typed else "without"
        return f"A thing {kind} a thing type can have at most {maximum} attributes, not {len(attributes)}"
    for key, value in attributes.items():
        if not _KEY.fullmatch(key):
            return f"Attribute name {key!r} must have 1 to 128 of the characters a-zA-Z0-9_.,@/:#-"
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            return f"The value of attribute {key} must have at most 800 of the characters a-zA-Z0-9_.,@/:#=[]-"
    return ""


class RegistryRules:
    """Stands before MiniStack's functions of things and thing types."""

    def __init__(self, iot: Any, thing_type_wait_s: float) -> None:
        self._iot = iot
        self._wait_s = thing_type_wait_s
        self._create, self._update = iot._create_thing, iot._update_thing
        self._create_type, self._delete_type = iot._create_thing_type, iot._delete_thing_type

    def create_thing(self, name: str, payload: dict[str, Any]) -> Answer:
        attributes = (payload.get("attributePayload") or {}).get("attributes") or {}
        type_name = payload.get("thingTypeName")
        refused = self._refusal(attributes, type_name)
        if refused is None and name not in self._iot._things:
            refused = self._deprecated(type_name)
        if refused is not None:
            return refused
        answer: Answer = self._create(name, payload)
        if answer[0] == 409:
            thing = self._iot._things[name]
            return self._exists(f"Thing {name} already exists in account with different attributes", thing, "thing")
        return answer

    def update_thing(self, name: str, payload: dict[str, Any]) -> Answer:
        thing = self._iot._things.get(name)
        if thing is not None and (refused := self._update_refusal(name, thing, payload)) is not None:
            return refused
        answer: Answer = self._update(name, payload)
        return answer

    def _update_refusal(self, name: str, thing: dict[str, Any], payload: dict[str, Any]) -> Answer | None:
        expected = payload.get("expectedVersion")
        if expected is not None and expected != thing.get("version", 1):
            text = f"The version for thing {name} does not match the expected version."
            refused: Answer = self._iot.error_response_json("VersionConflictException", text, 409)
            return refused
        if payload.get("removeThingType") and payload.get("thingTypeName"):
            return self._invalid("thingTypeName and removeThingType cannot be given together")
        type_name = payload.get("thingTypeName") or thing.get("thingTypeName")
        if payload.get("removeThingType"):
            type_name = None
        given = payload.get("attributePayload") or {}
        attributes = dict(given.get("attributes") or {}) if given else dict(thing.get("attributes") or {})
        if given.get("merge"):
            attributes = {**(thing.get("attributes") or {}), **attributes}
            attributes = {key: value for key, value in attributes.items() if value != ""}
        refusal = self._refusal(attributes, type_name)
        if refusal is None and payload.get("thingTypeName") not in (None, thing.get("thingTypeName")):
            refusal = self._deprecated(payload["thingTypeName"])
        return refusal

    def create_type(self, name: str, payload: dict[str, Any]) -> Answer:
        searchable = (payload.get("thingTypeProperties") or {}).get("searchableAttributes") or []
        if len(searchable) > _SEARCHABLE_MAX:
            return self._invalid(f"A thing type can have at most {_SEARCHABLE_MAX} searchable attributes")
        answer: Answer = self._create_type(name, payload)
        if answer[0] == 409:
            known = self._iot._thing_types[name]
            text = f"ThingType {name} already exists in account with different properties"
            return self._exists(text, known, "thingType")
        return answer

    def delete_type(self, name: str) -> Answer:
        known = self._iot._thing_types.get(name)
        deprecated_s = known and known["thingTypeMetadata"].get("deprecationDate")
        if deprecated_s and time.time() < deprecated_s + self._wait_s:
            return self._invalid(
                f"Cannot delete thing type : {name}, please wait for {self._wait_s / 60:.0f} minutes after deprecation "
                "and then retry"
            )
        answer: Answer = self._delete_type(name)
        return answer

    def _refusal(self, attributes: Any, type_name: str | None) -> Answer | None:
        wrong = attributes_wrong(attributes, typed=bool(type_name))
        return self._invalid(wrong) if wrong else None

    def _deprecated(self, type_name: str | None) -> Answer | None:
        known = self._iot._thing_types.get(type_name) if type_name else None
        if known is not None and known["thingTypeMetadata"].get("deprecated"):
            return self._invalid(f"Can not associate things to deprecated thing type: {type_name}")
        return None

    def _invalid(self, text: str) -> Answer:
        refused: Answer = self._iot.error_response_json("InvalidRequestException", text, 400)
        return refused

    def _exists(self, text: str, known: dict[str, Any], kind: str) -> Answer:
        extra = {"resourceId": known[f"{kind}Id"], "resourceArn": known[f"{kind}Arn"]}
        refused: Answer = self._iot.error_response_json("ResourceAlreadyExistsException", text, 409, extra=extra)
        return refused


def install(iot: Any, thing_type_wait_s: float) -> None:
    """Put the checks before the functions of MiniStack's module `services.iot`."""
    for pattern in ("_NAME_RE", "_RULE_NAME_RE", "_JOB_ID_RE", "_PROVISIONING_TEMPLATE_NAME_RE"):
        setattr(iot, pattern, re.compile(getattr(iot, pattern).pattern[:-1] + r"\Z"))  # `$` lets a newline through
    rules = RegistryRules(iot, thing_type_wait_s)
    iot._create_thing, iot._update_thing = rules.create_thing, rules.update_thing
    iot._create_thing_type, iot._delete_thing_type = rules.create_type, rules.delete_type
