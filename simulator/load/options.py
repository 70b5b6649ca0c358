"""The flags that fleetsim adds to Locust's own, and what they come to."""

from typing import Any

from simulator import parameters, scenarios
from simulator.errors import FleetsimError
from simulator.load.cast import cast
from simulator.runtime import brief
from simulator.shapes import Shape


def add_to(parser: Any, **_: Any) -> None:
    """Locust's event `init_command_line_parser`."""
    group = parser.add_argument_group("fleetsim options")
    group.add_argument(
        "--scenario", default="alarm-to-ota", metavar="<name>",
        help="Scenario whose fleet the users are: a file, or the name of a shipped one. Default: alarm-to-ota.",
    )  # fmt: skip
    group.add_argument(
        "--set", action="append", default=[], metavar="<name=value>", dest="scenario_set",
        help="A parameter of the scenario; again for others.",
    )  # fmt: skip
    group.add_argument(
        "--fleet-seed", type=int, metavar="<int>", help="Everything random comes from it; absent: the scenario's."
    )
    group.add_argument(
        "--target", default="sandbox", metavar="<name>",
        help="sandbox (the default: started and stopped with Locust), aws, or the path of a target file.",
    )  # fmt: skip
    group.add_argument("--state", metavar="<folder>", help="For keys and certificates; absent: a temporary one.")
    group.add_argument("--yes", action="store_true", help="On a target that is not the sandbox: write without asking.")
    group.add_argument(
        "--out", metavar="<folder>",
        help="Judge the scenario's checks at the end, write report.html and report.json there, exit with the verdict.",
    )  # fmt: skip
    group.add_argument("--fleet-show", action="store_true", help="Draw the run on the terminal while it goes on.")
    group.add_argument("--end-with-stdin", action="store_true", help="End when stdin does.")
    # A tool that starts load without a password should not be offered to the whole network unasked.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")
    _read_scenario_with(parser)


def _read_scenario_with(parser: Any) -> None:
    """What users there are is said by the scenario, and Locust must know it before it makes its environment.

    Before anything is forked or connected, too: a mistake in it is one line, and nothing was started.
    """
    parse_args = parser.parse_args

    def read(*args: Any, **kwargs: Any) -> Any:
        options = parse_args(*args, **kwargs)
        if options.worker or cast.scenario:  # a worker is told by its master
            return options
        try:
            found, profiles = scenarios.read(
                scenarios.find(options.scenario), parameters.settings(options.scenario_set), options.fleet_seed
            )
            cast.configure(found, brief.paced(found, profiles), options.tags, options.exclude_tags)
        except FleetsimError as error:
            parser.exit(error.exit_code, f"{error}\n")
        return options

    parser.parse_args = read


def shape(options: Any) -> Shape | None:
    """The scenario's, when the user wants no other number of users."""
    load = cast.load
    return load.shape if load and options.num_users is None else None


def coordinator_arguments(options: Any) -> list[str]:
    """The coordinator's command line."""
    arguments = ["--scenario", options.scenario, "--target", options.target]
    arguments += [word for setting in options.scenario_set for word in ("--set", setting)]
    for flag, value in (("--seed", options.fleet_seed), ("--state", options.state), ("--out", options.out)):
        if value is not None:
            arguments += [flag, str(value)]
    return arguments + ["--yes"] * options.yes + ["--show"] * options.fleet_show
