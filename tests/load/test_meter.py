"""The meter of an engine: rows by kind, times from when a device wanted to be online, failures by reason."""

from time import monotonic
from typing import Any

import orjson
import pytest

from simulator.ledger import Event
from simulator.messages import Publish
from simulator.runtime.meter import REASONS_MAX, TOGETHER, Meter, Row

THING = "Vehicle-VIN-007"
TELEMETRY = Publish("telemetry", "t/Vehicle-VIN-007", b"x" * 200)


def noted(meter: Meter, kind: str, index: int = 7, **detail: Any) -> None:
    meter.noted(index, Event(0, "fleet", kind, THING, detail))


def taken(meter: Meter) -> dict[str, tuple[str, int, int, dict[str, int]]]:
    """Row → (method, timed, untimed, failures)."""
    return {row.name: (row.method, row.latency.count, row.untimed, dict(row.failed)) for row in meter.take()}


def test_an_acknowledgement_has_its_time_and_its_size() -> None:
    meter = Meter()
    sent_at_s = monotonic() - 0.5
    meter.acknowledged(7, TELEMETRY, sent_at_s, 0)
    (row,) = meter.take()
    assert (row.method, row.name, row.payload_bytes, row.failed) == ("MQTT", "telemetry", 200, {})
    assert 0.5e9 <= row.latency.low <= (monotonic() - sent_at_s) * 1e9


def test_a_latency_counts_from_when_the_message_was_to_be_said() -> None:
    meter = Meter()
    now_s = monotonic()
    meter.epoch_ms = 1_700_000_000_000.0  # at second 0 of that clock
    due_ms = meter.epoch_ms + 1000 * (now_s - 2)
    meter.acknowledged(7, TELEMETRY._replace(due_ms=due_ms), now_s - 0.5, 0)
    meter.acknowledged(7, TELEMETRY, now_s - 0.5, 0)
    meter.acknowledged(7, TELEMETRY._replace(due_ms=due_ms + 1501), now_s - 0.5, 0)  # a little early
    (row,) = meter.take()
    assert row.latency.count == row.service.count == 3
    assert row.latency.high == pytest.approx(2e9, abs=1e8)
    assert row.latency.low >= row.service.low >= 0.5e9
    assert row.latency.quantile(0.5) < 1e9
    assert row.service.high < 1e9


def test_times_do_not_pile_up() -> None:
    meter = Meter()
    for _ in range(TOGETHER):
        meter.acknowledged(7, TELEMETRY, monotonic(), 0)
    (row,) = meter._rows.values()
    assert len(row.times) < TOGETHER
    assert meter.take()[0].latency.count == TOGETHER


def test_what_was_taken_is_not_counted_again() -> None:
    meter = Meter()
    meter.acknowledged(7, TELEMETRY, monotonic(), 0)
    assert [row.latency.count for row in meter.take()] == [1]
    assert meter.take() == []


def test_a_refusal_has_a_time_and_is_a_failure_and_a_full_queue_has_none() -> None:
    meter = Meter()
    meter.acknowledged(7, TELEMETRY, monotonic(), 0x87)
    meter.dropped(7, TELEMETRY)
    failed = {"refused with reason code 0x87": 1, "dropped: the device's queue is full": 1}
    assert taken(meter) == {"telemetry": ("MQTT", 1, 1, failed)}


def test_a_connection_counts_from_when_it_was_wanted_and_each_failed_attempt_for_itself() -> None:
    meter = Meter()
    meter.opened(7)
    noted(meter, "disconnected", reason="connect to localhost:1 refused")
    noted(meter, "disconnected", reason="connect to localhost:1 refused")
    noted(meter, "connected")
    assert taken(meter) == {"connect": ("MQTT", 1, 2, {"connect to localhost:1 refused": 2})}


def test_a_lost_connection_is_a_failure_and_what_comes_back_a_connection() -> None:
    meter = Meter()
    meter.opened(7)
    noted(meter, "connected")
    noted(meter, "disconnected", reason="the server closed the connection")
    noted(meter, "connected")
    assert taken(meter) == {
        "connect": ("MQTT", 2, 0, {}),
        "connection lost": ("MQTT", 0, 1, {"the server closed the connection": 1}),
    }


