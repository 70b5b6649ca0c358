"""The folder of a run: everything that is needed to see what happened, and to let it happen again elsewhere.

    scenario.yaml       as it was run, parameters filled in       report.html report.json   the verdict
    profiles/ firmware/ what the scenario uses                    run.json                  seed, versions, sizes
    ledger.jsonl        every event                               faults.jsonl              what was broken and mended
    wire/<thing>.jsonl.gz   what a device was given and said, call by call: of those that a fault or a failed check
                            affected, or of all                   wire/body-<n>.gz          what was downloaded

Rules: with FLEETSIM_HOME=FOLDER the scenario in it runs as it ran, whatever lies in the repository. No secret is in
it: of keys only the manufacturer's public one. `run.json` is written last, so a folder that has it is whole, and it
lists what we wrote, so that the next run into the same folder takes away nothing else.
"""

import gzip
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import simulator
from simulator import folders, profiles, resolved, scenarios, tape
from simulator.errors import UsageError, did_you_mean
from simulator.ledger import Event, Ledger
from simulator.profiles import Profile
from simulator.recorder import Recorder
from simulator.report import json_report
from simulator.report.facts import Report
from simulator.scenarios import Scenario
from simulator.steps import Inject
from simulator.tape import Call, Piece

FORMAT = 1
Mode = Literal["affected", "all", "none"]
SCENARIO, RUN = scenarios.RESOLVED, "run.json"
_COMPRESSION = 3
_LINE_BYTES_MAX = 256 * 1024 * 1024


class Recorded(BaseModel):
    """What the wire log holds."""

    model_config = ConfigDict(frozen=True)

    mode: Mode = "none"
    devices: int = 0
    calls: int = 0  # of the whole fleet
    digested: int = 0  # the first so many of them: of what was said only a digest was kept
    missed: int = 0  # the last so many of them: not recorded
    bytes_max: int = 0  # in memory


class About(BaseModel):
    """run.json. Keys that it does not know, from a newer fleetsim, are passed over."""

    model_config = ConfigDict(frozen=True)

    format: int
    fleetsim: str
    commit: str = ""
    python: str = ""
    platform: str = ""
    scenario: str
    seed: int
    start_ms: int
    ended_ms: int
    target: str
    target_kind: str
    public_key: str = ""
    parameters: dict[str, Any] = {}
    verdict: str
    exit_code: int
    counts: dict[str, dict[str, int]] = {}
    events_dropped: int = 0
    recorded: Recorded = Recorded()
    wire: dict[str, str] = {}  # thing → file
    files: list[str] = []


def mode(name: str) -> Mode:
    """Whose wire log is kept, by its name; UsageError."""
    known: list[Mode] = ["affected", "all", "none"]
    for one in known:
        if one == name:
            return one
    raise UsageError(f"--record: unknown '{name}'{did_you_mean(name, list(known))}")


# Writing


