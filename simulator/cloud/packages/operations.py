"""The operations of the Software Package Catalog: parameters in, answer out.

Rules: one method per operation, named as the operation. Tags are a map here, unlike everywhere else in AWS IoT; they
are kept where the others are.
"""

import re
from collections.abc import Mapping
from typing import Any

from simulator.cloud.once import Once
from simulator.cloud.packages.catalog import PAGE_MAX, Catalog, ConflictError, InvalidError, Package, Version, page
from simulator.cloud.service import Request
from simulator.cloud.tags import Tags


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

    def __init__(self, catalog: Catalog, tags: Tags) -> None:
        self._catalog = catalog
        self._tags = tags
        self._once = Once(ConflictError)
        tags.know("package", catalog.exists, "Package or package version {arn} does not exist")

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the package or the version."""
        return self._catalog.arn(**in_path)

    async def answer(self, request: Request) -> Mapping[str, Any]:
        """Do one operation."""
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        return self._once(request.operation, request.parameters, lambda p: handler(p, request.now_ms))

    # -- packages ---

    def _create_package(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        _check_tags(p.get("tags"))
        package = self._catalog.create_package(p["packageName"], now_ms, p.get("description"))
        self._tags.created(package.arn, p.get("tags"))
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
        self._tags.gone(self._catalog.arn(p["packageName"]))

    # -- versions ---

    def _create_package_version(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        _check_tags(p.get("tags"))
        version = self._catalog.create_version(
            p["packageName"],
            p["versionName"],
            now_ms,
            description=p.get("description"),
            attributes=p.get("attributes"),
            artifact=p.get("artifact"),
            recipe=p.get("recipe"),
        )
        self._tags.created(version.arn, p.get("tags"))
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
            "sbom": version.sbom,
            "sbomValidationStatus": version.sbom_status,
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
        self._tags.gone(self._catalog.arn(p["packageName"], p["versionName"]))

    # -- configuration ---

    def _get_package_configuration(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        config = {"enabled": self._catalog.update_by_jobs, "roleArn": self._catalog.update_role_arn}
        return {"versionUpdateByJobsConfig": _without_none(config)}

    def _update_package_configuration(self, p: dict[str, Any], now_ms: int) -> None:
        config = p.get("versionUpdateByJobsConfig", {})
        self._catalog.configure(enabled=config.get("enabled"), role_arn=config.get("roleArn"))


def _check_tags(tags: Mapping[str, str] | None) -> None:
    for key in tags or {}:
        if key.lower().startswith("aws:"):
            raise InvalidError(f'Tags cannot begin with "aws:", offending tag: {key}')


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
