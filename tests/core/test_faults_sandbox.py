"""Faults of the sandbox's parts: what a part is told, what is done to it, and what a scenario may say of them."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from simulator import rooms, scenarios
from simulator.disturbances import LINE_BYTES_MAX, Bucket, Disturbances, Order, lines
from simulator.errors import FleetsimError
from simulator.faults import Fault
from simulator.faults._part import PartFault
from simulator.faults.bias import Bias
from simulator.faults.part_restart import PartRestart
from simulator.schema import OneOf
from simulator.steps import Clear as ClearFaults
from simulator.steps import Disturb, Entry, Relieve
from simulator.steps import Inject as InjectFault
from simulator.steps.clear import Clear
from simulator.steps.inject import Inject

FAULTS: TypeAdapter[Fault] = TypeAdapter(Annotated[Fault, OneOf("faults")])
KINDS = [kind for kind, cls in rooms.members("faults").items() if issubclass(cls, PartFault)]
ROSTER = [Entry(f"Pump-{n}", "pump", n == 0) for n in range(3)]


def fault(text: str) -> PartFault:
    found = FAULTS.validate_python(yaml.safe_load(text))
    assert isinstance(found, PartFault)
    return found


def test_these_are_the_faults_of_the_sandbox() -> None:
    assert KINDS == [
        "part_clock", "part_kill", "part_pause", "part_restart", "server_errors", "slow_answers", "throttling",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["cloud", "backend"])
def test_what_a_part_is_told_is_what_it_understands(kind: str, part: str) -> None:
    example = yaml.safe_load(rooms.member("faults", kind).example)  # type: ignore[attr-defined]
    if part == "backend":
        example = {key: value for key, value in example.items() if key not in ("of", "publishes_per_s")}
    else:
        example = {key: value for key, value in example.items() if key != "of"}
    what = FAULTS.validate_python({**example, "part": part})
    assert isinstance(what, PartFault)
    assert (what.befalls, what.family) == (part, "sandbox")
    if what.action is None:
        order = Order.model_validate({**what.order, "name": "x"})
        assert order.model_dump(exclude_unset=True) == {**what.order, "name": "x"}
        assert len(order.model_dump_json()) < LINE_BYTES_MAX
    else:
        assert kind == f"part_{what.action}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{kind: part_kill, part: backend, for_s: 3}", "it stays dead; see part_restart"),
        ("{kind: part_pause, part: backend, probability: 0.5}", "'probability' means nothing for part_pause"),
        ("{kind: part_restart, part: cloud, ramp_s: 5}", "'ramp_s' means nothing for part_restart"),
        ("{kind: part_clock, part: cloud, off_s: 0}", "'off_s' is not 0"),
        ("{kind: throttling, part: backend, publishes_per_s: 3}", "is for the cloud"),
        ("{kind: throttling, part: backend, of: [store]}", "the backend has no 'store' that could be hit"),
        ("{kind: slow_answers, part: backend, ms: 3, of: [stor]}", "did you mean 'store'"),
        ("{kind: slow_answers, part: cloud, ms: 3, of: ['{}']}", "match pattern"),
        ("{kind: slow_answers, part: platform, ms: 3}", "'cloud' or 'backend'"),
    ],
)
def test_what_makes_no_sense_is_a_mistake(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        fault(text)
    assert said in str(error.value)


# In a scenario

SLOW = {"kind": "slow_answers", "part": "backend", "ms": 100}


def test_an_injection_is_for_the_part_and_what_else_it_breaks_for_the_devices() -> None:
    slow, bias = fault(str(SLOW)), Bias(signal="t", by=3)
    assert Inject(fault=slow).plan(ROSTER, 1) == [Disturb(slow)]
    assert Inject(fault=slow, also=[PartRestart(part="cloud")]).plan(ROSTER, 1) == [
        Disturb(slow), Disturb(PartRestart(part="cloud")),
    ]  # fmt: skip
    planned = Inject(fault=slow, also=[bias], count=1).plan(ROSTER, 1)
    assert planned[0] == Disturb(slow)
    assert isinstance(planned[1], InjectFault)
    assert len(planned[1].things) == 1


def test_clear_ends_what_it_names() -> None:
    assert Clear(fault="slow_answers").plan(ROSTER, 1) == [Relieve("slow_answers")]
    assert Clear().plan(ROSTER, 1) == [ClearFaults(None, ("Pump-0",)), Relieve(None)]
    assert Clear(fault="bias").plan(ROSTER, 1) == [ClearFaults("bias", ("Pump-0",))]
    assert Clear(profiles=["pump"]).plan(ROSTER, 1) == [ClearFaults(None, ("Pump-0",))]
    assert Clear(fault="what is this").plan(ROSTER, 1) == [ClearFaults("what is this", ("Pump-0",))]


def problems(tmp_path: Path, step: dict[str, Any]) -> str:
    path = tmp_path / "s.yaml"
    scenario = {
        "scenario": "s",
        "fleet": [{"profile": "fire-sensor", "count": 2}],
        "timeline": [{"kind": "connect", "over_s": 0}, {"kind": "inject", **step}],
        "checks": [{"kind": "devices", "equals": 2}],
    }
    path.write_text(yaml.safe_dump(scenario, default_flow_style=None))
    try:
        scenarios.read(path)
    except FleetsimError as error:
        return str(error)
    return ""


def test_no_devices_are_chosen_for_a_part(tmp_path: Path) -> None:
    assert problems(tmp_path, {"fault": SLOW}) == ""
    for choice in ({"count": 1}, {"profiles": ["fire-sensor"]}, {"share": 0.5}):
        said = problems(tmp_path, {"fault": SLOW, **choice})
        assert "'slow_answers' befalls a part of the sandbox, so no devices are chosen for it" in said
        line = (tmp_path / "s.yaml").read_text().splitlines()[int(said.split(":")[1]) - 1]
        assert next(iter(choice)) in line
    also = {"also": [{"kind": "loss", "rate": 0.5}], "count": 1}
    assert "no devices are chosen" not in problems(tmp_path, {"fault": SLOW, **also})


# What a part makes of its orders, by a clock of ours


class Part:
    def __init__(self, *documents: dict[str, Any]) -> None:
        self.now_s = 100.0
        self.orders = Disturbances(lambda: self.now_s)
        for document in documents:
            self.take({"disturb": document})

    def take(self, line: Any) -> str:
        return self.orders.take(json.dumps(line).encode())


def test_orders_begin_end_by_themselves_and_are_ended_by_name_and_kind() -> None:
    part = Part({"kind": "part_clock", "off_s": 60, "for_s": 10}, {"kind": "part_clock", "off_s": -5, "name": "other"})
    assert part.orders.off_s() == 55
    assert part.orders.ends_s() == 110
    part.now_s += 10
    assert part.orders.off_s() == -5
    assert part.take({"disturb": {"kind": "part_clock", "off_s": 7, "name": "other"}}) == "other begins"
    assert part.orders.off_s() == 7
    assert part.take({"clear": "part_clock"}) == "other ends"
    assert part.take({"clear": "part_clock"}) == "nothing ends"
    part.take({"disturb": {"kind": "outage"}})
    assert part.orders.is_out()
    part.take({"clear": "*"})
    assert not part.orders.is_out()


def test_a_ramp_is_a_growing_share_a_growing_delay_and_a_drifting_clock() -> None:
    part = Part(
        {"kind": "server_errors", "ramp_s": 100, "of": ["s3"]},
        {"kind": "slow_answers", "ramp_s": 100, "ms": 1000, "of": ["iot"]},
        {"kind": "part_clock", "ramp_s": 100, "off_s": 50},
    )
    assert (part.orders.refuses("s3:GET"), part.orders.delay_s("iot:CreateJob"), part.orders.off_s()) == (None, 0, 0)
    part.now_s += 50
    assert (part.orders.delay_s("iot:CreateJob"), part.orders.delay_s("s3:GET"), part.orders.off_s()) == (0.5, 0, 25)
    assert 400 < sum(part.orders.refuses("s3:GET") is not None for _ in range(1000)) < 600
    part.now_s += 60
    assert all(part.orders.refuses("s3:GET") for _ in range(100))
    assert (part.orders.delay_s("iot:CreateJob"), part.orders.off_s()) == (1, 50)


@pytest.mark.parametrize(
    ("of", "hit", "spared"),
    [
        (["*"], ["iot:CreateJob", "s3:GET", "mqtt:Publish"], []),
        (["iot"], ["iot:CreateJob"], ["iot-data:Publish", "s3:GET"]),
        (["iot*"], ["iot:CreateJob", "iot-data:Publish"], ["s3:GET"]),
        (["iot:Create*", "s3:GET"], ["iot:CreateJob", "s3:GET"], ["iot:ListJobs", "s3:PUT"]),
    ],
)
def test_who_is_hit(of: list[str], hit: list[str], spared: list[str]) -> None:
    part = Part({"kind": "throttling", "of": of})
    assert all(part.orders.refuses(name) for name in hit)
    assert not any(part.orders.refuses(name) for name in spared)


def test_a_connection_may_say_so_much_and_no_more() -> None:
    part = Part({"kind": "throttling", "of": ["mqtt"], "publishes_per_s": 2})
    one, other = Bucket(), Bucket()
    said = []
    for _ in range(6):
        said.append(not part.orders.throttles("mqtt:Publish", one))
        part.now_s += 0.25
    assert said == [True, True, True, False, True, False]
    assert not part.orders.throttles("mqtt:Publish", other)
    assert not any(part.orders.throttles("s3:GET", one) for _ in range(10))


def test_a_delay_has_jitter_and_hits_a_share() -> None:
    part = Part({"kind": "slow_answers", "ms": 100, "jitter_ms": 50, "probability": 0.5})
    delays = [part.orders.delay_s("rest") for _ in range(1000)]
    late = [delay_s for delay_s in delays if delay_s]
    assert 400 < len(late) < 600
    assert 0.1 <= min(late) < 0.105
    assert 0.145 < max(late) <= 0.15


def test_lines_are_told_apart_however_they_come() -> None:
    text = b"one\ntwo\n" + b"x" * 3 * LINE_BYTES_MAX + b"\nthree\nhalf"
    for size in (1, 3, 1000, len(text)):
        found = list(lines(text[i : i + size] for i in range(0, len(text), size)))
        assert [line for line in found if len(line) < 10] == [b"one", b"two", b"three"]
        [long] = [line for line in found if len(line) >= 10]
        assert len(long) > LINE_BYTES_MAX, "so that it is refused"
