"""Provisioning templates, as RegisterThing and bulk registration use them; pure.

    {"Parameters": {"Name": {"Type": "String", "Default": …}},
     "Resources": {"thing": {"Type": "AWS::IoT::Thing", "Properties": {…}, "OverrideSettings": {…}},
                   "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateSigningRequest": …}},
                   "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": …}}}}

Rules: everything wrong is a TemplateError for the caller to read. Values are filled in by {"Ref": "Name"} and by the
functions Join, Select, Split, FindInMap and Sub. A thing that exists stays as it is, unless OverrideSettings says so.
https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

THING, CERTIFICATE, POLICY = "AWS::IoT::Thing", "AWS::IoT::Certificate", "AWS::IoT::Policy"
_CERTIFICATE_FORMS = (
    {"CertificateSigningRequest"},
    {"CertificateId"},
    {"CertificatePem", "CACertificatePem"},
    {"CertificatePem"},
)
_NESTING_MAX = 32
_SETTINGS = {
    "AttributePayload": ("DO_NOTHING", "REPLACE", "FAIL", "MERGE"),
    "ThingTypeName": ("DO_NOTHING", "REPLACE", "FAIL"),
    "ThingGroups": ("DO_NOTHING", "REPLACE", "FAIL"),
    "Status": ("DO_NOTHING", "REPLACE", "FAIL"),
}

Json = dict[str, Any]


class TemplateError(Exception):
    """What is wrong with a template, with the parameters, or with both."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a template, filled in."""

    id: str
    kind: str
    properties: Json
    overrides: Json


@dataclass(frozen=True, slots=True)
class Plan:
    """What a template makes of its parameters."""

    thing: Resource | None = None
    certificate: Resource | None = None
    policies: list[Resource] = field(default_factory=list)


class Template:
    """A template that was read."""

    def __init__(self, text: str) -> None:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            raise TemplateError("The template is not valid JSON") from None
        if not isinstance(body, dict) or not isinstance(body.get("Resources"), dict) or not body["Resources"]:
            raise TemplateError("The template has no Resources")
        self._resources: Json = body["Resources"]
        self._mappings: Json = _object(body.get("Mappings", {}), "Mappings")
        parameters = _object(body.get("Parameters", {}), "Parameters")
        self._declared = set(parameters)
        self._defaults = {n: p["Default"] for n, p in parameters.items() if isinstance(p, dict) and "Default" in p}
        kinds = [self._kind(name, resource) for name, resource in self._resources.items()]
        for kind in (THING, CERTIFICATE):
            if kinds.count(kind) > 1:
                raise TemplateError(f"The template has more than one {kind}")
        if POLICY in kinds and CERTIFICATE not in kinds:
            raise TemplateError(f"A {POLICY} needs a {CERTIFICATE} that it is attached to")

    @staticmethod
    def _kind(name: str, resource: Any) -> str:
        kind = resource.get("Type") if isinstance(resource, dict) else None
        if kind not in (THING, CERTIFICATE, POLICY):
            raise TemplateError(f"Resource {name} has the type {kind}; there are {THING}, {CERTIFICATE}, {POLICY}")
        return str(kind)

    def plan(self, parameters: Mapping[str, Any]) -> Plan:
        """The resources for one device."""
        values = {**self._defaults, **parameters}
        if strange := sorted(set(parameters) - self._declared):
            raise TemplateError(f"The template has no parameter {', '.join(strange)}")
        filler = _Filler(values, self._mappings)
        found: dict[str, list[Resource]] = {THING: [], CERTIFICATE: [], POLICY: []}
        for name, resource in self._resources.items():
            properties = _object(filler.fill(resource.get("Properties", {})), f"Properties of {name}")
            overrides = _object(resource.get("OverrideSettings", {}), f"OverrideSettings of {name}")
            for key, setting in overrides.items():
                if setting not in _SETTINGS.get(key, ()):
                    raise TemplateError(f"OverrideSettings of {name}: {key} cannot be {setting}")
            found[resource["Type"]].append(Resource(name, resource["Type"], properties, overrides))
        for certificate in found[CERTIFICATE]:
            given = set(certificate.properties) - {"Status"}
            if given not in _CERTIFICATE_FORMS:
                raise TemplateError(
                    f"{certificate.id} needs a CertificateSigningRequest, a CertificateId, or a CertificatePem"
                )
        for thing in found[THING]:
            if not isinstance(thing.properties.get("ThingName"), str):
                raise TemplateError(f"{thing.id} needs a ThingName")
            _object(thing.properties.get("AttributePayload", {}), f"AttributePayload of {thing.id}")
            if not isinstance(thing.properties.get("ThingGroups", []), list):
                raise TemplateError(f"ThingGroups of {thing.id} must be a list")
        for policy in found[POLICY]:
            if len(policy.properties) != 1 or not set(policy.properties) <= {"PolicyName", "PolicyDocument"}:
                raise TemplateError(f"{policy.id} needs either a PolicyName or a PolicyDocument")
        return Plan(next(iter(found[THING]), None), next(iter(found[CERTIFICATE]), None), found[POLICY])


