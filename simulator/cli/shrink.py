"""`fleetsim shrink`: the smallest scenario that still fails as a run did."""

import sys
import time
from pathlib import Path

from simulator import resolved
from simulator.cli import writable
from simulator.errors import CHECKS_FAILED, PASSED, UsageError
from simulator.report import json_report, text
from simulator.runtime import smaller
from simulator.runtime.run_folder import Run
from simulator.runtime.smaller import Perform, Smaller
from simulator.scenarios import Scenario
from simulator.shrinking import Shrinking, Shrunk

NAME_MAX = 64


def shrink(folder: Path, check: str | None, out: Path | None, live: bool, tries: int, minutes: float) -> int:
    """Looks for it and writes it; the exit code: 1 when the scenario does not fail here as it did in the run."""
    run = Run(folder)
    scenario, _ = run.scenario()
    report = json_report.load(folder / "report.json")
    wanted = smaller.failed(report, check)
    seed = run.about.seed
    name = f"{scenario.scenario[: NAME_MAX - 6]}-small"
    path = out or folder / f"{name}.yaml"
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out {path}: a scenario is a file with the ending .yaml")
    writable.folder(path.parent, "--out")
    perform = smaller.in_sandbox if live else _in_virtual_time(scenario)
    asked = Smaller(perform, wanted, report.reason, seed)
    data = smaller.alone(resolved.data(scenario, seed), scenario, wanted)
    what = f"check '{wanted.name}'" if wanted else report.reason
    began_s = time.monotonic()
    with run.home():
        _say(f"{scenario.scenario}: {smaller.counted(data)} · {what}")
        if not asked.fails(data):
            _say(_does_not_fail(asked, wanted.name if wanted else "", live))
            return CHECKS_FAILED

        def enough() -> str:
            return f"{minutes:g} minutes were over" if time.monotonic() - began_s > minutes * 60 else ""

        found = Shrinking(asked.fails, asked.valid, _progress, tries, enough).shrink(data)
    found.data["scenario"] = path.stem
    lines = [f"Made by fleetsim shrink from {scenario.scenario}, seed {seed}: {what}"]
    lines += [f"gone: {gone}" for gone in found.gone]
    path.write_text(resolved.text(found.data, "\n".join(lines)))
    _say(f"{found.tries} tries in {time.monotonic() - began_s:.0f} s; {found.ended}")
    print(text.in_encoding(f"{smaller.counted(data)} → {smaller.counted(found.data)}", sys.stdout.encoding or "ascii"))
    for gone in found.gone:
        print(text.in_encoding(f"  gone: {gone}", sys.stdout.encoding or "ascii"))
    print(f"  {path}")
    print(f"  FLEETSIM_HOME={folder} fleetsim run {path}")
    return PASSED


def _in_virtual_time(scenario: Scenario) -> Perform:
    from simulator import twin

    if why := twin.unfit(scenario):
        raise UsageError(f"{why}; or let shrink ask a sandbox each time, with --live")
    return twin.play


def _does_not_fail(asked: Smaller, name: str, live: bool) -> str:
    found = next((one for one in asked.report.checks if one.name == name), None) if asked.report else None
    where = "at a sandbox of its own" if live else "in virtual time"
    said = f": measured {found.measured} {found.unit}".rstrip() + f", bound {found.bound}" if found else ""
    return f"the whole scenario does not fail so {where}{said}" + ("" if live else "; --live asks a sandbox")


def _progress(so_far: Shrunk, gone: str, failed: bool) -> None:
    _say(f"  {so_far.tries:3}  {'still fails without' if failed else 'needs'}  {gone}")


def _say(line: str) -> None:
    print(text.in_encoding(line, sys.stderr.encoding or "ascii"), file=sys.stderr, flush=True)
