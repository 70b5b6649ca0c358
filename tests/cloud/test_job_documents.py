"""Package placeholders in job documents, `$package`: the rules, without HTTP."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.jobs.documents import Resolution, has_artifacts, resolve, with_artifacts
from simulator.cloud.packages.catalog import Catalog
from simulator.cloud.packages.shadow import PackageReporter, problem_of
from simulator.cloud.service import ServiceError

ARN = "arn:aws:iot:us-east-1:000000000000:package/"
P2, P3, P_DEFAULT, P_NULL, Q1 = (
    ARN + name for name in ("p/version/2", "p/version/3", "p/version/$default", "p/version/$null", "q/version/1")
)
LOCATION = {"bucket": "b", "key": "k/1", "version": "v"}


def made_catalog() -> Catalog:
    """Package p: 1 a draft, 2 published and default, 3 deprecated; q: 1 published, no default, no artifact."""
    made = Catalog("us-east-1", "000000000000")
    made.create_package("p", 1)
    made.create_package("q", 1)
    for name in ("1", "2", "3"):
        attributes = {"sha": f"abc{name}", "quoted": 'a "b" \\ ü', "a:b": "colon"}
        made.create_version("p", name, 2, attributes=attributes, artifact={"s3Location": LOCATION})
    made.create_version("q", "1", 2, attributes={"size": "9"})
    for package, name in (("p", "2"), ("p", "3"), ("q", "1")):
        made.update_version(package, name, 3, action="PUBLISH")
    made.update_version("p", "3", 4, action="DEPRECATE")
    made.update_package("p", 5, default_version="2")
    return made


@pytest.fixture
def catalog() -> Catalog:
    return made_catalog()


def package(inner: str) -> str:
    return "${aws:iot:package:" + inner + "}"


ALL = {"sha": "abc2", "quoted": 'a "b" \\ ü', "a:b": "colon"}
SUBSTITUTED: list[tuple[Any, list[str], Any]] = [
    ({"sha": package("p:version:2:attributes:sha")}, [P2], {"sha": "abc2"}),
    ({"in": "x " + package("p:version:2:attributes:sha") + " y"}, [P2], {"in": "x abc2 y"}),
    ({"q": package("p:version:2:attributes:quoted")}, [P2], {"q": ALL["quoted"]}),
    ({"c": package("p:version:2:attributes:a:b")}, [P2], {"c": "colon"}),
    ({"all": package("p:version:2:attributes")}, [P2], {"all": ALL}),
    ([package("p:version:2:attributes"), 1, None, True], [P2], [ALL, 1, None, True]),
    ({"sha": package(":version::attributes:sha")}, [P2], {"sha": "abc2"}),
    ({"all": package(":version::attributes")}, [P_DEFAULT], {"all": ALL}),
    ({"sha": package("p:version:$default:attributes:sha")}, [P_DEFAULT], {"sha": "abc2"}),
    ({"sha": package("p:version:3:attributes:sha")}, [P3], {"sha": "abc3"}),
    ({package("p:version:2:attributes:sha"): 1}, [P2], {"abc2": 1}),
    (
        {"a": package("p:version:2:attributes:sha"), "b": package("q:version:1:attributes:size")},
        [P2, Q1],
        {"a": "abc2", "b": "9"},
    ),
    ({"plain": 1}, [P2, Q1], {"plain": 1}),
    ({"plain": 1}, [P_NULL], {"plain": 1}),
    (
        {"url": package(":version::artifact:s3-presigned-url")},
        [P_DEFAULT],
        {"url": package("p:version:2:artifact:s3-presigned-url")},
    ),
    (
        {"url": package("p:version:2:artifact-location:s3-presigned-url")},
        [P2],
        {"url": package("p:version:2:artifact-location:s3-presigned-url")},
    ),
]


@pytest.mark.parametrize(("document", "arns", "expected"), SUBSTITUTED)
def test_what_stands_in_the_place_of_a_placeholder(
    catalog: Catalog, document: Any, arns: list[str], expected: Any
) -> None:
    assert json.loads(resolve(catalog, json.dumps(document), arns).document) == expected


REFUSED: list[tuple[str, str, list[str], str, str]] = [
    ("a draft", "{}", [ARN + "p/version/1"], "InvalidRequestException", "DRAFT"),
    ("an unknown version", "{}", [ARN + "p/version/9"], "ResourceNotFoundException", "9"),
    ("an unknown package", "{}", [ARN + "x/version/1"], "ResourceNotFoundException", "x"),
    ("an unknown package uninstalled", "{}", [ARN + "x/version/$null"], "ResourceNotFoundException", "x"),
    ("no version", "{}", [ARN + "p"], "InvalidRequestException", "Not the ARN"),
    ("another account", "{}", [P2.replace("0000", "1111")], "InvalidRequestException", "Not the ARN"),
    ("too many", "{}", [P2] * 26, "InvalidRequestException", "25"),
    ("no default", "{}", [ARN + "q/version/$default"], "InvalidRequestException", "default version"),
    ("not a destination", package("p:version:2:attributes:sha"), [], "InvalidRequestException", "destinationPack"),
    ("another version", package("p:version:3:attributes:sha"), [P2], "InvalidRequestException", "p 3"),
    ("default in the document only", package("p:version:$default:attributes"), [P2], "InvalidRequestException", "both"),
    ("default as destination only", package("p:version:2:attributes"), [P_DEFAULT], "InvalidRequestException", "both"),
    ("null in the document", package("p:version:$null:attributes"), [P_NULL], "InvalidRequestException", "$null"),
    ("empty names, null", package(":version::attributes"), [P_NULL], "InvalidRequestException", "$null"),
    ("empty names, two", package(":version::attributes"), [P2, Q1], "InvalidRequestException", "this has 2"),
    ("empty names, none", package(":version::attributes"), [], "InvalidRequestException", "this has 0"),
    ("half of the names", package("p:version::attributes"), [P2], "InvalidRequestException", "both"),
    ("an unknown attribute", package("p:version:2:attributes:no"), [P2], "InvalidRequestException", "no attribute no"),
    ("all within a text", "x" + package("p:version:2:attributes"), [P2], "InvalidRequestException", "entire"),
    ("all as a key", "KEY", [P2], "InvalidRequestException", "entire"),
    ("no artifact", package("q:version:1:artifact:s3-presigned-url"), [Q1], "InvalidRequestException", "no artifact"),
    ("another word", package("p:version:2:recipe"), [P2], "InvalidRequestException", "Not a placeholder"),
    ("without an end", "${aws:iot:package:p:version:2", [P2], "InvalidRequestException", "Not a placeholder"),
]


@pytest.mark.parametrize(("what", "text", "arns", "code", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_job_that_the_catalog_does_not_bear_is_refused(
    catalog: Catalog, what: str, text: str, arns: list[str], code: str, words: str
) -> None:
    document = {package("p:version:2:attributes"): 1} if text == "KEY" else {"a": [text]}
    with pytest.raises(ServiceError) as caught:
        resolve(catalog, text if text == "{}" else json.dumps(document), arns)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_names_keep_what_they_meant(catalog: Catalog) -> None:
    document = json.dumps({"url": package("p:version:$default:artifact:s3-presigned-url")})
    resolution = resolve(catalog, document, [P_DEFAULT, ARN + "q/version/$null"])
    assert resolution.destinations == (P2, ARN + "q/version/$null")
    assert resolution.installs == {"p": "2", "q": None}
    assert resolution.artifacts == {("p", "2"): LOCATION}
    made = with_artifacts(resolution.document, resolution.artifacts, lambda **place: f"https://x/{place['key']}")
    assert json.loads(made) == {"url": "https://x/k/1"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (package("p:version:2:artifact:s3-presigned-url"), True),
        (package(":version::artifact-location:s3-presigned-url"), True),
        (package("p:version:2:attributes"), False),
        ("", False),
    ],
)
def test_which_documents_need_a_role(document: str, expected: bool) -> None:
    assert has_artifacts(document) is expected


_LEAVES = st.none() | st.booleans() | st.integers() | st.text()
_DOCUMENTS = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(_DOCUMENTS)
def test_a_document_without_placeholders_stays_as_it_is(document: Any) -> None:
    text = json.dumps({"d": document}, indent=1)
    resolution = resolve(made_catalog(), text, [P2])
    assert resolution == Resolution(text, (P2,), {"p": "2"}, {})


@given(_DOCUMENTS, st.text(), st.text())
def test_only_placeholders_change(document: Any, before: str, after: str) -> None:
    placeholder = package("p:version:2:attributes:sha")
    text = json.dumps(
        {"d": document, "s": [before + placeholder + after, placeholder, package(":version::attributes")]}
    )
    assert json.loads(resolve(made_catalog(), text, [P2]).document) == {
        "d": document,
        "s": [before + "abc2" + after, "abc2", ALL],
    }


@given(st.text(alphabet="${}aws:iotpackgevrn1.2-_", max_size=60))
def test_what_looks_like_a_placeholder_is_one_or_is_refused(inner: str) -> None:
    text, codes = json.dumps({"a": "${aws:iot:package:" + inner}), set()
    try:
        resolution = resolve(made_catalog(), text, [P2])
        assert resolution.artifacts or "${aws:iot:package:" not in resolution.document
    except ServiceError as problem:
        codes.add(problem.code)
    assert codes <= {"InvalidRequestException"}


# -- $package ---


class Written:
    """Shadows that remember."""

    def __init__(self, usable: bool) -> None:
        self.usable = usable
        self.updates: list[tuple[str, str, dict[str, Any]]] = []

    def role_usable(self, role_arn: str) -> bool:
        return self.usable

    def update_shadow(self, thing: str, name: str, reported: dict[str, Any]) -> None:
        self.updates.append((thing, name, reported))


@pytest.mark.parametrize(
    ("enabled", "usable", "installs", "expected"),
    [
        (True, True, {"p": "2"}, [("t", "$package", {"p": {"version": "2", "attributes": {}}})]),
        (True, True, {"p": None}, [("t", "$package", {"p": None})]),
        (True, True, {}, []),
        (False, True, {"p": "2"}, []),
        (True, False, {"p": "2"}, []),
    ],
)
def test_what_a_success_reports(
    catalog: Catalog, enabled: bool, usable: bool, installs: dict[str, str | None], expected: list[Any]
) -> None:
    catalog.configure(enabled=enabled, role_arn="arn:aws:iam::000000000000:role/r")
    written = Written(usable)
    PackageReporter(catalog, written, lambda job_id: installs if job_id == "job" else {})("t", "job", [])
    assert written.updates == expected


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"reported": {"p": {"version": "1", "attributes": {"a": 1}}}}, None),
        ({"reported": {"p": {"version": "1"}, "q": {"attributes": {}}}}, None),
        ({"reported": {"p": None}}, None),
        ({"reported": {"p": {"attributes": None}}}, None),
        ({"reported": None}, None),
        ({"reported": {"p": {"version": "1", "hash": "x"}}}, "'hash' of 'p'"),
        ({"desired": {"p": {"hash": "x"}}}, "'hash' of 'p'"),
        ({"reported": {"p": "1.0.0"}}, "'p' must be an object"),
        ({"reported": {"p": {"version": 1}}}, "must be a string"),
        ({"reported": {"p": {"attributes": "x"}}}, "must be an object"),
        ("what MiniStack refuses", None),
    ],
)
def test_what_a_device_may_write(state: Any, words: str | None) -> None:
    problem = problem_of({"state": state})
    assert (problem is None) if words is None else words in (problem or "")
