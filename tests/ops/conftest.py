"""A real cloud process for each test module, and our operations pointed at it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from simulator.cli import main
from simulator.ops.aws import Aws
from simulator.targets import Addresses
from tests.cloud.conftest import KEY_ID, SECRET, Cloud, cloud, identity

__all__ = ["cloud", "identity"]


@pytest.fixture(scope="module")
def aws(cloud: Cloud) -> Iterator[Aws]:
    """An account without anything in it."""
    at = cloud.ready
    made = Aws(
        Addresses(
            "sandbox", "t", at["region"], at["mqtt_host"], at["mqtt_port"], at["endpoint_url"], at["ca_file"],
            KEY_ID, SECRET,
        )
    )  # fmt: skip
    yield made
    made.close()


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        assert self.code in (0, 1), self.err
        return orjson.loads(self.out)


@pytest.fixture
def fleetsim(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs `fleetsim …` in this process, on the cloud of the module, without a terminal."""
    at = cloud.ready
    env = {
        "AWS_ENDPOINT_URL": at["endpoint_url"], "AWS_CA_BUNDLE": at["ca_file"], "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": at["region"], "FLEETSIM_MQTT_HOST": at["mqtt_host"],
        "FLEETSIM_MQTT_PORT": at["mqtt_port"],
    }  # fmt: skip
    file = tmp_path / "sandbox.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in env.items()))
    monkeypatch.setenv("FLEETSIM_SANDBOX", str(file))

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["fleetsim", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run
