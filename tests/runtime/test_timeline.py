"""The timeline: order, branches, repeats, moments and waiting, on a loop whose clock jumps."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from simulator.checks import Check
from simulator.ledger import Event, Ledger
from simulator.runtime.timeline import Order, Timeline
from simulator.schema import OneOf
from simulator.steps import Clear, Entry, Inject, Step

STEPS: TypeAdapter[list[Step]] = TypeAdapter(list[Annotated[Step, OneOf("steps")]])


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time is what the next timer says: nothing is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now_s = max(self._now_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Stage:
    """Writes down what it is told to do, and when."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.done: list[tuple[float, str]] = []
        self.loop = asyncio.get_running_loop()
        self.passing = False

    def _did(self, what: str) -> None:
        self.done.append((round(self.loop.time(), 2), what))

    def now_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def roster(self) -> list[Entry]:
        return [Entry(f"V-{n}", "suv", False) for n in range(4)]

    def start(self, thing: str, after_s: float) -> None:
        self._did(f"start {thing} +{after_s:g}")

    def stop(self, thing: str, after_s: float) -> None:
        self._did(f"stop {thing} +{after_s:g}")

    def inject(self, command: Inject, name: str) -> None:
        self._did(f"inject {name}")
        for thing in command.things:
            self.ledger.note(Event(self.now_ms(), "fleet", "fault_injected", thing))

    def clear(self, command: Clear) -> None:
        self._did("clear")

    def passes(self, check: Check) -> bool:
        return self.passing

    async def order(self, order: Order) -> None:
        self._did(type(order).__name__)


def play(steps: list[dict[str, Any]], *beside: tuple[float, str]) -> tuple[list[tuple[float, str]], float, list[Event]]:
    """Play steps, while events (at, kind) come in; what was done, when it ended, what was noted."""
    read: Sequence[Step] = STEPS.validate_python(steps)

    async def run() -> tuple[list[tuple[float, str]], float, list[Event]]:
        stage = Stage()
        for at_s, kind in beside:
            event = Event(int(at_s * 1000), "backend", kind, "V-1")
            stage.loop.call_at(at_s, stage.ledger.note, event)
        told: list[str] = []
        await Timeline(stage, 7, told.append).play(read)
        return stage.done, round(stage.loop.time(), 2), stage.ledger.events

    done, ended, events = jump(run())
    return done, ended, events


def jump(what: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(what)


INJECT = {"kind": "inject", "count": 1, "fault": {"kind": "bias", "signal": "x", "by": 1}}


def test_steps_follow_one_another() -> None:
    done, ended, _ = play([{"kind": "connect", "over_s": 4}, {"kind": "hold", "for_s": 10}, {**INJECT, "name": "a"}])
    assert done == [
        (0, "start V-0 +0"),
        (0, "start V-1 +1"),
        (0, "start V-2 +2"),
        (0, "start V-3 +3"),
        (14, "inject a"),
    ]
    assert ended == 14


def test_branches_are_side_by_side() -> None:
    done, ended, _ = play(
        [
            {"kind": "parallel", "branches": [
                [{"kind": "hold", "for_s": 5}, {**INJECT, "name": "a"}],
                [{**INJECT, "name": "b", "at_s": 2}, {**INJECT, "name": "c", "after": "a", "delay_s": 1}],
            ]},
            {**INJECT, "name": "d"},
        ]
    )  # fmt: skip
    assert [what for _, what in done] == ["inject b", "inject a", "inject c", "inject d"]
    assert [at for at, _ in done] == pytest.approx([2, 5, 6, 6], abs=0.1)
    assert ended == pytest.approx(6, abs=0.1)


def test_a_step_waits_for_an_event() -> None:
    done, _, noted = play([{"kind": "hold", "for_s": 1}, {**INJECT, "after": "alarm raised"}], (3, "alarm_raised"))
    assert [at for at, _ in done] == pytest.approx([3], abs=0.1)
    assert not [event for event in noted if event.kind == "waited_in_vain"]


def test_an_event_of_the_step_before_counts() -> None:
    done, _, _ = play([{"kind": "hold", "for_s": 5}, {**INJECT, "after": "alarm raised"}], (3, "alarm_raised"))
    assert [at for at, _ in done] == pytest.approx([5], abs=0.1)


def test_waiting_has_an_end_and_is_told() -> None:
    done, _, noted = play([{**INJECT, "after": "alarm raised", "patience_s": 30}])
    assert [at for at, _ in done] == pytest.approx([30], abs=0.1)
    [vain] = [event for event in noted if event.kind == "waited_in_vain"]
    assert vain.detail == {"step": "inject", "after": "alarm raised", "for_s": 30}


@pytest.mark.parametrize(("keys", "rounds", "ended"), [({"times": 3}, 3, 6), ({"for_s": 5}, 3, 6)])
def test_a_block_repeats(keys: dict[str, Any], rounds: int, ended: float) -> None:
    done, end, _ = play([{"kind": "repeat", "steps": [INJECT, {"kind": "hold", "for_s": 2}], **keys}])
    assert len(done) == rounds
    assert end == ended


def test_expecting_has_an_end_too() -> None:
    check = {"kind": "devices", "equals": 3}
    _, ended, _ = play([{"kind": "expect", "check": check, "within_s": 12}])
    assert ended == pytest.approx(12, abs=0.3)


def test_orders_go_to_the_operator() -> None:
    done, _, _ = play(
        [
            {"kind": "set", "desired": {"a": 1}}, {"kind": "control", "action": "reboot"},
            {"kind": "publish_firmware", "version": "1.2.0"}, {"kind": "create_job", "version": "1.2.0"},
            {"kind": "sandbox", "part": "backend", "action": "restart"}, {"kind": "clear"},
        ]
    )  # fmt: skip
    assert [what for _, what in done] == [
        "SetDesired", "Control", "Publication", "Job", "Part", "clear", "Relieve",
    ]  # fmt: skip


def test_a_mistake_in_a_branch_ends_the_play() -> None:
    async def run() -> None:
        stage = Stage()

        async def fails(order: Order) -> None:
            raise RuntimeError("gone")

        stage.order = fails  # type: ignore[method-assign]
        steps = [
            {"kind": "parallel", "branches": [[{"kind": "hold", "for_s": 500}], [{"kind": "control", "action": "x"}]]}
        ]
        with pytest.raises(RuntimeError, match="gone"):
            await Timeline(stage, 7, lambda _: None).play(STEPS.validate_python(steps))
        assert stage.loop.time() < 1

    jump(run())
