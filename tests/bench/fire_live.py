"""The same fires live and in virtual time: the same alerts, in the same order, within their latency?

Run: python tests/bench/fire_live.py [seed] [scenario]. Plays `fire-live` (five minutes) at a sandbox and in virtual
time, and compares the alerts of the fire prediction: sensor, type, level, and when. Exit 1 when they differ. Prints
figures; pytest does not collect it.
"""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from simulator import scenarios
from simulator.backend.core import Backend as Core
from simulator.backend.effects import Effect
from simulator.backend.fire.outcomes import SaveFireAlert
from simulator.twin import play

# A step of the physics and a period of the telemetry: a live alert may come with the record before or after.
SLACK_S = 4.0


class Alert(NamedTuple):
    """One alert as it ended."""

    thing: str
    type: str
    level: str
    at_s: float  # since the first message that the backend took


class Listening(Core):
    """A core that keeps what it says of alerts."""

    said: ClassVar[dict[tuple[str, int], SaveFireAlert]] = {}
    first_ms: ClassVar[int] = 0

    def ingest(self, topic: str, payload: bytes, now_ms: int, *more: Any) -> list[Effect]:
        type(self).first_ms = type(self).first_ms or now_ms
        effects = super().ingest(topic, payload, now_ms, *more)
        for effect in effects:
            if isinstance(effect, SaveFireAlert):
                self.said[effect.thing, effect.raised_ms] = effect
        return effects


def virtual(name: str, seed: int) -> list[Alert]:
    scenario, profiles = scenarios.read(scenarios.find(name), seed=seed)
    play(scenario, profiles, seed, make_core=Listening)
    first_ms = Listening.first_ms
    found = [Alert(a.thing, a.type, a.level, (a.raised_ms - first_ms) / 1000) for a in Listening.said.values()]
    return sorted(found, key=lambda alert: alert.at_s)


def live(name: str, seed: int) -> list[Alert]:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        command = ["run", name, "--seed", seed, "--state", state, "--out", f"{folder}/run", "--record", "none"]
        subprocess.run([sys.executable, "-m", "simulator", *map(str, command)], check=True)
        path = state / "backend" / "backend.sqlite3"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            [(first_ms,)] = db.execute("SELECT min(device_timestamp) FROM telemetry")
            rows = db.execute("SELECT device_id, type, level, raised_ms FROM fire_alerts ORDER BY raised_ms").fetchall()
    return [Alert(thing, kind, level, (at_ms - first_ms) / 1000) for thing, kind, level, at_ms in rows]


def differences(first: Sequence[Alert], second: Sequence[Alert]) -> list[str]:
    """What is not the same; an order that is within the slack is."""
    ours, theirs = ({alert.thing: alert for alert in some} for some in (first, second))
    found = [f"{thing}: only {'virtual' if thing in ours else 'live'}" for thing in sorted(set(ours) ^ set(theirs))]
    for thing in sorted(set(ours) & set(theirs)):
        one, other = ours[thing], theirs[thing]
        if one[1:3] != other[1:3]:
            found.append(f"{thing}: {one.type} {one.level}, live {other.type} {other.level}")
        if abs(one.at_s - other.at_s) > SLACK_S:
            found.append(f"{thing}: after {one.at_s:.1f} s, live after {other.at_s:.1f} s")
    return found


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    name = sys.argv[2] if len(sys.argv) > 2 else "fire-live"
    expected = virtual(name, seed)
    seen = {alert.thing: alert for alert in live(name, seed)}
    for alert in expected:
        at = f"{seen[alert.thing].at_s:6.1f} s live" if alert.thing in seen else "never live"
        print(f"{alert.thing}  {alert.level:<8} {alert.type:<22} {alert.at_s:6.1f} s virtual, {at}")
    found = differences(expected, sorted(seen.values(), key=lambda alert: alert.at_s))
    print("\n".join(found) or f"the same {len(expected)} alerts, within {SLACK_S:g} s of each other")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