def test_who_loses_power_or_is_switched_off_has_not_lost_the_connection() -> None:
    meter = Meter()
    for off in (meter.powered_off, meter.stopped):
        meter.opened(7)
        noted(meter, "connected")
        off(7)
        noted(meter, "disconnected", reason="severed")
    assert taken(meter) == {"connect": ("MQTT", 2, 0, {})}


@pytest.mark.parametrize(
    ("events", "rows"),
    [
        ([("delta_received", {}), ("acted", {"result": "done"})], {"delta → acted": ("MQTT", 1, 0, {})}),
        (
            [("delta_received", {}), ("acted", {"result": "failed", "action": "dance"})],
            {"delta → acted": ("MQTT", 1, 0, {"acted": 1})},
        ),
        (
            [(kind, {}) for kind in ("job_notified", "download_started", "downloaded", "rebooting", "job_succeeded")],
            {"download": ("HTTP", 1, 0, {}), "job notified → succeeded": ("MQTT", 1, 0, {})},
        ),
        (
            [("job_notified", {}), ("download_started", {}), ("job_failed", {"reason": "HTTP 500"})],
            {
                "download": ("HTTP", 1, 0, {"HTTP 500": 1}),
                "job notified → succeeded": ("MQTT", 1, 0, {"HTTP 500": 1}),
            },
        ),
        ([("acted", {"result": "done"}), ("job_succeeded", {})], {}),
    ],
)  # fmt: skip
def test_from_one_event_to_another(events: list[tuple[str, dict[str, Any]]], rows: dict[str, Any]) -> None:
    meter = Meter()
    for kind, detail in events:
        noted(meter, kind, **detail)
    assert taken(meter) == rows


def test_what_a_device_was_doing_ends_with_its_user_but_not_with_a_reboot() -> None:
    meter = Meter()
    for index, off in ((1, meter.powered_off), (2, meter.stopped)):
        noted(meter, "job_notified", index)
        off(index)
        noted(meter, "job_succeeded", index)
    assert taken(meter) == {"job notified → succeeded": ("MQTT", 1, 0, {})}


def test_no_reason_names_a_device() -> None:
    meter = Meter()
    meter.opened(7)
    noted(meter, "disconnected", reason=f"SUBSCRIBE '$aws/things/{THING}/jobs/+' refused: not authorized")
    assert taken(meter)["connect"][3] == {"SUBSCRIBE '$aws/things/{thing}/jobs/+' refused: not authorized": 1}


def test_a_device_has_the_row_of_its_channel() -> None:
    meter = Meter(["MQTT", "TCP", "REST"])
    for index in (0, 1, 1, 2):
        meter.acknowledged(index, TELEMETRY, monotonic(), 0)
    meter.opened(1)
    noted(meter, "connected", 1)
    meter.dropped(2, TELEMETRY)
    counts = {(row.method, row.name): row.latency.count + row.untimed for row in meter.take()}
    assert counts == {
        ("MQTT", "telemetry"): 1,
        ("TCP", "telemetry"): 2,
        ("REST", "telemetry"): 2,
        ("TCP", "connect"): 1,
    }


def test_reasons_do_not_pile_up() -> None:
    row = Row("MQTT", "connect")
    for number in range(1000):
        row.fail(f"connect to host-{number} refused" * 100)
    assert row.failed.total() == 1000
    assert len(row.failed) == REASONS_MAX + 1
    assert row.failed["other"] == 1000 - REASONS_MAX


def test_a_row_survives_a_pipe() -> None:
    meter = Meter()
    meter.acknowledged(7, TELEMETRY, monotonic(), 0x97)
    meter.dropped(7, TELEMETRY)
    (row,) = meter.take()
    came = Row.unpack(orjson.loads(orjson.dumps(row.pack())))
    assert came.pack() == row.pack()
