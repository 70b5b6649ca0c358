"""The figures of AWS's broker, and the mailbox of a session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.broker import limits, mailbox
from simulator.cloud.broker.mailbox import Mailbox, Message


@pytest.mark.parametrize(
    ("asked", "holds"), [(0, 1200), (1, 30), (29, 30), (30, 30), (60, 60), (1201, 1200), (65535, 1200)]
)
def test_keep_alive(asked: int, holds: int) -> None:
    assert limits.keep_alive_s(asked) == holds
    assert limits.silence_max_s(asked) == 1.5 * holds


@pytest.mark.parametrize(
    ("topic_filter", "right"),
    [
        ("a/b/c/d/e/f/g/h", True),
        ("a/b/c/d/e/f/g/h/i", False),
        ("$share/group/a/b/c/d/e/f/g/h", True),
        ("$share/group/a/b/c/d/e/f/g/h/i", False),
        ("$aws/commands/things/t/executions/e/response/accepted/json", True),
        ("a/+/#", True),
        ("#", True),
        ("+", True),
        ("a/#/b", False),
        ("a#", False),
        ("##", False),
        ("a/b+", False),
        ("", False),
        ("é" * 128, True),
        ("é" * 129, False),
    ],
)
def test_filters(topic_filter: str, right: bool) -> None:
    assert (limits.filter_wrong(topic_filter) == "") == right


def message(number: int) -> Message:
    return Message("t", str(number).encode(), b"", False, 0.0)


@given(st.lists(st.sampled_from(["put", "ack", "lost"]), max_size=60), st.integers(1, 4))
def test_a_mailbox_gives_each_message_in_order_until_it_is_acknowledged(steps: list[str], window: int) -> None:
    box = Mailbox(window)
    sent: list[bytes] = []
    acknowledged = put = 0
    now = 0.0
    for step in steps:
        now += 1
        if step == "put":
            put += 1
            box.put(message(put))
        elif step == "ack" and box.in_flight:
            box.acknowledge(next(iter(box.in_flight)))
            acknowledged += 1
        elif step == "lost":
            again = box.unacknowledged(now, now)
            assert [one.payload for _, one in again] == [one.payload for one, _ in box.in_flight.values()]
        for due in box.due():
            box.open(due, now)
            sent.append(due.payload)
        assert len(box.in_flight) <= window
    assert sent == [str(number).encode() for number in range(1, len(sent) + 1)]
    assert put == acknowledged + len(box.in_flight) + len(box)


def test_a_full_mailbox_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "WAITING_MAX", 3)
    box = Mailbox(1)
    assert [box.put(message(number)) for number in range(5)] == [True, True, True, False, False]
    assert (len(box), box.dropped) == (3, 2)
    assert next(iter(box.due())).payload == b"0"
    assert box.put(message(5))
