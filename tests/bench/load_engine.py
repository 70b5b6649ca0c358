"""One engine under load, in a process of its own: `python -m tests.bench.load_engine JSON`; prints its figures as JSON.

What it runs is what an engine child of `fleetsim load` runs: links by the profile, ledger, meter and audit on. A part
of `load_bench`, which starts it with its own broker or gateway.
"""

import asyncio
import gc
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvloop
import yaml

from simulator import scenarios
from simulator.audit import Audit
from simulator.checks import STORED_KINDS
from simulator.histogram import Histogram
from simulator.ledger import Ledger
from simulator.messages import Chunk, Download, DownloadEnded
from simulator.runtime import accounts, brief, capacity, garbage
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.runtime.meter import Meter, Row
from simulator.runtime.setup import Setup
from simulator.targets import Addresses, Target

ROOT = Path(__file__).parents[2]
PUBLIC_KEY = bytes(32)
SCENARIO = """
scenario: bench
seed: 1
fleet: [{{profile: {profile}, count: {devices}, name: "bench-{{n}}", channel: {channel}}}]
load: {{every_s: {every_s}, in_turn: {in_turn}}}
timeline: []
checks: [{{kind: lost, equals: 0}}]
"""
CONNECT_MAX_S = 120.0


def home(folder: Path) -> Path:
    """The shipped profiles with their telemetry alone: a plain broker has no shadows and no jobs, and peers neither."""
    for name in ("scenarios", "firmware"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "profiles").mkdir()
    for path in (ROOT / "profiles").glob("*.yaml"):
        profile = yaml.safe_load(path.read_text())
        profile["behaviours"] = [one for one in profile["behaviours"] if one["kind"] == "telemetry"]
        (folder / "profiles" / path.name).write_text(yaml.safe_dump(profile, allow_unicode=True, sort_keys=False))
    return folder


@dataclass(frozen=True, slots=True)
class Order:
    """What to run, against what."""

    devices: int
    port: int  # of the broker, or of the gateway
    seconds: float
    every_s: float = 0.001
    in_turn: bool = True
    profile: str = "vehicle-sedan"
    channel: str = "mqtt"
    ca_file: str | None = None  # with it: over TLS
    sources: int = 0  # local addresses; 0: whatever the system chooses
    settle_s: float = 1.0  # from the last connection to the measurement


def rss() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Watched(Meter):
    """A meter that keeps how far from its intended moment each message was sent."""

    def __init__(self, methods: list[str]) -> None:
        super().__init__(methods)
        self.off_ms: list[float] = []

    def take(self) -> list[Row]:
        """What is seen in passing costs nothing of what is measured."""
        for row in self._rows.values():
            if row.name == "telemetry":
                numbers = iter(row.times)
                self.off_ms += [
                    self.epoch_ms + 1000 * sent_s - due_ms for _, sent_s, due_ms in zip(*[numbers] * 3, strict=True)
                ]
        return super().take()


