"""`fleetsim run` and `fleetsim demo`."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from simulator import firmware, parameters, scenarios, targets
from simulator.cli import writable
from simulator.cli.rules import read_scenario
from simulator.errors import CHECKS_FAILED, UsageError
from simulator.profiles import Profile
from simulator.report import json_report, text
from simulator.scenarios import Scenario

if TYPE_CHECKING:
    from simulator.runtime.forecast import Load


def run(
    scenario: str,
    seed: int | None,
    target: str,
    out: Path | None,
    state: Path | None,
    yes: bool,
    as_json: bool,
    given: Sequence[str] = (),
    record: str = "affected",
    record_mb: int = 64,
    virtual: bool = False,
    stay: bool = False,
) -> int:
    """Runs a scenario; the exit code. Everything wrong in the input is raised before anything starts."""
    read, profiles = read_scenario(scenarios.find(scenario), parameters.settings(list(given)), seed)
    if not read.timeline:
        raise UsageError(f"scenario '{read.scenario}' has no timeline, only a load: `fleetsim load` runs it")
    aim = targets.target(target)
    if virtual and (aim.kind != "sandbox" or state):
        raise UsageError("--virtual runs in this process alone: it has no --target and no --state")
    if virtual and stay:
        raise UsageError("--virtual has no time to --stay in")
    firmware.releases()
    from simulator.runtime import run_folder
    from simulator.runtime.run import Plan
    from simulator.runtime.run import run as run_plan

    mode = run_folder.mode(record)
    used_seed = read.seed if seed is None else seed
    folder = out or Path("runs") / f"{read.scenario}-{datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005 - the user's own time
    capacity = "in virtual time, in this process" if virtual else carried(read, profiles, aim)
    if aim.kind != "sandbox":
        agree(aim, yes, asked_of_account(read, profiles, used_seed) if aim.has_account else [])
    if state:
        writable.folder(state, "--state")
    writable.folder(folder, "--out")
    plan = Plan(read, profiles, used_seed, aim, folder, state, (scenario, target), mode, record_mb * 1024 * 1024, stay)
    print(
        f"{read.scenario}{f': {read.title}' if read.title else ''} · {len(read.things())} devices · seed {used_seed}",
        file=sys.stderr,
    )
    print(capacity, file=sys.stderr)
    if virtual:
        from simulator.twin.play import run as run_plan
    report, paths = run_plan(plan, lambda line: print(line, file=sys.stderr))
    if report.exit_code == CHECKS_FAILED and mode != "none":
        print(
            f"fleetsim replay {folder} lets it happen again; fleetsim shrink {folder} makes it smaller", file=sys.stderr
        )
    if as_json:
        sys.stdout.buffer.write(json_report.dumps(report))
    else:
        print("\n".join(text.verdict_lines(report, paths, sys.stdout.encoding or "ascii")))
    return report.exit_code


def carried(
    scenario: Scenario, profiles: Mapping[str, Profile], target: targets.Target, devices: int | None = None,
    processes: int = 1,
) -> str:  # fmt: skip
    """What of this machine will be used, in a line; UsageError when it is not enough."""
    from simulator.runtime import capacity

    wanted = capacity.demand(scenario, profiles, target, devices, processes)
    return capacity.plan(wanted, capacity.machine()).line


def asked_of_account(
    scenario: Scenario, profiles: Mapping[str, Profile], seed: int, load: "Load | None" = None
) -> list[str]:  # fmt: skip
    """What the run asks of the account, and about what it costs."""
    from simulator.ops import quotas
    from simulator.runtime.forecast import forecast

    encoding = sys.stderr.encoding or "ascii"
    return [text.in_encoding(line, encoding) for line in quotas.lines(forecast(scenario, profiles, seed, load))]


def agree(target: targets.Target, yes: bool, forecast: Sequence[str]) -> None:
    """Says what will be needed and where it will be written, and asks. Also the first contact: nobody there ends it."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"this would write to target '{target.target}', and nobody can be asked; add --yes to do it")
    what = _what(target)
    for line in [*forecast, f"this writes {what}"]:
        print(line, file=sys.stderr)
    if yes:
        return
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)  # stdout is for data
    if sys.stdin.readline().strip().lower() != "y":
        raise UsageError("nothing was written")


def _what(target: targets.Target) -> str:
    """What will be written, and where."""
    if not target.has_account:
        return f"the messages of a fleet to the broker {target.mqtt_host}:{target.broker_port}"
    from simulator.ops.aws import Aws
    from simulator.targets import Addresses

    aws = Aws(
        Addresses(
            target.kind, target.target, target.region, target.mqtt_host or "", target.broker_port,
            target.endpoint_url, target.ca_file, aws_profile=target.aws_profile,
        )
    )  # fmt: skip
    where = f"account {aws.account}, region {target.region}, endpoint {target.endpoint_url or 'AWS'}"
    return f"things, certificates, packages and a bucket to {where}"
