"""What every fleet operation has in common, against a real cloud and with real terminals."""

import json
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from simulator.cli.operation import Operation, Options, operation
from simulator.errors import BackendUnavailable, UsageError
from simulator.ops import explain
from simulator.targets import Addresses
from tests.cloud.conftest import KEY_ID, SECRET, Cloud


@pytest.fixture(scope="module")
def env_file(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = cloud.ready
    addresses = Addresses(
        "sandbox", "t", at["region"], at["mqtt_host"], at["mqtt_port"], at["endpoint_url"], at["ca_file"],
        KEY_ID, SECRET,
    )  # fmt: skip
    file = tmp_path_factory.mktemp("env") / "sandbox.env"
    file.write_text("\n".join(f"{name}={value}" for name, value in addresses.environment().items()))
    return file


@pytest.fixture
def mine(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same cloud as a target that is not the sandbox."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    file = tmp_path / "mine.yaml"
    at = cloud.ready
    file.write_text(
        f"target: mine\nkind: endpoints\nendpoint_url: {at['endpoint_url']}\nca_file: {at['ca_file']}\n"
        f"mqtt_host: {at['mqtt_host']}\nmqtt_port: {at['mqtt_port']}\n"
    )
    return str(file)


class Terminal:
    """A terminal with somebody at it who types ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ours, theirs = pty.openpty()
        self._files = os.fdopen(theirs, encoding="utf-8"), os.fdopen(os.dup(theirs), "w", encoding="utf-8")
        self._patch = monkeypatch
        self.written = b""
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while read := os.read(self.ours, 4096):
                self.written += read
        except OSError:  # how Linux says that the other side was closed
            pass

    def sits(self) -> None:
        """From now on it is this process's terminal; said in the test, since pytest has its own before."""
        self._patch.setattr(sys, "stdin", self._files[0])
        self._patch.setattr(sys, "stderr", self._files[1])

    def types(self, *lines: str) -> None:
        self.sits()
        os.write(self.ours, "".join(f"{line}\n" for line in lines).encode())

    def ends(self) -> None:
        self.sits()
        os.write(self.ours, b"\x04")

    def shown(self) -> str:
        if not self._files[0].closed:
            for file in self._files:
                file.close()
            self._reader.join()
            os.close(self.ours)
        return self.written.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    one = Terminal(monkeypatch)
    yield one
    monkeypatch.undo()
    one.shown()


# Where it works


def test_it_says_where_it_is_and_writes(env_file: Path, capsys: pytest.CaptureFixture[str], cloud: Cloud) -> None:
    with operation(Options(sandbox_env=env_file), writes="things") as op:
        op.aws.iot.create_thing(thingName="op-1")
        op.result({"things": ["op-1"]}, ["one thing"])
    out, err = capsys.readouterr()
    assert out == "one thing\n"
    assert err == f"sandbox: account {op.aws.account}, region us-east-1, endpoint {cloud.ready['endpoint_url']}\n"


def test_no_sandbox_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETSIM_SANDBOX", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="no sandbox is running"), operation(Options()):
        pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(target="sandbx"), "did you mean 'sandbox'"),
        (Options(target="aws", sandbox_env=Path("x.env")), "--sandbox goes with --target sandbox"),
    ],
)
def test_a_wrong_target(options: Options, says: str) -> None:
    with pytest.raises(UsageError, match=says), operation(options):
        pass


def test_a_broker_is_no_account(tmp_path: Path) -> None:
    file = tmp_path / "broker.yaml"
    file.write_text("target: broker\nkind: endpoints\nmqtt_host: localhost\n")
    with pytest.raises(UsageError, match="a broker without AWS's APIs"), operation(Options(target=str(file))):
        pass


def test_refusals_and_silence_are_one_line(env_file: Path, mine: str, tmp_path: Path) -> None:
    refused = "the cloud refused DescribeThing: ResourceNotFoundException: "
    with pytest.raises(BackendUnavailable, match=refused), operation(Options(sandbox_env=env_file)) as op:
        op.aws.iot.describe_thing(thingName="nobody")
    gone = tmp_path / "gone.yaml"
    gone.write_text("target: gone\nkind: endpoints\nmqtt_host: localhost\nendpoint_url: http://127.0.0.1:9\n")
    with (
        pytest.raises(BackendUnavailable, match=r"cannot use http://127\.0\.0\.1:9"),
        operation(Options(target=str(gone))),
    ):
        pass


# Whom it asks before it writes


