"""Faults of sensors: what the backend gets of each, byte for byte, before, while it lasts, and after it.

Every one is measured against a twin: the same device with the same seed that nothing happens to.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from simulator import profiles
from simulator.clock import VirtualClock
from simulator.device import Device
from simulator.faults import Fault
from simulator.ledger import Ledger
from simulator.messages import Connected, Note, Publish
from simulator.profiles import Profile
from simulator.runtime.virtual import Virtual
from simulator.schema import OneOf, parse
from simulator.wire import csv_batch
from simulator.wire.payloads import SENTINEL, encoder
from tests.core.fleets import START_MS, fleet

RIG = """\
profile: rig
thing_type: Rig
signals:
  tempC: {kind: wander, mean: 40, deviation: 2, tau_s: 20, unit: °C, resolution: 0.1, noise: 0.1, limit: [0, 60]}
  power: {kind: constant, value: 1500, unit: W, resolution: 1, limit: [1000, 2000]}
  age: {kind: accumulate, start_range: [0, 0], per_s: 1, resolution: 1, unit: s}
  hidden: {kind: constant, value: 1}
behaviours:
  - {kind: telemetry, every_s: 1, topic: "t/{thing}", metrics: [tempC, power, age]}
  - {kind: alert, metrics: [tempC, power]}
  - {kind: shadow, reports: {temp: tempC}, report_every_s: 5}
