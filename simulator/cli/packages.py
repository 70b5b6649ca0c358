"""`fleetsim packages …`: the Software Package Catalog, and which versions devices run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.shared import one_of, reads, words, writes

if TYPE_CHECKING:
    from simulator.cli.operation import Options

packages_app = typer.Typer(
    help="Packages: create, add-version, list, show, config, versions-of, revert.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArg = Annotated[str | None, typer.Argument(metavar="PACKAGE", help="The package's name; absent: asked.")]
VersionArg = Annotated[str | None, typer.Argument(metavar="VERSION", help="As 1.1.0; absent: asked.")]
PREVIEW = 10


@packages_app.command()
@writes
def create(
    name: NameArg = None, description: Annotated[str, typer.Option(help="What it is.")] = "", *, options: "Options"
) -> None:
    """Create a package; versions come with `add-version`."""
    from simulator.cli.operation import operation
    from simulator.ops import packages

    with operation(options, writes="a package", later=True) as op:
        name = name or op.ask("Name of the package", flag="PACKAGE")
        op.agree(f"package {name}")
        op.explain(
            "A package",
            "A name for a piece of software in the Software Package Catalog. Its versions say which artifact belongs "
            "to them; jobs name versions, and devices report them in the reserved shadow $package.",
        )
        made = {"dryRun": True, "packageName": name} if options.dry_run else packages.create(op.aws, name, description)
        op.result(made, [f"package {name} {'would be' if options.dry_run else 'is'} created"])


@packages_app.command("add-version")
@writes
def add_version(
    name: NameArg = None,
    version: VersionArg = None,
    file: Annotated[Path | None, typer.Argument(help="The artifact to upload; absent: a version without one.")] = None,
    description: Annotated[str, typer.Option(help="What is new in it.")] = "",
    attribute: Annotated[list[str] | None, typer.Option(help="name=value; again for more.")] = None,
    signing_key: Annotated[
        Path | None, typer.Option(help="The manufacturer's Ed25519 key, PEM; the fleet's devices want a signature.")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish/--draft", help="Publish it, or leave it changeable.")] = True,
    default: Annotated[bool, typer.Option("--default", help="Make it the package's default version.")] = False,
    *,
    options: "Options",
) -> None:
    """Upload an artifact, create a version of it and publish that. Again: does what is left."""
    from simulator import firmware
    from simulator.cli.operation import operation
    from simulator.cli.tables import outline
    from simulator.errors import UsageError
    from simulator.ops import packages

    if file and not file.is_file():
        raise UsageError(f"artifact '{file}': no such file")
    if signing_key and not signing_key.is_file():
        raise UsageError(f"--signing-key '{signing_key}': no such file; a fleet's is in the folder of its --state")
    attributes = dict(_pair(text) for text in attribute or [])
    with operation(options, writes="an artifact and a package version", later=True) as op:
        name = one_of(op, name, "package", lambda: packages.names(op.aws))
        if not version:
            version = op.ask(f"Name of the new version of {name}, as 1.1.0", flag="VERSION")
            given = op.ask("File to upload (empty: none)", "", flag="FILE", check=_there)
            file = file or (Path(given) if given else None)
        op.agree(f"version {version} of package {name}")
        op.explain(
            "A version and its artifact",
            "The file goes to the fleet's versioned bucket; size, SHA-256 and signature become attributes of the "
            "version, from which a job's document takes them. Publishing freezes artifact and attributes: only a "
            "published version can be given to devices, and nobody can change what they got.",
        )
        if options.dry_run:
            packages.show(op.aws, name)
            op.result(
                {"dryRun": True, "packageName": name, "versionName": version}, [f"{name} {version} would be added"]
            )
            return
        made = packages.add_version(
            op.aws, name, version, file, description=description, attributes=attributes, publish=publish,
            default=default, signing_key=firmware.signing_key(signing_key) if signing_key else None,
        )  # fmt: skip
        op.result(made, outline(made))


def _there(text: str) -> None:
    if text and not Path(text).is_file():
        raise ValueError(f"no file '{text}'")


def _pair(text: str) -> tuple[str, str]:
    from simulator.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"attribute '{text}': expected name=value")
    return name, value


@packages_app.command("list")
@reads
def every(*, options: "Options") -> None:
    """List packages with their versions."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted, table
    from simulator.ops import packages

    with operation(options) as op:
        found = packages.every(op.aws)
        rows = []
        for one in found:
            there = ", ".join(
                version["versionName"] + ("" if version["status"] == "PUBLISHED" else f" ({version['status']})")
                for version in one["versions"]
            )
            rows.append([one["packageName"], one.get("defaultVersionName"), there, one.get("lastModifiedDate")])
        lines = table(["package", "default", "versions", "modified"], rows)
        op.result({"packages": found}, [*lines, counted(len(found), "package")])