class Run:
    """One fleet on one engine."""

    def __init__(self, order: Order, folder: Path) -> None:
        self.order, loop = order, asyncio.get_running_loop()
        os.environ["FLEETSIM_HOME"] = str(home(folder))
        path = folder / "bench.yaml"
        path.write_text(SCENARIO.format(
            profile=order.profile, devices=order.devices, channel=order.channel, every_s=order.every_s,
            in_turn=str(order.in_turn).lower(),
        ))  # fmt: skip
        scenario, found = scenarios.read(path)
        profiles = brief.paced(scenario, found)
        target = Target(
            target="bench", kind="endpoints", mqtt_host="127.0.0.1", mqtt_port=order.port,
            mqtt_tls=order.ca_file is not None, ca_file=order.ca_file, tcp_host="127.0.0.1", tcp_port=order.port,
            rest_url=f"http://127.0.0.1:{order.port}",
        )  # fmt: skip
        addresses = Addresses(
            "endpoints", "bench", "us-east-1", "localhost" if order.ca_file else "127.0.0.1", order.port,
            mqtt_tls=target.mqtt_tls, ca_file=order.ca_file,
            tcp_host="127.0.0.1", tcp_port=order.port, rest_url=target.rest_url,
        )  # fmt: skip
        if order.sources:  # as when ports run out
            addresses_used = tuple(f"127.0.0.{10 + n}" for n in range(order.sources))
            setattr(capacity, "used_by", lambda *_: addresses_used)  # noqa: B010 (mypy: not assignable)
        setup = Setup(scenario, profiles, 1, target, folder)
        fleet = scenario.build(profiles, 1, int(time.time() * 1000), PUBLIC_KEY)
        methods = [order.channel.upper()] * order.devices
        self.ledger, self.meter = Ledger(), Meter(methods) if order.in_turn else Watched(methods)
        self.audit = Audit(STORED_KINDS, fleet.speaker)
        self.engine = Engine(fleet, setup.links(addresses, loop), Downloads(), self.ledger, self.meter, self.audit)
        garbage.spare()
        self.latency = Histogram()
        self.failed: dict[str, int] = {}
        self.telling = False

    async def connect(self) -> dict[str, float]:
        """Switch all devices on, and wait until they are online."""
        gc.collect()
        before, began_s, began_cpu_s = rss(), time.monotonic(), cpu_s()
        for index in range(self.order.devices):
            self.engine.start(index)
        while self.meter.online < self.order.devices:
            await asyncio.sleep(0.01)
            if time.monotonic() - began_s > CONNECT_MAX_S:
                why = {**self.failed, **{why: n for row in self.meter.take() for why, n in row.failed.items()}}
                raise SystemExit(f"{self.meter.online} of {self.order.devices} devices are online: {why}")
        took_s = time.monotonic() - began_s
        cpu = cpu_s() - began_cpu_s
        await asyncio.sleep(self.order.settle_s)
        gc.collect()
        return {"connect_s": took_s, "connect_cpu_us": 1e6 * cpu / self.order.devices,
                "kb_each": (rss() - before) / 1024 / self.order.devices}  # fmt: skip

    async def tell_on(self) -> None:
        """As the child: five times a second all that came together leaves for Locust."""
        while True:
            await asyncio.sleep(0.2)
            self.tell()

    def tell(self) -> None:
        self.engine.account()
        rows, self.ledger.events = self.meter.take(), []
        orjson.dumps({"rows": [row.pack() for row in rows], "counts": accounts.counts(self.ledger)})
        for row in rows:
            if row.name == "telemetry" and self.telling:
                self.latency.merge(row.latency)
            for why, times in row.failed.items():
                self.failed[why] = self.failed.get(why, 0) + times

    async def measure(self) -> dict[str, Any]:
        """The steady state."""
        self.tell()
        self.telling = True
        if isinstance(self.meter, Watched):
            self.meter.off_ms.clear()
        done, wall_s, cpu = self.ledger.acknowledged["telemetry"], time.monotonic(), cpu_s()
        await asyncio.sleep(self.order.seconds)
        self.engine.account()
        done = self.ledger.acknowledged["telemetry"] - done
        wall_s, cpu = time.monotonic() - wall_s, cpu_s() - cpu
        self.tell()
        off_ms = self.meter.off_ms if isinstance(self.meter, Watched) else []
        off_ms.sort(key=abs)
        return {
            "messages": done, "rate": done / wall_s, "cpu_us": 1e6 * cpu / max(1, done), "core": cpu / wall_s,
            "p50_ms": self.latency.quantile(0.5) / 1e6, "p99_ms": self.latency.quantile(0.99) / 1e6,
            "off_ms": [off_ms[int(q * len(off_ms))] for q in (0.5, 0.9, 0.99, 0.999)] if off_ms else [],
            "missed": self.ledger.missed.total(), "dropped": self.ledger.dropped.total(),
            "refused": self.ledger.refused.total(), "failed": self.failed,
        }  # fmt: skip


async def main(order: Order) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(order, Path(folder))
        telling = asyncio.create_task(run.tell_on())
        try:
            figures: dict[str, Any] = await run.connect()
            if order.seconds:
                figures |= await run.measure()
            if run.engine.failure:
                raise run.engine.failure
        finally:
            telling.cancel()
            await run.engine.close()
        return figures


async def fetch(url: str, ca_file: str, count: int) -> dict[str, Any]:
    """So many downloads at once, as an engine does them."""
    downloads, got, ended, over = Downloads(ca_file), [0] * count, [""] * count, asyncio.Event()
    left = count

    def hear(index: int, said: Chunk | DownloadEnded) -> None:
        nonlocal left
        if isinstance(said, Chunk):
            got[index] += len(said.data)
            return
        ended[index] = said.error
        left -= 1
        if not left:
            over.set()

    began_s, began_cpu_s = time.monotonic(), cpu_s()
    for index in range(count):
        downloads.start(index, Download("t", url), lambda said, index=index: hear(index, said))  # type: ignore[misc]
    try:
        await asyncio.wait_for(over.wait(), 300)
    finally:
        await downloads.close()
    failed = [why or "too short" for size, why in zip(got, ended, strict=True) if why or size != max(got)]
    return {
        "took_s": time.monotonic() - began_s, "cpu_ms": 1000 * (cpu_s() - began_cpu_s) / count, "bytes": sum(got),
        "failed": len(failed), "why": failed[:1],
    }  # fmt: skip


if __name__ == "__main__":
    asked = orjson.loads(sys.argv[1])
    print(orjson.dumps(uvloop.run(fetch(**asked) if "url" in asked else main(Order(**asked)))).decode(), flush=True)
