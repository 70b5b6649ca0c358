"""A million inputs that are wrong in some way: frames, bodies of frames, topics with payloads, HTTP bodies, CSV.

usage: python tests/bench/fuzz.py [INPUTS] [SEED]

Every input is a good one, mutated: bits flipped, bytes cut out, doubled, put in, spliced with another, or numbers
and words replaced by nasty ones. Only our own errors may come of it, no input may take long, and after the first
tenth the memory must not grow. Prints what came of them, the rate, the slowest input and the memory.
"""

import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from simulator.backend.core import Backend
from simulator.backend.effects import DeadLetter, LookUp
from simulator.backend.rest_body import BodyRefused, fire_from_json, telemetry_from_csv, telemetry_from_json, unpack
from simulator.backend.rules import load_rules
from simulator.schema import parse
from simulator.wire import csv_batch
from simulator.wire.frames import FrameDecoder, FrameEncoder
from simulator.wire.payloads import fire_record, platform_json, platform_rest
from simulator.wire.spec import ProductSpec, SpecError

NOW_MS = 1_767_225_600_000
MEMORY_GROWTH_MAX_KIB = 16 * 1024
INPUT_MAX_S = 1.0

SPEC = """
frame: {start: "014E", checksum: {kind: crc16-modbus}, max_bytes: 256}
header:
  - {name: message, type: u8}
  - {name: device_id, type: text, bytes: 16}
  - {name: seq, type: u32}
  - {name: device_timestamp, type: u64}
messages:
  telemetry:
    id: 2
    fields:
      - {name: t, type: i16, scale: 0.1}
      - {name: x, type: f32}
      - {name: y, type: f64}
      - {name: hours, type: bcd, bytes: 3}
      - {type: bits, bytes: 1, names: [door, lock]}
      - {name: mode, type: text, bytes: 6}
  alert_report: {id: 5, fields: [{name: code, type: u16}]}
  control_result:
    id: 6
    fields: [{name: name, type: text, bytes: 8}, {name: id, type: text, bytes: 8}, {name: result, type: text, bytes: 8}]
  heartbeat: {id: 3}
  ack: {id: 4, fields: [{name: status, type: u8}]}
"""
VALUES: dict[str, Any] = {
    "device_id": "m-1", "seq": 7, "device_timestamp": NOW_MS, "t": 21.5, "x": 0.5, "y": 1e9, "hours": 123, "door": 1,
    "lock": 0, "mode": "eco",
}  # fmt: skip
RECORD = {
    "volt": 220.0, "voltLow": 219.0, "ct": 5.0, "zct": 0.5, "rzct": 0.3, "pwr": 1.1, "pcbTemp": 35.0,
    "sensorTemp": 37.0, "co": 5.0, "voc": 50.0, "pFct": 0.95, "aArc": 0.0,
}  # fmt: skip
NASTY = (
    b"null", b"true", b"-1", b"1e999", b"18446744073709551616", b"9223372036854775808", b'"\\ud800"', b"[]", b"{}",
    b"[" * 2000, b'{"a":' * 500, b"NaN", b"0x10", b'""', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\r", b",,,,",
    b"=1+1", b"\xc0\x80", b"1" * 400, b'"' + b"a" * 5000 + b'"',
)  # fmt: skip
TOPICS = (
    "iotlink/dev/nohub/m-1/periodic/pub/telemetry/json",
    "iotlink/stg/hub-1/hub-1/periodic/pub/telemetry/json",
    "iotlink/stg/hub-1/m-2/periodic/pub/telemetry/bin",
    "iotlink/dev/nohub/m-1/event/pub/control_result/json",
    "iotlink/dev/nohub/m-1/event/pub/upload_request/json",
    "iotlink/dev/nohub/m-1/event/pub/upload_complete/json",
    "iotlink/dev/nohub/m-1/event/pub/provisioning_complete/json",
    "iotlink/dev/nohub/m-1/event/pub/alert_report/json",
    "iotlink/dev/nohub/m-1/event/pub/heartbeat/json",
    "devices/hub-1/m-3/telemetry",
    "fire-prediction/device/device-001/data",
    "$aws/events/jobExecution/ota-1/failed",
    "taken/telemetry",
)
BATCH = [
    {"device_id": f"m-{i}", "productId": "fuzz", "device_timestamp": NOW_MS, "metrics": {"t": i, "note": "a, \"b\""}}
    for i in range(4)
]  # fmt: skip


