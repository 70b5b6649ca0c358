"""`fleetsim provision`: a fleet's things, certificates, packages and what else it needs, in the sandbox or on AWS."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.shared import words, writes

if TYPE_CHECKING:
    from simulator.cli.operation import Operation, Options
    from simulator.firmware import Firmware
    from simulator.ops.members import Member

SEED_MAX = (1 << 63) - 1
TYPES, VERSIONS = "SedanVehicle,SUVVehicle,TruckVehicle", "1.0.0,1.1.0"
WRITES = "things, certificates, groups, packages, roles and a bucket"


@writes
def provision(
    devices: Annotated[int | None, typer.Option(help="How many vehicles.")] = None,
    types: Annotated[list[str] | None, typer.Option(help=f"Thing types, in turn; absent: {TYPES}.")] = None,
    continent: Annotated[
        int | None,
        typer.Option(help="1 North America, 2 South America, 3 Europe, 4 Asia, 5 Africa, 6 Oceania, 7 Antarctica."),
    ] = None,
    countries: Annotated[
        str | None, typer.Option(help="Codes (US,DE), or how many of the continent; absent: where the customers are.")
    ] = None,
    versions: Annotated[
        list[str] | None, typer.Option(help=f"Package versions, the installed one first; absent: {VERSIONS}.")
    ] = None,
    scenario: Annotated[str | None, typer.Option(help="Exactly the things of this scenario's fleet instead.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEED_MAX, help="Says who is whose; absent: the scenario's, or 1.")
    ] = None,
    shared_certificate: Annotated[
        bool, typer.Option("--shared-certificate", help="One certificate for all devices: quicker, and less secure.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="Folder for keys and certificates; absent: runs/fleet-<target>.")
    ] = None,
    *,
    options: "Options",
) -> None:
    """Make everything that a fleet needs before it can connect. Run again, it does what is left."""
    from simulator.cli import writable
    from simulator.cli.operation import operation
    from simulator.errors import UsageError
    from simulator.ops import explain
    from simulator.ops import provision as ops
    from simulator.ops.things import How

    if scenario and not all(flag is None for flag in (devices, types, continent, countries, versions)):
        raise UsageError("--scenario says everything of the fleet; leave the other flags of it away")
    with operation(options, WRITES, later=True) as op:
        if scenario:
            members, firmware = _of_scenario(scenario, seed)
        else:
            members, firmware = _vehicles(op, devices, words(types), continent, countries, words(versions), seed)
        folder = state or Path("runs") / f"fleet-{op.target.target}"
        plan = ops.Plan(members, [], How(shared=shared_certificate))
        lacking, found = ops.left(op.aws, plan, folder / "identities")
        groups = sorted({group for one in members if (group := found.group(one))})
        document: dict[str, Any] = {
            "dryRun": options.dry_run,
            "things": len(members),
            "lacking": lacking,
            "types": sorted({one.type for one in members}),
            "groups": groups,
            "packageVersions": [f"{package} {release.version}" for release, package in firmware],
            "state": str(folder),
        }
        lines = _told(members, groups, firmware)
        if options.dry_run:
            op.result(document, [*lines, f"{lacking} of {len(members)} things lack something; nothing was written"])
            return
        for line in lines:
            op.say(f"  {line}")
        op.agree()
        writable.folder(folder, "--state")
        plan = ops.Plan(members, _images(folder, firmware), plan.how)
        (folder / "identities").mkdir(mode=0o700, exist_ok=True)
        made = ops.provision(
            op.aws, plan, folder / "identities", op.progress, lambda name: op.explain(*explain.step("provision", name))
        )
        document["made"] = dict(made)
        op.result(
            document,
            [
                f"{len(members)} things are there: {made['things']} new, with {made['certificates']} new certificates",
                f"keys and certificates: {folder / 'identities'}",
            ],
        )


def _of_scenario(name: str, seed: int | None) -> "tuple[list[Member], list[tuple[Firmware, str]]]":
    """The things of a scenario, as `run` would make them, and the firmware that it would publish."""
    from simulator import firmware, scenarios
    from simulator.cli.rules import read_scenario
    from simulator.errors import UsageError
    from simulator.ops.members import of_profiles

    read, profiles = read_scenario(scenarios.find(name))
    pairs = [(thing, profiles[profile]) for thing, profile, _ in read.things()]
    children = [(thing, profiles[profile]) for thing, profile, _ in read.children(profiles)]
    members = of_profiles(
        [pair for pair in pairs if pair[1].channel == "mqtt"],
        children,
        read.seed if seed is None else seed,
        shadows=True,
    )
    if not members:
        raise UsageError(f"scenario '{name}' has no device that connects by MQTT: there is nothing to provision")
    used = {profile.software for profile in profiles.values()}
    return members, [(release, one) for release in firmware.releases() for one in release.packages if one in used]


def _vehicles(
    op: "Operation", devices: int | None, types: list[str], continent: int | None, countries: str | None,
    versions: list[str], seed: int | None,
) -> "tuple[list[Member], list[tuple[Firmware, str]]]":  # fmt: skip
    """A fleet of vehicles, as the flags say, or the answers when there are none."""
    from simulator import firmware
    from simulator.ops import countries as places
    from simulator.ops import members

    if devices is None:
        bare = not types and continent is None and countries is None and not versions
        devices = int(op.ask("How many devices?", "100", flag="--devices", check=members.how_many))
        if bare and op.asks:
            types = words([op.ask("Which thing types?", TYPES, flag="--types", check=_types)])
            named = op.choose("On which continent?", [*places.NAMES.values(), "any"], "any", flag="--continent")
            continent = next((number for number, name in places.NAMES.items() if name == named), None)
            if continent is not None:
                where = continent
                countries = op.ask(
                    "Which countries (codes, or how many)?", "3", flag="--countries",
                    check=lambda answer: places.chosen(where, answer),
                )  # fmt: skip
            versions = words([op.ask("Which package versions?", VERSIONS, flag="--versions", check=_versions)])
    types, versions = _types(",".join(types) or TYPES), _versions(",".join(versions) or VERSIONS)
    codes = places.chosen(continent, countries)
    found = members.vehicles(devices, types, 1 if seed is None else seed, version=versions[0], codes=codes)
    packages = sorted({one.software[0] for one in found if one.software})
    return found, [(firmware.release(version, package), package) for version in versions for package in packages]


def _types(text: str) -> list[str]:
    """Names of thing types, each of which is the name of a package too."""
    return _names(text, "thing type", r"[a-zA-Z0-9_-]{1,128}")


def _versions(text: str) -> list[str]:
    return _names(text, "package version", r"[a-zA-Z0-9._-]{1,64}")


def _names(text: str, what: str, pattern: str) -> list[str]:
    from simulator.errors import UsageError

    found = list(dict.fromkeys(words([text])))
    wrong = next((name for name in found if not re.fullmatch(pattern, name)), None if found else text)
    if wrong is not None:
        raise UsageError(f"'{wrong}' cannot be the name of a {what} (it has to match {pattern})")
    return found


def _images(folder: Path, wanted: "list[tuple[Firmware, str]]") -> list[Any]:
    from simulator import firmware

    key = firmware.signing_key(folder / "manufacturer.key.pem")
    return [firmware.build(release, package, key) for release, package in wanted]


def _told(members: "list[Member]", groups: list[str], firmware: "list[tuple[Firmware, str]]") -> list[str]:
    """The plan, in lines."""
    from collections import Counter

    types = Counter(one.type for one in members)
    return [
        f"{len(members)} things, {members[0].name} to {members[-1].name}",
        "types: " + ", ".join(f"{name} {count}" for name, count in sorted(types.items())),
        "groups: " + (", ".join(groups) or "none"),
        "package versions: " + ", ".join(f"{package} {release.version}" for release, package in firmware),
    ]
