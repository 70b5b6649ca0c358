"""A device type that no code knows, over TCP and MQTT."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.report.facts import Report
from tests.e2e.fleetsim_command import Command

pytestmark = pytest.mark.e2e

PUMP = """\
profile: pump
thing_type: Pump
channel: {channel}
signals:
  flow_l: {{kind: wander, mean: 40, deviation: 2, resolution: 0.1, sensor: [0, 100]}}
payload:
  frame: {{start: "CAFE", checksum: {{kind: crc32}}}}
  header:
    - {{name: message, type: u8}}
    - {{name: device_id, type: text, bytes: 12}}
    - {{name: seq, type: u16}}
    - {{name: device_timestamp, type: u64}}
  messages:
    telemetry: {{id: 7, fields: [{{name: flow_l, type: u16, scale: 0.1}}]}}
    ack: {{id: 8, fields: [{{name: status, type: u8}}]}}
behaviours:
  - {{kind: telemetry, every_s: 0.2, codec: {codec}, metrics: [flow_l]}}
"""
SCENARIO = """\
scenario: pumps
fleet: [{profile: pump, count: 4, name: "pump-{n}"}]
timeline: [{kind: connect, over_s: 0.1}, {kind: hold, for_s: 3}]
checks:
  - {kind: devices, equals: 4}
  - {kind: lost, equals: 0}
  - {kind: duplicates, equals: 0}
"""


def counted(report: Report) -> tuple[int, int, int]:
    [telemetry] = [account for account in report.accounting if account.kind == "telemetry"]
    assert telemetry.stored is not None
    return telemetry.attempted, telemetry.acknowledged, telemetry.stored


@pytest.mark.parametrize(("channel", "codec"), [("tcp", "platform_json"), ("mqtt", "platform_bin")])
def test_a_device_type_that_no_code_knows(
    fleetsim: Callable[..., Command], tmp_path: Path, channel: str, codec: str
) -> None:
    for name, text in (("profiles/pump", PUMP.format(channel=channel, codec=codec)), ("scenarios/pumps", SCENARIO)):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir()
        path.write_text(text)
    (tmp_path / "firmware").mkdir()
    command = fleetsim("run", "pumps", "--out", "out", FLEETSIM_HOME=str(tmp_path))
    assert command.wait() == 0, command.stdout + command.stderr
    attempted, acknowledged, stored = counted(command.report)
    assert attempted == acknowledged == stored >= 4 * 8
