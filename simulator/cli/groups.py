"""`fleetsim groups …`: dynamic thing groups from a wizard or a query, and what there is."""

from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.shared import reads, some_of, words, writes

if TYPE_CHECKING:
    from simulator.cli.operation import Operation, Options
    from simulator.ops.groups import Preview

groups_app = typer.Typer(help="Thing groups: create, list, delete, test.", no_args_is_help=True, rich_markup_mode=None)

NamesArg = Annotated[list[str] | None, typer.Argument(metavar="GROUP", help="Names; absent: asked.")]
CountriesOpt = Annotated[list[str] | None, typer.Option(help="Two-letter codes: US,CA.")]
TypeOpt = Annotated[str, typer.Option(help="Only things of this type.")]
VersionsOpt = Annotated[list[str] | None, typer.Option(help="Only things that run one of these: 1.0.0,1.1.0.")]
BatteryOpt = Annotated[str, typer.Option(help="'>50', '<30', '>=50', '<=30' or '=75', in percent.")]
PackageOpt = Annotated[str, typer.Option(help="Whose --versions; absent: the one named as the thing type.")]


@groups_app.command()
@writes
def create(
    name: Annotated[str | None, typer.Argument(metavar="GROUP", help="The group's name.")] = None,
    countries: CountriesOpt = None,
    thing_type: TypeOpt = "",
    versions: VersionsOpt = None,
    battery: BatteryOpt = "",
    package: PackageOpt = "",
    query: Annotated[str, typer.Option(help="A whole query of the fleet index, instead of the flags above.")] = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    *,
    options: "Options",
) -> None:
    """Create a dynamic group after a preview of who is in it. On a terminal, what is missing is asked."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.errors import UsageError
    from simulator.ops import groups

    with operation(options, writes="a thing group", later=True) as op:
        name = name or op.ask("Name of the group", flag="GROUP")
        given = bool(countries or thing_type or versions or battery)
        if query and given:
            raise UsageError("--query stands alone; leave the other conditions away")
        if not given and not query and op.asks:
            text = _wizard(op)
        else:
            text = query or groups.query(words(countries), thing_type, words(versions), battery, package)
        op.explain(
            "A dynamic group",
            "Its members are the things that match a query of the fleet index. They come and go by themselves within "
            "seconds of a change, nobody can add or remove one by hand, and a CONTINUOUS job reaches those that enter.",
        )
        found = groups.preview(op.aws, text)
        _show(op, text, found)
        if not found.of:
            raise UsageError("nothing matches, so there is no group; `fleetsim groups test QUERY` tries others")
        document = {"thingGroupName": name, "queryString": text, "matches": found.of}
        if not options.dry_run:
            op.agree(f"dynamic group {name} with {counted(found.of, 'thing')} now")
            document |= groups.create(op.aws, name, text, description)
        said = "would be created" if options.dry_run else "is created"
        op.result({**document, "dryRun": options.dry_run}, [f"group {name} {said}; {counted(found.of, 'thing')} match"])


def _wizard(op: "Operation") -> str:
    """Asks for one condition after the other; an empty answer is none."""
    from simulator.ops import groups

    kind = op.choose("Conditions one by one, or a query?", ["conditions", "query"], "conditions", flag="--query")
    if kind == "query":
        return op.ask("Query", flag="--query")
    countries = op.ask("Countries, as US,CA,MX (empty: any)", "", flag="--countries")
    thing_type = op.ask("Thing type (empty: any)", "", flag="--thing-type")
    versions = (
        op.ask(f"Versions of {thing_type}, as 1.0.0,1.1.0 (empty: any)", "", flag="--versions") if thing_type else ""
    )
    battery = op.ask("Battery, as >50, <30 or =75 (empty: any)", "", flag="--battery")
    return groups.query(words([countries]), thing_type, words([versions]), battery)


def _show(op: "Operation", text: str, found: "Preview") -> None:
    op.say(f"query: {text}")
    for thing in found.things:
        attributes = thing.get("attributes", {})
        about = [thing.get("thingTypeName"), attributes.get("country")]
        op.say("  ".join(["", str(thing["thingName"]), *(word for word in about if word)]))
    if found.of > len(found.things):
        op.say(f"  … and {found.of - len(found.things)} more")


@groups_app.command("list")
@reads
def every(
    members: Annotated[bool, typer.Option("--members", help="Count the things in each: a request for each.")] = False,
    *,
    options: "Options",
) -> None:
    """List groups, static and dynamic."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, table
    from simulator.ops import groups

    with operation(options) as op:
        found = groups.every(op.aws, count=members)
        rows = [
            [
                one["thingGroupName"], one["kind"], one.get("status"), *([one["members"]] if members else []),
                one.get("queryString"),
            ]
            for one in found
        ]  # fmt: skip
        lines = table(["group", "kind", "status", *(["things"] if members else []), "query"], rows)
        dynamic = sum(one["kind"] == "dynamic" for one in found)
        op.result({"groups": found}, [*lines, f"{counted(len(found), 'group')}, {dynamic} of them dynamic"])


@groups_app.command()
@writes
def delete(names: NamesArg = None, *, options: "Options") -> None:
    """Delete groups of either kind; the things stay."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.ops import groups, jobs

    with operation(options, writes="the end of groups", later=True) as op:
        wanted = some_of(op, names, "group", lambda: jobs.group_names(op.aws))
        there = [groups.show(op.aws, name) for name in wanted]
        for one in there:
            op.say(f"  {one['thingGroupName']}  {one['kind']}  {one.get('queryString', '')}".rstrip())
        op.confirm_word("DELETE", f"delete {counted(len(wanted), 'group')}")
        op.agree(f"the end of {counted(len(wanted), 'group')}")
        if not options.dry_run:
            for name in wanted:
                groups.delete(op.aws, name)
        said = "would be deleted" if options.dry_run else "is deleted"
        op.result({"deleted": wanted, "dryRun": options.dry_run}, [f"group {name} {said}" for name in wanted])


@groups_app.command("test")
@reads
def try_query(
    query: Annotated[str, typer.Argument(help="A query of the fleet index.")] = "",
    countries: CountriesOpt = None,
    thing_type: TypeOpt = "",
    versions: VersionsOpt = None,
    battery: BatteryOpt = "",
    package: PackageOpt = "",
    most: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Things to name.")] = 10,
    *,
    options: "Options",
) -> None:
    """Show which things match a query, or the conditions of `create`; nothing is made."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, table
    from simulator.ops import groups

    with operation(options) as op:
        given = countries or thing_type or versions or battery
        if not query and not given and op.asks:
            query = _wizard(op)
        text = query or groups.query(words(countries), thing_type, words(versions), battery, package)
        found = groups.preview(op.aws, text, most)
        op.say(f"query: {text}")
        rows = [
            [thing["thingName"], thing.get("thingTypeName"), thing.get("attributes", {}).get("country")]
            for thing in found.things
        ]
        more = f", {len(found.things)} shown" if found.of > len(found.things) else ""
        op.result(
            {"queryString": text, "matches": found.of, "things": found.things},
            [*table(["thing", "type", "country"], rows), f"{counted(found.of, 'match', 'matches')}{more}"],
        )