def test_another_target_is_agreed_on_first(mine: str, terminal: Terminal) -> None:
    terminal.types("y")
    with operation(Options(target=mine), writes="things") as op:
        op.aws.iot.create_thing(thingName="agreed")
    shown = terminal.shown()
    assert "mine: account 000000000000, region us-east-1, endpoint https://" in shown
    assert "this writes things to account 000000000000, region us-east-1, endpoint https://" in shown
    assert "Go on? [y/N]" in shown


@pytest.mark.parametrize("answer", ["n", "", "yy"])
def test_anything_but_yes_is_no(mine: str, terminal: Terminal, answer: str) -> None:
    terminal.types(answer)
    with pytest.raises(UsageError, match="nothing was written"), operation(Options(target=mine), writes="things"):
        raise AssertionError("went on")


def test_the_end_of_input_is_no(mine: str, terminal: Terminal) -> None:
    terminal.ends()
    with pytest.raises(UsageError, match="nothing was written"), operation(Options(target=mine), writes="things"):
        raise AssertionError("went on")


def test_yes_asks_nobody(mine: str) -> None:
    with operation(Options(target=mine, yes=True), writes="things") as op:
        op.confirm_word("DELETE", "All things go")
        op.confirm("Really?")
        op.aws.iot.create_thing(thingName="by-yes")


def test_nobody_can_be_asked(mine: str, env_file: Path) -> None:
    says = "would write to target 'mine', and nobody can be asked; add --yes"
    with pytest.raises(UsageError, match=says), operation(Options(target=mine), writes="things"):
        pass
    with operation(Options(sandbox_env=env_file), writes="things") as op:
        with pytest.raises(UsageError, match="All things go: nobody can be asked; add --yes"):
            op.confirm_word("DELETE", "All things go")
        with pytest.raises(UsageError, match=r"Really\? Nobody can be asked; add --yes"):
            op.confirm("Really?")


def test_reading_needs_no_leave(mine: str) -> None:
    with operation(Options(target=mine)) as op:
        assert "things" in op.aws.iot.list_things()
        with pytest.raises(RuntimeError, match="iot CreateThing before anybody agreed"):
            op.aws.iot.create_thing(thingName="never")


def test_nothing_is_written_before_a_later_agreement(env_file: Path) -> None:
    with operation(Options(sandbox_env=env_file), writes="things", later=True) as op:
        with pytest.raises(RuntimeError, match="before anybody agreed"):
            op.aws.iot.create_thing(thingName="later")
        op.agree()
        op.aws.iot.create_thing(thingName="later")


def test_a_dry_run_writes_nothing(env_file: Path, mine: str, cloud: Cloud) -> None:
    for options in (Options(sandbox_env=env_file, dry_run=True), Options(target=mine, dry_run=True)):
        with operation(options, writes="things") as op:
            op.agree()
            op.confirm_word("DELETE", "Everything goes")
            with pytest.raises(RuntimeError, match="iot CreateThing in a dry run"):
                op.aws.iot.create_thing(thingName="dry")
            with pytest.raises(RuntimeError, match="s3 CreateBucket in a dry run"):
                op.aws.s3.create_bucket(Bucket="dry")
            with pytest.raises(RuntimeError, match="iot-data UpdateThingShadow in a dry run"):
                op.aws.data.update_thing_shadow(thingName="dry", payload=b"{}")
    assert "dry" not in {thing["thingName"] for thing in cloud.client("iot").list_things()["things"]}


# What it asks


def asked(env_file: Path, question: Callable[[Operation], Any], **options: Any) -> Any:
    with operation(Options(sandbox_env=env_file, **options)) as op:
        return question(op)


def test_answers_and_defaults(env_file: Path, terminal: Terminal) -> None:
    terminal.types("7", "", "x", "9", "", "here")

    def questions(op: Operation) -> list[str]:
        return [
            op.ask("How many?", "50", flag="--count"),
            op.ask("How many?", "50", flag="--count"),
            op.ask("How many?", "50", flag="--count", check=int),
            op.ask("Where?", flag="--where"),
        ]

    assert asked(env_file, questions) == ["7", "50", "9", "here"]
    shown = terminal.shown()
    assert "How many? [50]:" in shown
    assert "invalid literal for int() with base 10: 'x'" in shown
    assert "an answer is needed (--where)" in shown


