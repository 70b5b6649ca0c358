"""The operations of the Software Package Catalog: parameters in, answer out.

Rules: one method per operation, named as the operation. A repeated `clientToken` with the same parameters
gets the first answer again; with other parameters it is a conflict.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from simulator.cloud.catalog import PAGE_MAX, Catalog, ConflictError, Package, Version, page
from simulator.cloud.service import Request

_TOKENS_MAX = 1000


class Packages:
    """Answers requests for a catalog."""

    operations = frozenset(
        {
            "CreatePackage",
            "CreatePackageVersion",
            "DeletePackage",
            "DeletePackageVersion",
            "GetPackage",
            "GetPackageConfiguration",
            "GetPackageVersion",
            "ListPackageVersions",
            "ListPackages",
            "UpdatePackage",
            "UpdatePackageConfiguration",
            "UpdatePackageVersion",
        }
    )
    invalid = "ValidationException"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._answered: OrderedDict[str, tuple[str, dict[str, Any], dict[str, Any]]] = OrderedDict()

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the package or the version."""
        return self._catalog.arn(**in_path)

    async def answer(self, request: Request) -> Mapping[str, Any]:
        """Do one operation."""
        return self._once(request.operation, dict(request.parameters), request.now_ms)

    def _once(self, operation: str, parameters: dict[str, Any], now_ms: int) -> dict[str, Any]:
        token = parameters.pop("clientToken", None)
        if token is not None and token in self._answered:
            before, same, result = self._answered[token]
            if (before, same) != (operation, parameters):
                raise ConflictError(f"clientToken {token} was used for another request ({before})")
            return result
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower())
        result = handler(parameters, now_ms) or {}
        if token is not None:
            self._answered[token] = (operation, parameters, result)
            if len(self._answered) > _TOKENS_MAX:
                self._answered.popitem(last=False)
        return dict(result)

    # -- packages ---

    def _create_package(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        package = self._catalog.create_package(p["packageName"], now_ms, p.get("description"))
        return {"packageName": package.name, "packageArn": package.arn, "description": package.description}

    def _get_package(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        package = self._catalog.package(p["packageName"])
        return {**_package_summary(package), "packageArn": package.arn, "description": package.description}

    def _list_packages(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        packages = self._catalog.packages()
        part, token = page([x.name for x in packages], p.get("nextToken"), p.get("maxResults", PAGE_MAX))
        return {
            "packageSummaries": [_without_none(_package_summary(x)) for x in packages[part]],
            "nextToken": token,
        }

    def _update_package(self, p: dict[str, Any], now_ms: int) -> None:
        self._catalog.update_package(
            p["packageName"],
            now_ms,
            description=p.get("description"),
            default_version=p.get("defaultVersionName"),
            unset_default=p.get("unsetDefaultVersion", False),
        )

    def _delete_package(self, p: dict[str, Any], now_ms: int) -> None:
        self._catalog.delete_package(p["packageName"])

    # -- versions ---

    def _create_package_version(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        version = self._catalog.create_version(
            p["packageName"],
            p["versionName"],
            now_ms,
            description=p.get("description"),
            attributes=p.get("attributes"),
            artifact=p.get("artifact"),
            recipe=p.get("recipe"),
        )
        return {
            "packageVersionArn": version.arn,
            "packageName": p["packageName"],
            "versionName": version.name,
            "description": version.description,
            "attributes": version.attributes,
            "status": version.status,
        }

    def _get_package_version(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        version = self._catalog.version(p["packageName"], p["versionName"])
        return {
            **_version_summary(p["packageName"], version),
            "packageVersionArn": version.arn,
            "description": version.description,
            "attributes": version.attributes,
            "artifact": version.artifact,
            "recipe": version.recipe,
        }

    def _list_package_versions(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        versions = self._catalog.versions(p["packageName"], p.get("status"))
        part, token = page([x.name for x in versions], p.get("nextToken"), p.get("maxResults", PAGE_MAX))
        summaries = [_version_summary(p["packageName"], version) for version in versions[part]]
        return {"packageVersionSummaries": summaries, "nextToken": token}

    def _update_package_version(self, p: dict[str, Any], now_ms: int) -> None:
        self._catalog.update_version(
            p["packageName"],
            p["versionName"],
            now_ms,
            action=p.get("action"),
            description=p.get("description"),
            attributes=p.get("attributes"),
            artifact=p.get("artifact"),
            recipe=p.get("recipe"),
        )

    def _delete_package_version(self, p: dict[str, Any], now_ms: int) -> None:
        self._catalog.delete_version(p["packageName"], p["versionName"])

    # -- configuration ---

    def _get_package_configuration(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        config = {"enabled": self._catalog.update_by_jobs, "roleArn": self._catalog.update_role_arn}
        return {"versionUpdateByJobsConfig": _without_none(config)}

    def _update_package_configuration(self, p: dict[str, Any], now_ms: int) -> None:
        config = p.get("versionUpdateByJobsConfig", {})
        self._catalog.configure(enabled=config.get("enabled"), role_arn=config.get("roleArn"))


def _package_summary(package: Package) -> dict[str, Any]:
    return {
        "packageName": package.name,
        "defaultVersionName": package.default_version,
        "creationDate": package.created_ms / 1000,
        "lastModifiedDate": package.modified_ms / 1000,
    }


def _version_summary(package_name: str, version: Version) -> dict[str, Any]:
    return {
        "packageName": package_name,
        "versionName": version.name,
        "status": version.status,
        "creationDate": version.created_ms / 1000,
        "lastModifiedDate": version.modified_ms / 1000,
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
