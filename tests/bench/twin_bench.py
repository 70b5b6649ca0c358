"""What a day costs in virtual time, with the platform's core, rules, alarms, audit and scores in the same process.

usage: python tests/bench/twin_bench.py [SCENARIO]        (by itself a-day: 1,000 devices, a message a minute)

Not collected by pytest. Seconds are of CPU of the one thread there is; what others on the machine do to its caches
still counts: a third more on two busy cores.
"""

import hashlib
import resource
import sys
import time

from simulator import scenarios, twin
from simulator.report import json_report
from simulator.report.text import verdict_lines


def main(name: str) -> None:
    scenario, profiles = scenarios.read(scenarios.find(name))
    began_s = time.process_time()
    report = twin.play(scenario, profiles, scenario.seed)
    took_s = time.process_time() - began_s
    written = json_report.dumps(report)
    said = sum(account.attempted for account in report.accounting)
    lived_s = (report.ended_at_ms - report.started_at_ms) / 1000
    print("\n".join(verdict_lines(report)))
    print(
        f"{len(scenario.things())} devices for {lived_s / 3600:.1f} h: {took_s:.1f} s of CPU, ×{lived_s / took_s:.0f}; "
        f"{said} messages, {1e6 * took_s / max(1, said):.1f} µs each, all in all"
    )
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    print(f"report.json {len(written)} bytes, sha256 {hashlib.sha256(written).hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "a-day")
