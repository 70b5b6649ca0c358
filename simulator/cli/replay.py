"""`fleetsim replay`: a recorded run again, from its folder alone."""

import bdb
import pdb
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import simulator
from simulator import replay
from simulator.device import Device
from simulator.errors import CHECKS_FAILED, PASSED, UsageError
from simulator.fleet import Fleet
from simulator.replay import Played
from simulator.report import difference, text
from simulator.runtime.run_folder import Run, commit
from simulator.tape import Call

TOGETHER_MAX = 100  # devices replayed side by side: so many files are open
LISTED_MAX = 20
EPOCH_MIN_S = 1e9  # from here on `--until` is no duration


def play(folder: Path, device: str | None, until: float | None, debug: bool) -> int:
    """Replays it; the exit code: 1 when something else is said now."""
    again = Again(Run(folder), device, until)
    for line in again.heading():
        _say(line)
    found = again.first_difference()
    if found is None:
        for line in again.summary():
            _say(line)
        if debug and until is not None:
            again.stop_before(again.stop_n)
        return PASSED
    for line in again.told(found):
        _say(line)
    if debug:
        again.stop_before(found.call.n)
    return CHECKS_FAILED


class Again:
    """One replay of one run."""

    def __init__(self, run: Run, device: str | None, until: float | None) -> None:
        self.run, self.until = run, until
        self.things = run.things(device)
        self.scenario, self.profiles = run.scenario()
        self.calls = self.said = 0
        self.lasted_ms = 0
        self.stop_n: int | None = None  # the first call at or after `until`
        self.devices: dict[str, Device] = {}
        about = run.about
        known = {thing for thing, _, _ in self.scenario.things()}
        if missing := sorted(set(self.things) - known):
            raise UsageError(f"{run.path}: '{missing[0]}' is not in its scenario")
        if until is None:
            self.until_ms = None
        elif until >= EPOCH_MIN_S:
            self.until_ms = int(until * 1000)
        else:
            self.until_ms = about.start_ms + int(until * 1000)

    def first_difference(self) -> Played | None:
        """The first call of all that is answered in another way now."""
        found: Played | None = None
        for start in range(0, len(self.things), TOGETHER_MAX):
            for played in self._played(self.things[start : start + TOGETHER_MAX]):
                if found and played.call.n > found.call.n:
                    break
                self.calls += 1
                self.said += len(played.said)
                self.lasted_ms = max(self.lasted_ms, played.call.at_ms - self.run.about.start_ms)
                if not played.same:
                    found = played
                    break
        return found

    def stop_before(self, n: int | None) -> None:
        """Everything up to a call once more, and then the debugger."""

        def before(device: Device, call: Call) -> None:
            if n is not None and call.n >= n:
                stop(device, call)

        def stop(device: Device, call: Call) -> None:
            print(
                f"{device.thing}, before {self._when(call)}: {call.call}. `device` and `call` are at hand; "
                "s goes into the call, c to the next one, q ends.",
                file=sys.stderr,
            )
            pdb.set_trace()

        with_it = [thing for thing in self.things if n is None or any(call.n == n for call in self.run.calls(thing))]
        try:
            for played in self._played(with_it or self.things, before, past=True):
                if played.said == [{"raised": "BdbQuit: "}]:  # q inside of a call: an exception of a device to others
                    return
        except bdb.BdbQuit:
            return

    def _played(
        self, things: Sequence[str], before: Callable[[Device, Call], None] | None = None, past: bool = False
    ) -> Iterator[Played]:
        fleet = self.fleet(things)
        self.devices |= {device.thing: device for device in fleet.devices}
        calls = {thing: self.calls_of(thing) if not past else self.run.calls(thing) for thing in things}
        return replay.play(fleet, calls, before)

    def calls_of(self, thing: str) -> Iterator[Call]:
        """What was recorded of it, up to `until`."""
        for call in self.run.calls(thing):
            if self.until_ms is not None and call.at_ms >= self.until_ms:
                self.stop_n = call.n if self.stop_n is None else min(self.stop_n, call.n)
                return
            yield call

    def fleet(self, things: Sequence[str]) -> Fleet:
        """Devices as they were at the beginning."""
        about = self.run.about
        key = bytes.fromhex(about.public_key)
        return replay.fleet(self.scenario, self.profiles, about.seed, about.start_ms, key, things)

    # In words

    def heading(self) -> Iterator[str]:
        about = self.run.about
        began = datetime.fromtimestamp(about.start_ms / 1000, UTC)
        yield f"{about.scenario} · seed {about.seed} · {began:%Y-%m-%d %H:%M:%S} UTC · {about.verdict}"
        then, now = (about.fleetsim, about.commit), (simulator.__version__, commit())
        if then != now:
            yield f"recorded by fleetsim {_version(*then)}; this is {_version(*now)}"
        if missed := about.recorded.missed:
            yield f"the last {missed:,} of {about.recorded.calls:,} calls of the fleet were not recorded: it was full"

    def summary(self) -> Iterator[str]:
        many = "1 device" if len(self.things) == 1 else f"{len(self.things)} devices"
        upto = f" up to {self.until:g} s" if self.until_ms is not None else ""
        yield (
            f"{many}: {self.calls:,} calls in {self.lasted_ms / 1000:,.1f} s{upto}, {self.said:,} answers, "
            "all the same, byte for byte"
        )
        if self.until_ms is not None:
            for thing in self.things[:LISTED_MAX]:
                yield f"  {thing}: {_state(self.devices[thing], self.run.about.start_ms)}"

    def told(self, found: Played) -> Iterator[str]:
        call = found.call
        yield f"✗ {found.thing} says something else at {self._when(call)}"
        yield f"  {call.call}{'' if call.given is None else f' {_given(call)}'}"
        yield from (f"  {line}" for line in difference.lines(call.said, found.said))
        yield f"  calls before it that are answered as they were: {self.calls - 1:,}"

    def _when(self, call: Call) -> str:
        at = datetime.fromtimestamp(call.at_ms / 1000, UTC)
        return f"{(call.at_ms - self.run.about.start_ms) / 1000:.3f} s ({at:%H:%M:%S.%f}"[:-3] + f" UTC), call {call.n}"


def _given(call: Call) -> str:
    return difference.shown(call.given) if call.call == "receive" else str(call.given)


def _state(device: Device, start_ms: int) -> str:
    faults = ", ".join(fault.kind for fault in device.faults) or "none"
    where = "connected" if device.online else "away" if device.powered else "off"
    wakes = "never" if device.wake_at_ms >= 1 << 62 else f"at {(device.wake_at_ms - start_ms) / 1000:.3f} s"
    return f"{where}, firmware {device.version}, faults {faults}, wakes {wakes}"


def _version(version: str, commit: str) -> str:
    return f"{version} ({commit[:12]}{'-dirty' if commit.endswith('-dirty') else ''})" if commit else version


def _say(line: str) -> None:
    print(text.in_encoding(line, sys.stdout.encoding or "ascii"))
