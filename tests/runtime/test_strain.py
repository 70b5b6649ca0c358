"""Does the generator keep pace: what a gauge measures, which bounds there are, and when a run proves nothing."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.behaviours.telemetry import TelemetryDuty
from simulator.checks import Facts
from simulator.cli import run as command
from simulator.ledger import Ledger
from simulator.report import html, json_report, junit
from simulator.report.text import verdict_lines
from simulator.runtime import account
from simulator.runtime.conductor import Record
from simulator.runtime.strain import TOGETHER, Bounds, Counts, Gauge, Sample, bottleneck, bounds
from simulator.scenarios import Scenario
from tests.core.fleets import Live, fleet, run
from tests.links.mqtt_peers import MOSQUITTO, Certificates, make_certificates, mosquitto

GOOD = Sample(0, 1.0, 0.3, 5.0, 0.5, 4.0, 9.0, 100, 100, 0, 0, 0)
BOUNDS = Bounds(250.0)


def at(count: int, **changes: Any) -> list[Sample]:
    """So many seconds like a good one, but for that."""
    return [GOOD._replace(**changes)] * count


# The gauge


def test_a_sample_is_what_happened_since_the_last_one() -> None:
    gauge = Gauge(10.0, 2.0)
    for slip_ms in range(100):
        gauge.slips_ms.append(slip_ms)
        gauge.woken()
    gauge.stood_still(0.02)
    gauge.stood_still(0.005)
    first = gauge.take(11_000, 11.0, 2.5, Counts(90, 2, 1), 7)
    assert first._replace(slip_p50_ms=0, slip_p99_ms=0) == Sample(11_000, 1.0, 0.5, 20.0, 0, 0, 99.0, 100, 90, 2, 1, 7)
    assert first.slip_p50_ms == pytest.approx(49, rel=0.002)
    assert first.slip_p99_ms == pytest.approx(98, rel=0.002)
    second = gauge.take(13_000, 13.0, 2.7, Counts(190, 2, 5), 0)
    assert second == Sample(13_000, 2.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0, 100, 0, 4, 0)


def test_early_is_not_late_and_many_slips_do_not_pile_up() -> None:
    gauge = Gauge(0.0, 0.0)
    for _ in range(3 * TOGETHER + 1):
        gauge.slips_ms.append(-0.4)
        gauge.woken()
    assert len(gauge.slips_ms) == 1
    sample = gauge.take(1, 1.0, 0.0, Counts(), 0)
    assert (sample.woken, sample.slip_p99_ms, sample.slip_max_ms) == (3 * TOGETHER + 1, 0.0, 0.0)


# The bounds


@pytest.mark.parametrize(
    ("periods_s", "times_s", "slip_ms"),
    [
        ([1.0, 5.0], [], 250),
        ([4.0], [], 1000),
        ([2.0], [], 500),
        ([60.0], [], 1000),
        ([60.0], [2.0, 15.0], 500),
        ([0.01], [], 250),
        ([], [], 1000),
    ],
)
def test_too_late_is_a_quarter_of_what_counts(periods_s: list[float], times_s: list[float], slip_ms: float) -> None:
    assert bounds(periods_s, times_s).slip_ms == slip_ms


LATE = "the generator was the bottleneck: devices were woken up to 900 ms late (p99; 250 ms are too much) in"


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ([], ""),
        (at(30), ""),
        (at(28) + at(2, slip_p99_ms=900, slip_max_ms=900, lag_ms=900, cpu=1.0), ""),  # a hiccup
        (at(6) + at(2, slip_p99_ms=900), ""),  # of a short run, too
        (at(2, slip_p99_ms=900), ""),
        (at(20) + at(10, slip_p99_ms=900), f"{LATE} 10 of 30 s; meanwhile it used 30 % of a core"),
        (at(20) + at(10, slip_p99_ms=900, cpu=0.99), f"{LATE} 10 of 30 s; meanwhile it used 99 % of a core"),
        (at(20) + at(2, slip_p99_ms=900, lasted_s=5.0), f"{LATE} 10 of 30 s; meanwhile it used 30 % of a core"),
        (at(100, woken=0, said=0) + at(4, slip_p99_ms=900), f"{LATE} 4 of 4 s; meanwhile it used 30 % of a core"),
        (at(100, woken=0, said=0, lag_ms=5000.0, cpu=1.0), ""),  # nobody was to say anything
        (
            at(20) + at(10, lag_ms=2000.0),
            "the generator was the bottleneck: its event loop stood still for up to 2,000 ms (250 ms are too much) "
            "in 10 of 30 s; meanwhile it used 30 % of a core",
        ),
        (at(20) + at(10, cpu=0.97), ""),  # while everybody connects
        (
            at(10) + at(20, cpu=0.97),
            "the generator was the bottleneck: it used 95 % of a core or more in 20 of 30 s",
        ),
        (at(27) + at(3, missed=30), ""),  # 90 of 3,090
        (
            at(27) + at(3, missed=100, cpu=0.8),
            "the generator was the bottleneck: 300 of 3,300 messages that were due were never said, because their "
            "devices were woken too late; meanwhile it used 80 % of a core",
        ),
        (at(30, queued=100_000, dropped=100), ""),  # of a slow backend
    ],
)  # fmt: skip
def test_when_the_generator_was_the_bottleneck(samples: list[Sample], why: str) -> None:
    assert bottleneck({"": samples}, BOUNDS) == why


def test_one_slow_worker_is_enough() -> None:
    slow = {"worker-1": at(30), "worker-2": at(30, slip_p99_ms=900)}
    assert bottleneck(slow, BOUNDS).startswith("the generator was the bottleneck (worker-2): devices were woken")


# The verdict

SCENARIO = {
    "scenario": "s",
    "fleet": [{"profile": "pump", "count": 1, "name": "Pump-001"}],
    "timeline": [{"kind": "connect"}],
    "checks": [
        {"kind": "lost", "equals": 0},
        {"kind": "duplicates", "equals": 0},
        {"kind": "devices", "equals": 0},
        {"kind": "time_to_detect", "at_most": 2},
    ],
}
SLOW = at(30, slip_p99_ms=1900.0)


@pytest.mark.parametrize(
    ("samples", "changes", "verdict"),
    [
        (at(30), {}, ("passed", 0)),
        (SLOW, {}, ("inconclusive", 4)),
        (at(30), {"devices": 1}, ("failed", 1)),
        (SLOW, {"devices": 1}, ("inconclusive", 4)),  # perhaps it had no time to connect
        (SLOW, {"lost": 2}, ("failed", 1)),  # no slow generator loses what was acknowledged
        (SLOW, {"duplicates": 2}, ("failed", 1)),
        (SLOW, {"devices": 1, "lost": 2}, ("failed", 1)),
        (SLOW, {"stored": None}, ("inconclusive", 4)),  # nobody could look for lost ones
    ],
)
def test_a_slow_generator_proves_nothing_but_a_loss(
    samples: list[Sample], changes: dict[str, Any], verdict: tuple[str, int]
) -> None:
    given = {"lost": 0, "duplicates": 0, "devices": 0, "stored": {}, **changes}
    scenario = Scenario.model_validate(SCENARIO | {"checks": SCENARIO["checks"][:3]})
    ledger = Ledger()
    ledger.acknowledged["telemetry"] = ledger.attempted["telemetry"] = 10
    ledger.missed["telemetry"] = 3
    stored = None if given["stored"] is None else {"telemetry": 10 - given["lost"] + given["duplicates"]}
    pumps = fleet()
    pumps.devices[0].online = bool(given["devices"])
    record = Record(0, strain={"": samples})
    facts = Facts(ledger, pumps.facts(), stored=stored)
    report = account.report(scenario, 1, ("s", "t"), pumps, record, facts, 1, None, 0)
    assert (report.verdict, report.exit_code) == verdict
    assert bool(report.reason) == (samples is SLOW)
    assert [row.missed for row in report.accounting] == [3]
    assert report.strain
    assert len(report.strain.samples) == 30
    assert json_report.loads(json_report.dumps(report)) == report


def test_the_bound_comes_from_the_fleet_and_from_the_checks() -> None:
    scenario = Scenario.model_validate(SCENARIO)
    assert account.bounds(scenario, fleet()).slip_ms == 500  # a quarter of 2 s; the pump speaks every 10 s


def test_an_inconclusive_run_is_told_as_such_everywhere() -> None:
    pumps, record = fleet(), Record(0, strain={"": SLOW})
    scenario = Scenario.model_validate(SCENARIO | {"checks": SCENARIO["checks"][2:3]})
    report = account.report(scenario, 1, ("s", "t"), pumps, record, Facts(Ledger(), pumps.facts()), 1, None, 0)
    lines = verdict_lines(report)
    assert any(line.startswith("INCONCLUSIVE: 1 of 1 checks passed") for line in lines)
    assert any(line.startswith("the generator was the bottleneck") for line in lines)
    page = html.render(report)
    assert 'class="banner action"' in page
    assert "the generator was the bottleneck" in page
    xml = junit.dumps(report).decode()
    assert 'tests="2" failures="0" errors="1"' in xml
    assert 'type="inconclusive"' in xml
    assert 'type="inconclusive"' not in junit.dumps(replace(report, verdict="passed")).decode()


# The engine


def test_an_engine_says_every_second_how_it_keeps_pace() -> None:
    async def story() -> None:
        bench = Live(20)
        for index in range(20):
            bench.engine.start(index)
        await bench.until(lambda: len(bench.engine.samples) == 2)
        last = bench.engine.samples[-1]
        assert last.woken >= last.said > 0
        assert last.lasted_s >= 0.9
        assert last.slip_p50_ms <= last.slip_p99_ms <= last.slip_max_ms
        assert last.cpu > 0
        bench.engine.silence()
        await bench.engine.close()

    run(story)


def test_who_was_off_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was due in the meantime is due when the power is back: nobody was woken too late, and nothing is missed."""

    async def story() -> None:
        bench = Live(1)
        bench.engine.start(0)
        await bench.until(lambda: len(bench.telemetry()) > 2)
        bench.engine.stop(0)
        since_ms = bench.engine.now_ms()
        await bench.until(lambda: bench.engine.now_ms() - since_ms > 700)
        late = bench.engine._gauge.slips_ms
        late.clear()
        before = len(bench.telemetry())
        bench.engine.start(0)
        await bench.until(lambda: len(bench.telemetry()) > before)
        assert max(late) < 700
        assert not bench.ledger.missed
        await bench.engine.close()

    run(story)


