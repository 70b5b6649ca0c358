"""What a load test has once, however many workers there are: `python -m simulator.runtime.coordinator --scenario NAME`.

It makes the target ready (starting the sandbox if that is it), provisions the fleet, says which worker runs which
device, plays the timeline, merges what the engines tell, judges and reports. Who started it (Locust's master, or the
only Locust there is) carries messages to and from the workers. One JSON object a line (`pipes`).

down  {"from": worker, "said": {…}}        what a worker or its engine says (below)
      {"gone": worker}                     it does not answer any more
      {"begin": true}                      a test
      {"level": true} {"judge": devices}   of a load that looks for its limit: a level begins; was it good?
      {"end": "stopped" or "interrupted"}
up    {"progress": "…"} … {"ready": true, "devices": n, …}
      {"to": worker, "tell": {…}}
      {"log": "…"}                         a line for whoever looks
      {"picture": {…}}                     every second: the run as it is
      {"judged": {"passed": …, "why": …}}
      {"failed": {"error", "exit_code", "log_tail"}}   the test cannot go on; end it
      {"ended": {"verdict", "exit_code", "reason"}}
      {"error": "…", "exit_code": 3, "log_tail": […]}  its last words, if it cannot go on at all

from a worker   {"hello": {"fleetsim", "locust"}} {"ready": true} {"want": {channel: n}} {"release": [i, …]}
                and what its engine says (`child`), with the rows of its users
to a worker     {"plan": {"brief", "name"}} {"refused": "why"} {"begin": {…}} {"grant": [i, …]}, and engine commands

Rules: it ends when stdin does, at SIGTERM and at SIGINT, so it never outlives who started it, and the sandbox never
outlives it.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop
from botocore.exceptions import BotoCoreError, ClientError

import simulator
from simulator import parameters, scenarios, targets
from simulator.errors import BackendUnavailable, FleetsimError, UsageError
from simulator.ops.aws import Aws
from simulator.ops.groundwork import indexing
from simulator.profiles import Profile
from simulator.runtime import brief, reach
from simulator.runtime.brief import Brief
from simulator.runtime.child import last_words
from simulator.runtime.claims import Claims, interleaved
from simulator.runtime.control import Controls
from simulator.runtime.control_server import ControlServer
from simulator.runtime.engines import EngineFailed
from simulator.runtime.entrance import entrance
from simulator.runtime.live import Live, Snapshot
from simulator.runtime.load_run import LoadRun, Place
from simulator.runtime.pipes import Ear, Mouth, orphaned
from simulator.runtime.sandbox import PartEnded
from simulator.runtime.setup import Setup
from simulator.scenarios import Scenario

PROGRESS_EVERY = 100
PICTURE_EVERY_S = 1.0
WATCH_EVERY_S = 1.0
REFUSALS_MAX = 5  # reasons that are said


class Coordinator:
    """Conducts tests, one after another."""

    def __init__(
        self, place: Place, brief_file: Path, mouth: Mouth, live: Live | None, control: ControlServer | None
    ) -> None:
        self._control = control
        self._place, self._brief_file, self._mouth, self._live = place, brief_file, mouth, live
        self._scenario = place.brief.scenario
        self._places = _places(self._scenario, place.brief.profiles)
        self._names: dict[str, str] = {}  # a worker's id → what reports call it
        self._ready: set[str] = set()  # names of workers whose engine is there
        self._given_up: set[str] = set()  # names of workers that did not answer, and may come back
        self._tests = 0
        self._run: LoadRun | None = None
        self._playing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._pictured_s = 0.0

    async def live(self) -> None:
        """Until stdin ends. FleetsimError when a part of the sandbox does while no test is on."""
        loop, me, ear = asyncio.get_running_loop(), asyncio.current_task(), Ear()
        assert me
        loop.add_signal_handler(signal.SIGTERM, me.cancel)
        await ear.open()
        await self._mouth.open()
        if self._control:
            await self._control.serve()
        facts = self._place.brief
        self._mouth.say(
            ready=True, devices=sum(map(len, self._places.values())), scenario=self._scenario.scenario,
            seed=facts.seed, target=facts.addresses.name, brief=str(self._brief_file),
        )  # fmt: skip
        tasks = [loop.create_task(self._obey(ear)), loop.create_task(self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            rest = [task for task in (*tasks, self._playing, self._ending) if task]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            if self._control:
                await self._control.stop()
            await self._mouth.close()

    async def _watch(self) -> None:
        """What a test does not look for itself."""
        idle, refusals = 0, set[str]()
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._ending and self._ending.done():
                self._ending.result()  # an error there is one of ours
            if self._run is None:
                self._place.alive()
                idle = 0
                refusals.clear()
                continue
            engines = self._run.engines
            if engines.idle != idle:
                idle = engines.idle
                words = f"{len(engines.on())} devices are on, {idle} users are idle: the fleet has no more for them"
                self._mouth.say(log=words)
            for reason in engines.rows.named("connect").failed.keys() - refusals:
                if len(refusals) < REFUSALS_MAX:
                    refusals.add(reason)
                    online = sum(fact.online for fact in engines.fleet.facts())
                    words = f"devices cannot connect: {reason} ({online} of {len(engines.on())} are connected)"
                    self._mouth.say(log=words)

    async def _obey(self, ear: Ear) -> None:
        while (command := await ear.command()) is not None:
            match command:
                case {"from": str(worker), "said": dict(said)}:
                    self._heard(worker, said)
                case {"gone": str(worker)}:
                    self._gone(worker, "does not answer any more")
                case {"begin": True}:
                    await self._begin()
                case {"level": True}:
                    if self._run:
                        self._run.begin_level()
                case {"judge": int(devices)}:
                    level = self._run.judge(devices) if self._run else None
                    self._mouth.say(judged={"passed": not level or level.passed, "why": level.why if level else ""})
                case {"end": "stopped" | "interrupted" as how}:
                    if self._ending is None or self._ending.done():
                        self._ending = asyncio.create_task(self._end(how))
                case other:
                    raise UsageError(f"not a command: {other!r:.200}")

    # Workers

    def _heard(self, worker: str, said: dict[str, Any]) -> None:
        name, run = self._names.get(worker, ""), self._run
        if name in self._given_up and "lost" not in said:  # its devices are somebody else's by now
            self._given_up.discard(name)
            why = "the master has given this worker up, because it did not answer: it ends"
            self._mouth.say(to=worker, tell={"refused": why})
        match said:
            case {"hello": dict(who)}:
                self._hello(worker, who)
            case {"ready": True} if name:
                self._ready.add(name)
                if run:
                    run.engines.joined(name)
                    self._tell(name, {"begin": {"run": self._tests, "start_ms": run.start_ms}})
                    run.note("worker_joined", worker=name)
            case {"lost": {"error": str(error), "exit_code": int(code), "log_tail": [*tail]}} if name:
                if code == FleetsimError.exit_code and run:  # a device of ours failed: it would on every other
                    run.engines.failure = EngineFailed(error, code, tail)
                self._gone(worker, f"has no engine any more: {error}")
            case _ if not name or run is None or said.get("run", self._tests) != self._tests:
                pass  # of a test that is over
            case {"want": _} if name not in self._ready:
                pass  # it says so again when a test begins for it
            case {"want": dict(wanted)}:
                run.engines.want(name, wanted)
            case {"release": [*indexes]}:
                run.engines.release(name, indexes)
            case {"account": path}:
                run.engines.accounted(name, path)
            case _:
                run.engines.heard(name, said)

    def _hello(self, worker: str, who: dict[str, Any]) -> None:
        ours = {"fleetsim": simulator.__version__, "locust": version("locust")}
        if other := next((what for what in ours if who.get(what) != ours[what]), None):
            why = f"this worker runs {other} {who.get(other)}, its master {ours[other]}: install the same version"
            self._mouth.say(log=f"a worker was turned away: it runs {other} {who.get(other)}, this is {ours[other]}")
            self._mouth.say(to=worker, tell={"refused": why})
            return
        if worker not in self._names:
            self._names[worker] = f"worker-{len(self._names) + 1}"
            if self._run:
                self._mouth.say(log=f"{self._names[worker]} joined while the test is on")
        self._mouth.say(to=worker, tell={"plan": {"brief": str(self._brief_file), "name": self._names[worker]}})

    def _gone(self, worker: str, how: str) -> None:
        name = self._names.get(worker)
        if name not in self._ready:
            return
        assert name
        self._ready.discard(name)
        self._given_up.add(name)
        if self._run is None:
            self._mouth.say(log=f"{name} {how}")
            return
        had = self._run.engines.gone(name)
        words = f"{name} {how}; its {len(had)} devices are off until another worker has users for them"
        self._run.lost.append((name, words))
        self._run.note("worker_lost", worker=name, devices=len(had), why=how)
        self._mouth.say(log=words)
        if not self._ready and not self._run.engines.failure:
            why = f"no worker is left: {name} {how}"
            self._run.engines.failure = EngineFailed(why, BackendUnavailable.exit_code, [])

    def _tell(self, name: str, what: dict[str, Any]) -> None:
        worker = next((worker for worker, called in self._names.items() if called == name), None)
        if worker is not None:
            self._mouth.say(to=worker, tell=what)

    # Tests

    async def _begin(self) -> None:
        if self._playing:
            return
        self._tests += 1
        run = LoadRun(self._place, self._tests, Claims(self._places), self._tell, self._show)
        self._run = run
        for name in sorted(self._ready):
            run.engines.joined(name)
            self._tell(name, {"begin": {"run": self._tests, "start_ms": run.start_ms}})
        if self._control:
            self._control.controls = Controls(run.conductor)
        self._playing = asyncio.create_task(run.play())
        self._playing.add_done_callback(self._played)

    def _played(self, playing: "asyncio.Task[None]") -> None:
        """It may have ended by itself, which is never good."""
        if playing.cancelled() or (error := playing.exception()) is None:
            return
        tail = error.log_tail if isinstance(error, PartEnded | EngineFailed) else []
        code = error.exit_code if isinstance(error, FleetsimError) else BackendUnavailable.exit_code
        self._mouth.say(failed={"error": str(error), "exit_code": code, "log_tail": tail})

    async def _end(self, how: Any) -> None:
        run, playing = self._run, self._playing
        if run is None or playing is None:
            self._mouth.say(ended={"verdict": "", "exit_code": 0, "reason": ""})
            return
        if self._control:
            self._control.release()
        report = await run.end(how, playing)
        self._mouth.say(picture=run.last_picture())
        self._run = self._playing = None
        if self._live:
            self._live.close()
        self._mouth.say(ended={"verdict": report.verdict, "exit_code": report.exit_code, "reason": report.reason})

    def _show(self, snapshot: Snapshot) -> None:
        if self._live:
            self._live.update(snapshot)
        if snapshot.elapsed_s - self._pictured_s >= PICTURE_EVERY_S or snapshot.elapsed_s < self._pictured_s:
            self._pictured_s = snapshot.elapsed_s
            if self._run:
                self._mouth.say(picture=self._run.picture(snapshot))


def _places(scenario: Scenario, profiles: dict[str, Profile]) -> dict[str, list[int]]:
    """The devices of each channel, in the order in which they are switched on: of all groups in proportion."""
    members = scenario.things()
    places: dict[str, list[int]] = {}
    for index in interleaved([group.count for group in scenario.fleet]):
        places.setdefault(profiles[members[index][1]].channel, []).append(index)
    return places


def _order(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator.runtime.coordinator", description="What a load test has once.")
    parser.add_argument("--scenario", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="given")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--target", default="sandbox")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", action="store_true", help="Draw the run on stderr while it goes on.")
    return parser.parse_args(argv)


def _perform(order: argparse.Namespace, mouth: Mouth) -> None:
    scenario, found = scenarios.read(scenarios.find(order.scenario), parameters.settings(order.given), order.seed)
    profiles = brief.paced(scenario, found)
    target = targets.target(order.target)
    if target.kind != "sandbox" and not order.yes:
        what, where = "the messages of a fleet", f"broker {target.mqtt_host}:{target.broker_port}"
        if target.has_account:
            what = "things, certificates, packages and a bucket"
            where = f"region {target.region}, endpoint {target.endpoint_url or 'AWS'}"
        raise UsageError(f"this would write {what} to target '{target.target}' ({where}); add --yes to do it")
    with ExitStack() as stack:
        state_dir = order.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsim-")))
        _make(state_dir)
        seed = scenario.seed if order.seed is None else order.seed
        setup = Setup(scenario, profiles, seed, target, state_dir.absolute())
        mouth.say(progress=f"making target '{target.target}' ready")
        control = ControlServer() if target.kind == "sandbox" else None
        if control:
            stack.callback(control.close)
        addresses = setup.addresses(stack, control.place if control else None)
        if link := entrance(addresses):
            mouth.say(progress=f"watch it at {link}")
        reach.check(addresses, profiles)
        aws = Aws(addresses)
        stack.callback(aws.close)

        def progress(what: str, done: int, of: int) -> None:
            if orphaned():
                raise KeyboardInterrupt
            if done % PROGRESS_EVERY == 0 or done == of:
                mouth.say(progress=f"provisioned {done} of {of} {what}")

        public_key = setup.provision(aws, progress)
        if target.has_account and scenario.load and scenario.load.operators:
            indexing(aws)  # for searches and dynamic groups
        told = Brief(state_dir.absolute() / brief.FOLDER, scenario, profiles, seed, target, addresses, public_key)
        place = Place(
            told, setup.sandbox, aws if target.has_account else None, setup.key_file, (order.scenario, order.target),
            order.out,
        )  # fmt: skip
        live = stack.enter_context(Live()) if order.show else None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Coordinator(place, brief.write(told), mouth, live, control).live())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder '{folder}': {error.strerror}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when it was told to end."""
    mouth = Mouth()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _perform(_order(argv), mouth)
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        return 0
    except PartEnded as end:
        return last_words(mouth, str(end), end.exit_code, end.log_tail)
    except FleetsimError as error:
        return last_words(mouth, str(error), error.exit_code)
    except (BotoCoreError, ClientError) as error:
        return last_words(mouth, f"the cloud does not answer: {error}", BackendUnavailable.exit_code)
    except OSError as error:
        return last_words(mouth, str(error), BackendUnavailable.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
