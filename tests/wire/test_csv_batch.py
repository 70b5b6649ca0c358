"""The CSV codec: what is encoded comes back exactly, and wrong bytes are named by row and column."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.wire import csv_batch
from simulator.wire.csv_batch import CsvError, Problem, decode, encode, parse

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAME = TEXT.filter(lambda name: bool(name) and name not in csv_batch.REQUIRED + csv_batch.OPTIONAL)
VALUE = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**20), 10**20)
    | st.booleans()
    | TEXT
    | st.sampled_from(["12", "-0.0", "true", "", '"', "a,b", "x\r\ny", "\ufeff"])
)
MESSAGE = st.fixed_dictionaries(
    {
        "device_id": TEXT,
        "productId": TEXT,
        "device_timestamp": st.integers(-(2**60), 2**60),
        "metrics": st.dictionaries(NAME, VALUE, max_size=4),
    },
    optional={"hub_id": TEXT, "hub_timestamp": st.integers(0, 2**60), "childDeviceId": TEXT},
)


def exact(value: Any) -> Any:
    """A value that differs from others which `==` takes for the same."""
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    return (type(value), repr(value))


@given(st.lists(MESSAGE, max_size=6))
def test_what_is_encoded_comes_back_exactly(messages: list[dict[str, Any]]) -> None:
    assert exact(decode(encode(messages))) == exact(messages)


@given(st.lists(MESSAGE, max_size=4))
def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(messages: list[dict[str, Any]]) -> None:
    data = encode(messages)
    if data.count(b"\n") == len(messages) + 1:  # no line end within a cell
        assert exact(decode(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))) == exact(messages)


PIECES = st.lists(
    st.sampled_from([b"device_id,productId,device_timestamp", b",", b"\n", b"\r\n", b'"', b"1", b"a", b"\xff", b"t"])
)


@given(st.binary(max_size=200) | PIECES.map(b"".join))
def test_any_bytes_are_a_batch_or_a_named_problem(data: bytes) -> None:
    messages, problems = parse(data)
    assert all(isinstance(message["metrics"], dict) for _, message in messages)
    assert all(problem.row >= 1 and problem.column for problem in problems)
    assert len(problems) <= csv_batch.PROBLEMS_MAX
    if problems:
        with pytest.raises(CsvError):
            decode(data)
    else:
        assert decode(data) == [message for _, message in messages]


HEAD = b"device_id,productId,device_timestamp,t\n"
WRONG: list[tuple[bytes, int, str, str]] = [
    (b"", 1, "1", "no header row"),
    (b"device_id,productId,t\n", 1, "device_timestamp", "missing"),
    (b"device_id,productId,device_timestamp,t,t\n", 1, "t", "twice"),
    (b"device_id,productId,device_timestamp,\n", 1, "4", "without a name"),
    (HEAD + b"a,p,1,2\na,p,x,2\n", 3, "device_timestamp", "'x' is not a whole number"),
    (HEAD + b"a,p,1.5,2\n", 2, "device_timestamp", "'1.5' is not a whole number"),
    (HEAD + b"a,p,1\n", 2, "t", "3 cells, but the header has 4"),
    (HEAD + b"a,p,1,2,3\n", 2, "5", "5 cells, but the header has 4"),
    (HEAD + b"a,p,1,2\n\na,p,1,2\n", 3, "productId", "1 cells"),
    (HEAD + b"a,p,1,n/a\n", 2, "t", "'n/a' is not a number"),
    (HEAD + b"a,p,1,nan\n", 2, "t", "'nan' is not a number"),
    (HEAD + b"a,p,1,1_000\n", 2, "t", "'1_000' is not a number"),
    (HEAD + b"a,p,1,1e999\n", 2, "t", "too large"),
    (HEAD + b"a,p,1," + b"9" * 65 + b"\n", 2, "t", "is not a number"),
    (HEAD + b'a,p,1,"2\n', 2, "4", "a quote that is not closed"),
    (HEAD + b'a,p,1,"2"x\n', 2, "4", "text beside a quoted cell"),
    (HEAD + b"a,p,1,\xff\n", 2, "1", "not UTF-8"),
    (HEAD + b"a" * 1025 + b",p,1,2\n", 2, "1", "longer than 1024 characters"),
    (HEAD + b"a," * 256 + b"\n", 2, "257", "more than 256 columns"),
    (HEAD + b"a,p,1,2\n" * 1001, 1002, "1", "more than 1000 rows"),
]


@pytest.mark.parametrize(("data", "row", "column", "text"), WRONG)
def test_a_mistake_is_named_by_row_and_column(data: bytes, row: int, column: str, text: str) -> None:
    with pytest.raises(CsvError) as caught:
        decode(data)
    assert (caught.value.row, caught.value.column) == (row, column)
    assert text in caught.value.text


def test_every_bad_row_is_named_beside_the_good_ones_and_there_is_a_bound() -> None:
    messages, problems = parse(HEAD + b"a,p,1,2\na,p,x,2\na,p,2,\na,p,3,?\n")
    assert messages == [
        (2, {"device_id": "a", "productId": "p", "device_timestamp": 1, "metrics": {"t": 2}}),
        (4, {"device_id": "a", "productId": "p", "device_timestamp": 2, "metrics": {}}),
    ]
    assert [problem.row for problem in problems] == [3, 5]
    assert len(parse(HEAD + b"a,p,x,2\n" * 500)[1]) == csv_batch.PROBLEMS_MAX


GOOD: dict[str, Any] = {"device_id": "a", "productId": "p", "device_timestamp": 1, "metrics": {}}
UNHOLDABLE: list[tuple[dict[str, Any], Problem]] = [
    ({"metrics": {"t": math.nan}}, Problem(2, "t", "not a finite number, text, true or false")),
    ({"metrics": {"t": []}}, Problem(2, "t", "not a finite number, text, true or false")),
    ({"metrics": {"device_id": 1}}, Problem(1, "device_id", "a metric cannot have this name in CSV")),
    ({"metrics": {"": 1}}, Problem(1, "1", "a metric without a name")),
    ({"metrics": {"t": "x" * 1025}}, Problem(2, "t", "longer than 1024 characters")),
    ({"metrics": {"t": "\ud800"}}, Problem(2, "'t'", "text that UTF-8 cannot hold")),
    ({"device_timestamp": 1.5}, Problem(2, "device_timestamp", "not a whole number of milliseconds")),
    ({"metrics": 1}, Problem(2, "metrics", "no message with metrics")),
    ({"site": "s"}, Problem(2, "site", "no column for it")),
    ({"device_id": 5}, Problem(2, "device_id", "not text")),
]


@pytest.mark.parametrize(("change", "problem"), UNHOLDABLE)
def test_what_a_cell_cannot_hold_is_refused_by_the_encoder(change: dict[str, Any], problem: Problem) -> None:
    with pytest.raises(CsvError) as caught:
        encode([GOOD | change])
    assert caught.value.problems == [problem]
