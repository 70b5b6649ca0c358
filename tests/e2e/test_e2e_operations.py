"""Operations on the sandbox that runs elsewhere, found by itself; and what a run on another target says beforehand."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.fleetsim_command import Command, read_env, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def sandbox(fleetsim: Callable[..., Command], place: Path) -> Iterator[Command]:
    running = fleetsim("sandbox", "--env-file", "sandbox.env", FLEETSIM_SANDBOX=str(place))
    running.says("the sandbox is ready")
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 130
    assert list(place.iterdir()) == [], "its file is gone with it"


def test_the_running_sandbox_is_found(fleetsim: Callable[..., Command], sandbox: Command, place: Path) -> None:
    [file] = place.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == (sandbox.folder / "sandbox.env").read_text()
    command = fleetsim("jobs", "list", "--json", "--debug", FLEETSIM_SANDBOX=str(place))
    assert command.wait() == 0, command.stderr
    json.loads(command.stdout)
    env = read_env(file)
    assert f"endpoint {env['AWS_ENDPOINT_URL']}" in command.stderr
    assert "#1 → sts GetCallerIdentity {}" in command.stderr
    assert env["AWS_SECRET_ACCESS_KEY"] not in command.stderr


def test_by_its_env_file(fleetsim: Callable[..., Command], sandbox: Command) -> None:
    command = fleetsim("jobs", "list", "--sandbox", sandbox.folder / "sandbox.env")
    assert command.wait() == 0, command.stderr


def test_a_killed_one_is_not_found(fleetsim: Callable[..., Command], tmp_path: Path) -> None:
    killed = fleetsim("sandbox", FLEETSIM_SANDBOX=str(tmp_path))
    killed.says("the sandbox is ready")
    killed.process.kill()
    assert killed.wait() == -9
    assert len(list(tmp_path.iterdir())) == 1
    command = fleetsim("jobs", "list", FLEETSIM_SANDBOX=str(tmp_path))
    assert command.wait() == 3
    assert command.stderr == "no sandbox is running; start one in another terminal with `fleetsim sandbox`\n"
    assert list(tmp_path.iterdir()) == []
    killed.leaves_nothing([])


def test_a_sandbox_that_cannot_say_where_it_is_runs_all_the_same(
    fleetsim: Callable[..., Command], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    running = fleetsim("sandbox", XDG_RUNTIME_DIR=str(tmp_path / "file"))
    running.says("commands will not find it by themselves")
    running.says("the sandbox is ready")
    running.process.send_signal(signal.SIGINT)
    assert running.wait() == 130


def test_a_run_on_another_target_says_quotas_and_costs_first(
    fleetsim: Callable[..., Command], sandbox: Command
) -> None:
    env = read_env(sandbox.folder / "sandbox.env")
    text = (
        f"target: mine\nkind: endpoints\nendpoint_url: {env['AWS_ENDPOINT_URL']}\nca_file: {env['AWS_CA_BUNDLE']}\n"
        f"mqtt_host: {env['FLEETSIM_MQTT_HOST']}\nmqtt_port: {env['FLEETSIM_MQTT_PORT']}\n"
    )
    keys = {name: env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    run = fleetsim("run", "quick-loop", "--target", "./mine.yaml", "--yes", "--out", "out",
                   files={"mine.yaml": text}, **keys)  # fmt: skip
    run.says("this writes things")
    said = run.stderr
    until(lambda: "provisioning" in run.stderr, "the start")
    run.process.send_signal(signal.SIGINT)
    run.wait()
    first = said[: said.index("this writes things")]
    assert first.startswith("quotas of the account")
    assert re.search(r"cost at most about \$\d+\.\d\d \(us-east-1 list prices", first)
    assert "8 devices × 1 job" in first