"""
BEGIN_S, END_S, STOP_S = 20, 60, 90


def rig(text: str = RIG) -> Profile:
    return parse(text, "rig.yaml", Profile)


def fault(**keys: Any) -> Fault:
    found: Fault = TypeAdapter(Annotated[Fault, OneOf("faults")]).validate_python(keys)
    return found


def life(
    what: Profile, *faults: Fault, end_s: float = END_S, seed: int = 3, stop_s: float = STOP_S
) -> tuple[list[tuple[float, Publish]], Ledger]:
    """All that a device says, with the second in which it says it; broken from `BEGIN_S` to `end_s`."""
    found = fleet(what, ["Rig-001"], seed)
    said: list[tuple[float, Publish]] = []
    ledger = Ledger()
    virtual = Virtual(found, VirtualClock(), ledger, lambda at, _, m: said.append(((at - START_MS) / 1000, m)))
    virtual.start(0, START_MS)
    for one in faults:
        virtual.inject(0, one, START_MS + BEGIN_S * 1000)
    virtual.clear(0, None, START_MS + int(end_s * 1000))
    virtual.run_until(START_MS + int(stop_s * 1000))
    assert not found.devices[0].faults
    return said, ledger


def payloads(said: list[tuple[float, Publish]]) -> list[tuple[float, bytes]]:
    return [(at_s, message.payload) for at_s, message in said if message.kind == "telemetry"]


def metrics(payload: bytes) -> dict[str, float | None]:
    found: dict[str, float | None] = orjson.loads(payload)["data"]["metrics"]
    return found


Same = Callable[
    [float, float, float], bool
]  # (what a sound one says, what it says, seconds since it broke) → is it so?


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 0.06


# What a broken sensor says, from the twin's value and the time.
WRONG: list[tuple[dict[str, Any], str, Same]] = [
    ({"kind": "bias", "by": 12.5}, "tempC", lambda true, said, s: near(said, true + 12.5)),
    ({"kind": "bias", "by": 12, "ramp_s": 20}, "tempC", lambda true, said, s: near(said, true + min(12, 12 * s / 20))),
    ({"kind": "stuck", "at": 3}, "tempC", lambda true, said, s: said == 3),
    ({"kind": "drift", "per_h": 3600}, "tempC", lambda true, said, s: near(said, true + s)),
    ({"kind": "drift", "per_h": -3600, "most": 9}, "tempC", lambda true, said, s: near(said, true - min(9, s))),
    ({"kind": "noise", "deviation": 8}, "tempC", lambda true, said, s: abs(said - true) < 8 * 3.5),
    ({"kind": "spike", "by": 70, "probability": 1}, "tempC", lambda true, said, s: near(said, true + 70)),
    ({"kind": "out_of_range"}, "tempC", lambda true, said, s: said == 72),
    ({"kind": "out_of_range", "side": "low"}, "power", lambda true, said, s: said == 800),
    ({"kind": "out_of_range", "at": 1e6}, "tempC", lambda true, said, s: said == 1e6),
    ({"kind": "out_of_range", "at": 140, "ramp_s": 100}, "tempC",
     lambda true, said, s: near(said, true + (140 - true) * s / 100)),
    ({"kind": "quantised", "step": 16}, "tempC", lambda true, said, s: said == 16 * round(true / 16)),
    ({"kind": "unit_error", "says": "fahrenheit"}, "tempC", lambda true, said, s: near(said, true * 1.8 + 32)),
    ({"kind": "unit_error", "says": "kelvin"}, "tempC", lambda true, said, s: near(said, true + 273.15)),
    ({"kind": "unit_error", "says": "kilo"}, "power", lambda true, said, s: said == 1.5),
    ({"kind": "unit_error", "says": "milli"}, "power", lambda true, said, s: said == 1_500_000),
    ({"kind": "drop_out", "as": "sentinel"}, "tempC", lambda true, said, s: said == -999),
    ({"kind": "drop_out", "as": "sentinel", "sentinel": 127.5}, "tempC", lambda true, said, s: said == 127.5),
    ({"kind": "late", "by_s": 10}, "age", lambda true, said, s: abs(said - (true - min(10, s))) <= 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "signal", "so"), WRONG, ids=lambda one: str(one.get("kind")) if isinstance(one, dict) else ""
)
def test_what_a_broken_sensor_says_while_it_lasts(keys: dict[str, Any], signal: str, so: Same) -> None:
    what, broken = rig(), fault(signal=signal, **keys)
    assert broken.unfit(what.subject) is None
    sound, told = payloads(life(what)[0]), payloads(life(what, broken)[0])
    assert [at_s for at_s, _ in sound] == [at_s for at_s, _ in told], "it speaks when it would"
    differ = 0
    for (at_s, right), (_, said) in zip(sound, told, strict=True):
        if not BEGIN_S <= at_s < END_S:
            assert said == right, f"nothing of it at {at_s} s"
            continue
        true, value = metrics(right).pop(signal), metrics(said).pop(signal)
        assert true is not None
        assert value is not None
        assert so(true, value, at_s - BEGIN_S), (at_s, true, value)
        assert {**metrics(said), signal: 0} == {**metrics(right), signal: 0}, "the others are as they were"
        differ += value != true
    assert differ >= 30


# What a message looks like in which a sensor says nothing.
FORMS: list[tuple[str, bytes, bytes]] = [
    ("missing", b'{"tempC":', b'"metrics":{"power":1500.0,'),
    ("null", b'{"tempC":', b'"metrics":{"tempC":null,"power":1500.0,'),
    ("sentinel", b'{"tempC":', b'"metrics":{"tempC":-999.0,"power":1500.0,'),
]


@pytest.mark.parametrize(("form", "sound", "broken"), FORMS)
def test_a_sensor_that_drops_out_in_the_bytes(form: str, sound: bytes, broken: bytes) -> None:
    said, ledger = life(rig(), fault(kind="drop_out", signal="tempC", **{"as": form}))
    for at_s, payload in payloads(said):
        assert (broken if BEGIN_S <= at_s < END_S else sound) in payload
    bad = [event.detail["metric"] for event in ledger.events if event.kind == "out_of_range"]
    alerts = [message for _, message in said if message.kind == "alert_report"]
    assert (bad, len(alerts)) == ((["tempC"], 2) if form == "sentinel" else ([], 0)), "no value is no bad value"
    reported = [json.loads(m.payload)["state"]["reported"]["temp"] for _, m in said if m.kind == "shadow_update"]
    assert (None in reported) == (form != "sentinel")


@pytest.mark.parametrize("form", ["missing", "null", "sentinel"])
def test_a_fire_sensor_s_record_has_all_its_fields(form: str) -> None:
    what = profiles.profile("fire-sensor")
    said, _ = life(what, fault(kind="drop_out", signal="co", **{"as": form}))
    records = [(at_s, json.loads(payload)) for at_s, payload in payloads(said)]
    assert len({frozenset(record) for _, record in records}) == 1
    for at_s, record in records:
        assert (record["co"] == -999) == (BEGIN_S <= at_s < END_S)
        assert record["status"] == 0, "no value raises no alarm bit"


@pytest.mark.parametrize("form", ["missing", "null"])
def test_a_frame_has_all_its_fields(form: str) -> None:
    what = rig().over("tcp", "rig")
    said, _ = life(what, fault(kind="drop_out", signal="tempC", **{"as": form}))
    assert what.payload
    for at_s, payload in payloads(said):
        decoded = what.payload.codec.decode(payload)
        assert (decoded.values["tempC"] == SENTINEL) == (BEGIN_S <= at_s < END_S)
        assert decoded.values["power"] == 1500


@pytest.mark.parametrize(("form", "value"), [("missing", {}), ("null", {"tempC": None})])
def test_rest_says_nothing_in_json_and_in_csv(form: str, value: dict[str, None]) -> None:
    said, _ = life(rig().over("rest", "rig"), fault(kind="drop_out", signal="tempC", **{"as": form}))
    silent = [orjson.loads(payload) for at_s, payload in payloads(said) if BEGIN_S <= at_s < END_S]
    assert {k: v for k, v in silent[0]["metrics"].items() if k == "tempC"} == value
    back = csv_batch.decode(csv_batch.encode(silent))
    assert all("tempC" not in row["metrics"] and row["metrics"]["power"] == 1500 for row in back)


def test_every_codec_can_say_that_there_is_no_value() -> None:
    spec = rig().over("tcp", "rig").payload
    for codec in ("platform_json", "fire_record", "platform_rest", "frame", "platform_bin"):
        for nothing in (float("nan"), float("inf"), float("-inf")):
            values = {"age": 1.0, "power": nothing, "tempC": 3.0}
            assert encoder(codec, "Rig", spec)("Rig-001", 1, START_MS, values)


def test_stuck_is_what_it_read_last() -> None:
    said = payloads(life(rig(), fault(kind="stuck", signal="tempC"))[0])
    sound = payloads(life(rig())[0])
    values = [metrics(payload)["tempC"] for at_s, payload in said if BEGIN_S <= at_s < END_S]
    before = [metrics(payload)["tempC"] for at_s, payload in sound if at_s <= BEGIN_S][-1]
    assert len(set(values)) == 1
    assert values[0] == pytest.approx(before, abs=2)
    free = {metrics(payload)["tempC"] for at_s, payload in said if at_s >= END_S}
    assert len(free) > 10


def test_swapped_sensors_say_each_other_s_value() -> None:
    broken = fault(kind="swapped", signal="tempC", other="power")
    said, ledger = life(rig(), broken)
    for (at_s, right), (_, wrong) in zip(payloads(life(rig())[0]), payloads(said), strict=True):
        one, other = metrics(right), metrics(wrong)
        if BEGIN_S <= at_s < END_S:
            one["tempC"], one["power"] = one["power"], one["tempC"]
        assert one == other
    assert {e.detail["metric"] for e in ledger.events if e.kind == "out_of_range"} == {"tempC", "power"}


def test_noise_is_noise() -> None:
    found = fleet(rig(), ["Rig-001"]).devices[0]
    found.inject(fault(kind="noise", signal="power", deviation=10), START_MS)
    values = [found.reading(START_MS + 10 * n)["power"] - 1500 for n in range(4000)]
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    assert abs(mean) < 0.7
    assert deviation == pytest.approx(10, abs=0.5)


def test_spikes_are_as_frequent_as_said() -> None:
    found = fleet(rig(), ["Rig-001"]).devices[0]
    found.inject(fault(kind="spike", signal="power", by=900), START_MS)
    values = [found.reading(START_MS + 10 * n)["power"] for n in range(10_000)]
    assert set(values) == {1500, 2400}
    assert values.count(2400) / 10_000 == pytest.approx(0.02, abs=0.006)


@pytest.mark.parametrize("kind", ["drop_out", "unit_error", "late"])
def test_what_cannot_be_there_by_half_hits_more_and_more_readings(kind: str) -> None:
    more: dict[str, dict[str, Any]] = {
        "drop_out": {"signal": "age", "as": "sentinel"},
        "unit_error": {"signal": "age", "says": "milli"},
        "late": {"by_s": 0.5},
    }
    device = fleet(rig(), ["Rig-001"]).devices[0]
    device.receive(Connected(False), START_MS)
    device.inject(fault(kind=kind, ramp_s=1000, **more[kind]), START_MS + 2000)
    hit = []
    for at_s in range(3, 1000):
        now_ms = START_MS + 1000 * at_s
        while device.wake_at_ms <= now_ms:
            device.step(device.wake_at_ms)
        hit.append(device.reading(now_ms)["age"] != at_s)
    assert sum(hit[:300]) < 80
    assert sum(hit[-300:]) > 220


def test_a_reading_is_the_same_however_often_it_is_asked_for() -> None:
    device = fleet(rig(), ["Rig-001"]).devices[0]
    for keys in (
        {"kind": "noise", "signal": "tempC", "deviation": 9},
        {"kind": "spike", "signal": "power", "by": 9, "probability": 0.5},
        {"kind": "drop_out", "signal": "age", "as": "sentinel", "probability": 0.5},
        {"kind": "bias", "signal": "power", "by": 100, "probability": 0.5},
    ):
        device.inject(fault(**keys), START_MS)
    asked = [[device.reading(START_MS + 1000 * at_s) for _ in range(3)] for at_s in range(50)]
    assert all(one == two == three for one, two, three in asked)
    assert len({one["tempC"] for one, _, _ in asked}) > 30
    assert {one["power"] for one, _, _ in asked} == {1500, 1509, 1600, 1609}


def test_faults_of_one_sensor_come_in_the_order_in_which_they_were_injected() -> None:
    bias, coarse = fault(kind="bias", signal="power", by=7), fault(kind="quantised", signal="power", step=1000)
    for order, reads in (((bias, coarse), 2000), ((coarse, bias), 2007)):
        device = fleet(rig(), ["Rig-001"]).devices[0]
        for one in order:
            device.inject(one, START_MS)
        assert device.reading(START_MS)["power"] == reads


def test_late_sees_what_the_faults_before_it_left() -> None:
    device = fleet(rig(), ["Rig-001"]).devices[0]
    device.inject(fault(kind="bias", signal="age", by=1000), START_MS)
    device.inject(fault(kind="late", by_s=30, signal="age"), START_MS)
    device.inject(fault(kind="bias", signal="age", by=0.0), START_MS)
    now_ms = START_MS
    while now_ms < START_MS + 100_000:
        now_ms = device.wake_at_ms
        device.step(now_ms)
    assert device.reading(now_ms)["age"] == pytest.approx(1070, abs=1)
    assert device.reading(now_ms)["power"] == 1500


def test_what_late_remembers_is_bounded() -> None:
    device = fleet(rig(), ["Rig-001"]).devices[0]
    device.inject(fault(kind="late", by_s=3600), START_MS)
    now_ms = START_MS
    while now_ms < START_MS + 4 * 3_600_000:
        now_ms = device.wake_at_ms
        device.step(now_ms)
    [behind] = device.faults
    assert len(behind.past) == 128  # type: ignore[attr-defined]
    assert device.reading(now_ms)["age"] == pytest.approx(3 * 3600, abs=40)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_breaks_it_the_same_way(seed: int) -> None:
    broken = [
        fault(kind="noise", signal="tempC", deviation=9, probability=0.5),
        fault(kind="spike", signal="power", by=9, probability=0.5),
    ]
    first = payloads(life(rig(), *broken, seed=seed)[0])
    assert first == payloads(life(rig(), *broken, seed=seed)[0])
    assert first != payloads(life(rig(), *broken, seed=seed + 2)[0])


# What should be noticed: (keys, notice, within_s, a word of it)

EXPECTED: list[tuple[dict[str, Any], str, float, str]] = [
    ({"kind": "bias", "signal": "tempC", "by": 30, "ramp_s": 60}, "alarm", 360, "+30"),
    ({"kind": "bias", "signal": "tempC", "by": 3}, "nothing", 300, "no threshold"),
    ({"kind": "bias", "signal": "age", "by": 3}, "nothing", 300, "no normal range"),
    ({"kind": "stuck", "signal": "tempC"}, "alarm", 3600, "flat line"),
    ({"kind": "stuck", "signal": "power"}, "nothing", 300, "no noise"),
    ({"kind": "stuck", "signal": "power", "at": 0}, "alarm", 300, "stays at 0"),
    ({"kind": "drift", "signal": "tempC", "per_h": 10}, "alarm", 2 * 3600 + 300, "leaves its normal range"),
    ({"kind": "drift", "signal": "tempC", "per_h": -10}, "alarm", 4 * 3600 + 300, "leaves its normal range"),
    ({"kind": "drift", "signal": "tempC", "per_h": 10, "most": 5}, "nothing", 300, "5 at most"),
    ({"kind": "drift", "signal": "tempC", "per_h": 10, "for_s": 3600}, "nothing", 300, "for 3600 s"),
    ({"kind": "drift", "signal": "age", "per_h": 10}, "nothing", 300, "no normal range"),
    ({"kind": "noise", "signal": "tempC", "deviation": 15}, "alarm", 300, "strays"),
    ({"kind": "noise", "signal": "tempC", "deviation": 1}, "nothing", 300, "no threshold"),
    ({"kind": "spike", "signal": "tempC", "by": 60}, "alarm", 300, "one reading of 50"),
    ({"kind": "out_of_range", "signal": "tempC"}, "alarm", 300, "72"),
    ({"kind": "quantised", "signal": "tempC", "step": 10}, "nothing", 300, "no threshold"),
    ({"kind": "quantised", "signal": "tempC", "step": 70}, "alarm", 300, "steps of 70"),
    ({"kind": "swapped", "signal": "tempC", "other": "power"}, "alarm", 300, "swapped"),
    ({"kind": "swapped", "signal": "age", "other": "tempC"}, "nothing", 300, "swapped"),
    ({"kind": "unit_error", "signal": "tempC", "says": "fahrenheit"}, "alarm", 300, "fahrenheit"),
    ({"kind": "late", "by_s": 20}, "nothing", 300, "20 s old"),
    ({"kind": "drop_out", "signal": "tempC"}, "silence", 300, "missing"),
    ({"kind": "drop_out", "signal": "tempC", "probability": 0.1}, "nothing", 300, "missing"),
    ({"kind": "drop_out", "signal": "tempC", "as": "null"}, "refusal", 300, "null"),
    ({"kind": "drop_out", "signal": "tempC", "as": "sentinel"}, "alarm", 300, "-999"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "notice", "within_s", "word"), EXPECTED, ids=lambda one: str(one)[:60])
def test_what_should_be_noticed(keys: dict[str, Any], notice: str, within_s: float, word: str) -> None:
    found = fault(**keys).expects(rig().subject)
    assert found.notice == notice
    assert found.within_s == pytest.approx(within_s, rel=0.05)
    assert word in found.words


def test_a_drift_is_noticed_by_the_time_that_it_promises() -> None:
    broken = fault(kind="drift", signal="tempC", per_h=120)
    _, ledger = life(rig(), broken, end_s=2000, stop_s=2100)
    first = next(event.at_ms for event in ledger.events if event.kind == "out_of_range")
    after_s = (first - START_MS) / 1000 - BEGIN_S
    assert 300 < after_s < broken.expects(rig().subject).within_s


@pytest.mark.parametrize(
    ("codec", "signal", "notice"), [("fire-sensor", "pcbTemp", "refusal"), ("fire-sensor", "co", "alarm")]
)
def test_a_record_without_a_value_is_refused_or_alarming(codec: str, signal: str, notice: str) -> None:
    found = fault(kind="drop_out", signal=signal).expects(profiles.profile(codec).subject)
    assert (found.signal, found.notice) == (signal, notice)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"kind": "bias", "signal": "temp", "by": 1}, "has no signal 'temp' (did you mean 'tempC'?)"),
    ({"kind": "stuck", "signal": "hidden"}, "does not tell the backend its 'hidden'"),
    ({"kind": "late", "by_s": 1, "signal": "hiden"}, "has no signal 'hiden' (did you mean 'hidden'?)"),
    ({"kind": "swapped", "signal": "age", "other": "age"}, "cannot swap 'age' with itself"),
    ({"kind": "swapped", "signal": "age", "other": "tmpC"}, "has no signal 'tmpC' (did you mean 'tempC'?)"),
    ({"kind": "out_of_range", "signal": "age"}, "has no normal range of 'age': say 'at'"),
    ({"kind": "out_of_range", "signal": "tempC", "at": 50}, "has 50 inside the normal range of 'tempC', [0, 60]"),
    ({"kind": "unit_error", "signal": "power", "says": "kelvin"}, "has its 'power' in 'W', and 'kelvin' is for '°C'"),
]


@pytest.mark.parametrize(("keys", "why"), UNFIT)
def test_whom_a_fault_does_not_fit(keys: dict[str, Any], why: str) -> None:
    assert fault(**keys).unfit(rig().subject) == why


def test_drop_out_is_written_as_in_yaml() -> None:
    broken = fault(kind="drop_out", signal="tempC", **{"as": "null"})
    assert broken.params == {"kind": "drop_out", "signal": "tempC", "as": "null", "sentinel": -999.0}
    assert fault(**broken.model_dump()) == broken
    with pytest.raises(ValidationError, match="Extra inputs"):
        fault(kind="drop_out", signal="tempC", form="null")


def test_a_fault_tells_the_ledger_how_it_was() -> None:
    device: Device = fleet(rig(), ["Rig-001"]).devices[0]
    [note] = device.inject(fault(kind="drop_out", signal="tempC", probability=0.5), START_MS)
    assert isinstance(note, Note)
    assert note.detail["params"]["probability"] == 0.5