# A run


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.peer
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_run_whose_generator_is_too_slow_is_inconclusive(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty machines that speak every half second, in an engine to which each time costs a tenth of a second."""
    quick = TelemetryDuty.step

    def slow(duty: TelemetryDuty, body: Any, now_ms: int) -> Any:
        until_s = time.monotonic() + 0.1
        while time.monotonic() < until_s:
            pass
        return quick(duty, body, now_ms)

    monkeypatch.setattr(TelemetryDuty, "step", slow)
    with mosquitto(tmp_path, certificates) as broker:
        (tmp_path / "there.yaml").write_text(
            f"target: there\nkind: endpoints\nmqtt_host: 127.0.0.1\nmqtt_port: {broker.port}\nmqtt_tls: false\n"
        )
        scenario = {
            "scenario": "slow",
            "fleet": [{"profile": "machine-a", "count": 20, "name": "machine-{n}", "every_s": 0.5}],
            "timeline": [{"kind": "connect", "over_s": 0}, {"kind": "hold", "for_s": 8}],
            "checks": [{"kind": "devices", "equals": 20}],
        }
        (tmp_path / "slow.yaml").write_text(yaml.safe_dump(scenario))
        code = command.run(
            str(tmp_path / "slow.yaml"), None, str(tmp_path / "there.yaml"), tmp_path / "out", None, True, False
        )
    assert code == 4
    said = capsys.readouterr()
    assert "INCONCLUSIVE: 1 of 1 checks passed" in said.out
    assert "the generator was the bottleneck: " in said.out
    assert "this machine carries 20 devices: 20 connections of " in said.err
    report = json_report.load(tmp_path / "out" / "report.json")
    [told] = [row for row in report.accounting if row.kind == "telemetry"]
    assert told.missed > told.sent
