"""The Software Package Catalog: packages, their versions, and the configuration; state and rules, no HTTP.

Rules: time comes in as `now_ms`. A version goes DRAFT → PUBLISHED ⇄ DEPRECATED; its attributes and artifact
can be changed in DRAFT only. A default version is never a draft. Values arrive checked against the service
model (`rest_json`), so only what the model cannot say is checked here. Where the model lists neither
ConflictException nor ResourceNotFoundException for an operation, the answer is ValidationException.
https://docs.aws.amazon.com/iot/latest/developerguide/software-package-catalog.html
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from simulator.cloud.packages import sbom as bills
from simulator.cloud.service import ServiceError

PACKAGES_MAX = 100
VERSIONS_MAX = 10_000
ATTRIBUTES_BYTES_MAX = 3 * 1024
PAGE_MAX = 100

DRAFT, PUBLISHED, DEPRECATED = "DRAFT", "PUBLISHED", "DEPRECATED"


class CatalogError(ServiceError):
    """An answer of the catalog."""


class ConflictError(CatalogError):
    code, status = "ConflictException", 409


class InvalidError(CatalogError):
    code, status = "ValidationException", 400


class NotFoundError(CatalogError):
    code, status = "ResourceNotFoundException", 404


class QuotaExceededError(CatalogError):
    code, status = "ServiceQuotaExceededException", 402


@dataclass(slots=True)
class Version:
    """One version of a package."""

    name: str
    arn: str
    created_ms: int
    modified_ms: int
    status: str = DRAFT
    description: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    artifact: dict[str, Any] | None = None
    recipe: str | None = None
    sbom: dict[str, Any] | None = None
    sbom_status: str | None = None
    sbom_verdicts: list[bills.Verdict] = field(default_factory=list)


@dataclass(slots=True)
class Package:
    """A named piece of software."""

    name: str
    arn: str
    created_ms: int
    modified_ms: int
    description: str | None = None
    default_version: str | None = None
    versions: dict[str, Version] = field(default_factory=dict)


class Catalog:
    """All packages of one account in one region."""

    def __init__(self, region: str, account_id: str) -> None:
        self._arn = f"arn:aws:iot:{region}:{account_id}:package/"
        self._packages: dict[str, Package] = {}
        self.update_by_jobs = False
        self.update_role_arn: str | None = None

    def arn(self, packageName: str = "", versionName: str = "") -> str:  # noqa: N803 - as in the URIs
        """What a policy calls a package or a version, whether it exists or not; `*` for all of them."""
        if not packageName:
            return "*"
        return f"{self._arn}{packageName}" + (f"/version/{versionName}" if versionName else "")

    def exists(self, name: str) -> bool:
        """Whether there is what an ARN calls `name`: a package, or `package/version/version`."""
        package, separator, version = name.partition("/version/")
        known = self._packages.get(package)
        return known is not None and (not separator or version in known.versions)

    # -- packages ---

    def create_package(self, name: str, now_ms: int, description: str | None = None) -> Package:
        if name in self._packages:
            raise ConflictError(f"Package already exists: {name}")
        if len(self._packages) >= PACKAGES_MAX:
            raise QuotaExceededError(f"The limit of {PACKAGES_MAX} packages is reached")
        package = Package(name, self._arn + name, now_ms, now_ms, description)
        self._packages[name] = package
        return package

    def package(self, name: str) -> Package:
        try:
            return self._packages[name]
        except KeyError:
            raise NotFoundError(f"Package not found: {name}") from None

    def packages(self) -> list[Package]:
        return [self._packages[name] for name in sorted(self._packages)]

    def update_package(
        self,
        name: str,
        now_ms: int,
        *,
        description: str | None = None,
        default_version: str | None = None,
        unset_default: bool = False,
    ) -> None:
        package = self.package(name)
        if default_version is not None and unset_default:
            raise InvalidError("defaultVersionName and unsetDefaultVersion cannot be used together")
        if default_version is not None:
            if self.version(name, default_version).status == DRAFT:
                raise ConflictError(f"A draft cannot be the default version: {name} {default_version}")
            package.default_version = default_version
        if unset_default:
            package.default_version = None
        if description is not None:
            package.description = description
        package.modified_ms = now_ms

    def delete_package(self, name: str) -> None:
        """Unknown is as good as deleted: the operation has no ResourceNotFoundException."""
        package = self._packages.get(name)
        if package is not None and package.versions:
            raise InvalidError(f"Package {name} still has {len(package.versions)} version(s); delete them first")
        self._packages.pop(name, None)

    # -- versions ---

    def create_version(
        self,
        package_name: str,
        name: str,
        now_ms: int,
        *,
        description: str | None = None,
        attributes: dict[str, str] | None = None,
        artifact: dict[str, Any] | None = None,
        recipe: str | None = None,
    ) -> Version:
        package = self._packages.get(package_name)
        if package is None:
            raise InvalidError(f"Package not found: {package_name}")
        if name in package.versions:
            raise ConflictError(f"Package version already exists: {package_name} {name}")
        if sum(len(one.versions) for one in self._packages.values()) >= VERSIONS_MAX:
            raise QuotaExceededError(f"The limit of {VERSIONS_MAX} package versions is reached")
        _check_attributes(attributes)
        version = Version(
            name,
            f"{package.arn}/version/{name}",
            now_ms,
            now_ms,
            description=description,
            attributes=dict(attributes or {}),
            artifact=artifact,
            recipe=recipe,
        )
        package.versions[name] = version
        return version

    def version(self, package_name: str, name: str) -> Version:
        try:
            return self.package(package_name).versions[name]
        except KeyError:
            raise NotFoundError(f"Package version not found: {package_name} {name}") from None

    def versions(self, package_name: str, status: str | None = None) -> list[Version]:
        package = self._packages.get(package_name)
        if package is None:
            raise InvalidError(f"Package not found: {package_name}")
        return [v for _, v in sorted(package.versions.items()) if status is None or v.status == status]

    def update_version(
        self,
        package_name: str,
        name: str,
        now_ms: int,
        *,
        action: str | None = None,
        description: str | None = None,
        attributes: dict[str, str] | None = None,
        artifact: dict[str, Any] | None = None,
        recipe: str | None = None,
    ) -> None:
        version = self.version(package_name, name)
        label = f"{package_name} {name}"
        if version.status != DRAFT and (attributes is not None or artifact is not None):
            raise ConflictError(f"Attributes and artifact of {label} are fixed: it is {version.status}")
        if action == "PUBLISH" and version.status == PUBLISHED:
            raise ConflictError(f"{label} is already PUBLISHED")
        if action == "DEPRECATE" and version.status != PUBLISHED:
            raise ConflictError(f"Only a PUBLISHED version can be deprecated, {label} is {version.status}")
        _check_attributes(attributes)
        if attributes is not None:
            version.attributes = dict(attributes)
        if artifact is not None:
            version.artifact = artifact
        if description is not None:
            version.description = description
        if recipe is not None:
            version.recipe = recipe
        if action is not None:
            version.status = PUBLISHED if action == "PUBLISH" else DEPRECATED
        version.modified_ms = now_ms

    def delete_version(self, package_name: str, name: str) -> None:
        package = self._packages.get(package_name)
        if package is None:
            return
        if package.default_version == name:
            raise InvalidError(f"{name} is the default version of {package_name}; unset it first")
        package.versions.pop(name, None)

    # -- bills of materials of versions ---

    def associate_sbom(self, package_name: str, name: str, now_ms: int, sbom: dict[str, Any]) -> Version:
        """The bill takes the place of another; it is in progress until `sbom_validated`."""
        version = self.version(package_name, name)
        if version.sbom_status == bills.IN_PROGRESS:
            raise ConflictError(f"The SBOM of {package_name} {name} is being validated; wait for its result")
        version.sbom, version.sbom_status, version.sbom_verdicts = sbom, bills.IN_PROGRESS, []
        version.modified_ms = now_ms
        return version

    def sbom_validated(self, version: Version, sbom: dict[str, Any], verdicts: list[bills.Verdict]) -> None:
        """What was found about a bill; nothing happens if it is no longer that version's."""
        if version.sbom is sbom:
            version.sbom_verdicts = sorted(verdicts, key=lambda verdict: verdict.file)
            version.sbom_status = bills.FAILED if any(one.error for one in verdicts) else bills.SUCCEEDED

    def disassociate_sbom(self, package_name: str, name: str, now_ms: int) -> None:
        version = self.version(package_name, name)
        if version.sbom is None:
            raise NotFoundError(f"Package version {package_name} {name} has no SBOM")
        version.sbom, version.sbom_status, version.sbom_verdicts = None, None, []
        version.modified_ms = now_ms

    # -- configuration ---

    def configure(self, *, enabled: bool | None = None, role_arn: str | None = None) -> None:
        role = role_arn if role_arn is not None else self.update_role_arn
        if enabled and role is None:
            raise InvalidError("roleArn is required to enable versionUpdateByJobsConfig")
        self.update_role_arn = role
        if enabled is not None:
            self.update_by_jobs = enabled

    # -- what a job names ---

    def names_in(self, arn: str) -> tuple[str, str]:
        """The package and version that an ARN of this account and region names; raises InvalidError."""
        package, separator, version = arn.removeprefix(self._arn).partition("/version/")
        if not arn.startswith(self._arn) or not separator or not package or not version or "/" in version:
            raise InvalidError(f"Not the ARN of a package version of this account and region: {arn}")
        return package, version


def page(
    names: list[str], token: str | None, size: int = PAGE_MAX, *, after: str = "fleetsim:"
) -> tuple[slice, str | None]:
    """Which slice of the sorted names a request gets, and the token for the rest; raises InvalidError."""
    start = 0
    if token is not None:
        try:
            text = urlsafe_b64decode(token.encode()).decode()
        except ValueError:
            text = ""
        if not text.startswith(after):
            raise InvalidError("The nextToken is not valid")
        last = text.removeprefix(after)
        start = sum(1 for name in names if name <= last)
    end = min(start + size, len(names))
    following = urlsafe_b64encode(f"{after}{names[end - 1]}".encode()).decode() if end < len(names) else None
    return slice(start, end), following


def _check_attributes(attributes: dict[str, str] | None) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in (attributes or {}).items())
    if size > ATTRIBUTES_BYTES_MAX:
        raise InvalidError(f"Attributes take {size} bytes; the limit is {ATTRIBUTES_BYTES_MAX}")
