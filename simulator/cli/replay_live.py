"""`fleetsim replay --live`: the messages of a recorded run, sent again to a live backend."""

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from simulator import targets
from simulator.cli import run as running
from simulator.cli.replay import Again
from simulator.errors import CHECKS_FAILED, PASSED
from simulator.ledger import Ledger
from simulator.ops.aws import Aws
from simulator.runtime.resend import Count, resend
from simulator.runtime.run_folder import Run
from simulator.runtime.setup import Setup
from simulator.runtime.watch import Watch
from simulator.targets import Addresses, Target


def send(folder: Path, device: str | None, until: float | None, target: str, yes: bool) -> int:
    """Sends them; the exit code: 1 when one of them was not acknowledged."""
    again, aim = Again(Run(folder), device, until), targets.target(target)
    if aim.kind != "sandbox":
        running.agree(aim, yes, [])
    for line in again.heading():
        print(line, file=sys.stderr)
    count, watch = _send(again, aim)
    sent, answered = count.sent.total(), count.acknowledged.total()
    print(
        f"{len(again.things)} devices sent {sent:,} messages in {count.connections} connections: "
        f"{answered:,} acknowledged, {count.refused.total():,} refused, {count.not_taken.total():,} not taken"
    )
    print("  " + ", ".join(f"{kind} {number:,}" for kind, number in sorted(count.sent.items())))
    if watch.sees:
        stored = ", ".join(f"{kind} {number:,}" for kind, number in sorted((watch.stored or {}).items()) if number)
        print(f"the backend stored {stored or 'nothing'} and raised {len(watch.alarms)} alarms")
    return PASSED if answered == sent and not count.not_taken else CHECKS_FAILED


def _send(again: Again, aim: Target) -> tuple[Count, Watch]:
    run = again.run
    with ExitStack() as stack:
        state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetsim-")))
        stack.enter_context(run.home())
        setup = Setup(again.scenario, again.profiles, run.about.seed, aim, state_dir)
        addresses = setup.addresses(stack)
        aws = Aws(addresses)
        stack.callback(aws.close)
        setup.provision(aws)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_play(again, setup, addresses))


async def _play(again: Again, setup: Setup, addresses: Addresses) -> tuple[Count, Watch]:
    watch = Watch(addresses.api_url, Ledger(), addresses.api_headers)
    await watch.begin()
    try:
        links = setup.links(addresses, asyncio.get_running_loop())
        calls = {thing: again.calls_of(thing) for thing in again.things}
        count = await resend(again.fleet(again.things), calls, links, again.run.about.start_ms)
        await watch.poll()
    finally:
        await watch.close()
    return count, watch
