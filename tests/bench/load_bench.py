"""How much load one machine makes, beside what others make of it: one table, each figure with its bar.

usage: python -m tests.bench.load_bench [--quick] [--only NAME …] [--list]

Against a mosquitto of its own over plain TCP, everything on loopback and on the same cores; each row in processes of
its own. CPU is that of the generator alone (for Locust: of Locust and its engine child together), by getrusage. Not
collected by pytest: timing proves nothing on a busy machine, so look at the load that is printed at the top first.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import load_far as far
from tests.bench import load_peers as peers
from tests.bench.load_engine import ROOT, home

HOME_FILES = 500  # open files that are for other things than connections
TOGETHER = 1000  # devices in the rows that are compared
FLEETSIM = "import sys; from simulator.cli import main; sys.exit(main())"


class Figure(NamedTuple):
    """One line of the table."""

    row: str
    value: str
    bar: str = ""
    passed: bool | None = None  # None: nothing is asked of it


Row = Callable[["Bench"], Iterator[Figure]]


class Bench:
    """What the rows share."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.made = 0
        self.rates: dict[str, float] = {}  # of those that are compared: messages a second …
        self.cpu_us: dict[str, float] = {}  # … and CPU a message

    def seconds(self, asked: float) -> float:
        """How long to measure."""
        return max(2.0, asked / 5) if self.quick else asked

    def place(self) -> Path:
        """A folder of a row's own."""
        self.made += 1
        made = self.folder / str(self.made)
        made.mkdir()
        return made

    def engine(self, **order: Any) -> dict[str, Any]:
        """The figures of one engine, or why there are none."""
        run = subprocess.run(
            [sys.executable, "-m", "tests.bench.load_engine", json.dumps(order)], cwd=ROOT, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if run.returncode:
            return {"error": (run.stderr.strip().splitlines() or ["?"])[-1]}
        found: dict[str, Any] = json.loads(run.stdout)
        return found

    @contextmanager
    def broker(self) -> Iterator[far.Broker]:
        with far.mosquitto(self.place()) as broker:
            yield broker

    def compared(self, name: str, rate: float, cpu_us: float, more: str = "") -> str:
        self.rates[name], self.cpu_us[name] = rate, cpu_us
        return f"{rate:>8,.0f}/s {cpu_us:6.1f} µs{more}"


def at_least(row: str, value: float, bar: float, words: str) -> Figure:
    return Figure(row, words, f"≥ {bar:,g}", value >= bar)


def at_most(row: str, value: float, bar: float, words: str) -> Figure:
    return Figure(row, words, f"≤ {bar:,g}", value <= bar)


# The rows


def bare(bench: Bench) -> Iterator[Figure]:
    """The ruler: packets encoded beforehand on uvloop's transports. What it costs today is what the machine is."""
    got = loop(bench, "bare")
    if "error" in got:
        yield Figure("bare", got["error"])
    else:
        yield Figure("(bare uvloop, the limit)", bench.compared("bare", got["rate"], got["cpu_us"]))


def engine(bench: Bench) -> Iterator[Figure]:
    """Our engine: 1,000 devices, QoS 1, one in flight each; profile payloads, statistics, ledger and audit on."""
    with bench.broker() as broker:
        got = bench.engine(devices=TOGETHER, port=broker.port, seconds=bench.seconds(15))
    if "error" in got:
        yield Figure("engine", got["error"], "runs", False)
        return
    words = bench.compared("engine", got["rate"], got["cpu_us"], f", {100 * got['core']:.0f} % of a core")
    words += f", p50 {got['p50_ms']:.1f} ms, p99 {got['p99_ms']:.1f} ms"
    yield at_least("engine: acknowledged", got["rate"], 60_000, words)
    yield at_most("engine: CPU a message", got["cpu_us"], 12, f"{got['cpu_us']:.1f} µs")


def locust(bench: Bench) -> Iterator[Figure]:
    """The same through Locust: the engine child and Locust's worker together."""
    folder = bench.place()
    place = home(folder)
    with bench.broker() as broker:
        (folder / "bench.yaml").write_text(
            f"scenario: bench\nseed: 1\nfleet: [{{profile: vehicle-sedan, count: {TOGETHER}, name: 'bench-{{n}}'}}]\n"
            "load: {every_s: 0.001, in_turn: true}\ntimeline: []\nchecks: [{kind: lost, equals: 0}]\n"
        )
        (folder / "target.yaml").write_text(
            f"target: bench\nkind: endpoints\nmqtt_host: 127.0.0.1\nmqtt_port: {broker.port}\nmqtt_tls: false\n"
        )
        seconds = bench.seconds(15)
        command = [
            sys.executable, "-m", "locust", "-f", str(ROOT / "tests/bench/load_locust.py"), "--headless",
            "--only-summary", "--loglevel", "ERROR", "--scenario", str(folder / "bench.yaml"), "--target",
            str(folder / "target.yaml"), "--state", str(folder / "state"), "--yes", "-u", str(TOGETHER), "-r",
            str(TOGETHER), "-t", f"{seconds + 6:.0f}s",
        ]  # fmt: skip
        (folder / "state").mkdir()
        got = steady(command, seconds, {"FLEETSIM_HOME": str(place), "PYTHONPATH": str(ROOT)})
    if "error" in got:
        yield Figure("locust", got["error"], "runs", False)
        return
    more = f", of it {got['child_cpu_us']:.1f} in the engine"
    yield at_most("through Locust: CPU", got["cpu_us"], 14, bench.compared("locust", got["rate"], got["cpu_us"], more))


def mqttuser(bench: Bench) -> Iterator[Figure]:
    """Locust's own MqttUser (paho)."""
    with bench.broker() as broker:
        seconds = bench.seconds(15)
        command = [
            sys.executable, "-m", "locust", "-f", str(ROOT / "tests/bench/load_peers.py"), "--headless",
            "--only-summary", "--loglevel", "ERROR", "-u", str(TOGETHER), "-r", "200", "-t", f"{seconds + 15:.0f}s",
        ]  # fmt: skip
        got = steady(command, seconds, {"LOAD_BENCH_PORT": str(broker.port)})
    yield from peer(bench, "MqttUser", got, factor=5)


def awscrt(bench: Bench) -> Iterator[Figure]:
    """A bare loop on awscrt."""
    yield from peer(bench, "awscrt", loop(bench, "awscrt"))


def loop(bench: Bench, name: str) -> dict[str, Any]:
    """One of `load_peers`, by its name."""
    with bench.broker() as broker:
        seconds = bench.seconds(15)
        command = [
            sys.executable, "-m", "tests.bench.load_peers", name, str(broker.port), str(TOGETHER), str(seconds + 3)
        ]  # fmt: skip
        return steady(command, seconds, {})


def others(bench: Bench) -> Iterator[Figure]:
    """emqtt-bench and mqttx, where they are installed."""
    for name in ("emqtt_bench", "mqttx"):
        if shutil.which(name) is None:
            yield Figure(name.replace("_", "-"), "not installed")
            continue
        with bench.broker() as broker:
            command = peers.commands(broker.port, TOGETHER)[name]
            yield from peer(bench, name.replace("_", "-"), foreign(command, bench.seconds(15)))


def peer(bench: Bench, name: str, got: dict[str, Any], factor: float = 1) -> Iterator[Figure]:
    if "error" in got:
        yield Figure(name, got["error"])
        return
    yield Figure(name, bench.compared(name, got["rate"], got["cpu_us"]))
    if ours := bench.rates.get("engine"):
        yield at_least(f"engine ÷ {name}", ours / got["rate"], factor, f"{ours / got['rate']:.1f} ×")


def connect(bench: Bench) -> Iterator[Figure]:
    """10,000 devices on one engine: how quickly, and how much memory each; over TLS with fewer."""
    with bench.broker() as broker:
        got = bench.engine(devices=10_000, port=broker.port, seconds=0, every_s=3600, in_turn=False)
        tls = bench.engine(
            devices=1000, port=broker.tls_port, ca_file=broker.ca_file, seconds=0, every_s=3600, in_turn=False
        )
    if "error" in got:
        yield Figure("connect", got["error"], "runs", False)
    else:
        words = f"{got['connect_s']:.2f} s, {got['connect_cpu_us']:.0f} µs CPU each"
        yield at_most("10,000 connected", got["connect_s"], 2, words)
        yield at_most("memory a device", got["kb_each"], 10, f"{got['kb_each']:.1f} KB")
    if "error" in tls:
        yield Figure("connect over TLS", tls["error"], "runs", False)
    else:
        words = f"{tls['kb_each']:.1f} KB (1,000 devices, {tls['connect_cpu_us']:.0f} µs CPU each)"
        yield at_most("memory over TLS", tls["kb_each"], 60, words)


def many(bench: Bench) -> Iterator[Figure]:
    """CPU a message with 10,000 devices against that with 100."""
    with bench.broker() as broker:
        few = bench.engine(devices=100, port=broker.port, seconds=bench.seconds(10))
    with bench.broker() as broker:
        got = bench.engine(devices=10_000, port=broker.port, seconds=bench.seconds(15), settle_s=3)
    if "error" in few or "error" in got:
        yield Figure("10,000 devices", few.get("error") or got["error"], "runs", False)
        return
    share = got["cpu_us"] / few["cpu_us"]
    words = f"{share:.2f} × ({got['cpu_us']:.1f} µs at {got['rate']:,.0f}/s against {few['cpu_us']:.1f} µs)"
    yield at_most("CPU: 10,000 ÷ 100 devices", share, 1.3, words)


def most(bench: Bench) -> Iterator[Figure]:
    """As many devices as one process may have open files, from several local addresses."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(int(limit * 0.95), 60_000)
    if limit - count < HOME_FILES:
        count = limit - HOME_FILES
    with bench.broker() as broker:
        got = bench.engine(devices=count, port=broker.port, seconds=0, every_s=3600, in_turn=False, sources=4)
    if "error" in got:
        yield Figure(f"{count:,} devices", got["error"], "all connect", False)
        return
    words = f"{got['connect_s']:.1f} s from 4 addresses (limit: {limit:,} open files)"
    yield Figure(f"{count:,} devices on one engine", words, "all connect", True)


def paced(bench: Bench) -> Iterator[Figure]:
    """1,000 devices at 1 message a second each: how far from its intended moment each is sent."""
    with bench.broker() as broker:
        got = bench.engine(
            devices=TOGETHER, port=broker.port, seconds=bench.seconds(60), every_s=1, in_turn=False, settle_s=3
        )
    if "error" in got:
        yield Figure("paced", got["error"], "runs", False)
        return
    p50, p90, p99, p999 = got["off_ms"]
    words = f"p50 {p50:+.2f}, p90 {p90:+.2f}, p99 {p99:+.2f}, p99.9 {p999:+.2f} ms; {got['missed']} missed"
    yield at_most("paced: off by, p99, ms", abs(p99), 2, words)
    words = f"{100 * got['core']:.1f} % ({got['cpu_us']:.0f} µs a message, {got['rate']:,.0f}/s)"
    yield at_most("paced: % of a core", 100 * got["core"], 5, words)


def tcp(bench: Bench) -> Iterator[Figure]:
    """Binary frames into the backend's gateway, each acknowledged when it is stored."""
    yield from gateway(bench, "tcp", "tcp_port", 2000, 20_000, "frames")


def rest(bench: Bench) -> Iterator[Figure]:
    """A POST a message into the backend's gateway."""
    yield from gateway(bench, "rest", "rest_url", 200, 2_000, "POST")


def gateway(bench: Bench, channel: str, where: str, devices: int, bar: float, what: str) -> Iterator[Figure]:
    with bench.broker() as broker, far.backend(bench.place(), broker) as ready:
        port = int(str(ready[where]).rpartition(":")[2])
        got = bench.engine(
            devices=devices, port=port, seconds=bench.seconds(10), profile="machine-a", channel=channel, settle_s=2
        )
    if "error" in got:
        yield Figure(channel, got["error"], "runs", False)
        return
    words = f"{got['rate']:>8,.0f}/s {got['cpu_us']:6.1f} µs, p99 {got['p99_ms']:.0f} ms, {got['refused']} refused"
    yield at_least(f"{channel}: {what}", got["rate"], bar, words)


def ota(bench: Bench) -> Iterator[Figure]:
    """1,000 downloads of 1 MB at once, from the sandbox's S3."""
    count = 200 if bench.quick else 1000
    with far.image(bench.place(), 1_000_000) as (url, ca_file):
        got = bench.engine(url=url, ca_file=ca_file, count=count)
    if "error" in got:
        yield Figure("ota", got["error"], "no failure", False)
        return
    words = f"{got['failed']} failed {' '.join(got['why'])}; {got['took_s']:.1f} s, {got['bytes'] / 1e6:.0f} MB"
    yield Figure(f"{count:,} downloads of 1 MB", words, "no failure", got["failed"] == 0)


def sandbox(bench: Bench) -> Iterator[Figure]:
    """The whole sandbox: fleet, cloud and backend; a message is through when a rule was evaluated and it is stored."""
    folder, devices, every_s, hold_s = bench.place(), 800, 0.24, 10 if bench.quick else 30
    (folder / "whole.yaml").write_text(
        f"scenario: whole\nseed: 1\nfleet: [{{profile: vehicle-sedan, count: {devices}, name: 'Vehicle-VIN-{{n}}'}}]\n"
        f"load: {{shape: {{kind: ramp, to: {devices}, over_s: 10, hold_s: {hold_s}}}, every_s: {every_s}}}\n"
        "sandbox: {rules: [{ruleId: hot, productId: '*', type: threshold, condition: 'metrics.engine_temp_c > 200',"
        " severity: high}]}\n"
        "timeline: []\n"
        "checks: [{kind: processing_time, percentile: 99, at_most: 1}, {kind: lost, equals: 0}]\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", FLEETSIM, "load", str(folder / "whole.yaml"), "--out", str(folder / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    path = folder / "out" / "report.json"
    if not path.exists():
        yield Figure("sandbox", (run.stderr.strip().splitlines() or ["?"])[-1], "runs", False)
        return
    report = json.loads(path.read_text())
    rates = sorted(rate["acknowledged"] for rate in report["throughput"])
    rate = rates[len(rates) * 3 // 4] if rates else 0
    yield at_least("sandbox: end to end", rate, 3000, f"{rate:,.0f}/s ({report['verdict']}; {report['reason']})")
    for check in report["checks"]:
        words = f"{check['measured']} {check['unit']} {check['why']}"
        yield Figure(f"sandbox: {check['name']}"[:40], words[:70], check["bound"], check["passed"])


ROWS: tuple[Row, ...] = (
    bare, engine, locust, mqttuser, awscrt, others, connect, many, most, paced, tcp, rest, ota, sandbox,
)  # fmt: skip


# Processes that tell how far they are


def steady(command: list[str], seconds: float, environ: dict[str, str]) -> dict[str, Any]:
    """Messages a second and CPU a message over the last so many seconds of what a process told."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = subprocess.run(
            command, cwd=ROOT, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, **environ},
            check=False,
        ).returncode  # fmt: skip
        out.seek(0)
        err.seek(0)
        told = [json.loads(line) for line in out if line.startswith('{"done"')]
        last_words = (err.read().strip().splitlines() or [f"exit code {code}"])[-1]
    told = [one for one in told if one["done"]]
    if len(told) < 4:
        return {"error": last_words}
    # The end is that of the load: Locust tells on while it stops.
    top = max(range(len(told)), key=lambda i: told[i]["done"])
    end = next(i for i in range(len(told)) if told[i]["done"] >= 0.999 * told[top]["done"])
    begin = next((i for i in range(end) if told[i]["at_s"] >= told[end]["at_s"] - seconds), 0)
    first, last = told[begin], told[end]
    count = max(1, last["done"] - first["done"])
    cpu = {key: 1e6 * (last[key] - first[key]) / count for key in ("cpu_s", "child_cpu_s") if key in last}
    return {
        "rate": count / (last["at_s"] - first["at_s"]), "cpu_us": sum(cpu.values()),
        "child_cpu_us": cpu.get("child_cpu_s", 0.0),
    }  # fmt: skip


def foreign(command: list[str], seconds: float) -> dict[str, Any]:
    """The same of a program that says `total …` once a second."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    seen: list[tuple[float, int, float]] = []
    try:
        end_s = time.monotonic() + seconds + 10
        for line in process.stdout:
            if found := re.search(r"total[:=]\s*(\d+)", line):
                seen.append((time.monotonic(), int(found[1]), cpu_of(process.pid)))
            if time.monotonic() > end_s:
                break
    finally:
        process.kill()
        process.wait()
    seen = [one for one in seen if one[0] >= end_s - seconds]
    if len(seen) < 2:
        return {"error": "its output says no total"}
    (begin_s, before, cpu_before), (end_s, after, cpu_after) = seen[0], seen[-1]
    count = max(1, after - before)
    return {"rate": count / (end_s - begin_s), "cpu_us": 1e6 * (cpu_after - cpu_before) / count}


def cpu_of(pid: int) -> float:
    """The CPU that a process and its children have used."""
    import psutil  # type: ignore[import-untyped]

    me = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in [me, *me.children(recursive=True)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time")
    parser.add_argument("--only", nargs="+", choices=[row.__name__ for row in ROWS], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="what rows there are")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{row.__name__:10} {row.__doc__}" for row in ROWS))
        return 0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the broker needs as many as we
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{os.cpu_count()} cores, load before: {busy}; Python {sys.version.split()[0]}\n")
    print(f"{'':4}{'':34} {'bar':>12}  measured")
    short = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), asked.quick)
        for row in ROWS:
            if asked.only and row.__name__ not in asked.only:
                continue
            for figure in row(bench):
                mark = {True: "pass", False: "FALL", None: ""}[figure.passed]
                short += figure.passed is False
                print(f"{mark:4} {figure.row:33} {figure.bar:>12}  {figure.value}", flush=True)
    print(f"\n{short} fall short" if short else "\nall bars are met")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
