"""Targets: where the backend is. The same commands run against the embedded sandbox, AWS, or endpoints of yours.

A target is a name (`sandbox`, `aws`) or a YAML file. `Addresses` is what is left of it once everything is known:
the rest of the program never asks which kind it was, except to decide what it may write.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from simulator.errors import UsageError, did_you_mean
from simulator.profiles import NAME
from simulator.schema import Strict, load


class Target(Strict):
    """Where the backend is."""

    target: str = Field(pattern=NAME, description="Its name, for reports.")
    kind: Literal["sandbox", "aws", "endpoints"] = Field(
        description="sandbox: started by the command; aws: a real account; endpoints: addresses of your own."
    )
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,32}$")
    aws_profile: str | None = Field(
        None, description="A profile of ~/.aws; absent: boto3's own search for credentials."
    )
    endpoint_url: str | None = Field(None, pattern=r"^https?://", description="AWS API endpoint; absent: AWS itself.")
    mqtt_host: str | None = Field(None, description="MQTT broker; absent: what DescribeEndpoint says.")
    mqtt_port: int = Field(8883, ge=1, le=65535)
    ca_file: str | None = Field(None, description="Authorities to trust, PEM; absent: the system's.")
    api_url: str | None = Field(
        None, pattern=r"^https?://", description="The backend's read API, for checks of alarms and store."
    )

    @model_validator(mode="after")
    def _complete(self) -> "Target":
        if self.kind == "endpoints" and not (self.endpoint_url and self.mqtt_host):
            raise ValueError("a target of kind 'endpoints' needs 'endpoint_url' and 'mqtt_host'")
        return self


@dataclass(frozen=True, slots=True)
class Addresses:
    """Everything needed to reach a backend. Empty keys mean boto3's own search."""

    kind: Literal["sandbox", "aws", "endpoints"]
    name: str
    region: str
    mqtt_host: str
    mqtt_port: int
    endpoint_url: str | None = None
    ca_file: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    aws_profile: str | None = None
    api_url: str | None = None

    def environment(self) -> dict[str, str]:
        """The variables that point any other client here."""
        named = {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_CA_BUNDLE": self.ca_file,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
            "FLEETSIM_MQTT_HOST": self.mqtt_host,
            "FLEETSIM_MQTT_PORT": str(self.mqtt_port),
            "FLEETSIM_CA_FILE": self.ca_file,
            "FLEETSIM_API_URL": self.api_url,
        }
        return {name: value for name, value in named.items() if value}


SANDBOX = Target(target="sandbox", kind="sandbox")
AWS = Target(target="aws", kind="aws", region=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))


def target(name: str) -> Target:
    """A target by name or file; UsageError or YamlProblems."""
    known = {"sandbox": SANDBOX, "aws": AWS}
    if name in known:
        return known[name]
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return load(Path(name), Target)
    raise UsageError(f"unknown target '{name}'{did_you_mean(name, list(known))}; or the path of a YAML file")
