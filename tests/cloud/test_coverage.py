"""What the sandbox has and what it has not: each operation of the models is called, with the least it takes."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from simulator.cloud import coverage
from simulator.cloud.rest_json import api


@pytest.fixture(scope="module")
def found() -> coverage.Coverage:
    command = [sys.executable, "-m", "simulator.cloud.coverage", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    result: coverage.Coverage = json.loads(answer.stdout)
    return result


def least(shape: Any, depth: int = 0) -> Any:
    """The least value that boto3 lets through."""
    kind = shape.type_name
    if kind == "structure":
        names = shape.required_members if depth else [*shape.required_members]
        return {name: least(shape.members[name], depth + 1) for name in names}
    if kind == "list":
        return [least(shape.member, depth + 1)] * max(1, shape.metadata.get("min", 0))
    if kind == "map":
        return {least(shape.key, depth + 1): least(shape.value, depth + 1)}
    if kind == "string":
        return shape.enum[0] if shape.enum else "x" * max(1, shape.metadata.get("min", 0))
    return {
        "boolean": False, "blob": b"x", "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "double": 1.0, "float": 1.0,
    }.get(kind, max(1, shape.metadata.get("min", 0)))  # fmt: skip


def called(client: Any, operation: str) -> tuple[int, str, str]:
    """Status, code and message of what an operation answers."""
    model = client.meta.service_model.operation_model(operation)
    method = next(name for name, known in client.meta.method_to_api_mapping.items() if known == operation)
    arguments = least(model.input_shape) if model.input_shape else {}
    try:
        answer = getattr(client, method)(**arguments)
    except ClientError as caught:
        error: Any = caught.response
        return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]
    return answer["ResponseMetadata"]["HTTPStatusCode"], "", ""


@pytest.mark.parametrize("service", coverage.SERVICES)
def test_what_is_not_there_says_so_and_nothing_else_does(cloud: Any, found: coverage.Coverage, service: str) -> None:
    client = cloud.client(service)
    assert sorted(found[service]) == sorted(client.meta.service_model.operation_names)
    for operation, who in found[service].items():
        status, code, message = called(client, operation)
        says_so = (status, code) == (501, "NotImplementedException")
        assert says_so == (who == coverage.NOBODY), (operation, who, status, code, message)
        assert status < 500 or says_so, (operation, status, code, message)
        if says_so:
            assert f"does not implement {operation} (" in message


def test_the_parts_of_the_sandbox_are_told_apart(found: coverage.Coverage) -> None:
    assert found["iot"]["CreateCommand"] == found["iot-jobs-data"]["StartCommandExecution"] == coverage.OURS
    assert found["iot"]["CreatePolicy"] == found["iot-data"]["Publish"] == coverage.MINISTACK
    assert found["iot"]["CreateBillingGroup"] == coverage.NOBODY
    assert coverage.missing(found)["iot-jobs-data"] == []


def test_the_list_for_readers(found: coverage.Coverage) -> None:
    text = coverage.markdown(found)
    gone = coverage.missing(found)["iot"]
    total = len(api("iot").operations)
    assert f"**iot**: {total - len(gone)} of {total} operations are answered." in text
    assert all(f"`{name}`" in text for names in coverage.missing(found).values() for name in names)
    assert "`CreateCommand`" not in text
