"""`fleetsim commands …`: commands made, sent to devices, and what became of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.shared import one_of, reads, some_of, words, writes

if TYPE_CHECKING:
    from simulator.cli.operation import Operation, Options

commands_app = typer.Typer(
    help="Commands: create, list, show, send, executions, delete.", no_args_is_help=True, rich_markup_mode=None
)

CommandArg = Annotated[str | None, typer.Argument(metavar="COMMAND", help="The command's id; absent: asked.")]
ThingsOpt = Annotated[list[str] | None, typer.Option(help="Things; again, or with commas, for more.")]
ClientsOpt = Annotated[list[str] | None, typer.Option(help="MQTT client ids of devices that are no things.")]


@commands_app.command()
@writes
def create(
    command_id: CommandArg = None,
    payload: Annotated[str, typer.Option(help="What devices get: text, or @FILE.")] = "",
    content_type: Annotated[str, typer.Option(help="Of the payload.")] = "application/json",
    template: Annotated[
        str, typer.Option(help="Text or @FILE with ${aws:iot:commandexecution::parameter:NAME}, instead of a payload.")
    ] = "",
    parameter: Annotated[
        list[str] | None, typer.Option(help="name, name:TYPE or name:TYPE=default; again for more.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    *,
    options: "Options",
) -> None:
    """Create a command with a payload, or a template that parameters fill in."""
    from simulator.cli.operation import operation
    from simulator.ops import commands

    declared = [commands.parameter(text) for text in parameter or []]
    with operation(options, writes="a command", later=True) as op:
        command_id = command_id or op.ask("Id of the command", flag="COMMAND")
        if not payload and not template:
            payload = op.ask("Payload, or @FILE", '{"action": "reboot"}', flag="--payload") if op.asks else ""
        op.agree(f"command {command_id}")
        op.explain(
            "A command",
            "Something a device is to do at once, kept under an id. Unlike a job it is for devices that are online: "
            "it is published to $aws/commands/things/<thing>/executions/<id>/request, and answered within seconds.",
        )
        if options.dry_run:
            op.result({"dryRun": True, "commandId": command_id}, [f"command {command_id} would be created"])
            return
        made = commands.create(
            op.aws, command_id, _read(payload).encode() if payload else None, content_type, template=_read(template),
            parameters=declared, description=description, display_name=display_name,
        )  # fmt: skip
        op.result(made, [f"command {command_id} is created"])


def _read(text: str) -> str:
    """The text itself, or what is in @FILE."""
    from simulator.errors import UsageError

    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"file '{text[1:]}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"file '{text[1:]}' is not UTF-8 text") from None


@commands_app.command("list")
@reads
def every(*, options: "Options") -> None:
    """List commands."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, table
    from simulator.ops import commands

    with operation(options) as op:
        found = commands.every(op.aws)
        rows = [
            [
                one["commandId"], one.get("displayName"), one.get("createdAt"),
                _state(one),
            ]
            for one in found
        ]  # fmt: skip
        lines = table(["command", "name", "created", "state"], rows)
        op.result({"commands": found}, [*lines, counted(len(found), "command")])


def _state(command: dict[str, Any]) -> str:
    if command.get("pendingDeletion"):
        return "pending deletion"
    return "deprecated" if command.get("deprecated") else "available"


@commands_app.command()
@reads
def show(command_id: CommandArg = None, *, options: "Options") -> None:
    """Show a command whole."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import outline
    from simulator.ops import commands

    with operation(options) as op:
        found = commands.show(op.aws, one_of(op, command_id, "command", lambda: commands.names(op.aws)))
        op.result(found, outline(found))


@commands_app.command()
@writes
def send(
    command_id: CommandArg = None,
    thing: ThingsOpt = None,
    client: ClientsOpt = None,
    group: Annotated[list[str] | None, typer.Option(help="Every thing in these groups now.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="name=value; again for more.")] = None,
    timeout: Annotated[int, typer.Option(help="Seconds a device has, 1 to 43200.")] = 10,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answers, or only start.")] = True,
    *,
    options: "Options",
) -> None:
    """Send a command to devices and wait for their answers. 1 when one did not succeed."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.errors import CHECKS_FAILED, UsageError
    from simulator.ops import commands, groups

    with operation(options, writes="command executions", later=True) as op:
        command_id = one_of(op, command_id, "command", lambda: commands.names(op.aws))
        command = commands.show(op.aws, command_id)
        values = commands.values(command, param or [])
        things = list(
            dict.fromkeys([*words(thing), *(one for name in words(group) for one in groups.members(op.aws, name))])
        )
        if not things and not client and op.asks:
            things = words([op.ask("For which things?", flag="--thing")])
        aims = commands.targets(op.aws, things, words(client))
        if not aims:
            raise UsageError("a command for whom? Give --thing, --group or --client, with somebody in it")
        for arn in aims[:10]:
            op.say(f"  {arn.rsplit('/', 1)[-1]}")
        if len(aims) > 10:
            op.say(f"  … and {len(aims) - 10} more")
        if options.dry_run:
            said = f"command {command_id} would go to {counted(len(aims), 'device')}"
            op.result({"dryRun": True, "commandId": command_id, "targets": aims}, [said])
            return
        op.agree(f"{counted(len(aims), 'command execution')}")
        started = commands.send(op.aws, command, aims, values, timeout, op.progress)
        if not wait:
            op.result({"executions": started}, _lines(started))
            return
        found = commands.wait(op.aws, started, timeout + 5, op.progress)
        op.result({"executions": found}, _lines(found))
    if any(one.get("status") != "SUCCEEDED" for one in found):
        raise typer.Exit(CHECKS_FAILED)


