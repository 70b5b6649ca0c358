"""`fleetsim jobs …`: jobs created, looked at, cancelled and deleted, and executed by devices outside a scenario."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.shared import one_of, reads, some_of, words, writes
from simulator.cli.simulate import simulate

if TYPE_CHECKING:
    from simulator.cli.operation import Operation, Options

jobs_app = typer.Typer(
    help="Jobs: create, list, show, executions, cancel, delete, simulate.", no_args_is_help=True, rich_markup_mode=None
)
jobs_app.command()(simulate)

JobArg = Annotated[str | None, typer.Argument(metavar="JOB", help="The job's id; absent: asked.")]
JobsArg = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Ids of jobs; absent: asked.")]
STATUSES = "IN_PROGRESS, SCHEDULED, COMPLETED, CANCELED or DELETION_IN_PROGRESS"


@jobs_app.command()
@writes
def create(
    group: Annotated[list[str] | None, typer.Option(help="Target group; again, or with commas, for more.")] = None,
    thing: Annotated[list[str] | None, typer.Option(help="Target thing; again, or with commas, for more.")] = None,
    package: Annotated[str | None, typer.Option(help="Package to install: an OTA job.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the package; $default: its default one.")] = None,
    document: Annotated[
        Path | None, typer.Option(help="A job document of your own, JSON: a job that is no OTA.")
    ] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Absent: made of package, version and time.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    continuous: Annotated[
        bool | None,
        typer.Option("--continuous/--snapshot", help="Also things that enter a group later, or those of now."),
    ] = None,
    url_seconds: Annotated[int, typer.Option(help="How long presigned URLs are valid, 60 to 3600.")] = 3600,
    role_arn: Annotated[str, typer.Option(help="Role that signs URLs; absent: the one of `provision`.")] = "",
    rate: Annotated[int | None, typer.Option(help="Things told per minute, at most (1 to 1000).")] = None,
    base_rate: Annotated[int | None, typer.Option(help="Exponential: things told per minute at first.")] = None,
    factor: Annotated[float | None, typer.Option(help="Exponential: growth of the rate, 1.1 to 5.")] = None,
    after_notified: Annotated[int | None, typer.Option(help="Exponential: grow after so many told things.")] = None,
    after_succeeded: Annotated[int | None, typer.Option(help="Exponential: grow after so many successes.")] = None,
    abort: Annotated[
        list[str] | None, typer.Option(help="FAILED:20:5 aborts at 20 % failed of at least 5; again for more.")
    ] = None,
    timeout_minutes: Annotated[int | None, typer.Option(help="Time-out of an execution in progress.")] = None,
    retry: Annotated[list[str] | None, typer.Option(help="FAILED:3 or TIMED_OUT:2; again for more.")] = None,
    start: Annotated[str | None, typer.Option(help="2026-12-01T02:00 (UTC), or +45m, +2h, +1d.")] = None,
    end: Annotated[str | None, typer.Option(help="As --start.")] = None,
    end_behavior: Annotated[str | None, typer.Option(help="STOP_ROLLOUT, CANCEL or FORCE_CANCEL.")] = None,
    window: Annotated[list[str] | None, typer.Option(help="Maintenance window: 'cron(0 2 * * ? *):60'.")] = None,
    *,
    options: "Options",
) -> None:
    """Create a job: an OTA job of a package version, or any document. On a terminal, what is missing is asked."""
    from datetime import UTC, datetime

    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, outline
    from simulator.errors import UsageError
    from simulator.ops import jobs, rollout

    if document and (package or version):
        raise UsageError("--document is for jobs that are no OTA; leave --package and --version away")
    own = jobs.read_document(document) if document else ""
    now = datetime.now(UTC)
    speed = rollout.rate(rate, base_rate, factor, after_notified, after_succeeded)
    aborts, retries, limit = rollout.abort(abort or []), rollout.retries(retry or []), rollout.timeout(timeout_minutes)
    rollout.schedule(now, start, end, end_behavior, window or [], continuous=True)  # before anything is asked
    with operation(options, writes="a job", later=True) as op:
        things, groups = words(thing), words(group)
        destinations: list[str] = []
        content: Any = own
        if not own:
            package, version = _which(op, package, version)
            content, arn = jobs.ota_document(op.aws, package, version)
            version = str(content["version"])
            destinations = [arn]
        if not things and not groups:
            groups = op.choose_many("For which groups?", sorted(jobs.group_names(op.aws)), flag="--group or --thing")
        if continuous is None:
            kind = op.choose("Which selection?", ["SNAPSHOT", "CONTINUOUS"], "SNAPSHOT", flag="--continuous")
            continuous = kind == "CONTINUOUS"
        what = f"ota-{package}-{version}" if destinations else f"job-{document.stem if document else ''}"
        wanted = jobs.parameters(
            op.aws, job_id or jobs.generated_id(what, now), jobs.targets(op.aws, groups, things), content,
            destinations=destinations, continuous=continuous, description=description, url_seconds=url_seconds,
            role_arn=role_arn, rate=speed, abort=aborts, retries=retries, timeout=limit,
            schedule=rollout.schedule(now, start, end, end_behavior, window or [], continuous=continuous),
        )  # fmt: skip
        _explain_create(op)
        for line in outline({name: value for name, value in wanted.items() if name not in ("document", "tags")}):
            op.say(f"  {line}")
        made = {"dryRun": True, "createJob": wanted}
        if not options.dry_run:
            op.agree(f"a job for {counted(len(wanted['targets']), 'target')}")
            made = jobs.create(op.aws, wanted)
        said = "would be created" if options.dry_run else "is created"
        op.result(made, [f"job {wanted['jobId']} {said}"])


def _which(op: "Operation", package: str | None, version: str | None) -> tuple[str, str]:
    """The package and the version, asked for when they are missing."""
    from simulator.ops import packages

    if not package:
        package = op.choose("Which package?", sorted(packages.names(op.aws)), flag="--package")
    if not version:
        there = [one["versionName"] for one in packages.versions(op.aws, package) if one["status"] == "PUBLISHED"]
        version = op.choose(f"Which version of {package}?", there, flag="--version")
    return package, version


def _explain_create(op: "Operation") -> None:
    op.explain(
        "A job and its executions",
        "CreateJob makes one execution for each thing in the targets. A device finds its own under "
        "$aws/things/<thing>/jobs and reports IN_PROGRESS, then SUCCEEDED or FAILED. SNAPSHOT takes the things that "
        "are in the groups now; CONTINUOUS also those that enter one later, and never completes by itself.",
    )
    op.explain(
        "The document and its URL",
        "The document holds a placeholder instead of an address. Whenever a device asks for its document, the service "
        "assumes the job's role and signs a URL of the artifact, which is valid for the time given. So the bucket "
        "stays private, and a late device still gets a fresh URL.",
    )
    op.explain(
        "Rate, abort, time-out, retries",
        "The rate says how many things per minute hear of the job, so that a bad version meets few. Abort criteria "
        "cancel what is queued when too many fail. The time-out ends executions that hang in IN_PROGRESS, and retries "
        "queue failed ones again.",
    )


@jobs_app.command("list")
@reads
def every(
    status: Annotated[str | None, typer.Option(help=f"Only those: {STATUSES}.")] = None, *, options: "Options"
) -> None:
    """List jobs of all statuses, the youngest first."""
    from collections import Counter

    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, table
    from simulator.ops import jobs

    wanted = _status(status, STATUSES.replace(" or ", ", ").split(", "))
    with operation(options) as op:
        found = jobs.every(op.aws, wanted)
        by_status = Counter(job["status"] for job in found)
        rows = [
            [job["jobId"], job["status"], job["targetSelection"], job.get("createdAt"), job.get("completedAt")]
            for job in found
        ]
        total = ", ".join(f"{number} {name}" for name, number in sorted(by_status.items()))
        lines = table(["job", "status", "selection", "created", "completed"], rows)
        op.result(
            {"jobs": found, "summary": dict(by_status)},
            [*lines, counted(len(found), "job") + f": {total}" * bool(total)],
        )


@jobs_app.command()
@reads
def show(job_id: JobArg = None, *, options: "Options") -> None:
    """Show a job's whole configuration, its document and how far it is."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import outline
    from simulator.ops import jobs

    with operation(options) as op:
        job = jobs.show(op.aws, one_of(op, job_id, "job", lambda: jobs.names(op.aws)))
        op.result(job, outline(job))


