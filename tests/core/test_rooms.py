"""The rooms: every member of every room keeps its room's contract. A new member is tested here by being there."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from simulator import profiles, rooms, seeds
from simulator.behaviours import NEVER_MS, Behaviour, Duty
from simulator.checks import Check, Facts
from simulator.errors import UsageError
from simulator.faults import Family, Fault, Notice
from simulator.ledger import Ledger
from simulator.links import Link
from simulator.messages import Booted, Chunk, Connected, Disconnected, DownloadEnded, Input, Note, Output, Received
from simulator.profiles import Profile
from simulator.schema import OneOf, union
from simulator.seeds import Floats
from simulator.signals import Draw, Range, Signal
from simulator.steps import Entry, Step
from tests.core.fleets import START_MS, fleet

MEMBERS = [(room, kind) for room in rooms.ROOMS for kind in rooms.kinds(room)]
YAML_ROOMS: dict[str, type[BaseModel]] = {
    "signals": Signal, "behaviours": Behaviour, "faults": Fault, "steps": Step, "checks": Check,
}  # fmt: skip
# What `example` cannot guess goes here, by room and kind: {("signals", "odd"): {"odd_key": 3}}.
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("behaviours", "hub"): {"children": {"profile": "pump", "count": 3}},
    ("faults", "time_zone"): {"hours": -5},
    ("steps", "repeat"): {"steps": [{"kind": "hold", "for_s": 1}], "times": 3},
    ("steps", "set"): {"desired": {"interval_s": 5}},
}
BOUND = {"checks": {"equals": 0}}
KEYS = np.array([seeds.key(1, n) for n in range(8)], dtype=np.uint64)


def kinds_of(room: str) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("kind", rooms.kinds(room))


def example(room: str, kind: str) -> Any:
    """A member with all it requires and nothing else."""
    cls = rooms.member(room, kind)
    assert issubclass(cls, BaseModel)
    known = EXAMPLES.get((room, kind), {})
    numbers = iter(range(99, 0, -1))  # falling, so that `on_above` is above `off_below`
    given = {
        name: guess(field.annotation, field.metadata, numbers)
        for name, field in cls.model_fields.items()
        if field.is_required() and name not in known
    }
    return cls.model_validate(given | BOUND.get(room, {}) | known)


def required(cls: type[BaseModel], numbers: Iterator[int]) -> dict[str, Any]:
    fields = {name: field for name, field in cls.model_fields.items() if field.is_required()}
    return {name: guess(field.annotation, field.metadata, numbers) for name, field in fields.items()}


def guess(annotation: Any, metadata: list[Any], numbers: Iterator[int]) -> Any:
    if rooms_of := [one.room for one in metadata if isinstance(one, OneOf)]:
        return example(rooms_of[0], rooms.kinds(rooms_of[0])[0]).model_dump()
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation is Range:
        return [0.25, 0.75]
    if annotation in (float, int):
        return next(numbers)
    if annotation is str:
        return "load"
    if origin is Literal:
        return inside[0]
    if origin in (Union, UnionType):
        return guess(inside[-1], metadata, numbers)
    if origin is Annotated:
        return guess(inside[0], list(inside[1:]), numbers)
    if origin is list:
        return [[0, 1], [10, 2]] if get_origin(inside[0]) is tuple else [guess(inside[0], [], numbers)] * 2
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return required(annotation, numbers)
    raise AssertionError(f"no example of {annotation}: put one into EXAMPLES")


@pytest.mark.parametrize(("room", "kind"), MEMBERS)
def test_is_the_class_its_file_promises(room: str, kind: str) -> None:
    cls = rooms.member(room, kind)
    module = import_module(f"simulator.{room}.{kind}")
    assert cls.__module__ == module.__name__
    assert cls.__name__ == rooms.class_name(kind)
    for words in (module.__doc__, cls.__doc__):
        assert words
        assert len(words.strip()) > 10
    if base := YAML_ROOMS.get(room):
        assert issubclass(cls, base)
        assert base.__module__ == f"simulator.{room}"
        assert base.__doc__ != cls.__doc__
        field = cls.model_fields["kind"]
        assert (get_args(field.annotation), field.default) == ((kind,), kind)


@pytest.mark.parametrize("room", rooms.ROOMS)
def test_the_room_says_how_to_add_a_member(room: str) -> None:
    words = import_module(f"simulator.{room}").__doc__ or ""
    assert "To add one, copy" in words


@pytest.mark.parametrize("room", YAML_ROOMS)
def test_a_room_is_one_type_in_yaml(room: str) -> None:
    adapter = TypeAdapter[Any](union(room))
    schema = adapter.json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(rooms.kinds(room))
    for kind in rooms.kinds(room):
        one = example(room, kind)
        assert adapter.validate_json(one.model_dump_json(), strict=True) == one


@pytest.mark.parametrize(
    ("room", "kind", "hint"),
    [("faults", "hnag", "did you mean 'hang'"), ("signals", "Constant", "constant"), ("steps", "../x", "known: ")],
)
def test_unknown_kinds_are_a_mistake_of_the_user(room: str, kind: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"unknown \w+ kind") as error:
        rooms.member(room, kind)
    assert hint in str(error.value)


# Signals


def columns(rows: int) -> dict[str, Floats]:
    return {"load": np.linspace(0.1, 0.9, rows)}


@kinds_of("signals")
@pytest.mark.parametrize("dt_s", [0.001, 1.0, 60.0, 3600.0])
def test_a_signal_is_a_pure_function_on_columns(kind: str, dt_s: float) -> None:
    signal, of = example("signals", kind), columns(8)
    value = signal.settle(signal.start(Draw(KEYS, 3, 0)), of)
    for step in range(1, 200):
        before, others = value.copy(), {name: column.copy() for name, column in of.items()}
        new = signal.advance(value, of, (step - 1) * dt_s, dt_s, Draw(KEYS, 3, step))
        again = signal.advance(value, of, (step - 1) * dt_s, dt_s, Draw(KEYS, 3, step))
        assert (new.dtype, new.shape) == (np.float64, (8,))
        assert np.isfinite(new).all()
        assert np.array_equal(new, again)
        assert np.array_equal(value, before), "it changed its argument"
        assert all(np.array_equal(of[name], column) for name, column in others.items()), "it changed another signal"
        value = new


@kinds_of("signals")
def test_a_signal_does_not_look_at_other_rows(kind: str) -> None:
    signal, some = example("signals", kind), slice(2, 5)
    of = columns(8)
    cut = {name: column[some] for name, column in of.items()}
    value = signal.settle(signal.start(Draw(KEYS, 3, 0)), of)
    alone = signal.settle(signal.start(Draw(KEYS[some], 3, 0)), cut)
    for step in range(1, 50):
        assert np.array_equal(value[some], alone)
        value = signal.advance(value, of, step - 1.0, 1.0, Draw(KEYS, 3, step))
        alone = signal.advance(alone, cut, step - 1.0, 1.0, Draw(KEYS[some], 3, step))


@kinds_of("signals")
def test_a_signal_names_what_it_reads(kind: str) -> None:
    assert set(example("signals", kind).inputs()) <= {"load"}


# Behaviours

HEARD: list[Input] = [
    Connected(False), Received("t", b""), Received("$aws/things/Pump-001/jobs/notify-next", b"{}"), Chunk("t", b"x"),
    DownloadEnded("t", 200, ""), Disconnected("severed"), Booted(), Connected(True),
]  # fmt: skip


@kinds_of("behaviours")
def test_a_behaviour_gives_each_device_a_state_of_its_own(kind: str) -> None:
    behaviour = example("behaviours", kind)
    first, second = behaviour.duty(), behaviour.duty()
    assert isinstance(first, Duty)
    assert first is not second
    assert first.wake_at_ms == NEVER_MS, "a device that was never connected has nothing to do"
    assert set(behaviour.signals()) <= {"load"}
    device = fleet().devices[0]
    assert all(word and "{" not in word for word in first.filters(device))


@kinds_of("behaviours")
def test_a_duty_does_the_same_again_and_moves_its_alarm_on(kind: str) -> None:
    def life() -> list[Any]:
        device, duty, said = fleet().devices[0], example("behaviours", kind).duty(), []
        for i, heard in enumerate(HEARD):
            said += duty.receive(device, heard, START_MS + 10_000 * i)
            for _ in range(20):
                if duty.wake_at_ms <= (now_ms := START_MS + 10_000 * (i + 1)):
                    said += duty.step(device, now_ms)
            assert duty.wake_at_ms > now_ms
        return said

    assert life() == life()


# Faults


def fault_example(kind: str) -> Fault:
    """The example in the fault's own file."""
    cls = rooms.member("faults", kind)
    assert issubclass(cls, Fault)
    found: Fault = TypeAdapter(Annotated[Fault, OneOf("faults")]).validate_python(yaml.safe_load(cls.example))
    return found


