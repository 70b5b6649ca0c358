"""Software bills of materials: whether a zip archive holds SPDX or CycloneDX documents in JSON.

Rules: each file of the archive is judged by itself, as ListSbomValidationResults shows it; what cannot be read as an
archive is judged as one file of its own name. No more of a file is unpacked than the limit, whatever it claims to be.
AWS names the two errors and not its limits: these are ours.
"""

import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

ARCHIVE_BYTES_MAX = 10 * 1024 * 1024
FILE_BYTES_MAX = 5 * 1024 * 1024
FILES_MAX = 100

IN_PROGRESS, SUCCEEDED, FAILED = "IN_PROGRESS", "SUCCEEDED", "FAILED"
INCOMPATIBLE_FORMAT, FILE_SIZE_LIMIT_EXCEEDED = "INCOMPATIBLE_FORMAT", "FILE_SIZE_LIMIT_EXCEEDED"

_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one file."""

    file: str
    error: str | None = None
    message: str | None = None


def verdicts(name: str, archive: bytes) -> list[Verdict]:
    """One for each file in the archive, or one for the archive itself."""
    if len(archive) > ARCHIVE_BYTES_MAX:
        return [_too_long(name, len(archive), ARCHIVE_BYTES_MAX)]
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            files = [entry for entry in opened.infolist() if not entry.is_dir()]
            if not files:
                return [Verdict(name, INCOMPATIBLE_FORMAT, "The archive is empty")]
            if len(files) > FILES_MAX:
                message = f"The archive has {len(files)} files; the limit is {FILES_MAX}"
                return [Verdict(name, FILE_SIZE_LIMIT_EXCEEDED, message)]
            return [_verdict(opened, entry) for entry in files]
    except _UNREADABLE as problem:
        return [Verdict(name, INCOMPATIBLE_FORMAT, f"Not a zip archive: {problem}")]


def _verdict(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Verdict:
    try:
        with archive.open(entry) as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except _UNREADABLE as problem:
        return Verdict(entry.filename, INCOMPATIBLE_FORMAT, f"The file cannot be unpacked: {problem}")
    if len(content) > FILE_BYTES_MAX:
        return _too_long(entry.filename, entry.file_size, FILE_BYTES_MAX)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return Verdict(entry.filename, INCOMPATIBLE_FORMAT, "The file is not JSON")
    wrong = _problem(document)
    return Verdict(entry.filename, INCOMPATIBLE_FORMAT, wrong) if wrong else Verdict(entry.filename)


def _too_long(name: str, size: int, limit: int) -> Verdict:
    return Verdict(name, FILE_SIZE_LIMIT_EXCEEDED, f"{size} bytes; the limit is {limit}")


def _problem(document: Any) -> str | None:
    """Why a JSON document is neither SPDX nor CycloneDX, by what both formats demand at the top."""
    if isinstance(document, dict) and "bomFormat" in document:
        return _cyclonedx_problem(document)
    if isinstance(document, dict) and "spdxVersion" in document:
        return _spdx_problem(document)
    return "Neither SPDX (spdxVersion) nor CycloneDX (bomFormat)"


def _spdx_problem(document: dict[str, Any]) -> str | None:
    if not re.fullmatch(r"SPDX-2\.\d+", str(document["spdxVersion"])):
        return f"spdxVersion {document['spdxVersion']!r} is not SPDX-2.x"
    for key in ("SPDXID", "dataLicense", "documentNamespace", "name"):
        if not isinstance(document.get(key), str) or not document[key]:
            return f"SPDX: {key} is missing"
    creation = document.get("creationInfo")
    if not isinstance(creation, dict) or not creation.get("created") or not creation.get("creators"):
        return "SPDX: creationInfo needs created and creators"
    return _list_problem("SPDX", document, "packages", ("SPDXID", "name"))


def _cyclonedx_problem(document: dict[str, Any]) -> str | None:
    if document["bomFormat"] != "CycloneDX":
        return f"bomFormat {document['bomFormat']!r} is not CycloneDX"
    if not re.fullmatch(r"1\.\d+", str(document.get("specVersion"))):
        return f"CycloneDX: specVersion {document.get('specVersion')!r} is not 1.x"
    return _list_problem("CycloneDX", document, "components", ("name", "type"))


def _list_problem(kind: str, document: dict[str, Any], key: str, needed: tuple[str, ...]) -> str | None:
    items = document.get(key, [])
    if not isinstance(items, list):
        return f"{kind}: {key} is not a list"
    for index, item in enumerate(items):
        missing = [name for name in needed if not isinstance(item, dict) or not isinstance(item.get(name), str)]
        if missing:
            return f"{kind}: {key}[{index}] has no {' and no '.join(missing)}"
    return None