@jobs_app.command()
@reads
def executions(
    job_id: JobArg = None,
    thing: Annotated[str | None, typer.Option(help="One device's execution, with its status details.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those, as FAILED.")] = None,
    details: Annotated[bool, typer.Option("--details", help="With status details: a request for each.")] = False,
    *,
    options: "Options",
) -> None:
    """List all executions of a job with a summary, or show one device's."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, outline, table
    from simulator.ops import jobs

    wanted = _status(status, jobs.STATUSES)
    with operation(options) as op:
        job_id = one_of(op, job_id, "job", lambda: jobs.names(op.aws))
        if thing:
            one = jobs.execution(op.aws, job_id, thing)
            op.result(one, outline(one))
            return
        found = jobs.executions(op.aws, job_id, wanted)
        if details:
            found = jobs.details(op.aws, job_id, found)
        columns = ["thing", "status", "queued", "started", "updated", "attempt"]
        rows = [
            [
                one["thing"], one["status"], one.get("queuedAt"), one.get("startedAt"), one.get("lastUpdatedAt"),
                one.get("retryAttempt"), *([one["statusDetails"]] if details else []),
            ]
            for one in found
        ]  # fmt: skip
        summary = jobs.summary(found)
        total = ", ".join(f"{number} {name}" for name, number in summary.items())
        lines = table([*columns, *(["details"] if details else [])], rows)
        op.result(
            {"jobId": job_id, "executions": found, "summary": summary},
            [*lines, counted(len(found), "execution") + f": {total}" * bool(total)],
        )


@jobs_app.command()
@writes
def cancel(
    job_ids: JobsArg = None,
    force: Annotated[bool, typer.Option("--force", help="Also executions that are in progress.")] = False,
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    reason_code: Annotated[str, typer.Option(help="Capitals, digits and '_'.")] = "",
    *,
    options: "Options",
) -> None:
    """Cancel jobs: what is queued ends as CANCELED."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.ops import jobs

    with operation(options, writes="the end of jobs", later=True) as op:
        wanted = some_of(op, job_ids, "job", lambda: jobs.names(op.aws))
        op.agree(f"the end of {counted(len(wanted), 'job')}")
        op.explain(
            "Cancelling",
            "Queued executions become CANCELED, and devices hear of it. One in progress goes on to its end unless the "
            "cancellation is forced; then the device can no longer report on it.",
        )
        for job_id in wanted:
            if options.dry_run:
                jobs.show(op.aws, job_id)
            else:
                jobs.cancel(op.aws, job_id, force=force, comment=comment, reason_code=reason_code)
        said = "would be cancelled" if options.dry_run else "is cancelled"
        op.result({"canceled": wanted, "dryRun": options.dry_run}, [f"job {job_id} {said}" for job_id in wanted])


