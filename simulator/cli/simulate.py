"""`fleetsim jobs simulate`: devices outside a scenario execute what is pending."""

from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.shared import words, writes

if TYPE_CHECKING:
    from simulator.cli.operation import Operation, Options
    from simulator.ops.simulate import Planned, Step

SEED_MAX = (1 << 63) - 1
STEPS_SHOWN_MAX = 100  # devices whose progress is shown line by line


@writes
def simulate(
    job: Annotated[list[str] | None, typer.Option(help="Job to execute; again for more; absent: all active.")] = None,
    thing: Annotated[list[str] | None, typer.Option(help="Only these things.")] = None,
    success_rate: Annotated[float, typer.Option(min=0, max=100, help="Percent of executions that succeed.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX, help="Says which ones.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Devices at a time.")] = 16,
    *,
    options: "Options",
) -> None:
    """Be the devices: execute pending jobs by the Jobs data plane. 1 when one did not end as planned."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, table
    from simulator.errors import CHECKS_FAILED
    from simulator.ops import packages
    from simulator.ops import simulate as devices

    with operation(options, writes="job executions", later=True) as op:
        waiting = devices.pending(op.aws, words(job), words(thing))
        planned = devices.plan(waiting, success_rate, seed)
        _show_plan(op, planned, seed)
        if options.dry_run or not planned:
            document = {"dryRun": options.dry_run, "seed": seed, "plan": [_planned(one) for one in planned]}
            op.result(document, [f"{counted(len(planned), 'execution')} pending; nothing was executed"])
            return
        if op.addresses.kind == "sandbox":
            op.confirm(f"Execute {counted(len(planned), 'job execution')}?")
        op.agree(f"the outcome of {counted(len(planned), 'job execution')}")
        if not packages.config(op.aws)["enabled"]:
            op.say("note: jobs do not write $package shadows; `fleetsim packages config enable` switches it on")
        ends = devices.execute(op.aws, planned, seed, _Watch(op, len(planned)), parallel)
        astray = [
            end
            for one, end in zip(planned, ends, strict=True)
            if (end.status, one.outcome) not in (("SUCCEEDED", devices.SUCCESS), ("FAILED", devices.FAILURE))
        ]
        summary = {status: n for status in ("SUCCEEDED", "FAILED", "SKIPPED") if (n := _count(ends, status))}
        lines = table(
            ["thing", "job", "bytes", "status", "reason"],
            [[end.thing, end.job_id, end.received, end.status, end.reason] for end in ends],
        )
        aborted = devices.aborted(op.aws, {end.job_id for end in ends if end.status != "SUCCEEDED"})
        total = ", ".join(f"{number} {name}" for name, number in summary.items())
        unplanned = f"; {len(astray)} not as planned" if astray else ""
        op.result(
            {
                "seed": seed,
                "executions": [end._asdict() for end in ends],
                "summary": summary,
                "astray": len(astray),
                "aborted": aborted,
            },
            [
                *lines,
                f"{counted(len(ends), 'execution')}: {total}{unplanned}",
                *(f"job {job_id} was cancelled by its abort criteria: {why}" for job_id, why in aborted.items()),
            ],
        )
    if astray:
        raise typer.Exit(CHECKS_FAILED)


def _count(ends: "list[Step]", status: str) -> int:
    return sum(end.status == status for end in ends)


def _planned(one: "Planned") -> dict[str, str]:
    return {**one.pending._asdict(), "outcome": one.outcome}


def _show_plan(op: "Operation", planned: "list[Planned]", seed: int) -> None:
    op.explain(
        "What a device does",
        "Each device asks the Jobs data plane, at the account's own address, for its execution and the document with a "
        "fresh presigned URL; reports IN_PROGRESS; downloads the artifact piece by piece; checks size and SHA-256; and "
        "reports SUCCEEDED or FAILED with the reason. 150 reads and 150 updates a second are kept, of 200 each.",
    )
    for number, one in enumerate(planned, 1):
        op.say(one.line(number, len(planned)))
    lucky = sum(one.outcome == "SUCCESS" for one in planned)
    if planned:
        op.say(f"plan: {lucky} succeed, {len(planned) - lucky} fail (seed {seed})")


class _Watch:
    """Shows each device's steps; all devices together in the line of progress."""

    def __init__(self, op: "Operation", of: int) -> None:
        self._op, self._of, self._ended = op, of, 0

    def __call__(self, step: "Step") -> None:
        where = f"{step.received}/{step.size} bytes" if step.size else f"{step.received} bytes"
        if step.ended:
            self._ended += 1
            why = f"  {step.reason}" if step.reason else ""
            self._op.say(f"[{step.number}/{self._of}] {step.thing}  {where}  {step.status}{why}")
            self._op.progress("executions", self._ended, self._of)
        elif self._of <= STEPS_SHOWN_MAX and step.received and step.size:
            self._op.say(f"[{step.number}/{self._of}] {step.thing}  {where}  {100 * step.received // step.size} %")
