"""What a backend got, read from a real DynamoDB table of the sandbox's cloud."""

from collections.abc import Iterator
from typing import Any

import pytest

from simulator.audit import Subject
from simulator.errors import BackendUnavailable
from simulator.matching import Deliveries
from simulator.ops.audit_table import Item, items
from simulator.ops.aws import Aws
from simulator.runtime.auditing import Table
from simulator.targets import AuditTable
from tests.core.fleets import run

NAME = "FirePrediction-RawData"
AT_MS = 1_767_225_600_123


@pytest.fixture(scope="module")
def table(aws: Aws) -> Iterator[Any]:
    """A table as the fire prediction has it, and something to put into it."""
    dynamodb, keys = aws.client("dynamodb"), (("device_id", "S", "HASH"), ("timestamp", "N", "RANGE"))
    dynamodb.create_table(
        TableName=NAME, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t, _ in keys],
        KeySchema=[{"AttributeName": n, "KeyType": t} for n, _, t in keys],
    )  # fmt: skip

    def put(thing: str, stamp: int, **more: dict[str, str]) -> None:
        dynamodb.put_item(TableName=NAME, Item={"device_id": {"S": thing}, "timestamp": {"N": str(stamp)}, **more})

    yield put
    dynamodb.delete_table(TableName=NAME)


def test_every_item_is_a_message(aws: Aws, table: Any) -> None:
    many = 300
    for n in range(many):  # more than one page of a real table would be, were they large
        table("d-1", AT_MS + n, idx={"N": str(n + 1)}, payload={"S": "x" * 4000})
    table("d-2", AT_MS, said={"S": "alert_report"}, stored={"S": "2026-01-01T00:00:05.500Z"}, idx={"S": "9"})
    table("d-3", AT_MS, idx={"S": "no number"})

    found = [item for item in items(aws, AuditTable(dynamodb=NAME)) if item]
    assert sorted(item.stamp for item in found if item.thing == "d-1") == list(range(AT_MS, AT_MS + many))
    assert {item.kind for item in found} == {"telemetry"}
    assert Item("telemetry", "d-2", AT_MS, -1) in found

    more = AuditTable(dynamodb=NAME, stamp="idx", kind="said", stored="stored", messages="record")
    read = list(items(aws, more))
    assert read.count(None) == 1, "d-3 has no idx to be known by"
    assert Item("alert_report", "d-2", 9, 1_767_225_605_500) in read
    assert Item("record", "d-1", 7, -1) in read

    seconds = [item for item in items(aws, AuditTable(dynamodb=NAME, stamp="idx", unit="s")) if item]
    assert Item("telemetry", "d-1", 7000, -1) in seconds

    async def story() -> None:
        got = Deliveries("", [Subject("record", "d-1"), Subject("alert_report", "d-2")])
        whole = await Table(aws, more, 0).read(got)
        assert (whole.count, whole.strangers) == (many + 1, 0)
        assert (await Table(aws, more, 0).read(whole)).count == many + 1, "each time anew"
        later = await Table(aws, more, 1_767_225_605_501).read(got)
        assert later.count == many, "what was stored before the run is of another run"

    run(story)


def test_a_table_that_is_not_there(aws: Aws) -> None:
    async def story() -> None:
        with pytest.raises(BackendUnavailable, match="the table 'Nothing' cannot be read"):
            await Table(aws, AuditTable(dynamodb="Nothing"), 0).read(Deliveries("", []))

    run(story)
