"""`fleetsim sandbox`: the sandbox alone, until Ctrl-C."""

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from simulator import scenarios
from simulator.cli import writable
from simulator.cli.rules import read_scenario
from simulator.runtime.entrance import entrance
from simulator.runtime.running import announced
from simulator.runtime.sandbox import Ports, Sandbox
from simulator.runtime.setup import known_products

LOOK_S = 0.5


def sandbox(
    env_file: Path | None,
    ports: Ports,
    rules: str | None,
    auth: bool,
    state: Path | None,
) -> None:
    """Starts it on these ports, says where it is, and waits. BackendUnavailable when a part dies.

    `rules` is a scenario: its rules, and what its profiles' bytes mean, are what the backend is told.
    """
    kept, specs, told = [], [], {}
    if rules:
        scenario, profiles = read_scenario(scenarios.find(rules))
        kept, specs, told = scenario.sandbox.rules, known_products(profiles), scenario.sandbox.told
    signal.signal(signal.SIGTERM, _interrupt)
    with ExitStack() as stack:
        written = writable.file(env_file, "--env-file") if env_file else None
        if written:
            stack.callback(written.unlink, missing_ok=True)
        if state:
            writable.folder(state, "--state")
        folder = state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsim-")))
        running = stack.enter_context(Sandbox(folder, kept, products=specs, auth=auth, ports=ports, told=told))
        lines = [f"{name}={value}" for name, value in running.addresses.environment().items()]
        if env_file and written:
            written.write_text("\n".join(lines) + "\n")
            written.replace(env_file)  # whole or not at all: others wait for it
            stack.callback(env_file.unlink, missing_ok=True)
        try:
            stack.enter_context(announced(lines))
        except OSError as error:
            print(f"commands will not find it by themselves ({error}); give them its --env-file", file=sys.stderr)
        print("\n".join(lines), flush=True)
        if link := entrance(running.addresses):
            print(f"its pages: {link}", file=sys.stderr)
        print("the sandbox is ready; Ctrl-C ends it", file=sys.stderr)
        while True:
            running.check()
            time.sleep(LOOK_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
