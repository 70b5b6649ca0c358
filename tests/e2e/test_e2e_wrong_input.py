"""Wrong input: exit 2, a clear line for each mistake, and nothing was started or written."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.fleetsim_command import Command, free_port

pytestmark = pytest.mark.e2e

# One mistake each: what is replaced in the quick loop, by what, and what is said.
MISTAKES = {
    "unknown key": (
        "physics_speed: 60",
        "physics_sped: 60",
        ["5:1: unknown key 'physics_sped' (did you mean 'physics_speed'?)"],
    ),
    "wrong unit": (
        "hold, for_s: 1}",
        "hold, for_ms: 1000}",
        ["29:5: missing key 'for_s'", "29:18: unknown key 'for_ms' (did you mean 'for_s'?)"],
    ),
    "unit in the value": (
        "hold, for_s: 1}",
        "hold, for_s: 1000 ms}",
        ["29:25: expected a number of seconds, got '1000 ms'"],
    ),
    "duplicate key": (
        "seed: 1",
        "seed: 1\nseed: 2",
        ["5:1: duplicate key 'seed' (first on line 4, column 1)"],
    ),
    "missing profile": (
        "profile: fire-sensor",
        "profile: fire-senser",
        ["11:15: no profile 'fire-senser' (did you mean 'fire-sensor'?)"],
    ),
    "fault that no device can have": (
        "profiles: [vehicle-*]\n    count: 1\n    fault: {kind: hang, part: fan_level}",
        "profiles: [fire-*]\n    count: 1\n    fault: {kind: hang, part: fan_level}",
        ["34:12: profile 'fire-sensor' cannot have the fault 'hang': it has no part 'fan_level' (known: "],
    ),
    "unknown fault": (
        "{kind: hang, part: fan_level}",
        "{kind: hnag, part: fan_level}",
        ["34:19: unknown kind 'hnag' (did you mean 'hang'?)"],
    ),
    "wrong condition": (
        "metrics.engine_temp_c > 110",
        "metrics.engine_temp_c ** 110",
        [
            "18:18: rules[0].condition: at column 1: 'metrics.engine_temp_c ** 110' (BinOp) is a number where true or "
            "false is needed; compare it with something"
        ],
    ),
    "unknown key of a rule": (
        "autoAction: restart-fan",
        "autoActoin: restart-fan",
        ["20:7: rules[0].autoActoin: unknown key 'autoActoin' (did you mean 'autoAction'?)"],
    ),
    "a formula that wants too much": (
        "timeline:",
        "  formulas: [{formulaId: f, productId: SedanVehicle, expression: 'speed_kmh.real'}]\ntimeline:",
        ["27:66: formulas[0].expression: at column 1: 'speed_kmh.real' (Attribute) is not allowed"],
    ),
    "engineers who never go": (
        "timeline:",
        "  dispatch: {assign_after: 3}\ntimeline:",
        ["27:13: dispatch.assign_after_s: Field required"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_scenario(fleetsim: Callable[..., Command], home: Path, mistake: str) -> None:
    old, new, expected = MISTAKES[mistake]
    text = (home / "scenarios" / "quick-loop.yaml").read_text()
    assert old in text
    wrong = text.replace(old, new, 1).replace("scenario: quick-loop", "scenario: wrong")
    command = fleetsim("run", "wrong.yaml", "--out", "out", files={"wrong.yaml": wrong})
    assert command.wait() == 2
    lines = command.stderr.splitlines()
    assert len(lines) == len(expected), command.stderr
    for line, text in zip(lines, expected, strict=True):
        assert f"wrong.yaml:{text}" in line
    refused_before_it_began(command)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "quick-lop"], r"no such file: .*/quick-lop\.yaml \(did you mean 'quick-loop\.yaml'\?\)"),
        (["run", "no/such.yaml"], r"no such file: no/such\.yaml"),
        (["run", "quick-loop", "--target", "sandbx"], r"unknown target 'sandbx' \(did you mean 'sandbox'\?\); or .*"),
        (["run", "quick-loop", "--target", "./no.yaml"], r"no such file: no\.yaml"),
        (["run", "quick-loop", "--out", "/dev/null/x"], r"cannot write to folder '/dev/null/x': .* with --out"),
        (["run", "quick-loop", "--state", "/dev/null/x"], r"cannot write to folder '/dev/null/x': .* with --state"),
        (["run", "quick-loop", "--target", "aws"], r"this would write to target 'aws', .*; add --yes to do it"),
        (["schema", "profle"], r"no schema 'profle' \(did you mean 'profile'\?\)"),
        (["validate", "tmp"], r"no YAML file in tmp"),
    ],
)
def test_a_wrong_word(fleetsim: Callable[..., Command], arguments: list[str], expected: str) -> None:
    command = fleetsim(*arguments)
    assert command.wait() == 2
    [line] = command.stderr.splitlines()
    assert re.fullmatch(expected, line), line
    refused_before_it_began(command)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "quick-loop", "--sede", "7"], "--sede"),
        (["run", "quick-loop", "--seed", "x"], "--seed"),
        (["run", "quick-loop", "--seed", "-1"], "--seed"),
        (["run"], "scenario"),
        (["rnu"], "rnu"),
        (["sandbox", "--mqtt-port", "65536"], "--mqtt-port"),
    ],
)
def test_a_wrong_flag(fleetsim: Callable[..., Command], arguments: list[str], expected: str) -> None:
    command = fleetsim(*arguments)
    assert command.wait() == 2
    [error] = [line for line in command.stderr.splitlines() if line.startswith("Error: ")]
    assert expected in error
    refused_before_it_began(command)


def test_a_target_with_no_certificate_authority(fleetsim: Callable[..., Command]) -> None:
    command = fleetsim("run", "quick-loop", "--target", "./mine.yaml", "--yes", files={"mine.yaml": target(1)})
    assert command.wait() == 2
    assert command.stderr == "mine.yaml:5:10: no file 'ca.pem'\n"
    refused_before_it_began(command)


@pytest.mark.parametrize("authority", ["", "not a certificate"])
def test_a_target_where_nobody_is(fleetsim: Callable[..., Command], authority: str) -> None:
    files = {"mine.yaml": target(free_port()), "ca.pem": authority}
    keys = {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "x"}
    command = fleetsim("run", "quick-loop", "--target", "./mine.yaml", "--yes", files=files, **keys)
    assert command.wait() == 3
    [line] = command.stderr.splitlines()
    assert line.startswith("cannot use https://localhost:")
    refused_before_it_began(command)


@pytest.mark.parametrize("keys", [{}, {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "x"}])
def test_aws_without_a_way_to_it(fleetsim: Callable[..., Command], keys: dict[str, str]) -> None:
    """No credentials, and then no network: a proxy that is not there makes sure of it on any machine."""
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    command = fleetsim("run", "quick-loop", "--target", "aws", "--yes", **nowhere, **keys)
    assert command.wait() == 3
    [line] = command.stderr.splitlines()
    assert line.startswith("cannot use AWS in us-east-1: ")
    refused_before_it_began(command)


def target(port: int) -> str:
    return (
        f"target: mine\nkind: endpoints\nendpoint_url: https://localhost:{port}\n"
        f"mqtt_host: localhost\nca_file: ca.pem\nmqtt_port: {port}\n"
    )


def refused_before_it_began(command: Command) -> None:
    assert command.stdout == ""
    assert "Traceback" not in command.stderr
    command.leaves_nothing([])
    assert {path.name for path in command.folder.iterdir()} == {"stderr", "stdout", "tmp", *command.files}
    assert list(command.temporary.iterdir()) == []