@packages_app.command()
@reads
def show(
    name: NameArg = None,
    version: Annotated[str | None, typer.Argument(help="One version of it; $default: its default one.")] = None,
    *,
    options: "Options",
) -> None:
    """Show a package, or one version with attributes and artifact."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import outline
    from simulator.ops import packages

    with operation(options) as op:
        name = one_of(op, name, "package", lambda: packages.names(op.aws))
        found = packages.version(op.aws, name, version) if version else packages.show(op.aws, name)
        op.result(found, outline(found))


@packages_app.command()
@writes
def config(
    switch: Annotated[str, typer.Argument(help="show, enable or disable.")] = "show", *, options: "Options"
) -> None:
    """Show or switch whether jobs write the reserved shadow $package."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import outline
    from simulator.errors import UsageError, did_you_mean
    from simulator.ops import packages

    known = ("show", "enable", "disable")
    if switch not in known:
        raise UsageError(f"packages config '{switch}'{did_you_mean(switch, known)}")
    changes = switch != "show"
    with operation(options, writes="the package configuration" if changes else "") as op:
        op.explain(
            "The package configuration",
            "When it is on, the service itself writes a thing's $package shadow after a job with package versions "
            "succeeded there; for that it assumes the role. When it is off, devices must report by themselves.",
        )
        if changes and not options.dry_run:
            found = packages.configure(op.aws, switch == "enable")
        else:
            found = packages.config(op.aws)
        op.result(found, outline(found))


@packages_app.command("versions-of")
@reads
def versions_of(
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="DEVICE", help="Names of things; absent: asked.")
    ] = None,
    package: Annotated[str | None, typer.Option(help="Only this package.")] = None,
    *,
    options: "Options",
) -> None:
    """Show which versions devices run, by their $package shadows."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import table
    from simulator.ops import packages

    with operation(options) as op:
        found = packages.versions_of(op.aws, words(devices or [op.ask("Which devices?", flag="DEVICE")]), op.progress)
        rows = [
            [thing, name, version]
            for thing, said in found.items()
            for name, version in (said or {"": "never reported"}).items()
            if not package or name in (package, "")
        ]
        op.result({"devices": found}, table(["thing", "package", "version"], rows))


@packages_app.command()
@writes
def revert(
    name: NameArg = None,
    version: VersionArg = None,
    among: Annotated[str, typer.Option(help="Only things that match this query of the fleet index.")] = "",
    thing: Annotated[list[str] | None, typer.Option(help="These things, whatever the index says of them.")] = None,
    by_job: Annotated[
        bool, typer.Option("--by-job", help="Have devices install it by OTA jobs, not only say so in their shadows.")
    ] = False,
    *,
    options: "Options",
) -> None:
    """Set a fleet back to a version: those that run another one are shown, and REVERT must be typed."""
    from simulator.cli.operation import operation
    from simulator.cli.tables import counted
    from simulator.ops import jobs, packages

    with operation(options, writes="package versions", later=True) as op:
        package = one_of(op, name, "package", lambda: packages.names(op.aws))
        there = (str(one["versionName"]) for one in packages.versions(op.aws, package) if one["status"] != "DRAFT")
        version = one_of(op, version, "version", lambda: there)
        query, things = ("", words(thing)) if thing else packages.elsewhere(op.aws, package, version, among)
        found = packages.versions_of(op.aws, things[:PREVIEW]) if things else {}
        op.explain(
            "Who is to go back",
            f"The fleet index is asked for things whose $package shadow has the package in another version: {query}. "
            "It follows the shadows within seconds, so look again when a job has just ended.",
        )
        for one, runs in found.items():
            op.say(f"  {one}  {package} {(runs or {}).get(package, 'never reported')} -> {version}")
        if len(things) > PREVIEW:
            op.say(f"  … and {len(things) - PREVIEW} more")
        document: dict[str, Any] = {
            "package": package,
            "version": version,
            "query": query,
            "count": len(things),
            "things": things,
        }
        if not things:
            op.result(document, [f"no device runs another version of {package} than {version}"])
            return
        op.confirm_word("REVERT", f"{counted(len(things), 'device')} go back to {package} {version}")
        what = "jobs" if by_job else "$package shadows"
        op.agree(f"{what} for {counted(len(things), 'device')}")
        said = f"{counted(len(things), 'device')} would go back to {package} {version}"
        if not options.dry_run and by_job:
            document["jobs"] = jobs.revert(op.aws, package, version, things, datetime.now(UTC))
            said = f"{counted(len(document['jobs']), 'job')}: {', '.join(document['jobs'])}"
        elif not options.dry_run:
            packages.revert(op.aws, package, version, things, op.progress)
            said = f"{counted(len(things), 'device')} set back to {package} {version}"
        op.result({**document, "dryRun": options.dry_run}, [said])
