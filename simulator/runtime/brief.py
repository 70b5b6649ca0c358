"""What a worker must know to run devices of a fleet: a file that the coordinator writes into the state folder.

Rules: only its owner can read it, for keys are in it; what came from the environment (passwords, tokens) is not, and
is looked up again by who reads it. Nobody sends it over a network: a worker that does not see the folder cannot see
the devices' certificates either, and is told so.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

import simulator
from simulator import resolved, scenarios
from simulator.errors import UsageError
from simulator.profiles import Profile
from simulator.runtime.broker import api_token, password, token
from simulator.scenarios import RESOLVED, Scenario
from simulator.targets import Addresses, Target

FOLDER = "load"
_FILE = "brief.json"
_SECRET = ("password", "rest_token")


@dataclass(frozen=True, slots=True)
class Brief:
    """A fleet and where it is to be let loose."""

    folder: Path  # in the state folder; engines put their accounts here
    scenario: Scenario
    profiles: dict[str, Profile]
    seed: int
    target: Target
    addresses: Addresses
    public_key: bytes

    @property
    def state_dir(self) -> Path:
        return self.folder.parent


def paced(scenario: Scenario, profiles: dict[str, Profile]) -> dict[str, Profile]:
    """The profiles as the scenario's load wants them."""
    return scenario.load.paced(profiles) if scenario.load else profiles


def write(brief: Brief) -> Path:
    """Put it into its folder."""
    brief.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (brief.folder / RESOLVED).write_text(resolved.text(resolved.data(brief.scenario, brief.seed)))
    # The token of a sandbox is in no environment.
    secret = _SECRET if brief.target.kind == "sandbox" else (*_SECRET, "api_token")
    said = {
        "fleetsim": simulator.__version__,
        "seed": brief.seed,
        "target": brief.target.model_dump(mode="json", exclude_unset=True),
        "addresses": {name: value for name, value in asdict(brief.addresses).items() if name not in secret},
        "public_key": brief.public_key.hex(),
        "profiles": digest(brief.profiles),
    }
    path = brief.folder / _FILE
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(said))
    return path


def read(path: Path) -> Brief:
    """The brief; UsageError when it is not there, or this machine would make another fleet of it."""
    try:
        said: dict[str, Any] = orjson.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"this worker cannot read the master's '{path}' ({error.strerror}): workers need the master's state "
            "folder, with the devices' certificates; share it, and give it to the master with --state"
        ) from None
    if said["fleetsim"] != simulator.__version__:
        raise UsageError(f"this worker is fleetsim {simulator.__version__}, its master is {said['fleetsim']}")
    scenario, found = scenarios.read(path.parent / RESOLVED)
    profiles = paced(scenario, found)
    if digest(profiles) != said["profiles"]:
        raise UsageError("this worker's profiles differ from its master's: run both from the same files")
    target = Target.model_validate_json(orjson.dumps(said["target"]))
    secrets: dict[str, Any] = {"password": password(target), "rest_token": token(target)}
    if target.kind != "sandbox":
        secrets["api_token"] = api_token(target)
    return Brief(
        path.parent, scenario, profiles, said["seed"], target, Addresses(**said["addresses"], **secrets),
        bytes.fromhex(said["public_key"]),
    )  # fmt: skip


def digest(profiles: dict[str, Profile]) -> str:
    """What stands for all that these profiles say."""
    text = "".join(f"{name} {profiles[name].model_dump_json()}\n" for name in sorted(profiles))
    return hashlib.sha256(text.encode()).hexdigest()