class RunFolder:
    """Writes the folder of one run."""

    def __init__(self, path: Path, mode: Mode = "affected") -> None:
        """UsageError when there is something in the way that is not ours."""
        self.path, self.mode = path, mode
        self._asked: dict[str, bytes] = {}  # what will lie in the folder as it was before the run
        self._files: list[str] = []
        if mode != "none" and not (path / RUN).exists():
            for name in ("profiles", "firmware", "wire", SCENARIO):
                if (path / name).exists():
                    raise UsageError(f"{path} has a '{name}' that is no run's: choose another folder with --out")

    def begin(self, scenario: Scenario, seed: int) -> None:
        """Remember what the run was asked to do, whatever becomes of the files it came from meanwhile."""
        if self.mode == "none":
            return
        heading = "As it was run: FLEETSIM_HOME=<this folder> fleetsim run <this file>"
        self._asked[SCENARIO] = resolved.text(resolved.data(scenario, seed), heading).encode()
        names = {group.profile for group in scenario.fleet}
        for name in list(names):
            names |= {child for _, child in profiles.profile(name).children("")}
        for name in sorted(names):
            self._asked[f"profiles/{name}.yaml"] = profiles.path_of(name).read_bytes()
        for found in sorted(folders.folder("firmware").glob("*.yaml")):
            self._asked[f"firmware/{found.name}"] = found.read_bytes()

    def end(
        self, report: Report, scenario: Scenario, ledger: Ledger, injected: Iterable[tuple[int, Inject, str]],
        recorder: Recorder | None, start_ms: int, target_kind: str, public_key: bytes,
    ) -> Path | None:  # fmt: skip
        """What happened; the path of run.json. An earlier run's files go first."""
        ours = _listed(self.path)
        for name in (RUN, *ours):
            (self.path / name).unlink(missing_ok=True)
        if self.mode == "none":
            return None
        for name, data in self._asked.items():
            self._write(name, data)
        self._write("ledger.jsonl", b"".join(_line(event) for event in ledger.events))
        self._write("faults.jsonl", b"".join(tape.dumps(line) + b"\n" for line in _faults(injected, ledger.events)))
        things = [] if recorder is None else affected(report, list(recorder.tapes), self.mode)
        wire = self._wire(recorder, things) if recorder and things else {}
        about = About(
            format=FORMAT,
            fleetsim=simulator.__version__,
            commit=commit(),
            python=platform.python_version(),
            platform=platform.platform(),
            scenario=scenario.scenario,
            seed=report.seed,
            start_ms=start_ms,
            ended_ms=report.ended_at_ms,
            target=report.target,
            target_kind=target_kind,
            public_key=public_key.hex(),
            parameters=dict(scenario.parameters),
            verdict=report.verdict,
            exit_code=report.exit_code,
            counts={
                hop: dict(sorted(getattr(ledger, hop).items()))
                for hop in ("attempted", "sent", "acknowledged", "refused", "dropped")
            },
            events_dropped=ledger.events_dropped,
            recorded=_recorded(recorder, self.mode, len(wire)),
            wire=wire,
            files=sorted(self._files),
        )
        path = self.path / RUN
        json_report.replace(path, about.model_dump_json(indent=2).encode() + b"\n")
        return path

    def _wire(self, recorder: Recorder, things: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for thing, lines in recorder.lines(things):
            found[thing] = f"wire/{thing}.jsonl.gz"
            with self._open(found[thing]) as file:
                file.writelines(lines)
        for n in sorted(set().union(*(recorder.tapes[thing].bodies for thing in things))):
            with self._open(f"wire/body-{n}.gz") as file:
                file.write(recorder.bodies[n])
        return found

    @contextmanager
    def _open(self, name: str) -> Iterator[gzip.GzipFile]:
        """A new compressed file, the same for the same content."""
        path = self._place(name)
        with path.open("wb") as raw, gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as file:
            yield file

    def _write(self, name: str, data: bytes) -> None:
        self._place(name).write_bytes(data)

    def _place(self, name: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.append(name)
        return path


def affected(report: Report, things: Sequence[str], mode: Mode) -> list[str]:
    """The devices whose wire log is kept: a fault or an alarm hit them, or a failed check names them.

    A failed check that names nobody may be anybody's, and so may an end that no check judged.
    """
    failed = [check for check in report.checks if not check.passed]
    named = {thing for check in failed for thing in things if thing in check.why}
    unclear = report.verdict not in ("passed", "failed") or (report.verdict == "failed" and not report.checks)
    if mode == "all" or unclear or any(not any(thing in check.why for thing in things) for check in failed):
        return list(things)
    hit = named | {device.thing for device in report.fleet.devices if device.affected}
    hit |= {message.thing for message in report.audit.unexplained} if report.audit else set()
    return [thing for thing in things if thing in hit]


def _recorded(recorder: Recorder | None, mode: Mode, devices: int) -> Recorded:
    if recorder is None:
        return Recorded(mode=mode)
    return Recorded(
        mode=mode, devices=devices, calls=recorder.calls, digested=recorder.digested, missed=recorder.missed,
        bytes_max=recorder.bytes_max,
    )  # fmt: skip


def _line(event: Event) -> bytes:
    return tape.dumps({**event._asdict(), "detail": dict(event.detail)}) + b"\n"


def _faults(injected: Iterable[tuple[int, Inject, str]], events: Iterable[Event]) -> list[dict[str, Any]]:
    """What was broken, as it was asked for, and each end of a fault, in time."""
    lines: list[dict[str, Any]] = [
        {"event": "injected", "at_ms": at_ms, "step": name, "fault": tape.given_fault(fault), "things": things}
        for at_ms, (fault, things), name in injected
    ]
    lines += [
        {"event": "cleared", "at_ms": event.at_ms, "thing": event.thing, **event.detail}
        for event in events
        if event.kind == "fault_cleared"
    ]
    return sorted(lines, key=lambda line: int(line["at_ms"]))


def commit() -> str:
    """What git calls the code that runs, with -dirty when it was changed; empty where it is not in a repository."""
    root = Path(simulator.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--match="],
            capture_output=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.decode(errors="replace").strip()


def _listed(path: Path) -> list[str]:
    """The files that an earlier run wrote here."""
    try:
        about = About.model_validate_json((path / RUN).read_bytes())
    except (OSError, ValidationError):
        return []
    return [name for name in about.files if not name.startswith("/") and ".." not in name.split("/")]


# Reading


class Run:
    """A run as its folder tells of it."""

    def __init__(self, path: Path) -> None:
        """UsageError when it is no folder of a run, or of a newer fleetsim."""
        self.path = path
        try:
            self.about = About.model_validate_json((path / RUN).read_bytes())
        except OSError as error:
            raise UsageError(f"{path} is no folder of a run: run.json: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"{path}/run.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if self.about.format > FORMAT:
            raise UsageError(f"{path} was written by fleetsim {self.about.fleetsim}, in a newer form than this knows")
        self._bodies: dict[int, bytes] = {}

    def scenario(self) -> tuple[Scenario, dict[str, Profile]]:
        """The scenario and its profiles, of this folder alone."""
        with self.home():
            return scenarios.read(self.path / SCENARIO)

    @contextmanager
    def home(self) -> Iterator[None]:
        """Meanwhile profiles and firmware are those of this folder, and of no other place."""
        before = os.environ.get("FLEETSIM_HOME")
        os.environ["FLEETSIM_HOME"] = str(self.path.resolve())
        profiles.profile.cache_clear()
        try:
            yield
        finally:
            os.environ.pop("FLEETSIM_HOME")
            if before is not None:
                os.environ["FLEETSIM_HOME"] = before
            profiles.profile.cache_clear()

    def things(self, wanted: str | None = None) -> list[str]:
        """The devices that were recorded, or one of them; UsageError when it was not."""
        known = list(self.about.wire)
        if wanted is None:
            if not known:
                raise UsageError(f"{self.path}: no device was recorded; run it with --record all")
            return known
        if wanted not in known:
            hint = did_you_mean(wanted, known) if known else ""
            raise UsageError(f"{self.path}: '{wanted}' was not recorded; run it with --record all{hint}")
        return [wanted]

    def calls(self, thing: str) -> Iterator[Call]:
        """What a device was given and said, in order; UsageError when the file is not whole."""
        path = self.path / self.about.wire[thing]
        try:
            with gzip.open(path, "rb") as file:
                while line := file.readline(_LINE_BYTES_MAX):
                    yield tape.read(line, self._piece)
        except (OSError, EOFError) as error:
            raise UsageError(f"{path}: {error}") from None

    def _piece(self, piece: Piece) -> bytes:
        if piece.body not in self._bodies:
            with gzip.open(self.path / f"wire/body-{piece.body}.gz", "rb") as file:
                self._bodies[piece.body] = file.read(_LINE_BYTES_MAX)
        data = self._bodies[piece.body][piece.offset : piece.offset + piece.size]
        if len(data) != piece.size:
            raise UsageError(f"{self.path}/wire/body-{piece.body}.gz is not whole")
        return data