def _lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    from simulator.cli.tables import counted, table

    rows = []
    for one in found:
        reason = one.get("statusReason") or {}
        why = " ".join(filter(None, (reason.get("reasonCode"), reason.get("reasonDescription"))))
        aim = str(one["targetArn"]).rsplit("/", 1)[-1]
        rows.append([aim, one["executionId"], one.get("status", "started"), why, one.get("createdAt")])
    total = ", ".join(f"{number} {status}" for status, number in Counter(str(row[2]) for row in rows).items())
    last = f"{counted(len(found), 'execution')}: {total}" if found else counted(0, "execution")
    return [*table(["device", "execution", "status", "reason", "created"], rows), last]


@commands_app.command()
@reads
def executions(
    command_id: Annotated[str, typer.Argument(help="The command's id; absent: give --thing or --client.")] = "",
    thing: Annotated[str, typer.Option(help="Only those of this thing.")] = "",
    client: Annotated[str, typer.Option(help="Only those of this MQTT client.")] = "",
    status: Annotated[str, typer.Option(help="Only those, as TIMED_OUT.")] = "",
    execution: Annotated[str, typer.Option("--execution", help="One execution, with parameters and result.")] = "",
    *,
    options: "Options",
) -> None:
    """List executions of a command or of a device, or show one."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import outline
    from simulator.errors import UsageError, did_you_mean
    from simulator.ops import commands

    known = (*commands.PENDING, *commands.FINAL)
    if status and status.upper() not in known:
        raise UsageError(f"unknown status '{status}'{did_you_mean(status.upper(), known)}")
    with operation(options) as op:
        aim = _aim(op, thing, client)
        if execution:
            if not aim:
                raise UsageError("whose execution? Give --thing or --client")
            one = commands.execution(op.aws, execution, aim)
            op.result(one, outline(one))
            return
        found = commands.executions(op.aws, command_id, aim, status.upper() or None)
        op.result({"executions": found}, _lines(found))


def _aim(op: "Operation", thing: str, client: str) -> str:
    """The ARN of the one device that is meant, or nothing."""
    from simulator.errors import UsageError
    from simulator.ops import commands

    if thing and client:
        raise UsageError("--thing or --client, not both")
    found = commands.targets(op.aws, [thing] if thing else [], [client] if client else [])
    return found[0] if found else ""


@commands_app.command()
@writes
def delete(
    command_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of commands, or of executions with --thing.")
    ] = None,
    thing: Annotated[str, typer.Option(help="Delete executions of this thing instead of commands.")] = "",
    client: Annotated[str, typer.Option(help="Delete executions of this MQTT client instead of commands.")] = "",
    *,
    options: "Options",
) -> None:
    """Delete commands; or, with --thing or --client, executions that have ended."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.ops import commands

    with operation(options, writes="the end of commands", later=True) as op:
        aim = _aim(op, thing, client)
        wanted = some_of(
            op, command_ids, "execution" if aim else "command",
            lambda: (one["executionId"] for one in commands.executions(op.aws, target_arn=aim)) if aim
            else commands.names(op.aws),
        )  # fmt: skip
        for one in wanted:
            if aim:
                commands.execution(op.aws, one, aim)
            else:
                commands.show(op.aws, one)
        what = "execution" if aim else "command"
        op.confirm_word("DELETE", f"delete {counted(len(wanted), what)}")
        op.agree(f"the end of {counted(len(wanted), what)}")
        lines = []
        for one in wanted:
            state = "would be deleted"
            if not options.dry_run and aim:
                commands.delete_execution(op.aws, one, aim)
                state = "deleted"
            elif not options.dry_run:
                state = commands.delete(op.aws, one)
            lines.append(f"{what} {one}: {state}")
        op.result({"deleted": wanted, "dryRun": options.dry_run}, lines)
