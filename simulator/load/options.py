"""The flags that fleetsim adds to Locust's own, and how they reach the engine child."""

from typing import Any


def add_to(parser: Any, **_: Any) -> None:
    """Locust's event `init_command_line_parser`."""
    group = parser.add_argument_group("fleetsim options")
    group.add_argument(
        "--scenario", default="alarm-to-ota", metavar="<name>",
        help="Scenario whose fleet the users are: a file, or the name of a shipped one. Default: alarm-to-ota.",
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
    # A tool that starts load without a password should not be offered to the whole network unasked.
    parser.set_defaults(web_host="127.0.0.1")
    _refuse_more_than_one_process(parser)


def _refuse_more_than_one_process(parser: Any) -> None:
    """Before anything is forked or connected: Locust does not wait for workers that it has only just forked."""
    parse_args = parser.parse_args

    def checked(*args: Any, **kwargs: Any) -> Any:
        options = parse_args(*args, **kwargs)
        if options.master or options.worker or options.processes:
            parser.error("one process only (no --master, --worker, --processes): else a device would exist twice")
        return options

    parser.parse_args = checked


def child_arguments(options: Any) -> list[str]:
    """The child's command line."""
    arguments = ["--scenario", options.scenario, "--target", options.target]
    if options.fleet_seed is not None:
        arguments += ["--seed", str(options.fleet_seed)]
    if options.state:
        arguments += ["--state", options.state]
    return arguments + (["--yes"] if options.yes else [])
