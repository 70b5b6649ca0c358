"""`fleetsim load`: a scenario's load through Locust, in a process of its own, judged and reported like a run.

Locust patches sockets and threads of the process that it is imported into, so this one never imports it. It stays at
the other end of Locust's stdin: when it is gone, for whatever reason, Locust ends in order, and everything of it.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import FrameType

import simulator
from simulator import parameters, scenarios, targets
from simulator.cli import writable
from simulator.cli.rules import read_scenario
from simulator.cli.run import agree, asked_of_account, carried
from simulator.errors import INTERRUPTED, BackendUnavailable, UsageError
from simulator.profiles import Profile
from simulator.report import json_report, text
from simulator.report.facts import Report
from simulator.runtime import run_folder
from simulator.scenarios import Scenario

LOCUSTFILE = Path(simulator.__file__).parent / "load" / "locustfile.py"
END_MAX_S = 60.0
REPORTS = ("report.html", "report.json", "junit.xml")


def load(
    scenario: str,
    users: int | None,
    spawn_rate: float | None,
    run_time: str | None,
    processes: int,
    ui: bool,
    web_port: int,
    given: Sequence[str],
    seed: int | None,
    target: str,
    out: Path | None,
    state: Path | None,
    yes: bool,
    as_json: bool,
    more: Sequence[str] = (),
) -> int:
    """Runs it; the exit code. Everything wrong in the input is raised before anything starts."""
    read, profiles = read_scenario(scenarios.find(scenario), parameters.settings(list(given)), seed)
    shaped = read.load is not None and read.load.shape is not None
    if not shaped and users is None and not ui:
        raise UsageError(f"scenario '{read.scenario}' has no shape (`load: shape:`): say how many --users there are")
    if users is not None and run_time is None and not ui:
        raise UsageError("with --users the scenario's shape does not count: say how long, with --run-time")
    aim = targets.target(target)
    used_seed = read.seed if seed is None else seed
    most = read.load.shape.most if users is None and read.load and read.load.shape else users
    capacity = carried(read, profiles, aim, most, processes)
    if aim.kind != "sandbox":
        agree(aim, yes, _asked(read, profiles, used_seed, users, spawn_rate, run_time) if aim.has_account else [])
    folder = out or Path("runs") / f"{read.scenario}-{datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005 - the user's own time
    if state:
        writable.folder(state, "--state")
    writable.folder(folder, "--out")
    run_folder.RunFolder(folder)
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)
    arguments = ["--scenario", scenario, "--target", target, "--yes", "--out", str(folder), "--fleet-show"]
    arguments += [word for setting in given for word in ("--set", setting)]
    for flag, value in (
        ("--fleet-seed", seed), ("--state", state), ("--users", users), ("--spawn-rate", spawn_rate),
        ("--run-time", run_time),
    ):  # fmt: skip
        arguments += [] if value is None else [flag, str(value)]
    arguments += ["--web-port", str(web_port)] if ui else ["--headless", "--only-summary"]
    if processes > 1:
        port = str(_free_port())
        arguments += ["--processes", str(processes), "--enable-rebalancing", "--master-port", port]
        arguments += ["--master-bind-port", port]
    print(
        f"{read.scenario}{f': {read.title}' if read.title else ''} · {len(read.things())} devices · seed {used_seed}",
        file=sys.stderr,
    )
    print(capacity, file=sys.stderr)
    code = _locust([*arguments, *more])
    return _tell(folder, code, as_json)


def _asked(
    scenario: Scenario, profiles: dict[str, Profile], seed: int, users: int | None, spawn_rate: float | None,
    run_time: str | None,
) -> list[str]:  # fmt: skip
    """What the load asks of the account."""
    from simulator.runtime import forecast
    from simulator.runtime.brief import paced

    shape = scenario.load.shape if scenario.load else None
    if users is not None or shape is None:
        devices = users or len(scenario.things())
        load = forecast.Load(devices, spawn_rate or devices, _seconds(run_time or ""))
    else:
        load = forecast.load(shape)
    return asked_of_account(scenario, paced(scenario, profiles), seed, load)


def _seconds(text: str) -> float:
    """What Locust's --run-time says."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    return (
        float(sum(int(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True))) if found else 0.0
    )


def _locust(arguments: Sequence[str]) -> int:
    """Locust's exit code; 130 when we were interrupted."""
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:  # twice: somebody is in a hurry
            os.killpg(process.pid, signal.SIGKILL)
        interrupted = True
        process.terminate()

    process = subprocess.Popen(
        [
            sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING", "--end-with-stdin",
            *arguments,
        ],
        stdin=subprocess.PIPE, stdout=2, start_new_session=True,  # Ctrl-C is for us; Locust's stdout is no data
        env=_environment(),
    )  # fmt: skip
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        with suppress(ProcessLookupError):  # of workers that hang
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin
        process.stdin.close()
    if interrupted:
        return INTERRUPTED
    if code < 0:
        print(f"Locust was killed by signal {-code}", file=sys.stderr)
        return BackendUnavailable.exit_code
    return code


def _tell(folder: Path, code: int, as_json: bool) -> int:
    """The verdict, if there is one."""
    path = folder / "report.json"
    if not path.exists():
        return code
    report: Report = json_report.load(path)
    if as_json:
        sys.stdout.buffer.write(json_report.dumps(report))
    else:
        paths = [folder / name for name in REPORTS]
        print("\n".join(text.verdict_lines(report, paths, sys.stdout.encoding or "ascii")))
    # Ctrl-C is also how one leaves the UI, after a test that has its verdict.
    return report.exit_code if code == INTERRUPTED else code or report.exit_code


def _environment() -> dict[str, str]:
    """Ours, without what steers Locust by itself; the package is found wherever it was found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    paths = [str(Path(simulator.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _free_port() -> int:
    """For master and workers, so that two loads on one machine do not meet."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
