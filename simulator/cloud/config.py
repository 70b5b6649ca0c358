"""The configuration of the cloud process: a JSON object, read once.

Rules: an unknown or wrongly typed key is refused with its name; port 0 means any free port.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from simulator.errors import UsageError, did_you_mean

# MiniStack's own default. Twelve zeros tell everyone that this is no real account.
ACCOUNT_ID = "000000000000"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """What the cloud process is told."""

    state_dir: Path
    https_port: int = 0
    mqtt_port: int = 0
    auth: bool = True
    region: str = "us-east-1"
    access_key_id: str = "AKIAFLEETSIMSANDBOX0"
    secret_access_key: str = "fleetsim-sandbox-secret"  # noqa: S105 - opens nothing but a sandbox on loopback
    log_level: str = "WARNING"
    job_minute_s: float = 60.0  # how long a minute of a job's rollout, time-out or schedule takes
    thing_type_wait_s: float = 0.0  # from the deprecation of a thing type until it can be deleted; AWS: 300

    @property
    def ca_file(self) -> Path:
        """The certificate that clients of both ports trust."""
        return self.state_dir / "ca.pem"


def read(path: Path) -> CloudConfig:
    """The configuration in a file; raises UsageError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: expected a JSON object, got {type(document).__name__}")
    return parse(document, str(path))


def parse(document: dict[str, Any], where: str) -> CloudConfig:
    """The configuration in a JSON object; raises UsageError."""
    known = [field.name for field in fields(CloudConfig)]
    for key in document:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{key}'{did_you_mean(key, known)}")
    if "state_dir" not in document:
        raise UsageError(f"{where}: 'state_dir' is missing: the folder for certificates and temporary files")
    values = dict(document)
    for key, value in document.items():
        if key in ("https_port", "mqtt_port"):
            right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535
            wanted = "a port from 0 (any free one) to 65535"
        elif key in ("job_minute_s", "thing_type_wait_s"):
            right = isinstance(value, int | float) and not isinstance(value, bool)
            right = right and (value > 0 if key == "job_minute_s" else value >= 0)
            wanted = "a number of seconds"
        elif key == "auth":
            right, wanted = isinstance(value, bool), "true or false"
        elif key == "log_level":
            right, wanted = value in LOG_LEVELS, "one of " + ", ".join(LOG_LEVELS)
        else:
            right, wanted = isinstance(value, str) and value != "", "a non-empty string"
        if not right:
            raise UsageError(f"{where}: '{key}' must be {wanted}, got {value!r}")
    values["state_dir"] = Path(document["state_dir"]).absolute()
    return CloudConfig(**values)
