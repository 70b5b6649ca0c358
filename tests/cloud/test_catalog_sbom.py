"""Bills of materials: the verdicts, and the operations on them at a real cloud."""

import io
import json
import time
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.packages import sbom

SPDX = {
    "spdxVersion": "SPDX-2.3",
    "SPDXID": "SPDXRef-DOCUMENT",
    "dataLicense": "CC0-1.0",
    "name": "firmware",
    "documentNamespace": "https://example.com/spdx/firmware",
    "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: fleetsim"]},
    "packages": [{"SPDXID": "SPDXRef-1", "name": "zlib", "downloadLocation": "NOASSERTION"}],
}
CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": "zlib"}]}


def archive(**files: Any) -> bytes:
    """A zip archive of JSON documents, or of bytes as they are."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(f"{name}.json", content if isinstance(content, bytes) else json.dumps(content))
    return made.getvalue()


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (SPDX, None),
        (CYCLONEDX, None),
        ({"bomFormat": "CycloneDX", "specVersion": "1.4"}, None),
        (without(SPDX, "packages"), None),
        ({}, "Neither"),
        ([], "Neither"),
        (b"\xff not JSON", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ({**SPDX, "spdxVersion": "SPDX-1.2"}, "not SPDX-2"),
        (without(SPDX, "documentNamespace"), "documentNamespace"),
        (without(SPDX, "creationInfo"), "creationInfo"),
        ({**SPDX, "packages": [{"name": "x"}]}, "packages[0] has no SPDXID"),
        ({**SPDX, "packages": "x"}, "not a list"),
        ({**CYCLONEDX, "bomFormat": "x"}, "not CycloneDX"),
        ({**CYCLONEDX, "specVersion": 2}, "not 1.x"),
        ({**CYCLONEDX, "components": [{}]}, "no name and no type"),
    ],
)
def test_what_a_bill_of_materials_is(document: Any, words: str | None) -> None:
    (verdict,) = sbom.verdicts("a.zip", archive(bill=document))
    assert verdict.file == "bill.json"
    assert verdict.error == (None if words is None else "INCOMPATIBLE_FORMAT")
    assert (words or "") in (verdict.message or "")


def test_each_file_has_its_verdict_and_none_is_unpacked_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "FILE_BYTES_MAX", 2000)
    found = sbom.verdicts("a.zip", archive(good=SPDX, big=b" " * 1_000_000, bad={}))
    assert [(one.file, one.error) for one in found] == [
        ("good.json", None),
        ("big.json", "FILE_SIZE_LIMIT_EXCEEDED"),
        ("bad.json", "INCOMPATIBLE_FORMAT"),
    ]


@pytest.mark.parametrize(
    ("what", "content"), [("no archive", b"PK\x03\x04 no"), ("empty", archive()), ("nothing", b"")]
)
def test_what_is_no_archive_is_judged_as_one_file(what: str, content: bytes) -> None:
    assert [(one.file, one.error) for one in sbom.verdicts("a.zip", content)] == [("a.zip", "INCOMPATIBLE_FORMAT")]


def test_an_archive_has_limits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "FILES_MAX", 1)
    (many,) = sbom.verdicts("a.zip", archive(a=SPDX, b=SPDX))
    monkeypatch.setattr(sbom, "ARCHIVE_BYTES_MAX", 10)
    (long,) = sbom.verdicts("a.zip", archive(a=SPDX))
    assert {many.error, long.error} == {"FILE_SIZE_LIMIT_EXCEEDED"}


@given(st.integers(0), st.binary(max_size=3))
def test_a_damaged_archive_is_a_verdict_and_never_a_crash(where: int, damage: bytes) -> None:
    whole = archive(a=SPDX, b=CYCLONEDX)
    at = where % len(whole)
    assert sbom.verdicts("a.zip", whole[:at] + damage + whole[at + len(damage) :])


def test_the_life_of_a_bill_of_materials(cloud: Any) -> None:
    iot, s3 = cloud.client("iot"), cloud.client("s3")
    s3.create_bucket(Bucket="sboms")
    iot.create_package(packageName="billed")
    iot.create_package_version(packageName="billed", versionName="1")
    version = {"packageName": "billed", "versionName": "1"}

    def put(content: bytes, key: str = "bills/firmware.zip") -> dict[str, Any]:
        made = s3.put_object(Bucket="sboms", Key=key, Body=content)
        return {"s3Location": {"bucket": "sboms", "key": key, "version": made.get("VersionId", "")}}

    def refused(**arguments: Any) -> str:
        with pytest.raises(ClientError) as caught:
            iot.associate_sbom_with_package_version(**{**version, **arguments})
        return str(caught.value.response["Error"]["Code"])

    def status() -> str:
        """The status once it is decided."""
        deadline_s = time.monotonic() + 10
        while (found := iot.get_package_version(**version)["sbomValidationStatus"]) == "IN_PROGRESS":
            assert time.monotonic() < deadline_s
        return str(found)

    assert refused(sbom=put(archive(a=SPDX))) == "ValidationException"  # the bucket keeps no versions
    s3.put_bucket_versioning(Bucket="sboms", VersioningConfiguration={"Status": "Enabled"})
    good, bad = put(archive(a=SPDX, b=CYCLONEDX)), put(archive(a=SPDX, b={"x": 1}))
    assert refused(sbom={"s3Location": {"bucket": "no-such-bucket", "key": "k"}}) == "ValidationException"
    assert refused(sbom={"s3Location": {"bucket": "sboms", "key": "no-such-key"}}) == "ValidationException"
    assert refused(sbom={}) == "ValidationException"
    assert refused(sbom=good, versionName="9") == "ResourceNotFoundException"

    made = iot.associate_sbom_with_package_version(**version, sbom=good, clientToken="t" * 36)
    assert (made["sbom"], made["sbomValidationStatus"]) == (good, "IN_PROGRESS")
    assert status() == "SUCCEEDED"
    again = iot.associate_sbom_with_package_version(**version, sbom=good, clientToken="t" * 36)
    assert again["sbomValidationStatus"] == "IN_PROGRESS"  # the answer of the first time, and nothing was done
    assert iot.get_package_version(**version)["sbom"] == good

    iot.associate_sbom_with_package_version(**version, sbom=bad)
    assert status() == "FAILED"
    results = iot.list_sbom_validation_results(**version)["validationResultSummaries"]
    assert [(r["fileName"], r["validationResult"], r.get("errorCode")) for r in results] == [
        ("a.json", "SUCCEEDED", None),
        ("b.json", "FAILED", "INCOMPATIBLE_FORMAT"),
    ]
    failed = iot.list_sbom_validation_results(**version, validationResult="FAILED", maxResults=1)
    assert [r["fileName"] for r in failed["validationResultSummaries"]] == ["b.json"]
    first = iot.list_sbom_validation_results(**version, maxResults=1)
    rest = iot.list_sbom_validation_results(**version, maxResults=1, nextToken=first["nextToken"])
    assert [r["fileName"] for r in rest["validationResultSummaries"]] == ["b.json"]
    assert "nextToken" not in rest

    iot.disassociate_sbom_from_package_version(**version)
    assert "sbom" not in iot.get_package_version(**version)
    assert iot.list_sbom_validation_results(**version)["validationResultSummaries"] == []
    with pytest.raises(ClientError):
        iot.disassociate_sbom_from_package_version(**version)
