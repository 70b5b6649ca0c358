"""The difference between two answers: the first one, in words, as JSON and as bytes."""

from typing import Any

import pytest

from simulator import tape
from simulator.messages import Note, Publish, Subscribe
from simulator.report import difference


def publish(payload: bytes, **more: Any) -> Any:
    return tape.plain(Publish("telemetry", "a/b", payload, **more))


def told(expected: Any, got: Any) -> str:
    return "\n".join(difference.lines(expected, got))


def test_json_shows_which_values_differ() -> None:
    old = b'{"device_timestamp":1000,"data":{"metrics":{"temp_c":88.3,"fan":0}}}'
    new = b'{"device_timestamp":1000,"data":{"metrics":{"temp_c":88.4,"load":1}}}'
    assert told([publish(old)], [publish(new)]).splitlines() == [
        "answer 1 of 1:",
        f"  expected Publish kind=telemetry topic=a/b payload={old.decode()}",
        f"  got      Publish kind=telemetry topic=a/b payload={new.decode()}",
        "  payload:",
        "    data.metrics.temp_c: 88.3 → 88.4",
        "    data.metrics.fan: is missing",
        "    data.metrics.load: is new",
        "    68 bytes, now 69; the first that differs is byte 56",
        "      000010  6d 70 22 3a 31 30 30 30 2c 22 64 61 74 61 22 3a  mp\":1000,\"data\":",
        "      000020  7b 22 6d 65 74 72 69 63 73 22 3a 7b 22 74 65 6d  {\"metrics\":{\"tem",
        "    - 000030  70 5f 63 22 3a 38 38 2e 33 2c 22 66 61 6e 22 3a  p_c\":88.3,\"fan\":",
        "    + 000030  70 5f 63 22 3a 38 38 2e 34 2c 22 6c 6f 61 64 22  p_c\":88.4,\"load\"",
        "    - 000040  30 7d 7d 7d                                      0}}}",
        "    + 000040  3a 31 7d 7d 7d                                   :1}}}",
    ]  # fmt: skip


def test_bytes_that_are_no_text_are_shown_as_bytes() -> None:
    lines = told([publish(b"\x01\xff" * 40)], [publish(b"\x01\xff" * 20 + b"\x02" + b"\xff\x01" * 19)]).splitlines()
    assert "    80 bytes, now 79; the first that differs is byte 40" in lines
    assert not any("→" in line for line in lines)


def test_what_is_the_same_is_passed_over() -> None:
    same, other = publish(b"a"), publish(b"b")
    assert told([same, same, other], [same, same, publish(b"c")]).startswith("answer 3 of 3:")


@pytest.mark.parametrize(
    ("expected", "got", "said"),
    [
        ([publish(b"a")], [], "  got      nothing"),
        ([], [publish(b"a")], "answer 1, which is one too many:\n  expected nothing"),
        ([publish(b"a", qos=0)], [publish(b"a")], "  qos: 0 → null"),
        ([tape.plain(Note("seen", {"x": [1, 2]}))], [tape.plain(Note("seen", {"x": [1, 3]}))], "  detail.x.1: 2 → 3"),
        ([tape.plain(Subscribe(("a",)))], [publish(b"a")], "  expected Subscribe filters=[\"a\"]"),
        ([publish(b"a")], [{"raised": "KeyError: 'x'"}], "  got      raised: KeyError: 'x'"),
        (None, [publish(b"a")], "expected: not kept, only its digest; got:\n  Publish kind=telemetry"),
    ],
)  # fmt: skip
def test_answers_of_any_kind(expected: Any, got: Any, said: str) -> None:
    assert said in told(expected, got)


def test_long_answers_are_shortened() -> None:
    lines = told(
        [publish(b'{"a":"' + b"x" * 10_000 + b'"}')], [publish(b'{"b":"' + b"y" * 10_000 + b'"}')]
    ).splitlines()
    assert len(lines) < 20
    assert max(map(len, lines)) < 500
