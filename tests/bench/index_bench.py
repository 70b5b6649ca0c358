"""How fast the index is with 10,000 things: documents made, queries, pages, aggregations, changes.

python -m tests.bench.index_bench [THINGS]
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from simulator.cloud.indexing import aggregations
from simulator.cloud.indexing.documents import thing_hit
from simulator.cloud.indexing.index import Index
from simulator.cloud.indexing.settings import Settings

QUERIES = {
    "one name": "thingName:Vehicle-VIN-07777",
    "prefix of names": "thingName:Vehicle-VIN-07*",
    "substring of names": "thingName:*vin-077*",
    "battery range": "shadow.reported.batteryStatus:[50 TO *]",
    "countries": "attributes.country:(DE OR FR OR US)",
    "package version": "thingTypeName:SedanVehicle AND shadow.name.$package.reported.SedanVehicle.version:* "
    "AND NOT shadow.name.$package.reported.SedanVehicle.version:1.1.0",
    "phrase": 'shadow.reported.note:"all well"',
    "bare word": "SedanVehicle",
    "bare word, nowhere": "nowhere",
    "bare pattern": "sedan*",
    "bare number": "4711",
    "twelve terms": " OR ".join(f"shadow.reported.sensor{number}.value>{number + 100}" for number in range(12)),
}


class Fleet:
    """Vehicles with shadows of some thirty values."""

    def __init__(self, count: int) -> None:
        self._things = {self._name(number): self._thing(number) for number in range(count)}
        self._shadows = {self._name(number): self._shadow(number) for number in range(count)}
        self._packages = {self._name(number): self._package(number) for number in range(count)}

    @staticmethod
    def _name(number: int) -> str:
        return f"Vehicle-VIN-{number:05}"

    def _thing(self, number: int) -> dict[str, Any]:
        country = ("DE", "FR", "US", "JP", "BR")[number % 5]
        return {
            "thingName": self._name(number), "thingId": f"{number:032x}", "version": 1,
            "thingTypeName": ("SedanVehicle", "SUVVehicle", "TruckVehicle")[number % 3],
            "attributes": {"country": country, "customerId": f"c{number % 97}", "manufacturingDate": "2024-05-06"},
            "thingGroupNames": [f"{country}Fleet"],
        }  # fmt: skip

    @staticmethod
    def _shadow(number: int) -> dict[str, Any]:
        reported: dict[str, Any] = {"batteryStatus": number % 101, "note": "all is well" if number % 2 else "all well"}
        reported |= {f"sensor{at}": {"value": (number * at) % 100, "unit": "C"} for at in range(12)}
        stamps = {name: {"timestamp": 1700000000} for name in reported}
        return {"state": {"reported": reported, "desired": {"fan": number % 2}}, "metadata": {"reported": stamps}}

    @staticmethod
    def _package(number: int) -> dict[str, Any]:
        kind = ("SedanVehicle", "SUVVehicle", "TruckVehicle")[number % 3]
        return {"state": {"reported": {kind: {"version": f"1.{number % 2}.0", "attributes": {}}}}, "version": 1}

    def names(self) -> list[str]:
        return list(self._things)

    def thing(self, name: str) -> dict[str, Any] | None:
        return self._things.get(name)

    def shadow(self, thing: str, name: str) -> dict[str, Any] | None:
        return (self._packages if name else self._shadows).get(thing)

    def connectivity(self, thing: str) -> dict[str, Any]:
        return {"connected": True, "timestamp": 1700000000000}

    def groups(self) -> dict[str, dict[str, Any]]:
        return {}


def timed_ms(work: Callable[[], Any], times: int = 7) -> float:
    """The median of several runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


async def main(count: int) -> None:
    fleet = Fleet(count)
    index = Index(fleet)
    told = asyncio.Event()
    seen: set[str] = set()

    def heard(names: frozenset[str]) -> None:
        seen.update(names)
        if len(seen) == count:
            told.set()

    index.subscribe(heard)
    start = time.perf_counter()
    index.configure(Settings(mode="REGISTRY_AND_SHADOW", connectivity=True, named_shadows=("$package",)))
    await told.wait()
    print(f"{count} things indexed in {(time.perf_counter() - start) * 1000:.0f} ms")

    seen.clear()
    told.clear()
    start = time.perf_counter()
    for name in fleet.names():
        index.touch(name)
    await told.wait()
    print(f"all of them changed: told after {(time.perf_counter() - start) * 1000:.0f} ms")

    print(f"{'query':22} {'hits':>6} {'ms':>7}")
    for what, text in QUERIES.items():
        query = index.parse(text)
        hits = len(index.matching(query))
        print(f"{what:22} {hits:6} {timed_ms(lambda query=query: index.matching(query)):7.1f}")  # type: ignore[misc]
    everything = index.parse("*")

    def page() -> list[dict[str, Any]]:
        documents = index.documents(everything, after="Vehicle-VIN-05000")
        return [thing_hit(next(documents)) for _ in range(min(500, count // 4))]

    print(f"a page of 500 hits, with their shadows: {timed_ms(page):.1f} ms")

    def aggregated() -> Any:
        return aggregations.statistics(
            aggregations.values_of(index.documents(everything), "shadow.reported.batteryStatus", "Number"), "Number"
        )

    print(f"statistics of all batteries: {timed_ms(aggregated):.1f} ms")
    print(f"parsing the twelve terms: {timed_ms(lambda: index.parse(QUERIES['twelve terms'])):.2f} ms")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