@jobs_app.command()
@writes
def delete(
    job_ids: JobsArg = None,
    force: Annotated[bool, typer.Option("--force", help="Also jobs that are under way.")] = False,
    *,
    options: "Options",
) -> None:
    """Delete jobs with their executions, for ever."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.ops import jobs

    with operation(options, writes="the end of jobs", later=True) as op:
        wanted = some_of(op, job_ids, "job", lambda: jobs.names(op.aws))
        for job_id in wanted:
            jobs.show(op.aws, job_id)  # unknown ones are said before anything is gone
        op.confirm_word("DELETE", f"delete {counted(len(wanted), 'job')} with all executions")
        op.agree(f"the end of {counted(len(wanted), 'job')}")
        if not options.dry_run:
            for job_id in wanted:
                jobs.delete(op.aws, job_id, force=force)
        said = "would be deleted" if options.dry_run else "is being deleted"
        op.result({"deleted": wanted, "dryRun": options.dry_run}, [f"job {job_id} {said}" for job_id in wanted])


def _status(status: str | None, known: Any) -> str | None:
    from simulator.errors import UsageError, did_you_mean

    if status and status.upper() not in known:
        raise UsageError(f"unknown status '{status}'{did_you_mean(status.upper(), list(known))}")
    return status.upper() if status else None
