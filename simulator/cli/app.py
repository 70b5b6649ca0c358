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
RecordOpt = Annotated[
    str, typer.Option(help="Whose wire log is kept for `replay`: affected (by a fault or a failed check), all or none.")
]
RecordMbOpt = Annotated[int, typer.Option("--record-mb", min=1, max=100_000, help="Memory for it, at most.")]
StayOpt = Annotated[
    bool, typer.Option("--stay", help="Go on when the timeline is over, until Ctrl-C; then comes the verdict.")
]
RunArg = Annotated[Path, typer.Argument(help="The folder of a run.")]
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
    record: RecordOpt = "affected",
    record_mb: RecordMbOpt = 64,
    virtual: Annotated[
        bool,
        typer.Option("--virtual", help="On a clock that jumps, with the backend's core in this process."),
    ] = False,
    stay: StayOpt = False,
) -> None:
    """Run and judge a scenario: 0 passed, 1 failed, 2 wrong usage, 3 backend gone, 4 inconclusive, 130 interrupted."""
    from simulator.cli import run as command

    raise typer.Exit(
        command.run(scenario, seed, target, out, state, yes, as_json, given or (), record, record_mb, virtual, stay)
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def load(
    more: typer.Context,
    scenario: ScenarioArg,
    users: Annotated[
        int | None, typer.Option("--users", "-u", min=1, help="Users at once, instead of the scenario's shape.")
    ] = None,
    spawn_rate: Annotated[
        float | None, typer.Option("--spawn-rate", "-r", min=0.01, help="With --users: so many more each second.")
    ] = None,
    run_time: Annotated[
        str | None, typer.Option("--run-time", "-t", help="At most so long, as 90s, 10m, 1h30m.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Locust workers on this machine, with an engine each.")
    ] = 1,
    ui: Annotated[bool, typer.Option("--ui/--headless", help="Locust's UI, to start and stop it by hand.")] = False,
    web_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the UI, on loopback.")] = 8089,
    given: SetOpt = None,
    seed: SeedOpt = None,
    target: TargetOpt = "sandbox",
    out: OutOpt = None,
    state: StateOpt = None,
    yes: YesOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Run a scenario's load through Locust, with a verdict; what comes after -- is for Locust, as -- --csv run."""
    from simulator.cli import load as command

    raise typer.Exit(
        command.load(
            scenario, users, spawn_rate, run_time, processes, ui, web_port, given or (), seed, target, out, state, yes,
            as_json, more.args,
        )
    )  # fmt: skip


@app.command()
def replay(
    folder: RunArg,
    device: Annotated[str | None, typer.Option(help="Only this thing; absent: all that were recorded.")] = None,
    until: Annotated[
        float | None, typer.Option(min=0, help="Stop there: seconds since the start, or since the Unix epoch.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--pdb", help="Stop in the debugger: at --until, else before the first difference.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Send the recorded messages to --target, at the same relative times.")
    ] = False,
    target: TargetOpt = "sandbox",
    yes: YesOpt = False,
) -> None:
    """Let recorded devices live again: 0 they say the same, byte for byte; 1 with the first difference."""
    if live:
        from simulator.cli import replay_live

        raise typer.Exit(replay_live.send(folder, device, until, target, yes))
    from simulator.cli import replay as command

    raise typer.Exit(command.play(folder, device, until, debug))


@app.command()
def shrink(
    folder: RunArg,
    check: Annotated[str | None, typer.Option(help="The failed check, by its name; absent: the first.")] = None,
    out: Annotated[Path | None, typer.Option(help="The smaller scenario's file; absent: in the run's folder.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Try at a sandbox each time, not in virtual time.")] = False,
    tries: Annotated[int, typer.Option(min=1, max=100_000, help="So many candidates are tried at most.")] = 200,
    minutes: Annotated[float, typer.Option(min=0.1, help="And for so long at most.")] = 30.0,
) -> None:
    """Find the smallest scenario that still fails as a run did, and write it."""
    from simulator.cli import shrink as command

    raise typer.Exit(command.shrink(folder, check, out, live, tries, minutes))


@app.command()
def demo(seed: SeedOpt = None, out: OutOpt = None, as_json: JsonOpt = False, stay: StayOpt = False) -> None:
    """The alarm-to-OTA loop on the embedded sandbox: `run alarm-to-ota`."""
    run("alarm-to-ota", seed=seed, out=out, as_json=as_json, stay=stay)


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
def dataset(
    out: Annotated[Path, typer.Option(help="Folder for the files and their card.")],
    devices: Annotated[int, typer.Option(help="Sensors.")] = 100,
    days: Annotated[float, typer.Option(help="How long.")] = 1.0,
    every: Annotated[float, typer.Option(help="Seconds from one record of a sensor to the next.")] = 60.0,
    step: Annotated[float, typer.Option(help="Seconds in a step of the physics.")] = 10.0,
    profile: Annotated[
        list[str] | None, typer.Option(help="A profile of a fire sensor; again for others, by turns.")
    ] = None,
    mix: Annotated[
        Path | None, typer.Option(help="What befalls them, a YAML file; absent: fires and disturbances as usual.")
    ] = None,
    fires: Annotated[
        float | None, typer.Option(min=0, max=100, help="Fires in a day of one sensor; absent: as the mix has it.")
    ] = None,
    harmless: Annotated[
        float | None, typer.Option(min=0, max=100, help="Other happenings in a day of one sensor; absent: the mix's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX, help="Everything random comes from it.")] = 1,
    formats: Annotated[
        str, typer.Option("--format", help="csv, jsonl, parquet and npz (windows of 30), separated by commas.")
    ] = "csv",
    zipped: Annotated[bool, typer.Option("--gzip", help="CSV and JSON lines compressed.")] = False,
    split: Annotated[
        str, typer.Option(help="Shares of the sensors for train, validation and test, as 0.7,0.15,0.15.")
    ] = "",
    stride: Annotated[int, typer.Option(help="Records from one window to the next.")] = 30,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the data card on stdout instead of lines.")] = False,
) -> None:
    """Make labelled records of fire sensors: CSV, JSON lines, Parquet, windows; the same command, the same bytes."""
    from simulator.cli import dataset as command
    from simulator.dataset.making import Options

    options = Options(
        devices, days, every, step, tuple(profile or ["fire-sensor"]), seed=seed,
        forms=tuple(dict.fromkeys(part.strip() for part in formats.split(",") if part.strip())), gzip=zipped,
        split=command.shares(split), stride=stride,
    )  # fmt: skip
    command.dataset(out, options, mix, fires, harmless, force, dry_run, as_json)


@app.command()
def score(
    data: Annotated[Path | None, typer.Option(help="A data set: its folder, or one of its files.")] = None,
    part: Annotated[str | None, typer.Option(help="Of a data set in parts: train, validation or test.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="A file of predictions: CSV or .jsonl with device, at_ms, score.")
    ] = None,
    http: Annotated[str | None, typer.Option(metavar="URL", help="A model behind an address.")] = None,
    sagemaker: Annotated[
        str | None, typer.Option(metavar="NAME", help="A SageMaker endpoint, asked through boto3.")
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="The platform's own rule-based risk.")] = False,
    of_run: Annotated[Path | None, typer.Option("--run", help="The alarms of a run: its folder, no --data.")] = None,
    threshold: Annotated[float, typer.Option(help="From this score on a record is called positive.")] = 0.6,
    judge: Annotated[
        str, typer.Option(help="By what the minimum is judged: alerts (fires noticed) or records (the label).")
    ] = "alerts",
    batch: Annotated[int, typer.Option(help="Records, or windows, in one request, at most.")] = 1000,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 10.0,
    form: Annotated[str, typer.Option("--as", help="What SageMaker is sent: csv or json.")] = "csv",
    region: Annotated[str | None, typer.Option(help="Of SageMaker; absent: as boto3 finds it.")] = None,
    aws_profile: Annotated[str | None, typer.Option(help="Credentials for it; absent: as boto3 finds them.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Of something that speaks as SageMaker does.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="The endpoint may be on another machine.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for score.html and score.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print score.json on stdout instead of lines.")] = False,
) -> None:
    """Score predictions of fire: 0 the contracts' minimum is met, 1 it is not, 2 wrong usage, 3 nobody answers."""
    from simulator.cli import score as command

    whose = command.Whose(predictions, http, sagemaker, baseline, of_run)
    asking = command.Asking(batch, timeout, form, region, aws_profile, endpoint_url, yes)
    raise typer.Exit(command.score(data, part, whose, asking, threshold, judge, out, as_json))


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