def policy_of(properties: Mapping[str, Any]) -> tuple[str, str | None]:
    """Name and document of a policy; without a name it is the hash of its document, and made where it is missing."""
    if "PolicyName" in properties:
        return str(properties["PolicyName"]), None
    document = properties["PolicyDocument"]
    text = document if isinstance(document, str) else json.dumps(document)
    return hashlib.sha256(text.encode()).hexdigest(), text


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of a thing. `update` is the request; None: it does not exist yet."""

    update: Json | None
    join: list[str]
    leave: list[str]


def changes(thing: Resource, attributes: Mapping[str, str], thing_type: str | None, groups: list[str]) -> Changes:
    """What a template changes of a thing that has these already; raises TemplateError."""
    update: Json = {}
    join: list[str] = []
    leave: list[str] = []
    wanted = thing.properties

    def conflicting(key: str, have: Any) -> str:
        """The setting for a property that differs, DO_NOTHING for one that does not."""
        if key not in wanted or wanted[key] == have:
            return "DO_NOTHING"
        setting = str(thing.overrides.get(key, "FAIL"))
        if setting == "FAIL":
            raise TemplateError(f"{key} of thing {wanted['ThingName']} is {have}, not {wanted[key]} as in the template")
        return setting

    setting = conflicting("AttributePayload", dict(attributes))
    if setting != "DO_NOTHING":
        payload = wanted["AttributePayload"]
        update["attributePayload"] = {"attributes": {**attributes, **payload} if setting == "MERGE" else payload}
    if conflicting("ThingTypeName", thing_type) == "REPLACE":
        update["thingTypeName"] = wanted["ThingTypeName"]
    same = set(wanted.get("ThingGroups", groups)) == set(groups)
    if not same and conflicting("ThingGroups", groups) == "REPLACE":
        join = [group for group in wanted["ThingGroups"] if group not in groups]
        leave = [group for group in groups if group not in wanted["ThingGroups"]]
    return Changes(update, join, leave)


class _Filler:
    """Puts values in the place of references and functions."""

    def __init__(self, values: Mapping[str, Any], mappings: Json) -> None:
        self._values = values
        self._mappings = mappings

    def fill(self, item: Any, depth: int = 0) -> Any:
        if depth > _NESTING_MAX:
            raise TemplateError(f"The template is nested more than {_NESTING_MAX} deep")
        if isinstance(item, list):
            return [self.fill(inner, depth + 1) for inner in item]
        if not isinstance(item, dict):
            return item
        if len(item) == 1:
            [(name, argument)] = item.items()
            if name == "Ref":
                return self._value(argument)
            if name.startswith("Fn::"):
                return self._call(name, self.fill(argument, depth + 1))
        return {key: self.fill(inner, depth + 1) for key, inner in item.items()}

    def _value(self, name: Any) -> Any:
        if not isinstance(name, str) or self._values.get(name) is None:
            raise TemplateError(f"Cannot resolve reference value: {name}")
        return self._values[name]

    def _call(self, name: str, argument: Any) -> Any:
        match name, argument:
            case "Fn::Join", [str(between), list(parts)]:
                return between.join(map(str, parts))
            case "Fn::Split", [str(between), str(text)] if between:
                return text.split(between)
            case "Fn::Select", [index, list(items)] if str(index).isdigit() and int(index) < len(items):
                return items[int(index)]
            case "Fn::FindInMap", [str(one), str(two), str(three)]:
                try:
                    return self._mappings[one][two][three]
                except (KeyError, TypeError):
                    raise TemplateError(f"Fn::FindInMap: there is no {one}.{two}.{three}") from None
            case "Fn::Sub", str(text):
                return self._substituted(text, {})
            case "Fn::Sub", [str(text), dict(own)]:
                return self._substituted(text, own)
        raise TemplateError(f"The template has an invalid {name}")

    def _substituted(self, text: str, own: Mapping[str, Any]) -> str:
        def one(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            return str(own[name] if name in own else self._value(name))

        return re.sub(r"\$\{([^}]*)\}", one, text)


def _object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise TemplateError(f"{what} must be an object")
    return value
