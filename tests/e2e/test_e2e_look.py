"""What looks at things and starts nothing: help, version, `validate`, `schema`."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from simulator import __version__
from tests.e2e.fleetsim_command import REPO, Command

pytestmark = pytest.mark.e2e

COMMANDS = ("run", "demo", "sandbox", "validate", "schema")
TARGET = """
target: staging
kind: endpoints
endpoint_url: https://localhost:4566
mqtt_host: localhost
mqtt_port: 8883
ca_file: ca.pem
api_url: http://127.0.0.1:8080
"""


def output(command: Command) -> str:
    """What it printed, when all went well and quietly."""
    assert command.wait() == 0, command.stderr
    assert command.stderr == ""
    assert "\x1b" not in command.stdout
    return command.stdout


def test_help_names_every_command(fleetsim: Callable[..., Command]) -> None:
    said = output(fleetsim("--help"))
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", said, re.M), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(fleetsim: Callable[..., Command], name: str) -> None:
    said = output(fleetsim(name, "--help"))
    assert re.search(rf"^Usage: .* {name} ", said)
    undescribed = re.findall(r"^  --[\w-]+(?: [\w|<>=\[\]]+)?$", said, re.M)
    # An option on a line of its own is described on the next one.
    for option in undescribed:
        assert re.search(rf"{re.escape(option)}\n {{10,}}\w", said), option


def test_the_version(fleetsim: Callable[..., Command]) -> None:
    assert output(fleetsim("--version")) == f"fleetsim {__version__}\n"


def test_all_that_is_shipped_is_right(fleetsim: Callable[..., Command]) -> None:
    count = sum(len(list((REPO / name).glob("*.yaml"))) for name in ("profiles", "scenarios", "firmware"))
    assert output(fleetsim("validate", FLEETSIM_HOME=str(REPO))) == f"{count} of {count} files are right\n"


def test_validate_says_all_that_is_wrong_in_a_folder(fleetsim: Callable[..., Command]) -> None:
    loop = (REPO / "scenarios" / "alarm-to-ota.yaml").read_text()
    files = {
        "right.yaml": loop.replace("scenario: alarm-to-ota", "scenario: right"),
        "renamed.yaml": loop,
        "rules.yaml": loop.replace("scenario: alarm-to-ota", "scenario: rules").replace("> 110", "= 110"),
        "staging.yaml": TARGET.replace("mqtt_port: 8883", "mqtt_port: 88830"),
        "1.0.0.yaml": "version: 1.0.0\nsize_kb: 1\n",
        "other.yaml": "what: ever\n",
    }
    command = fleetsim("validate", ".", files=files)
    assert command.wait() == 2
    assert command.stdout == "1 of 6 files are right\n"
    said = [re.sub(r" \(.*", "", line) for line in command.stderr.splitlines()]
    assert said == [
        "1.0.0.yaml:1:1: missing key 'packages'",
        "1.0.0.yaml:2:1: unknown key 'size_kb'",
        "other.yaml:1:1: starts with 'what'; a file starts with profile, scenario, version or target",
        "renamed.yaml:3:11: the name must be the file's: 'renamed', is 'alarm-to-ota'",
        "rules.yaml:19:18: rules[0].condition: at column 23: not an expression: invalid syntax",
        "staging.yaml:6:12: must be ≤ 65535, is 88830",
    ]


@pytest.mark.parametrize("path", ["/no/such", "no-such.yaml"])
def test_validate_needs_something_to_look_at(fleetsim: Callable[..., Command], path: str) -> None:
    command = fleetsim("validate", path)
    assert command.wait() == 2
    assert command.stderr == f"{path}: No such file or directory\n"


@pytest.fixture(scope="module")
def schemas(fleetsim: Callable[..., Command]) -> dict[str, Draft7Validator]:
    """A validator by kind, with the schema that the command prints, even where output is ASCII."""
    commands = {kind: fleetsim("schema", kind, PYTHONIOENCODING="ascii") for kind in ("profile", "scenario", "target")}
    schemas = {kind: json.loads(output(command)) for kind, command in commands.items()}
    for schema in schemas.values():
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
        Draft7Validator.check_schema(schema)
    return {kind: Draft7Validator(schema) for kind, schema in schemas.items()}


def shipped() -> list[tuple[str, dict[str, Any]]]:
    """Every file that a schema is for, by kind."""
    paths = [("profile", path) for path in sorted((REPO / "profiles").glob("*.yaml"))]
    paths += [("scenario", path) for path in sorted((REPO / "scenarios").glob("*.yaml"))]
    return [*((kind, yaml.safe_load(path.read_text())) for kind, path in paths), ("target", yaml.safe_load(TARGET))]


def test_the_schemas_accept_what_is_shipped(schemas: dict[str, Draft7Validator]) -> None:
    for kind, document in shipped():
        assert list(schemas[kind].iter_errors(document)) == [], document[kind]


def test_the_schemas_refuse_an_unknown_key(schemas: dict[str, Draft7Validator]) -> None:
    for kind, document in shipped():
        assert not schemas[kind].is_valid({**document, "colour": "red"})