class Fuzz:
    """Makes inputs and gives them to whoever reads such ones."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 (a repeatable one is what is wanted)
        self.spec = parse(SPEC, "spec.yaml", ProductSpec)
        self.outcomes: Counter[str] = Counter()
        rules = [{"ruleId": "hot", "productId": "*", "condition": "metrics.t / metrics.x > 20", "autoAction": "a"}]
        self.core = Backend(load_rules(rules), devices_max=1000)
        self.core.replace_specs({"fuzz": self.spec})
        self.decoder = FrameDecoder(self.spec)
        body = self.spec.encode("telemetry", VALUES)
        small = self.spec.encode("alert_report", VALUES | {"code": 7})
        self.bodies = [body, small, self.spec.encode("heartbeat", VALUES)]
        frame = FrameEncoder(self.spec).encode
        self.stream = b"".join(frame(one) for one in (body, small, body))
        upload = {"name": "log", "size": 9, "content_type": "a/b", "parts": 2, "id": "x", "result": "done", "etags": []}
        control = {"name": "a", "id": "b", "result": "done", "reason": ""}
        nodes = [{"device_id": "m-2", "role": "EndDevice", "parent": "hub-1"}]
        data = {
            "metrics": {"t": 20, "x": 0.5}, "bin": body.hex(), "upload": upload, "control": control,
            "provisioning": {"product": "fuzz"},
        }  # fmt: skip
        self.payloads = [
            platform_json("m-1", 1, NOW_MS, RECORD),
            orjson.dumps({"device_timestamp": NOW_MS, "hub_timestamp": NOW_MS, "nodes": nodes, "data": data}),
            fire_record("device-001", 1, NOW_MS, RECORD),
            orjson.dumps({"statusDetails": {"reason": "x"}}),
            orjson.dumps(["m-1", "platform", 1, None, NOW_MS, None, NOW_MS, {"t": 1}, "fuzz", None, None]),
        ]
        self.json = [
            platform_rest("fuzz")("m-1", 1, NOW_MS, RECORD), orjson.dumps({"messages": BATCH}), self.payloads[2],
        ]  # fmt: skip
        self.csv = csv_batch.encode(BATCH)
        self.packed = [_gzip(self.json[1]), _gzip(b"a" * 100_000)]
        self.kinds: tuple[tuple[str, Callable[[], str]], ...] = (
            ("stream of frames", self._frames),
            ("body of a frame", self._body),
            ("topic and payload", self._message),
            ("topic and payload", self._message),
            ("HTTP body, JSON", self._rest),
            ("CSV", self._csv),
        )
        self.count = 0

    def mutated(self, data: bytes) -> bytes:
        """The same, but wrong."""
        dice = self.dice
        out = bytearray(data)
        for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
            at = dice.randrange(len(out) + 1)
            match dice.randrange(8):
                case 0 | 1 if out:
                    out[at % len(out)] ^= 1 << dice.randrange(8)
                case 2 if out:
                    out[at % len(out)] = dice.randrange(256)
                case 3:
                    del out[at : at + dice.randrange(1, 9)]
                case 4:
                    out[at:at] = out[at : at + dice.randrange(1, 33)]
                case 5:
                    out[at:at] = dice.randbytes(dice.randrange(1, 9))
                case 6:
                    out[at : at + dice.randrange(12)] = dice.choice(NASTY)
                case _:
                    del out[at:]
        return bytes(out)

    def one(self) -> None:
        """The next input."""
        name, read = self.kinds[self.count % len(self.kinds)]
        self.count += 1
        self.outcomes[f"{name}: {read()}"] += 1

    def _frames(self) -> str:
        found = self.decoder.feed(self.mutated(self.stream))
        return "nothing yet" if not found else "read"

    def _body(self) -> str:
        body = self.mutated(self.dice.choice(self.bodies))
        try:
            self.spec.decode(body)
        except SpecError:
            return self._ingest("tcp/fuzz", body)
        return self._ingest("tcp/fuzz", body)

    def _message(self) -> str:
        topic = self.dice.choice(TOPICS)
        fits = {"fire-prediction": 2, "$aws": 3, "taken": 4}.get(topic.partition("/")[0], self.dice.randrange(2))
        payload = self.payloads[fits] if self.dice.random() < 0.8 else self.dice.choice(self.payloads)
        if self.dice.random() < 0.1:
            topic = self.mutated(topic.encode()).decode(errors="replace")
        return self._ingest(topic, self.mutated(payload))

    def _ingest(self, topic: str, payload: bytes) -> str:
        effects = self.core.ingest(topic, payload, NOW_MS + self.count)
        for effect in effects:
            if isinstance(effect, LookUp):
                self.core.product_answered(effect.thing, "fuzz", NOW_MS)
        if self.count % 1000 == 0:
            self.core.tick(NOW_MS + self.count)
        return "refused" if any(isinstance(effect, DeadLetter) for effect in effects) else "read"

    def _rest(self) -> str:
        read = self.dice.choice((telemetry_from_json, fire_from_json))
        try:
            if self.dice.random() < 0.2:
                unpack(self.mutated(self.dice.choice(self.packed)))
            read(self.mutated(self.dice.choice(self.json)), NOW_MS, self.core.product_of)
        except BodyRefused:
            return "refused"
        return "read"

    def _csv(self) -> str:
        body = self.mutated(self.csv)
        try:
            csv_batch.decode(body)
            telemetry_from_csv(body, NOW_MS, self.core.product_of)
        except (csv_batch.CsvError, BodyRefused):
            return "refused"
        return "read"


def _gzip(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, 1)


def memory_kib() -> int:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def run(inputs: int, seed: int) -> tuple[Fuzz, list[int], float]:
    """Fuzz; what came of it, the memory after each tenth, and the seconds of the slowest input."""
    fuzz = Fuzz(seed)
    levels, slowest_s = [], 0.0
    for tenth in range(10):
        for _ in range(inputs * tenth // 10, inputs * (tenth + 1) // 10):
            began_s = time.perf_counter()
            fuzz.one()
            slowest_s = max(slowest_s, time.perf_counter() - began_s)
        levels.append(memory_kib())
    return fuzz, levels, slowest_s


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    began = time.perf_counter()
    done, memory, slowest = run(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    took_s = time.perf_counter() - began
    print(f"{done.count:,} inputs in {took_s:.0f} s: {done.count / took_s:,.0f} a second, no error but our own")
    print(f"slowest input {slowest * 1000:.1f} ms; memory after each tenth, MiB: {[kib // 1024 for kib in memory]}")
    print(f"highest memory ever: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
    for outcome, count in sorted(done.outcomes.items()):
        print(f"  {outcome}: {count:,}")
    if memory[-1] > memory[0] + MEMORY_GROWTH_MAX_KIB or slowest > INPUT_MAX_S:
        sys.exit("the memory grew, or an input took long")
