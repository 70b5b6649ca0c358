"""The Device Shadow service: what an update does, what is refused and how, and what is published."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cloud.shadows import document as shadows
from simulator.cloud.shadows.document import ShadowError
from tests.cloud.raw_device import RawDevice

ALL_OF_IT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}


def updated(*requests: Any, times: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """The record after several updates, and the answer to the last."""
    record: Any = None
    answer: Any = None
    for at, request in enumerate(requests):
        record, answer = shadows.update(record, request, times[at] if times else 100 + at)
    return record, answer


def state(**sections: Any) -> dict[str, Any]:
    return {"state": sections}


def test_only_what_is_named_gets_a_new_time() -> None:
    record, answer = updated(state(reported={"a": 1, "b": {"c": 2}}), state(reported={"b": {"c": 2, "d": [1, 2]}}))
    stamp = {"timestamp": 101}
    assert record["metadata"]["reported"] == {"a": {"timestamp": 100}, "b": {"c": stamp, "d": [stamp, stamp]}}
    assert answer == {
        "state": {"reported": {"b": {"c": 2, "d": [1, 2]}}},
        "metadata": {"reported": {"b": {"c": stamp, "d": [stamp, stamp]}}},
        "version": 2,
        "timestamp": 101,
    }


def test_null_removes_and_is_echoed() -> None:
    record, answer = updated(
        state(desired={"a": 1, "b": {"c": 1, "d": 2}}), state(desired={"a": None, "b": {"c": None}})
    )
    assert record["state"]["desired"] == {"b": {"d": 2}}
    assert answer["state"] == {"desired": {"a": None, "b": {"c": None}}}
    assert answer["metadata"] == {"desired": {"a": {"timestamp": 101}, "b": {"c": {"timestamp": 101}}}}
    record, _ = updated(state(desired={"a": 1}, reported={"a": 2}), state(desired=None))
    assert shadows.document(record, 1)["state"] == {"reported": {"a": 2}}
    record, _ = updated(state(desired={"a": 1}), {"state": None})
    assert (record["version"], record["state"]["desired"]) == (2, {"a": 1})
    assert updated(state(reported={"a": {"b": None}}))[0]["state"]["reported"] == {}


def test_arrays_are_replaced_whole() -> None:
    record, _ = updated(state(desired={"a": [1, 2, 3]}, reported={"a": [1, 2, 3]}), state(desired={"a": [1]}))
    assert shadows.delta(record) == {"a": [1]}


def test_the_delta_is_what_is_still_different_whoever_wrote() -> None:
    record, _ = updated(state(desired={"a": 1, "b": {"c": 1, "d": 1}}), state(reported={"b": {"c": 1}, "z": 9}))
    assert shadows.delta(record) == {"a": 1, "b": {"d": 1}}
    message = shadows.delta_message(record, 200)
    assert message == {
        "version": 2,
        "timestamp": 200,
        "state": {"a": 1, "b": {"d": 1}},
        "metadata": {"a": {"timestamp": 100}, "b": {"d": {"timestamp": 100}}},
    }
    record, _ = updated(state(desired={"a": 1, "t": True}, reported={"a": 1.0, "t": 1}))
    assert shadows.delta(record) == {"t": True}


def test_the_version_goes_on_after_a_delete() -> None:
    record, _ = updated(state(reported={"a": 1}), state(reported={"a": 2}))
    again, answer = shadows.update({"deleted": True, "version": record["version"]}, state(reported={"b": 1}), 1)
    assert (again["state"]["reported"], answer["version"]) == ({"b": 1}, 3)


DEEP: Any = {"one": {"two": {"three": {"four": {"five": 5}}}}}
LONG = "x" * 65


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({}, 400, "Missing required node: state"),
        ([], 400, "Missing required node: state"),
        ({"state": 1}, 400, "State node must be an object"),
        (state(desired=1), 400, "Desired node must be an object"),
        (state(reported=[]), 400, "Reported node must be an object"),
        (state(other={}), 400, "State contains an invalid node"),
        (state(reported={"a": [1, None]}), 400, "State contains an invalid node"),
        (state(reported={"zero": DEEP}), 400, "JSON contains too many levels of nesting; maximum is 6"),
        ({**state(reported={}), "version": "1"}, 400, "Invalid version"),
        ({**state(reported={}), "version": True}, 400, "Invalid version"),
        ({**state(reported={}), "version": 2}, 409, "Version conflict"),
        ({**state(reported={}), "clientToken": LONG}, 400, "Invalid clientToken"),
        ({**state(reported={}), "clientToken": 1}, 400, "Invalid clientToken"),
        (state(reported={"a": "x" * 8190}), 413, "The payload exceeds the maximum size allowed"),
    ],
)
def test_what_is_refused(request_: Any, code: int, message: str) -> None:
    record, _ = updated(state(reported={"a": 1}))
    before = json.dumps(record)
    with pytest.raises(ShadowError, match=f"^{message}$") as refused:
        shadows.update(record, request_, 1)
    assert refused.value.code == code
    assert json.dumps(record) == before


def test_what_is_just_right() -> None:
    updated(state(reported=DEEP))
    updated(state(reported={"a": "x" * (8192 - len('{"reported":{"a":""}}'))}))
    updated({**state(reported={}), "version": 0})
    with pytest.raises(ShadowError, match="Invalid version"):
        updated({**state(reported={}), "version": 4})


JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), inner), max_size=3),
    max_leaves=8,
)
SECTION = st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), JSON), max_size=3)


@given(st.lists(st.fixed_dictionaries({}, optional={"desired": SECTION, "reported": SECTION}), min_size=1, max_size=5))
def test_any_updates(patches: list[dict[str, Any]]) -> None:
    """Metadata has the shape of the state, a handed-out document does not change, reporting the delta ends it."""
    record: Any = None
    for at, patch in enumerate(patches):
        if shadows._levels(patch) > shadows.LEVELS_MAX:
            continue
        before = json.dumps(record)
        old = record
        record, _ = shadows.update(record, {"state": patch}, at)
        assert json.dumps(old) == before
        for section in ("desired", "reported"):
            assert shapes_agree(record["state"][section], record["metadata"][section])
    if record and (difference := shadows.delta(record)):
        after, _ = shadows.update(record, {"state": {"reported": difference}}, 9)
        assert shadows.delta(after) == {} or not scalars_only(difference)


def scalars_only(value: Any) -> bool:
    return all(not isinstance(inner, dict) or (inner and scalars_only(inner)) for inner in value.values())


def shapes_agree(value: Any, metadata: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == metadata.keys() and all(shapes_agree(value[key], metadata[key]) for key in value)
    return set(metadata) == {"timestamp"}


def test_over_mqtt(cloud: Any, identity: Any) -> None:
    thing = identity("shadowy", ALL_OF_IT)
    topic = "$aws/things/shadowy/shadow/name/config"
    with RawDevice(cloud, thing) as device:
        device.connect()
        device.subscribe(
            f"{topic}/+/accepted", f"{topic}/+/rejected", f"{topic}/update/delta", f"{topic}/update/documents"
        )

        def ask(verb: str, payload: Any = b"") -> tuple[str, Any]:
            device.publish(f"{topic}/{verb}", payload)
            where, answer = device.message()
            return where.removeprefix(f"{topic}/"), answer

        missing = {"code": 404, "message": "No shadow exists with name: 'shadowy~config'"}
        assert ask("get") == ("get/rejected", missing)
        assert ask("get", {"clientToken": "t"}) == ("get/rejected", {**missing, "clientToken": "t"})
        assert ask("update", b"{") == ("update/rejected", {"code": 400, "message": "Invalid JSON"})
        encoding = "Unsupported documented encoding; supported encoding is UTF-8"
        assert ask("update", b"\xff") == ("update/rejected", {"code": 415, "message": encoding})
        refused = ask("update", {**state(reported={}), "version": "x", "clientToken": "u"})
        assert refused == ("update/rejected", {"code": 400, "message": "Invalid version", "clientToken": "u"})

        where, answer = ask("update", {**state(desired={"fan": 2}, reported={"fan": 1}), "clientToken": "v"})
        assert (where, answer["version"], answer["clientToken"]) == ("update/accepted", 1, "v")
        where, difference = device.message()
        assert (where, difference["state"], difference["clientToken"]) == (f"{topic}/update/delta", {"fan": 2}, "v")
        where, documents = device.message()
        assert (where, documents["previous"], documents["current"]["version"]) == (f"{topic}/update/documents", None, 1)
        ask("update", state(reported={"speed": 1}))
        assert device.message()[1]["state"] == {"fan": 2}, "told again, though the update did not name it"
        assert device.message()[1]["previous"]["state"] == {"desired": {"fan": 2}, "reported": {"fan": 1}}
        where, document = ask("get", {"clientToken": "w"})
        assert document["state"]["delta"] == {"fan": 2}
        assert (document["version"], document["clientToken"]) == (2, "w")
        where, gone = ask("delete", {"clientToken": "d"})
        assert (where, gone["version"], gone["clientToken"]) == ("delete/accepted", 2, "d")
        assert ask("update", state(reported={}))[1]["version"] == 3
        device.message()
        bad = topic.replace("config", "no spaces")
        device.subscribe(f"{bad}/get/rejected")
        device.publish(f"{bad}/get")
        assert device.message()[1] == {"code": 400, "message": "Invalid shadow name"}


def test_over_https(cloud: Any) -> None:
    data = cloud.client("iot-data")

    def update(request: Any) -> Any:
        answer = data.update_thing_shadow(thingName="remote", payload=json.dumps(request))
        return json.load(answer["payload"])

    with pytest.raises(data.exceptions.ResourceNotFoundException, match=r"No shadow exists with name: 'remote'$"):
        data.get_thing_shadow(thingName="remote")
    assert update(state(reported={"a": 1}))["version"] == 1
    with pytest.raises(data.exceptions.ConflictException, match="Version conflict"):
        update({**state(reported={}), "version": 9})
    with pytest.raises(data.exceptions.RequestEntityTooLargeException, match="exceeds the maximum size"):
        update(state(reported={"a": "x" * 9000}))
    with pytest.raises(data.exceptions.InvalidRequestException, match="Missing required node: state"):
        update({})
    with pytest.raises(data.exceptions.UnsupportedDocumentEncodingException, match="UTF-8"):
        data.update_thing_shadow(thingName="remote", payload=b"\xff")
    found = json.load(data.get_thing_shadow(thingName="remote")["payload"])
    assert (found["state"], list(found["metadata"])) == ({"reported": {"a": 1}}, ["reported"])
    assert json.load(data.delete_thing_shadow(thingName="remote")["payload"])["version"] == 1
