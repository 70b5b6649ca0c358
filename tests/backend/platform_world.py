"""The platform without its sockets: pipeline, store and queries, a clock to turn, and an account that answers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from simulator.backend.changes import Changes, Kept
from simulator.backend.config import BackendConfig
from simulator.backend.core import Backend
from simulator.backend.effects import Call, LookUp, Tell
from simulator.backend.pipeline import Answer, Pipeline
from simulator.backend.platform.queries import PlatformQueries
from simulator.backend.queries import Queries
from simulator.backend.rules import load_rules
from simulator.backend.store import Store

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00Z
HOT: dict[str, Any] = {"ruleId": "hot", "productId": "*", "condition": "metrics.t > 100", "severity": "high"}
NOWHERE: tuple[str | None, dict[str, str]] = ("prod-a", {})


Start = Callable[..., "World"]


class World:
    """Everything but the sockets; may be stopped and started again."""

    def __init__(
        self, folder: Path, things: Mapping[str, tuple[str | None, dict[str, str]]] | None = None, **more: Any
    ):
        """`things`: what the registry says of each, product and attributes; of others NOWHERE."""
        self.now_ms = NOW_MS
        self.things = things or {}
        self.calls: list[Call] = []
        self.looked_up: list[LookUp] = []
        self.answers = True  # look-ups are answered at once
        self.refusal = ""  # the error that every notification to SNS ends with
        self.told: list[Tell] = []
        self._folder, self._more = folder, more
        self.start()

    def start(self, **more: Any) -> None:
        """Begin, or begin again after a crash, with what is configured."""
        self._more |= more
        raw = {"state_dir": self._folder, "mqtt": {"host": "h", "port": 1, "client_id": "c"}, **self._more}
        config = BackendConfig.model_validate(raw)
        self.store = Store(self._folder)
        kept = Kept(self.store, config, load_rules(config.rules), self.now_ms)
        core = Backend(kept.rules, settings=config.settings, formulas=kept.formulas)
        self.pipeline = Pipeline(core, self.store, lambda: self.now_ms)
        self.queries, self.platform = Queries(self.store.path), PlatformQueries(self.store.path)
        self.changes = Changes(kept, self.pipeline, self.queries, [], lambda specs: None)
        self.pipeline.save(kept.changes)
        self.pipeline.start(self, kept.old_rules)
        self.pipeline.save(core.put_master(config.master))
        self.pipeline.commit()

    def stop(self) -> None:
        self.queries.close()
        self.platform.close()
        self.store.close()

    def again(self, **more: Any) -> None:
        """A restart."""
        self.stop()
        self.start(**more)

    def submit(self, call: Call) -> bool:
        if isinstance(call, LookUp):
            self.looked_up.append(call)
            if self.answers:
                self.answer(call.thing)
        elif isinstance(call, Tell):
            self.told.append(call)
            self.pipeline.answered(Answer(call, self.now_ms, error=self.refusal))
        else:
            self.calls.append(call)
        return True

    def answer(self, thing: str) -> None:
        """The registry answers a look-up."""
        product, attributes = self.things.get(thing, NOWHERE)
        self.pipeline.answered(Answer(LookUp(thing), self.now_ms, product=product, result=attributes))

    def say(self, thing: str = "V", at_ms: int | None = None, **metrics: Any) -> None:
        """Telemetry of a device."""
        at_ms = self.now_ms if at_ms is None else at_ms
        body = orjson.dumps({"device_timestamp": at_ms, "data": {"metrics": metrics}})
        self.pipeline.ingest(f"iotlink/dev/nohub/{thing}/periodic/pub/telemetry/json", body)

    def wait(self, seconds: float, step_s: float = 1.0) -> None:
        """Let time pass."""
        end_ms = self.now_ms + int(1000 * seconds)
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + int(1000 * step_s))
            self.pipeline.tick()

    def settle(self) -> None:
        """Commit, and add up everything."""
        self.pipeline.commit()
        while self.store.roll_up():
            pass

    def kinds(self) -> list[str]:
        """The history, by kinds."""
        return [event["kind"] for event in self.queries.events(0)["events"]]


@contextmanager
def worlds(folder: Path, things: Mapping[str, tuple[str | None, dict[str, str]]] | None = None) -> Iterator[Start]:
    """Begins worlds in the folder; what is left of them ends with the context."""
    begun: list[World] = []

    def begin(**more: Any) -> World:
        begun.append(World(folder, things, **more))
        return begun[-1]

    yield begin
    for world in begun:
        world.stop()