def test_choices_by_number_and_name(env_file: Path, terminal: Terminal) -> None:
    terminal.types("2", "CA", "XX", "", "1,MX", "all", "4", "US,US")
    lands = ["US", "CA", "MX"]

    def questions(op: Operation) -> list[Any]:
        return [
            op.choose("Which country?", lands, flag="--country"),
            op.choose("Which country?", lands, flag="--country"),
            op.choose("Which country?", lands, "MX", flag="--country"),
            op.choose_many("Which?", lands, flag="--countries"),
            op.choose_many("Which?", lands, flag="--countries"),
            op.choose_many("Which?", lands, flag="--countries"),
        ]

    assert asked(env_file, questions) == ["CA", "CA", "MX", ["US", "MX"], lands, ["US"]]
    shown = terminal.shown()
    assert "   2  CA" in shown
    assert "no such choice: 'XX'" in shown
    assert "no such choice: '4'" in shown


def test_without_a_terminal_a_missing_value_names_its_flag(env_file: Path) -> None:
    for question in (
        lambda op: op.ask("How many?", flag="--count"),
        lambda op: op.choose("Which?", ["a", "b"], flag="--count"),
        lambda op: op.choose_many("Which?", ["a", "b"], flag="--count"),
    ):
        with pytest.raises(UsageError, match="--count is missing"):
            asked(env_file, question)
    assert asked(env_file, lambda op: op.ask("How many?", "50", flag="--count")) == "50"
    assert asked(env_file, lambda op: op.choose_many("Which?", ["a", "b"], ["b"], flag="--x")) == ["b"]
    with pytest.raises(UsageError, match=r"there is nothing to choose from \(--x\)"):
        asked(env_file, lambda op: op.choose("Which?", [], flag="--x"))


def test_yes_takes_defaults_also_on_a_terminal(env_file: Path, terminal: Terminal) -> None:
    terminal.sits()
    assert asked(env_file, lambda op: op.ask("How many?", "50", flag="--count"), yes=True) == "50"
    with pytest.raises(UsageError, match="--count is missing"):
        asked(env_file, lambda op: op.ask("How many?", flag="--count"), yes=True)


@pytest.mark.parametrize(("typed", "goes_on"), [("DELETE", True), ("delete", False), ("yes", False), ("", False)])
def test_the_word_must_be_typed(env_file: Path, terminal: Terminal, typed: str, goes_on: bool) -> None:
    terminal.types(typed)
    with operation(Options(sandbox_env=env_file), writes="nothing", later=True) as op:
        if goes_on:
            op.confirm_word("DELETE", "50 things go")
        else:
            with pytest.raises(UsageError, match="nothing was written"):
                op.confirm_word("DELETE", "50 things go")
    assert "50 things go. Type DELETE to do it:" in terminal.shown()


# What it says


def test_one_json_document_on_stdout(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operation(Options(sandbox_env=env_file, as_json=True, debug=True, explain=True), writes="a thing") as op:
        op.aws.iot.create_thing(thingName="in-json")
        op.say("a word")
        op.progress("things", 1, 1)
        op.explain("Things", "what they are")
        op.result({**op.aws.iot.describe_thing(thingName="in-json"), "at": {"b", "a"}, "of": Path("x")}, ["a line"])
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["thingName"] == "in-json"
    assert said["at"] == ["a", "b"]
    assert "a line" not in out
    for text in ("a word", "things 1/1", "Things\n  what they are", "→ iot CreateThing", "→ sts GetCallerIdentity"):
        assert text in err


def test_explanations_only_when_asked_for(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(env_file, lambda op: op.explain(*explain.step("provision", "things")))
    assert "registry" not in capsys.readouterr().err
    asked(env_file, lambda op: op.explain(*explain.step("provision", "things")), explain=True)
    err = capsys.readouterr().err
    assert "/8 Things and certificates\n  CreateThing puts a device into the registry." in err
    assert max(map(len, err.splitlines()[1:])) <= 100


def test_eight_explanations_of_provision_and_some_of_all_others() -> None:
    assert len(explain.STEPS["provision"]) == 8
    assert set(explain.STEPS) == {
        "provision", "cleanup", "jobs", "simulate", "packages", "revert", "groups", "commands",
    }  # fmt: skip
    for steps in explain.STEPS.values():
        for step in steps.values():
            assert 100 < len(step.text) < 500
    with pytest.raises(KeyError, match=r"no explanation of 'thing' in 'provision' \(did you mean 'things'"):
        explain.step("provision", "thing")


def test_a_second_result_is_a_mistake_of_ours(env_file: Path) -> None:
    with operation(Options(sandbox_env=env_file)) as op:
        op.result({}, [])
        with pytest.raises(AssertionError, match="one result"):
            op.result({}, [])
