"""Package placeholders in a job document: what they may name, and what stands in their place.

Rules: `${aws:iot:package:P:version:V:attributes:KEY}` is a string anywhere in a string; the same without `:KEY` is the
whole map, as an entire JSON value; `…:artifact:s3-presigned-url}` (or `artifact-location`) is put in when a device
obtains the document, so here it only gets its names. Empty names stand for the one destination of the job. Everything
that the document names is a destination of the job as well, by the same name: `$default` in both or in neither.
A job keeps what its names meant when it was created: digest 4.3 leaves that moment open, published attributes do not
change, and a default that moves on must not split a fleet within one job.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.cloud.packages.catalog import DRAFT, Catalog, InvalidError, NotFoundError
from simulator.cloud.service import ServiceError

DESTINATIONS_MAX = 25
DEFAULT, UNINSTALL = "$default", "$null"

_PREFIX = "${aws:iot:package:"
_PLACEHOLDER = re.compile(r"\$\{aws:iot:package:(?P<inner>[^}]*)(?P<end>\}?)")
_INNER = re.compile(
    r"(?P<package>[a-zA-Z0-9\-_.]*):version:(?P<version>[a-zA-Z0-9\-_.]*|\$default|\$null):"
    r"(?:attributes(?P<keyed>:(?P<key>[a-zA-Z0-9:_\-]+))?|(?P<artifact>artifact|artifact-location):s3-presigned-url)"
)

Names = tuple[str, str]  # package, version


class RefusedError(ServiceError):
    code, status = "InvalidRequestException", 400


class UnknownError(ServiceError):
    code, status = "ResourceNotFoundException", 404


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a job is about, without `$default` and empty names."""

    document: str  # the attributes are in it, the artifacts are not
    destinations: tuple[str, ...]  # ARNs
    installs: Mapping[str, str | None]  # package → version, None: uninstalled
    artifacts: Mapping[Names, Mapping[str, Any]]  # where the artifacts that the document names lie


def resolve(catalog: Catalog, document: str, arns: Sequence[str]) -> Resolution:
    """Check a job's document and destinations against each other and the catalog; raises ServiceError."""
    if len(arns) > DESTINATIONS_MAX:
        raise RefusedError(f"destinationPackageVersions has {len(arns)} members; the limit is {DESTINATIONS_MAX}")
    named: dict[Names, str] = {}
    for arn in arns:
        names = _names_in(catalog, arn)
        named[names] = _version_of(catalog, *names)
    text, artifacts = _substituted(catalog, document, named)
    return Resolution(
        document=text,
        destinations=tuple(catalog.arn(package, version) for (package, _), version in named.items()),
        installs={p: None if version == UNINSTALL else version for (p, _), version in named.items()},
        artifacts=artifacts,
    )


def has_artifacts(document: str) -> bool:
    """Whether a document has placeholders that need the role of `presignedUrlConfig`."""
    found = (_INNER.fullmatch(one["inner"]) for one in _PLACEHOLDER.finditer(document))
    return any(one and one["artifact"] for one in found)


def with_artifacts(document: str, artifacts: Mapping[Names, Mapping[str, Any]], url: Callable[..., str]) -> str:
    """The document for a device: `url(bucket=…, key=…, version=…)` gives what takes the place of an artifact."""

    def put(one: re.Match[str]) -> str:
        found = _INNER.fullmatch(one["inner"])
        location = artifacts.get((found["package"], found["version"])) if found and found["artifact"] else None
        return one[0] if location is None else url(**location)

    return _PLACEHOLDER.sub(put, document)


def _names_in(catalog: Catalog, arn: str) -> Names:
    try:
        return catalog.names_in(arn)
    except InvalidError as problem:
        raise RefusedError(str(problem)) from None


def _version_of(catalog: Catalog, package_name: str, version: str) -> str:
    """The version that a destination means; it exists, and is no draft."""
    try:
        package = catalog.package(package_name)
        if version == UNINSTALL:
            return version
        if version == DEFAULT:
            if package.default_version is None:
                raise RefusedError(f"Package {package_name} has no default version; set one or name a version")
            return package.default_version
        status = catalog.version(package_name, version).status
    except NotFoundError as problem:
        raise UnknownError(str(problem)) from None
    if status == DRAFT:
        raise RefusedError(f"Package version {package_name} {version} is a {DRAFT}; publish it before making a job")
    return version


def _substituted(catalog: Catalog, text: str, named: Mapping[Names, str]) -> tuple[str, dict[Names, Mapping[str, Any]]]:
    artifacts: dict[Names, Mapping[str, Any]] = {}

    def value_of(one: re.Match[str], whole: bool) -> Any:
        found = _INNER.fullmatch(one["inner"]) if one["end"] else None
        if found is None:
            raise RefusedError(f"Not a placeholder of a package version: {one[0]}")
        package, version = _destination_of(found["package"], found["version"], named, one[0])
        known = catalog.version(package, version)
        if found["artifact"]:
            location = (known.artifact or {}).get("s3Location") or {}
            if not location.get("bucket") or not location.get("key"):
                raise RefusedError(f"Package version {package} {version} has no artifact for {one[0]}")
            artifacts[package, version] = {part: location.get(part) for part in ("bucket", "key", "version")}
            return f"{_PREFIX}{package}:version:{version}:{found['artifact']}:s3-presigned-url}}"
        if found["keyed"]:
            if found["key"] not in known.attributes:
                raise RefusedError(f"Package version {package} {version} has no attribute {found['key']}")
            return known.attributes[found["key"]]
        if not whole:
            raise RefusedError(f"All attributes at once can only be an entire JSON value: {one[0]}")
        return dict(known.attributes)

    if "aws:iot:package:" not in text:
        return text, artifacts
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text, artifacts  # no document at all, which MiniStack says better
    return json.dumps(_rewritten(document, value_of), ensure_ascii=False), artifacts


def _destination_of(package: str, version: str, named: Mapping[Names, str], placeholder: str) -> Names:
    """Package and version that a placeholder means."""
    if not package and not version:
        if len(named) != 1:
            raise RefusedError(f"{placeholder} needs a job with one destinationPackageVersion, this has {len(named)}")
        ((package, version),) = named
    elif not package or not version:
        raise RefusedError(f"Package and version are both named or both left empty: {placeholder}")
    if version == UNINSTALL:
        raise RefusedError(f"{UNINSTALL} has no attributes and no artifact: {placeholder}")
    if (package, version) in named:
        return package, named[package, version]
    others = [other for name, other in named if name == package]
    if DEFAULT in (version, *others) and others:
        raise RefusedError(
            f"The document says {version} for package {package}, destinationPackageVersions says {', '.join(others)};"
            f" both must say {DEFAULT}, or neither"
        )
    raise RefusedError(f"The document names package version {package} {version}: not in destinationPackageVersions")


def _rewritten(value: Any, value_of: Callable[[re.Match[str], bool], Any]) -> Any:
    """A JSON value with something else in the place of each placeholder."""
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        return value_of(whole, True) if whole else _PLACEHOLDER.sub(lambda one: str(value_of(one, False)), value)
    if isinstance(value, list):
        return [_rewritten(item, value_of) for item in value]
    if isinstance(value, dict):
        return {
            _PLACEHOLDER.sub(lambda one: str(value_of(one, False)), key): _rewritten(item, value_of)
            for key, item in value.items()
        }
    return value