def subjects() -> Iterator[Profile]:
    """Every shipped profile, on every channel that carries it."""
    for name in profiles.names():
        of = profiles.profile(name)
        yield of
        for channel in ("tcp", "rest"):
            with suppress(UsageError):
                yield of.over(channel, name)


@kinds_of("faults")
def test_a_fault_says_whom_it_fits_and_what_should_be_noticed(kind: str) -> None:
    fault = fault_example(kind)
    assert fault.model_dump()["kind"] == kind
    assert fault.family in get_args(Family)
    fitting = [of for of in subjects() if fault.unfit(of.subject) is None]
    assert fitting, "no shipped profile can have the fault of the example"
    for of in fitting:
        expected = fault.expects(of.subject)
        assert expected.words
        assert expected.notice in get_args(Notice)
        assert expected.within_s > 0
        assert expected.signal in (*of.signals, "")


@kinds_of("faults")
def test_a_fault_comes_and_goes(kind: str) -> None:
    fault = fault_example(kind)
    what = next(of for of in subjects() if fault.unfit(of.subject) is None)
    device = fleet(what).devices[0]
    device.receive(Connected(False), START_MS)
    [note] = [o for o in device.inject(fault, START_MS + 1) if isinstance(o, Note) and o.kind == "fault_injected"]
    assert note.detail == {"fault": kind, "params": fault.params}
    now_ms = START_MS + 1
    for _ in range(200):
        if device.wake_at_ms >= NEVER_MS:
            break
        now_ms = max(now_ms, device.wake_at_ms)
        device.step(now_ms)
        for one in (b"bytes", b"\x00" * 100):
            for piece in device.carry(one, True, now_ms):
                assert piece.after_ms >= 0
        device.reach(now_ms)
        device.disguise()
    said = device.clear(None, now_ms)
    assert not device.faults
    assert device.reach(now_ms) is None
    assert device.disguise() is None
    assert [piece.data for piece in device.carry(b"whole", True, now_ms)] == [b"whole"]
    assert device.clock_ms(now_ms) == now_ms
    assert all(isinstance(output, Output.__args__) for output in said)


# Steps

ROSTER = [Entry(f"Pump-{n:03}", "pump", n < 3) for n in range(10)]


@kinds_of("steps")
def test_a_plan_is_a_function_of_roster_and_seed(kind: str) -> None:
    step = example("steps", kind)
    commands = step.plan(ROSTER, 7)
    assert commands
    assert commands == step.plan(list(ROSTER), 7)
    for command in commands:
        things = getattr(command, "things", ())
        assert len(set(things)) == len(things)
        assert set(things) <= {entry.thing for entry in ROSTER}


# Checks


@kinds_of("checks")
def test_a_check_can_always_be_asked(kind: str) -> None:
    check = example("checks", kind)
    result = check.judge(Facts(Ledger()))
    assert result.name == check.title
    assert result.bound == "= 0"
    assert result.passed == (result.measured == 0)
    assert result.measured is not None or result.why, "what could not be measured must say why"
    assert check.model_copy(update={"name": "mine"}).judge(Facts(Ledger())).name == "mine"


# Links


@kinds_of("links")
def test_a_link_has_what_the_runtimes_call(kind: str) -> None:
    cls = rooms.member("links", kind)
    for name, promised in inspect.getmembers(Link, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(cls, name)) == inspect.signature(promised), name
