"""The backend's configuration file: where it stands, whom it talks to, which rules it keeps.

Rules: unknown keys are mistakes; a mistake is one line `where: what`, and nothing was started.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulator.backend.platform.settings import (
    DispatchDemo,
    Escalation,
    Master,
    Notifications,
    Settings,
    SnsTopics,
)
from simulator.errors import UsageError, did_you_mean
from simulator.wire.spec import ProductSpec

CONFIG_SIZE_MAX = 4 * 1024 * 1024

Port = Annotated[int, Field(ge=0, le=65_535)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Aws(_Strict):
    """Which AWS; empty fields mean boto3's own chain, for a real account."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    ca_file: Path | None = None


class Mqtt(_Strict):
    """Which broker, and as whom. Without any of the three files the connection is plain TCP."""

    host: str
    port: Port
    client_id: Annotated[str, Field(min_length=1, max_length=128)]
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Product(BaseModel):
    """A product, and how its binary payloads are read."""

    model_config = ConfigDict(extra="allow", frozen=True)

    productId: str  # noqa: N815 (the contract's key)
    spec: ProductSpec | None = None


class Tcp(_Strict):
    """The gateway for binary frames, and the limits of each of its connections."""

    port: Port = 0
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = 5000
    bytes_per_s: Annotated[int, Field(ge=1024)] = 256 * 1024
    frames_per_s: Annotated[int, Field(ge=1)] = 2000
    idle_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    garbage_max_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024


class Control(_Strict):
    """Where the run is controlled that the fleet comes from, for the pages."""

    url: Annotated[str, Field(pattern=r"^http://127\.0\.0\.1:\d{1,5}$")]
    token: Annotated[str, Field(min_length=16, max_length=200)]


class ApiToken(_Strict):
    """Somebody who may use the API: only the SHA-256 of the token is said here."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    role: Literal["service", "lab", "customer"]
    customer: Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f*][^\x00-\x1f\x7f]{0,127}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _complete(self) -> "ApiToken":
        if (self.role == "customer") != (self.customer is not None):
            raise ValueError("a token of the role 'customer' needs 'customer', and no other may have it")
        return self


class BackendConfig(_Strict):
    """The whole file."""

    state_dir: Path
    mqtt: Mqtt
    api_port: Port = 0
    tokens: Annotated[list[ApiToken], Field(max_length=100)] = []  # of the API; none: everybody here is the service
    rest_port: Port = 0
    rest_token: Annotated[str, Field(pattern=r"^[!-~]{1,1024}$")] | None = None  # none: everybody may send
    rest_requests_s: Annotated[float, Field(gt=0)] = 20_000
    rest_client_requests_s: Annotated[float, Field(gt=0)] = 10_000  # of each client
    tcp: Tcp = Tcp()
    aws: Aws | None = None
    uploads_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = (
        None  # none: the account's
    )
    uploads_expire_s: Annotated[float, Field(ge=60, le=7 * 86_400)] = 3600
    products: list[str | Product] = Field(default_factory=list, max_length=1000)
    rules: list[dict[str, Any]] = Field(default_factory=list)
    formulas: list[dict[str, Any]] = Field(default_factory=list, max_length=1000)
    master: Master = Master()
    escalation: Escalation = Escalation()
    dispatch: DispatchDemo | None = None  # none: field engineers do not go by themselves
    notifications: Notifications = Notifications()
    sns_topics: SnsTopics = Field(default_factory=dict)  # by channel
    telemetry_days: Annotated[float, Field(gt=0, le=3660)] = 10  # then it is moved to long-term files
    archive_max_bytes: Annotated[int, Field(ge=1_000_000)] = 10 * 1024**3
    fire: bool = True  # the fire prediction, for what comes as a fire sensor's record
    control: Control | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"

    @property
    def product_names(self) -> list[str]:
        """The known products."""
        return [entry if isinstance(entry, str) else entry.productId for entry in self.products]

    @property
    def specs(self) -> dict[str, ProductSpec]:
        """The products' specs, of those that have one."""
        found = ((entry.productId, entry.spec) for entry in self.products if not isinstance(entry, str))
        return {product: spec for product, spec in found if spec is not None}

    @property
    def settings(self) -> Settings:
        """What the platform goes by."""
        return Settings(
            escalation=self.escalation, dispatch=self.dispatch, notifications=self.notifications,
            sns_topics=self.sns_topics,
        )  # fmt: skip


def load_config(path: Path) -> BackendConfig:
    """Read the file; UsageError for the first mistake."""
    try:
        if path.stat().st_size > CONFIG_SIZE_MAX:
            raise UsageError(f"{path}: larger than {CONFIG_SIZE_MAX} bytes")
        raw = orjson.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    return read_config(raw)


def read_config(raw: Any) -> BackendConfig:
    """What the file says; UsageError for the first mistake."""
    try:
        return BackendConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            models: dict[str, type[BaseModel]] = {"aws": Aws, "mqtt": Mqtt, "tcp": Tcp}
            model = models.get(str(first["loc"][0]), BackendConfig)
            raise UsageError(f"{where}: unknown key{did_you_mean(key, list(model.model_fields))}") from None
        raise UsageError(f"{where}: {first['msg']}") from None
