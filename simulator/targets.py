"""Targets: where the backend is. The same commands run against the embedded sandbox, AWS, or endpoints of yours.

A target is a name (`sandbox`, `aws`) or a YAML file. `Addresses` is what is left of it once everything is known:
the rest of the program never asks which kind it was, except to decide what it may write.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from simulator.errors import UsageError, did_you_mean
from simulator.profiles import NAME
from simulator.schema import Strict, YamlProblems, load_marked


class AuditTable(Strict):
    """A DynamoDB table in which the backend keeps what it gets, an item a message."""

    dynamodb: str = Field(pattern=r"^[a-zA-Z0-9_.-]{3,255}$", description="Its name.")
    thing: str = Field("device_id", min_length=1, max_length=255, description="Attribute: whose message it is.")
    stamp: str = Field(
        "timestamp", min_length=1, max_length=255,
        description="Attribute: its device_timestamp, as a number or ISO 8601, or the idx of a fire sensor's record.",
    )  # fmt: skip
    unit: Literal["ms", "s"] = Field("ms", description="Unit of times that are numbers.")
    kind: str | None = Field(None, min_length=1, max_length=255, description="Attribute: the kind of the message.")
    messages: str = Field("telemetry", max_length=64, description="Its kind, for items without that attribute.")
    stored: str | None = Field(None, min_length=1, max_length=255, description="Attribute: when it was stored.")


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
    endpoint_url: str | None = Field(
        None, pattern=r"^https?://",
        description="AWS API endpoint; absent: AWS itself or, for kind endpoints, none: a broker and nothing else.",
    )  # fmt: skip
    mqtt_host: str | None = Field(None, description="MQTT broker; absent: what DescribeEndpoint says.")
    mqtt_port: int | None = Field(
        None, ge=1, le=65535, description="Absent: 8883 with TLS, 1883 without; WebSocket: 443 or 80."
    )
    mqtt_tls: bool = Field(True, description="false: a broker without TLS.")
    mqtt_transport: Literal["tcp", "websocket"] = Field("tcp", description="What carries MQTT at that port.")
    username: str | None = Field(None, max_length=1024, description="For the broker; {env} and {thing} are filled in.")
    password_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable that holds the broker's password."
    )
    ca_file: str | None = Field(None, description="Authorities to trust, PEM; absent: the system's.")
    api_url: str | None = Field(
        None, pattern=r"^https?://", description="The backend's read API, for checks of alarms and store."
    )
    api_token_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable that holds that API's token."
    )
    audit_url: str | None = Field(
        None, pattern=r"^https?://", description="Where the backend says, page by page, which messages it got."
    )
    audit: AuditTable | None = Field(None, description="The table in which they are, instead of `audit_url`.")
    tcp_host: str | None = Field(None, description="Gateway for devices on the channel tcp.")
    tcp_port: int | None = Field(None, ge=1, le=65535)
    rest_url: str | None = Field(None, pattern=r"^https?://", description="Gateway for devices on the channel rest.")
    rest_token_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable that holds that gateway's token."
    )

    @model_validator(mode="after")
    def _complete(self) -> "Target":
        if self.kind == "endpoints" and not self.mqtt_host:
            raise ValueError("a target of kind 'endpoints' needs 'mqtt_host'")
        if self.kind != "endpoints" and not self.mqtt_tls:
            raise ValueError(f"a target of kind '{self.kind}' has no MQTT without TLS")
        if self.kind == "sandbox" and self.mqtt_transport == "websocket":
            raise ValueError("the sandbox has both transports: a profile chooses ('transport' of its link)")
        if self.audit and self.audit_url:
            raise ValueError("'audit' and 'audit_url' are two places to look at: give one")
        if self.audit and not self.has_account:
            raise ValueError("'audit' is a table in an AWS account, and the target has none: give 'endpoint_url'")
        if self.password_env and not self.username:
            raise ValueError("'password_env' needs 'username'")
        return self

    @property
    def has_account(self) -> bool:
        """Are there AWS's APIs: things, certificates, shadows, jobs? Else it is a broker and nothing more."""
        return self.kind != "endpoints" or self.endpoint_url is not None

    @property
    def broker_port(self) -> int:
        """Where the broker listens."""
        if self.mqtt_port is not None:
            return self.mqtt_port
        if self.mqtt_transport == "websocket":
            return 443 if self.mqtt_tls else 80
        return 8883 if self.mqtt_tls else 1883


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
    mqtt_tls: bool = True
    mqtt_transport: Literal["tcp", "websocket"] = "tcp"
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    tcp_host: str | None = None
    tcp_port: int | None = None
    rest_url: str | None = None
    rest_token: str | None = field(default=None, repr=False)
    api_token: str | None = field(default=None, repr=False)

    @property
    def api_headers(self) -> dict[str, str]:
        """What a request to the read API carries."""
        return {"Authorization": f"Bearer {self.api_token}"} if self.api_token else {}

    @property
    def has_account(self) -> bool:
        """As Target.has_account."""
        return self.kind != "endpoints" or self.endpoint_url is not None

    @property
    def transport(self) -> Literal["tcp", "tls", "websocket"]:
        """What carries MQTT when nobody wants anything else."""
        if self.mqtt_transport == "websocket":
            return "websocket"
        return "tls" if self.mqtt_tls else "tcp"

    @property
    def websocket_url(self) -> str:
        """Where MQTT over WebSocket is spoken: at the broker's own port, or where AWS has it, beside HTTPS."""
        host, port, scheme = self.mqtt_host, self.mqtt_port, "wss" if self.mqtt_tls else "ws"
        if self.mqtt_transport != "websocket" and self.has_account:
            parts = urlsplit(self.endpoint_url or f"https://{host}")
            scheme = "wss" if parts.scheme == "https" else "ws"
            host, port = parts.hostname or "", parts.port or (443 if scheme == "wss" else 80)
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/mqtt"

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
            "FLEETSIM_API_TOKEN": self.api_token,
            "FLEETSIM_TCP_PORT": str(self.tcp_port) if self.tcp_port else None,
            "FLEETSIM_REST_URL": self.rest_url,
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
        return _read(Path(name))
    raise UsageError(f"unknown target '{name}'{did_you_mean(name, list(known))}; or the path of a YAML file")


def _read(path: Path) -> Target:
    loaded = load_marked(path, Target)
    ca_file = loaded.value.ca_file
    if ca_file and not Path(ca_file).is_file():
        raise YamlProblems([loaded.problem(("ca_file",), f"no file '{ca_file}'")])
    return loaded.value
