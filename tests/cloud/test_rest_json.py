"""Requests read by botocore's model: routing, parameters, and the wording of what is wrong."""

import json

import pytest

from simulator.cloud.rest_json import BadRequestError, api, unsupported


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "/packages/a%20b", ("CreatePackage", {"packageName": "a b"})),
        ("GET", "/packages", ("ListPackages", {})),
        ("GET", "/packages/p/versions", ("ListPackageVersions", {"packageName": "p"})),
        (
            "PATCH",
            "/packages/p/versions/1.0",
            ("UpdatePackageVersion", {"packageName": "p", "versionName": "1.0"}),
        ),
        ("PUT", "/jobs/j", ("CreateJob", {"jobId": "j"})),
        ("POST", "/v2LoggingOptions", ("SetV2LoggingOptions", {})),
        ("GET", "/packages/p/else", None),
        ("POST", "/packages/p", None),
    ],
)
def test_the_operation_of_a_request(method: str, path: str, expected: object) -> None:
    assert api("iot").match(method, path) == expected


def test_parameters_come_from_path_query_and_body() -> None:
    query = {"clientToken": ["t" * 36], "unknown": ["x"]}
    body = json.dumps({"attributes": {"a": "b"}, "unknown": 1, "description": None}).encode()
    names = {"packageName": "p", "versionName": "1"}
    found = api("iot").parameters("CreatePackageVersion", names, query, body)
    assert found == {**names, "clientToken": "t" * 36, "attributes": {"a": "b"}}
    assert api("iot").parameters("ListPackages", {}, {"maxResults": ["7"]}, b"") == {"maxResults": 7}


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        (
            {},
            {"action": "GO"},
            "Value 'GO' at 'action' failed to satisfy constraint: Member must satisfy enum",
        ),
        (
            {},
            {"attributes": {"a b": "x"}},
            "at 'attributes.key' failed to satisfy constraint: Member must satisfy reg",
        ),
        (
            {},
            {"attributes": {"a": 1}},
            "Value at 'attributes.a' failed to satisfy constraint: Member must be a string",
        ),
        ({}, {"attributes": []}, "Value at 'attributes' failed to satisfy constraint: Member must be a map"),
        ({}, {"artifact": {"s3Location": {"key": ""}}}, "at 'artifact.s3Location.key' failed"),
        (
            {},
            {"description": "x" * 1025},
            "Value at 'description' failed to satisfy constraint: Member must have length",
        ),
        ({}, {"description": "a\nb"}, "Member must satisfy regular expression pattern: [^\\p{C}]+"),
        ({"clientToken": ["short"]}, {}, "length greater than or equal to 36"),
        ({}, [], "The request body must be a JSON object"),
        ({"clientToken": ["short"]}, {"action": "GO"}, "3 validation errors detected"),
    ],
)
def test_what_is_wrong_is_said_as_the_service_says_it(query: dict[str, list[str]], body: object, expected: str) -> None:
    names = {"packageName": "p", "versionName": "1"}
    with pytest.raises(BadRequestError) as caught:
        api("iot").parameters("UpdatePackageVersion", names, query, json.dumps(body).encode())
    assert expected in str(caught.value)


def test_a_number_that_is_none_and_one_that_is_too_large() -> None:
    for text, expected in (("many", "must be a integer"), ("101", "value less than or equal to 100")):
        with pytest.raises(BadRequestError, match=expected):
            api("iot").parameters("ListPackages", {}, {"maxResults": [text]}, b"")


def test_an_answer_has_only_what_the_model_knows() -> None:
    status, headers, body = api("iot").answer("GetPackage", {"packageName": "p", "description": None})
    assert (status, headers["Content-Type"], json.loads(body)) == (
        200,
        "application/json",
        {"packageName": "p"},
    )
    with pytest.raises(ValueError, match="GetPackage has no colour"):
        api("iot").answer("GetPackage", {"colour": "red"})


def test_the_missing_is_named() -> None:
    status, headers, body = unsupported(api("iot"), "PUT", "/commands/c")
    assert (status, headers["x-amzn-ErrorType"]) == (501, "NotImplementedException")
    assert json.loads(body)["message"] == "The sandbox does not implement CreateCommand (PUT /commands/c)"
