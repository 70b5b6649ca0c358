"""Specs that several tests use."""

from typing import Any

from simulator.schema import parse
from simulator.wire.spec import ProductSpec

MACHINE = """
endian: big
frame:
  start: "014E"
  length: {type: u16, counts: body}
  checksum: {kind: crc16-modbus}
  max_bytes: 256
header:
  - {name: message, type: u8}
  - {name: device_id, type: text, bytes: 16}
  - {name: seq, type: u32}
  - {name: device_timestamp, type: u64}
messages:
  telemetry:
    id: 2
    fields:
      - {name: tempC, type: i16, scale: 0.1}
      - {name: rpm, type: u16}
      - {name: vibration, type: f32}
      - {name: hours, type: bcd, bytes: 3}
      - {type: bits, bytes: 1, names: [door, "-", lock]}
      - {name: mode, type: text, bytes: 6}
  alert_report: {id: 5, fields: [{name: code, type: u16}]}
  heartbeat: {id: 3}
  ack: {id: 4, fields: [{name: status, type: u8}]}
"""

SAMPLE: dict[str, Any] = {
    "device_id": "machine-0001",
    "seq": 7,
    "device_timestamp": 1_767_225_600_000,
    "tempC": 26.3,
    "rpm": 1200,
    "vibration": 0.5,
    "hours": 12345,
    "door": 1,
    "lock": 0,
    "mode": "eco",
}


def spec(text: str = MACHINE) -> ProductSpec:
    return parse(text, "spec.yaml", ProductSpec)


def framed(start: str = "014E", checksum: str = "crc16-modbus", **frame: Any) -> ProductSpec:
    """The smallest spec with a frame of one kind."""
    return ProductSpec.model_validate(
        {
            "frame": {"start": start, "checksum": {"kind": checksum}, **frame},
            "header": [{"name": "device_id", "type": "text", "bytes": 2}],
            "messages": {"telemetry": {"fields": []}},
        }
    )
