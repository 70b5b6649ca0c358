"""The engines of several workers as one: who is told what, and what is known of the fleet."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from simulator.audit import Audit
from simulator.faults.bias import Bias
from simulator.faults.crash import Crash
from simulator.fleet import Fleet
from simulator.ledger import Event, Ledger
from simulator.profiles import Profile
from simulator.runtime import accounts
from simulator.runtime.claims import Claims
from simulator.runtime.engines import Engines
from simulator.runtime.meter import Row
from simulator.runtime.strain import Sample
from simulator.schema import parse

PUMP = """
profile: pump
thing_type: Pump
signals:
  temp_c: {kind: constant, value: 20, limit: [0, 30]}
behaviours:
  - {kind: telemetry, every_s: 1, topic: "t/{thing}", metrics: [temp_c]}
"""
BIAS = Bias(kind="bias", signal="temp_c", by=5)
CRASH = Crash(kind="crash")


class Bench:
    """Six pumps, and what their engines are told."""

    def __init__(self) -> None:
        profile = parse(PUMP, "pump.yaml", Profile)
        things = [(f"P-{n}", "pump", None) for n in range(6)]
        self.fleet = Fleet(things, {"pump": profile}, 1, 0, bytes(32))
        self.ledger = Ledger()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.engines = Engines(
            self.fleet, Claims({"mqtt": range(6)}), self.ledger, lambda worker, what: self.told.append((worker, what))
        )
        for worker in ("a", "b"):
            self.engines.joined(worker)

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        told, self.told = self.told, []
        return told

    def orders(self, what: str) -> list[tuple[str, list[int], Any]]:
        """(worker, devices, fault) of the commands of a kind since the last time."""
        return [
            (worker, said[what]["devices"], said[what]["fault"]["kind"] if what == "inject" else said[what]["fault"])
            for worker, said in self.take()
            if what in said
        ]


def on_a_bench(do: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await do(Bench())

    asyncio.run(main())


def batch(**said: Any) -> dict[str, Any]:
    return {"rows": [], "counts": {}, "events": [], "devices": [], "readings": {}, "silent": False, **said}


def counts(**acknowledged: int) -> accounts.Counts:
    return {"attempted": dict(acknowledged), "sent": dict(acknowledged), "acknowledged": dict(acknowledged)}


def test_what_is_done_to_devices_is_one_command_to_each_engine_with_one_moment() -> None:
    async def do(bench: Bench) -> None:
        engines = bench.engines
        engines.want("a", {"mqtt": 2})
        engines.want("b", {"mqtt": 2})
        assert bench.take() == [("a", {"grant": [0, 1]}), ("b", {"grant": [2, 3]})]
        before_ms = engines.now_ms()
        for index in (0, 1, 2):
            engines.inject(index, BIAS)
        await asyncio.sleep(0)
        told = bench.take()
        assert [(worker, said["inject"]["devices"]) for worker, said in told] == [("a", [0, 1]), ("b", [2])]
        assert len({said["inject"]["at_ms"] for _, said in told}) == 1
        assert told[0][1]["inject"]["at_ms"] > before_ms
        assert told[0][1]["inject"]["fault"]["signal"] == "temp_c"
        engines.clear(2, None)
        engines.clear(0, "bias")
        await asyncio.sleep(0)
        assert bench.orders("clear") == [("b", [2], None), ("a", [0], "bias")]

    on_a_bench(do)


def test_a_device_that_moves_takes_its_faults_along_and_they_are_told_of_once() -> None:
    async def do(bench: Bench) -> None:
        engines = bench.engines
        engines.want("a", {"mqtt": 2})
        engines.inject(0, BIAS)
        engines.inject(1, CRASH)
        engines.inject(1, BIAS)
        await asyncio.sleep(0)
        engines.heard("a", batch(events=[(1, "fault_injected", "P-0", {"fault": "bias"}),
                                         (1, "fault_injected", "P-1", {"fault": "crash"}),
                                         (1, "fault_injected", "P-1", {"fault": "bias"}),
                                         (2, "fault_cleared", "P-1", {"fault": "crash"})]))  # fmt: skip
        bench.take()
        assert engines.gone("a") == [0, 1]
        engines.want("b", {"mqtt": 2})
        assert bench.orders("inject") == [("b", [0], "bias"), ("b", [1], "bias")]
        again = [(3, "fault_injected", thing, {"fault": "bias"}) for thing in ("P-0", "P-1")]
        engines.heard("b", batch(events=again))
        assert Counter(event.kind for event in bench.ledger.events) == {"fault_injected": 3, "fault_cleared": 1}

    on_a_bench(do)


def test_a_fault_of_a_device_that_nobody_runs_waits_for_who_does() -> None:
    async def do(bench: Bench) -> None:
        bench.engines.inject(1, BIAS)
        await asyncio.sleep(0)
        assert bench.take() == []
        bench.engines.want("b", {"mqtt": 2})
        assert bench.orders("inject") == [("b", [1], "bias")]
        bench.engines.release("b", [0, 1])
        bench.engines.want("b", {"mqtt": 2})
        assert bench.orders("inject") == [], "its engine has it already"

    on_a_bench(do)


def test_counters_come_as_they_stand_and_add_up_over_workers() -> None:
    async def do(bench: Bench) -> None:
        engines = bench.engines
        engines.heard("a", batch(counts=counts(telemetry=5)))
        engines.heard("b", batch(counts=counts(telemetry=7, alert_report=1)))
        engines.heard("a", batch(counts=counts(telemetry=9)))
        assert bench.ledger.acknowledged == {"telemetry": 16, "alert_report": 1}
        engines.gone("a")
        assert bench.ledger.acknowledged["telemetry"] == 16, "what a dead worker's devices said was said"
        assert {name: of["sent"].total() for name, of in engines.counters().items()} == {"a": 9, "b": 8}

    on_a_bench(do)


def test_the_account_of_a_worker_counts_more_than_its_last_words(tmp_path: Path) -> None:
    ledger, audit = Ledger(), Audit(("telemetry",), lambda index, topic: "P-0")
    ledger.acknowledged["telemetry"] = ledger.sent["telemetry"] = ledger.attempted["telemetry"] = 12
    accounts.write(tmp_path / "a.npz", ledger, audit)

    async def do(bench: Bench) -> None:
        bench.engines.heard("a", batch(counts=counts(telemetry=9)))
        bench.engines.heard("b", batch(counts=counts(telemetry=1)))
        bench.engines.gone("a")
        bench.engines.account()
        assert bench.take() == [("b", {"account": True})]
        assert bench.engines.accounting
        bench.engines.accounted("b", None)
        assert not bench.engines.accounting
        bench.engines.merged({"a": tmp_path / "a.npz"})
        assert bench.ledger.acknowledged == {"telemetry": 13}

    on_a_bench(do)


def test_it_is_settled_when_all_that_are_there_are_silent_and_everything_was_answered() -> None:
    async def do(bench: Bench) -> None:
        engines = bench.engines
        engines.silence()
        assert sorted(bench.take()) == [("a", {"silence": True}), ("b", {"silence": True})]
        engines.heard("a", batch(silent=True, counts={"sent": {"telemetry": 2}, "acknowledged": {"telemetry": 1}}))
        assert not engines.settled()
        engines.gone("b")
        assert not engines.settled(), "one message is on its way"
        engines.heard("a", batch(silent=True, counts=counts(telemetry=2)))
        assert engines.settled()

    on_a_bench(do)


def test_devices_are_as_their_own_engine_says() -> None:
    async def do(bench: Bench) -> None:
        engines = bench.engines
        engines.want("a", {"mqtt": 2})
        engines.heard("a", batch(devices=[(0, True, True, "1.1.0", True), (1, True, True, "1.0.0", False)]))
        first = bench.fleet.facts()[0]
        assert (first.online, first.version, engines.broken) == (True, "1.1.0", {"P-0"})
        engines.heard("b", batch(devices=[(0, False, True, "1.0.0", False)]))
        assert bench.fleet.facts()[0].online, "b does not run it"
        engines.gone("a")
        assert [fact.online for fact in bench.fleet.facts()[:2]] == [False, False]
        engines.heard("a", batch(devices=[(1, True, True, "1.0.0", False)]))
        assert not bench.fleet.facts()[1].online, "a has not got it any more"

    on_a_bench(do)


def test_rows_of_devices_and_of_people_are_one_table() -> None:
    async def do(bench: Bench) -> None:
        for worker, name in (("a", "telemetry"), ("b", "telemetry"), ("b", "search")):
            row = Row("X", name)
            row.latency.add(1000)
            bench.engines.heard(worker, {"rows": [row.pack()]})
        assert {name: row.latency.count for name, row in bench.engines.rows.total.items()} == {
            ("X", "telemetry"): 2, ("X", "search"): 1,
        }  # fmt: skip

    on_a_bench(do)


def test_events_are_the_fleets() -> None:
    async def do(bench: Bench) -> None:
        bench.engines.heard("a", batch(events=[(5, "connected", "P-0", {"session_present": False})]))
        assert bench.ledger.events == [Event(5, "fleet", "connected", "P-0", {"session_present": False})]

    on_a_bench(do)


def test_how_well_each_engine_keeps_pace_is_kept_by_worker() -> None:
    async def do(bench: Bench) -> None:
        sample = Sample(1000, 1.0, 0.5, 3.0, 0.5, 2.0, 9.0, 10, 10, 1, 0, 4)
        for worker, times in (("a", 2), ("b", 1)):
            bench.engines.heard(worker, batch(strain=orjson.loads(orjson.dumps([list(sample)] * times))))
        bench.engines.heard("a", batch(strain=[list(sample)], counts={"missed": {"telemetry": 3}}))
        assert bench.engines.strain == {"a": [sample] * 3, "b": [sample]}
        assert bench.ledger.missed == {"telemetry": 3}

    on_a_bench(do)
