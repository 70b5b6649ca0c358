"""An engine in a process of its own, for a load tool: `python -m simulator.runtime.child --scenario NAME`.

It makes its target ready (starting the sandbox if that is it), provisions the fleet, and then runs whatever devices
it is told to. Both sides say one JSON object a line, over the pipes of stdin and stdout:

down  {"start": [i, …]} {"stop": [i, …]}   devices by their places in the fleet
      {"settle": true}                     the test is over: stop all, tell the rest, be as new
up    {"progress": "…"} … {"ready": true, "devices": n, …}
      {"rows": […], "at_s": …}             every 200 ms what came together (meter.Row)
      {"settled": true}
      {"error": "…", "exit_code": 3, "log_tail": […]}   its last words, if it cannot go on

Rules: it ends when stdin does, at SIGTERM and at SIGINT, so it never outlives who started it, and the sandbox never
outlives it. The fleet is made, and its physics starts, with the first device of a test: what waits costs nothing.
A reader that falls behind gets larger batches later, not more of them, so nothing is lost and nothing piles up.
"""

import argparse
import asyncio
import os
import select
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import orjson
import uvloop
from botocore.exceptions import BotoCoreError, ClientError

from simulator import scenarios, targets
from simulator.errors import BackendUnavailable, FleetsimError, UsageError
from simulator.ledger import Ledger
from simulator.ops.aws import Aws
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import LEAVE_S, DeviceFailed, Engine
from simulator.runtime.meter import Meter
from simulator.runtime.sandbox import PartEnded
from simulator.runtime.setup import Setup
from simulator.targets import Addresses

BATCH_S = 0.2
WRITE_MAX_S = 2.0
SETTLE_S = LEAVE_S + 0.1
LINE_BYTES_MAX = 1 << 20
PROGRESS_EVERY = 100


class Mouth(asyncio.BaseProtocol):
    """Our end of the pipe to the one who started us; `room` is False while it does not keep up."""

    def __init__(self) -> None:
        # Anything that prints must not get between the lines, so stdout becomes stderr for everybody else.
        self._fd = os.dup(1)
        os.dup2(2, 1)
        self._transport: asyncio.WriteTransport | None = None
        self._written = asyncio.Event()
        self.room = True

    async def open(self) -> None:
        """From now on saying does not wait for the reader …"""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            return  # A file always has room.
        pipe = os.fdopen(os.dup(self._fd), "wb", buffering=0)
        self._transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)

    async def close(self) -> None:
        """… and now it does again."""
        if self._transport:
            self._transport.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._written.wait(), WRITE_MAX_S)
            self._transport.abort()
            self._transport = None
            os.set_blocking(self._fd, True)

    def say(self, **what: Any) -> None:
        line = orjson.dumps(what) + b"\n"
        if self._transport:
            self._transport.write(line)
        else:
            while line:
                line = line[os.write(self._fd, line) :]

    def pause_writing(self) -> None:
        self.room = False

    def resume_writing(self) -> None:
        self.room = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._written.set()


