"""The package catalog's rules, without HTTP."""

from collections.abc import Callable

import pytest

from simulator.cloud.packages import catalog as rules
from simulator.cloud.packages.catalog import Catalog, CatalogError, page
from simulator.cloud.packages.sbom import Verdict


@pytest.fixture
def catalog() -> Catalog:
    """Package p: version 1 a draft, 2 published and default, 3 deprecated."""
    made = Catalog("us-east-1", "000000000000")
    made.create_package("p", 1)
    for name in ("1", "2", "3"):
        made.create_version("p", name, 2, attributes={"a": name})
    for name in ("2", "3"):
        made.update_version("p", name, 3, action="PUBLISH")
    made.update_version("p", "3", 4, action="DEPRECATE")
    made.update_package("p", 5, default_version="2")
    return made


Call = Callable[[Catalog], object]
REFUSED: list[tuple[str, str, Call]] = [
    ("the same package again", "ConflictException", lambda c: c.create_package("p", 9)),
    ("an unknown package", "ResourceNotFoundException", lambda c: c.package("q")),
    ("a version of an unknown package", "ValidationException", lambda c: c.create_version("q", "1", 9)),
    ("the same version again", "ConflictException", lambda c: c.create_version("p", "1", 9)),
    ("an unknown version", "ResourceNotFoundException", lambda c: c.version("p", "4")),
    ("versions of an unknown package", "ValidationException", lambda c: c.versions("q")),
    ("published twice", "ConflictException", lambda c: c.update_version("p", "2", 9, action="PUBLISH")),
    ("a draft deprecated", "ConflictException", lambda c: c.update_version("p", "1", 9, action="DEPRECATE")),
    ("deprecated twice", "ConflictException", lambda c: c.update_version("p", "3", 9, action="DEPRECATE")),
    (
        "attributes of a published one",
        "ConflictException",
        lambda c: c.update_version("p", "2", 9, attributes={}),
    ),
    (
        "artifact of a deprecated one",
        "ConflictException",
        lambda c: c.update_version("p", "3", 9, artifact={}),
    ),
    ("a draft as default", "ConflictException", lambda c: c.update_package("p", 9, default_version="1")),
    (
        "an unknown default",
        "ResourceNotFoundException",
        lambda c: c.update_package("p", 9, default_version="4"),
    ),
    (
        "a default set and unset",
        "ValidationException",
        lambda c: c.update_package("p", 9, default_version="2", unset_default=True),
    ),
    ("the default deleted", "ValidationException", lambda c: c.delete_version("p", "2")),
    ("a package with versions deleted", "ValidationException", lambda c: c.delete_package("p")),
    ("enabled without a role", "ValidationException", lambda c: c.configure(enabled=True)),
    (
        "attributes beyond 3 KB",
        "ValidationException",
        lambda c: c.update_version("p", "1", 9, attributes={"k": "v" * 3072}),
    ),
]


@pytest.mark.parametrize(("what", "code", "call"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_and_nothing_changed(catalog: Catalog, what: str, code: str, call: Call) -> None:
    before = repr(catalog.packages())
    with pytest.raises(CatalogError) as caught:
        call(catalog)
    assert caught.value.code == code
    assert repr(catalog.packages()) == before


def test_a_draft_can_be_changed_and_published_in_one_call(catalog: Catalog) -> None:
    catalog.update_version("p", "1", 7, attributes={"b": "c"}, artifact={"s3Location": {}}, action="PUBLISH")
    version = catalog.version("p", "1")
    assert (version.status, version.attributes, version.modified_ms) == ("PUBLISHED", {"b": "c"}, 7)


def test_a_deprecated_version_can_be_published_again(catalog: Catalog) -> None:
    catalog.update_version("p", "3", 7, action="PUBLISH", recipe="new", description="d")
    assert [v.name for v in catalog.versions("p", "PUBLISHED")] == ["2", "3"]


def test_deleting_what_is_not_there_is_no_error(catalog: Catalog) -> None:
    catalog.delete_package("q")
    catalog.delete_version("q", "1")
    catalog.delete_version("p", "9")
    assert len(catalog.versions("p")) == 3


def test_quotas(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PACKAGES_MAX", 1)
    monkeypatch.setattr(rules, "VERSIONS_MAX", 3)
    with pytest.raises(rules.QuotaExceededError):
        catalog.create_package("q", 9)
    with pytest.raises(rules.QuotaExceededError):
        catalog.create_version("p", "4", 9)


def test_pages_follow_names_even_when_some_disappear() -> None:
    part, token = page(["a", "b", "c", "d"], None, 2)
    assert (part, token is None) == (slice(0, 2), False)
    assert page(["a", "c", "d"], token, 2) == (slice(1, 3), None)
    with pytest.raises(rules.InvalidError):
        page(["a"], "made up", 2)


@pytest.mark.parametrize(
    ("name", "expected"), [("p", True), ("p/version/1", True), ("p/version/9", False), ("q", False), ("p/1", False)]
)
def test_what_an_arn_names_exists_or_not(catalog: Catalog, name: str, expected: bool) -> None:
    assert catalog.exists(name) is expected


def test_a_version_has_one_bill_of_materials_and_its_verdicts(catalog: Catalog) -> None:
    first, second = {"s3Location": {"key": "1"}}, {"s3Location": {"key": "2"}}
    version = catalog.associate_sbom("p", "2", 7, first)
    with pytest.raises(rules.ConflictError):
        catalog.associate_sbom("p", "2", 8, second)
    catalog.sbom_validated(version, first, [Verdict("b.json"), Verdict("a.json", "INCOMPATIBLE_FORMAT", "no")])
    assert (version.sbom_status, [v.file for v in version.sbom_verdicts]) == ("FAILED", ["a.json", "b.json"])
    catalog.associate_sbom("p", "2", 9, second)
    assert (version.sbom_status, version.sbom_verdicts) == ("IN_PROGRESS", [])
    catalog.sbom_validated(version, first, [])  # the bill that was replaced
    assert version.sbom_status == "IN_PROGRESS"
    catalog.sbom_validated(version, second, [Verdict("a.json")])
    assert version.sbom_status == "SUCCEEDED"
    catalog.disassociate_sbom("p", "2", 10)
    assert catalog.version("p", "2").sbom is None
    with pytest.raises(rules.NotFoundError):
        catalog.disassociate_sbom("p", "2", 11)
