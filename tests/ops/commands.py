"""`fleetsim …` as processes, working on the cloud of a test module."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.conftest import KEY_ID, SECRET, Cloud

DEADLINE_S = 60.0  # only what hangs takes so long


@pytest.fixture(scope="module")
def env_file(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cloud of this module, as `fleetsim sandbox` would announce it."""
    at = cloud.ready
    found = tmp_path_factory.mktemp("sandbox") / "sandbox.env"
    values = {
        "AWS_ENDPOINT_URL": at["endpoint_url"], "AWS_CA_BUNDLE": at["ca_file"], "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": at["region"], "FLEETSIM_MQTT_HOST": at["mqtt_host"],
        "FLEETSIM_MQTT_PORT": at["mqtt_port"],
    }  # fmt: skip
    found.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return found


def start(env_file: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "simulator", *words, "--sandbox", str(env_file), "--yes", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found