class Child:
    """Runs the devices it is told to run."""

    def __init__(self, setup: Setup, addresses: Addresses, public_key: bytes, mouth: Mouth) -> None:
        self._setup, self._addresses, self._public_key, self._mouth = setup, addresses, public_key, mouth
        self._size = len(setup.scenario.things())
        self._meter = Meter()
        self._engine: Engine | None = None
        self._alive: Callable[[], None] = setup.sandbox.check if setup.sandbox else lambda: None

    async def live(self) -> None:
        """Until stdin ends. Raises PartEnded when a part of the sandbox does."""
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        assert me
        loop.add_signal_handler(signal.SIGTERM, me.cancel)
        reader = asyncio.StreamReader(LINE_BYTES_MAX)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await self._mouth.open()
        scenario = self._setup.scenario
        self._mouth.say(
            ready=True,
            devices=self._size,
            scenario=scenario.scenario,
            seed=self._setup.seed,
            target=self._addresses.name,
        )
        tasks = [loop.create_task(self._obey(reader)), loop.create_task(self._tell_on())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end_fleet()
            await self._mouth.close()

    async def _obey(self, reader: asyncio.StreamReader) -> None:
        while (command := await _command(reader)) is not None:
            match command:
                case {"start": [*indices]}:
                    for index in self._places(indices):
                        self._running().start(index)
                case {"stop": [*indices]}:
                    for index in self._places(indices):
                        if self._engine:
                            self._engine.stop(index)
                case {"settle": True}:
                    await self._settle()
                case other:
                    raise UsageError(f"not a command: {other!r:.200}")

    def _places(self, indices: list[Any]) -> list[int]:
        if not all(type(index) is int and 0 <= index < self._size for index in indices):
            raise UsageError(f"no such device among {self._size}: {indices!r:.200}")
        return indices

    async def _tell_on(self) -> None:
        while True:
            await asyncio.sleep(BATCH_S)
            self._alive()
            if self._engine and self._engine.failure:
                raise self._engine.failure
            if self._mouth.room:
                self._tell()

    def _tell(self) -> None:
        if rows := self._meter.take():
            self._mouth.say(rows=[row.pack() for row in rows], at_s=time.time())

    async def _settle(self) -> None:
        if engine := self._engine:
            for index in range(len(engine.fleet.devices)):
                engine.stop(index)
            await asyncio.sleep(SETTLE_S)
            await self._end_fleet()
        self._tell()
        self._mouth.say(settled=True)

    def _running(self) -> Engine:
        if self._engine is None:
            setup, loop = self._setup, asyncio.get_running_loop()
            fleet = setup.scenario.build(setup.profiles, setup.seed, int(time.time() * 1000), self._public_key)
            self._meter = Meter()
            self._engine = Engine(
                fleet, setup.links(self._addresses, loop), Downloads(self._addresses.ca_file), Ledger(), self._meter
            )
        return self._engine

    async def _end_fleet(self) -> None:
        engine, self._engine = self._engine, None
        if engine:
            await engine.close()


async def _command(reader: asyncio.StreamReader) -> Any:
    """The next line, or None at the end; half a line is the end of somebody who was saying it."""
    try:
        line = await reader.readline()
        return orjson.loads(line) if line.endswith(b"\n") else None
    except ValueError as error:
        raise UsageError(f"not a command: {error}") from None


def _order(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator.runtime.child", description="An engine for a load tool.")
    parser.add_argument("--scenario", required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--target", default="sandbox")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--yes", action="store_true")
    return parser.parse_args(argv)


def _perform(order: argparse.Namespace, mouth: Mouth) -> None:
    scenario, profiles = scenarios.read(scenarios.find(order.scenario))
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
        setup = Setup(scenario, profiles, scenario.seed if order.seed is None else order.seed, target, state_dir)
        mouth.say(progress=f"making target '{target.target}' ready")
        addresses = setup.addresses(stack)
        aws = Aws(addresses)
        stack.callback(aws.close)

        def progress(what: str, done: int, of: int) -> None:
            if _orphaned():
                raise KeyboardInterrupt
            if done % PROGRESS_EVERY == 0 or done == of:
                mouth.say(progress=f"provisioned {done} of {of} {what}")

        public_key = setup.provision(aws, progress)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Child(setup, addresses, public_key, mouth).live())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder '{folder}': {error.strerror}") from None


def _orphaned() -> bool:
    """Has stdin ended? Asked while nobody reads it yet."""
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when it was told to end."""
    mouth = Mouth()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _perform(_order(argv), mouth)
    except (KeyboardInterrupt, asyncio.CancelledError, BrokenPipeError):
        return 0
    except (PartEnded, DeviceFailed) as end:
        return _last_words(mouth, str(end), end.exit_code, end.log_tail)
    except FleetsimError as error:
        return _last_words(mouth, str(error), error.exit_code)
    except (BotoCoreError, ClientError) as error:
        return _last_words(mouth, f"the cloud does not answer: {error}", BackendUnavailable.exit_code)
    except OSError as error:
        return _last_words(mouth, str(error), BackendUnavailable.exit_code)
    return 0


def _last_words(mouth: Mouth, error: str, exit_code: int, log_tail: Sequence[str] = ()) -> int:
    mouth.say(error=error, exit_code=exit_code, log_tail=list(log_tail))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
