"""The commands and their flags. Each imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.cleanup import cleanup
from simulator.cli.commands import commands_app
from simulator.cli.groups import groups_app
from simulator.cli.jobs import jobs_app
from simulator.cli.packages import packages_app
from simulator.cli.provision import provision

app = typer.Typer(
    name="fleetsim",
    help="A simulated device fleet for testing IoT backends: it knows what it broke, and whether the backend noticed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(provision)
app.command()(cleanup)
app.add_typer(jobs_app, name="jobs")
app.add_typer(packages_app, name="packages")
app.add_typer(groups_app, name="groups")
app.add_typer(commands_app, name="commands")

ScenarioArg = Annotated[str, typer.Argument(help="A scenario file, or the name of a shipped scenario.")]
SEED_MAX = (1 << 63) - 1  # as in a scenario
SeedOpt = Annotated[
    int | None, typer.Option(min=0, max=SEED_MAX, help="Everything random comes from it; absent: the scenario's.")
]
TargetOpt = Annotated[str, typer.Option(help="sandbox (started for the run), aws, or the path of a target file.")]
OutOpt = Annotated[
    Path | None, typer.Option(help="Folder for report.html and report.json; absent: a new one in runs/.")
]
YesOpt = Annotated[bool, typer.Option("--yes", help="On a target that is not the sandbox: write without asking.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print report.json on stdout instead of lines.")]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the scenario; again for others.")
]
StateOpt = Annotated[Path | None, typer.Option(help="Folder for keys and certificates; absent: a temporary one.")]


@app.command()
def run(
    scenario: ScenarioArg,
    seed: SeedOpt = None,
    target: TargetOpt = "sandbox",
    out: OutOpt = None,
    state: StateOpt = None,
    yes: YesOpt = False,
    as_json: JsonOpt = False,
    given: SetOpt = None,
) -> None:
    """Run a scenario and give a verdict: 0 passed, 1 checks failed, 2 wrong usage, 3 backend gone, 130 interrupted."""
    from simulator.cli import run as command

    raise typer.Exit(command.run(scenario, seed, target, out, state, yes, as_json, given or ()))


@app.command()
def demo(seed: SeedOpt = None, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """The alarm-to-OTA loop on the embedded sandbox: `run alarm-to-ota`."""
    run("alarm-to-ota", seed=seed, out=out, as_json=as_json)


@app.command()
def sandbox(
    env_file: Annotated[
        Path | None, typer.Option(help="Write the endpoints as KEY=value lines, once it is ready.")
    ] = None,
    https_port: Annotated[int, typer.Option(min=0, max=65535, help="AWS APIs; 0: a free one.")] = 0,
    mqtt_port: Annotated[int, typer.Option(min=0, max=65535, help="MQTT over TLS; 0: a free one.")] = 0,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="API of the backend; 0: a free one.")] = 0,
    tcp_port: Annotated[int, typer.Option(min=0, max=65535, help="Gateway for TCP frames; 0: a free one.")] = 0,
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="Gateway for REST; 0: a free one.")] = 0,
    rules: Annotated[
        str | None, typer.Option(help="A scenario whose rules and payload specs the backend gets.")
    ] = None,
    auth: Annotated[bool, typer.Option("--auth/--no-auth", help="Check credentials and policies.")] = True,
    state: StateOpt = None,
) -> None:
    """Run the sandbox alone until Ctrl-C, for any client."""
    from simulator.cli import sandbox as command
    from simulator.runtime.sandbox import Ports

    ports = Ports(https_port, mqtt_port, api_port, tcp_port, rest_port)
    command.sandbox(env_file, ports, rules, auth, state)


@app.command()
def explain(scenario: ScenarioArg, seed: SeedOpt = None, given: SetOpt = None, as_json: JsonOpt = False) -> None:
    """Draw a scenario's timeline before anything runs: who, what, when, and what should be noticed."""
    from simulator.cli import explain as command

    command.explain(scenario, seed, given or (), as_json)


@app.command()
def validate(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; absent: all shipped ones.")] = None,
) -> None:
    """Check profiles, scenarios, firmware and target files; say every mistake with its line."""
    from simulator.cli import validate as command

    raise typer.Exit(command.validate(paths or []))


@app.command()
def schema(kind: Annotated[str, typer.Argument(help="profile, scenario or target")]) -> None:
    """Print the JSON Schema (draft-07) of a kind of file, for editors."""
    from simulator.cli import schema as command

    command.schema(kind)


@app.command()
def describe(
    what: Annotated[str, typer.Argument(help="profile, or a room: signals, behaviours, faults, steps or checks.")],
    name: Annotated[str | None, typer.Argument(help="The profile's name.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with charts instead of text.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX, help="Everything random comes from it.")] = 1,
) -> None:
    """Show what a device type measures, sends and accepts, with a simulated day; or list a room's members."""
    from simulator.cli import describe as command

    command.describe(what, name, html, seed)


def _version(wanted: bool) -> None:
    if wanted:
        from simulator import __version__

        print(f"fleetsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
