"""The whole day of 200 fire sensors, of both profiles and three seeds: fires noticed, false alarms, time to detect.

Run: python tests/bench/fire_day.py [every_s] [seeds]. Some two minutes of CPU a day. Exit 1 when one of them does not
meet the minimum of the contracts. Prints figures; pytest does not collect it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PROFILES = ("fire-sensor", "fire-sensor-panel")


def main() -> int:
    every_s = sys.argv[1] if len(sys.argv) > 1 else "10"
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    worst = 0
    for profile in PROFILES:
        for seed in range(1, seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                run = [sys.executable, "-m", "simulator"]
                given = ["--set", f"profile={profile}", "--set", f"every_s={every_s}", "--seed", str(seed)]
                command = [*run, "run", "fire-day", "--virtual", "--record", "none", "--out", folder, *given]
                lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
                print(f"{profile}, seed {seed}, every {every_s} s")
                print(
                    "\n".join(line for line in lines if line.startswith("  ") or "PASSED" in line or "FAILED" in line)
                )
                worst |= subprocess.run([*run, "score", "--run", str(Path(folder))], check=False).returncode
                sys.stdout.flush()
    return worst


if __name__ == "__main__":
    sys.exit(main())
