"""One thing registered by a plan: the thing, its certificate, its policies, and what ties them together.

Rules: all of it is done by the operations that anyone could call, in an order in which a refusal of the plan leaves
nothing behind that was not there. `allows` says for whom it is done.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from simulator.cloud.emulator import Emulator
from simulator.cloud.registration.template import Changes, Plan, Resource, TemplateError, changes, policy_of
from simulator.cloud.service import ServiceError

_NAME = re.compile(r"[\w+=,.@:-]{1,128}", re.ASCII)

Json = dict[str, Any]
Allows = Callable[[str, str], bool]  # action, resource


class _ConflictError(ServiceError):
    code, status = "ConflictingResourceUpdateException", 409


class _RegistrationError(ServiceError):
    """A resource of the template cannot be made."""

    code, status = "ResourceRegistrationFailureException", 400


class Registrar:
    """Registers things."""

    def __init__(self, emulator: Emulator, arn_prefix: str) -> None:
        self._emulator = emulator
        self._arn = arn_prefix

    async def register(self, plan: Plan, allows: Allows) -> Json:
        """Make what a plan says; the PEM of the certificate and the ARNs by the names in the template."""
        call = _Calls(self._emulator, allows)
        change = await self._change(call, plan.thing) if plan.thing else None
        for policy in plan.policies:
            name, document = policy_of(policy.properties)
            if document is None and await call.find(_path("policies", name)) is None:
                raise _RegistrationError(f"Policy {name} not found")
        arns: dict[str, str] = {}
        pem: str | None = None
        if plan.thing and change:
            arns[plan.thing.id] = await self._thing(call, plan.thing.properties, change)
        if plan.certificate:
            certificate_arn, pem = await self._certificate(call, plan.certificate)
            arns[plan.certificate.id] = certificate_arn
            for policy in plan.policies:
                arns[policy.id] = await self._policy(call, policy.properties, certificate_arn)
            if plan.thing:
                path = _path("things", plan.thing.properties["ThingName"])
                attached = {"principal": certificate_arn}
                await call("iot:AttachThingPrincipal", arns[plan.thing.id], "PUT", f"{path}/principals", query=attached)
        return {"certificatePem": pem, "resourceArns": arns}

    async def _change(self, call: "_Calls", thing: Resource) -> Changes:
        """What becomes of the thing; nothing was changed when this raises."""
        path = _path("things", thing.properties["ThingName"])
        known = await call.find(path)
        if known is None:
            change = Changes(None, list(thing.properties.get("ThingGroups", [])), [])
        else:
            found = await call.find(f"{path}/thing-groups") or {"thingGroups": []}
            groups = [group["groupName"] for group in found["thingGroups"]]
            try:
                change = changes(thing, known["attributes"], known.get("thingTypeName"), groups)
            except TemplateError as problem:
                raise _ConflictError(str(problem)) from None
        for group in change.join:
            if await call.find(_path("thing-groups", group)) is None:
                raise _RegistrationError(f"ThingGroup {group} not found")
        return change

    async def _thing(self, call: "_Calls", properties: Json, change: Changes) -> str:
        name = properties["ThingName"]
        path, arn = _path("things", name), f"{self._arn}thing/{name}"
        if change.update is None:
            body: Json = {"attributePayload": {"attributes": properties.get("AttributePayload", {})}}
            if "ThingTypeName" in properties:
                body["thingTypeName"] = properties["ThingTypeName"]
            await call("iot:CreateThing", arn, "POST", path, body)
        elif change.update:
            await call("iot:UpdateThing", arn, "PATCH", path, change.update)
        for operation, groups in (("addThingToThingGroup", change.join), ("removeThingFromThingGroup", change.leave)):
            for group in groups:
                action = f"iot:{operation[0].upper()}{operation[1:]}"
                body = {"thingGroupName": group, "thingName": name}
                await call(action, f"{self._arn}thinggroup/{group}", "PUT", f"/thing-groups/{operation}", body)
        return arn

    async def _certificate(self, call: "_Calls", certificate: Resource) -> tuple[str, str | None]:
        """ARN and PEM of the certificate, active unless the template says otherwise."""
        properties = certificate.properties
        status = str(properties.get("Status", "ACTIVE")).upper()
        if "CertificateId" in properties:
            path = _path("certificates", properties["CertificateId"])
            known = await call.find(path)
            if known is None:
                raise _RegistrationError(f"Certificate {properties['CertificateId']} not found")
            found = known["certificateDescription"]
            if found["status"] != status and certificate.overrides.get("Status") != "DO_NOTHING":
                arn = found["certificateArn"]
                await call("iot:UpdateCertificate", arn, "PUT", path, query={"newStatus": status})
            return str(found["certificateArn"]), found["certificatePem"]
        if "CertificateSigningRequest" in properties:
            made = await call(
                "iot:CreateCertificateFromCsr", "*", "POST", "/certificates",
                {"certificateSigningRequest": properties["CertificateSigningRequest"]},
                query={"setAsActive": "true" if status == "ACTIVE" else "false"},
            )  # fmt: skip
            return str(made["certificateArn"]), made["certificatePem"]
        body = {"certificatePem": properties["CertificatePem"], "status": status}
        if "CACertificatePem" in properties:
            body["caCertificatePem"] = properties["CACertificatePem"]
        path = "/certificate/register" if "CACertificatePem" in properties else "/certificate/register-no-ca"
        made = await call("iot:RegisterCertificate", "*", "POST", path, body)
        return str(made["certificateArn"]), properties["CertificatePem"]

    async def _policy(self, call: "_Calls", properties: Json, certificate_arn: str) -> str:
        name, document = policy_of(properties)
        arn, path = f"{self._arn}policy/{name}", _path("policies", name)
        if document is not None and await call.find(path) is None:
            await call("iot:CreatePolicy", arn, "POST", path, {"policyDocument": document})
        attach = _path("target-policies", name)
        await call("iot:AttachPolicy", certificate_arn, "PUT", attach, {"target": certificate_arn})
        return arn


class _Calls:
    """The operations of the registry, for whom they are allowed."""

    def __init__(self, emulator: Emulator, allows: Allows) -> None:
        self._emulator = emulator
        self._allows = allows

    async def __call__(
        self,
        action: str,
        resource: str,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """What an operation answers; a refusal is the end of the registration."""
        if not self._allows(action, resource):
            raise _RegistrationError(f"The role may not {action} on {resource}")
        status, document = await self._ask(method, path, body, query)
        if status >= 400:
            raise _RegistrationError(str(document.get("message", document)))
        return document

    async def find(self, path: str) -> Json | None:
        """What a resource says of itself; None: there is none."""
        status, document = await self._ask("GET", path, None, None)
        return document if status == 200 else None

    async def _ask(
        self, method: str, path: str, body: Json | None, query: Mapping[str, str] | None
    ) -> tuple[int, Json]:
        status, _, answer = await self._emulator.unjudged(
            "iot",
            method,
            path,
            json.dumps(body or {}).encode(),
            {name: [value] for name, value in (query or {}).items()},
        )
        return status, json.loads(answer or b"{}")


def _path(kind: str, name: Any) -> str:
    """The path of a resource. A name that is none must not become another path."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _RegistrationError(f"Not a name: {name}")
    return f"/{kind}/{name}"
