"""Operations that need little: addresses, logging options, the names of a thing's shadows, the end of a connection.

Rules: one port answers for all services; they are told apart by the scope of the signature, and MQTT in a WebSocket by
its subprotocol. So every type of endpoint is the same `localhost:PORT`, also the two that AWS has given up lately.
Logging options are kept and given back; nothing is logged by them.
"""

import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from inspect import isawaitable
from typing import Any

from simulator.cloud.emulator import Emulator
from simulator.cloud.service import Request, ServiceError

_ENDPOINT_TYPES = ("iot:Data", "iot:Data-ATS", "iot:CredentialProvider", "iot:Jobs")
_ADMINISTRATIVE_ACTION = 0x98  # why MQTT 5 clients are told that they must go
_LEVELS_MAX = 1000
_SHADOWS_PAGE = 25
_LEVELS_PAGE = 100


class _InvalidError(ServiceError):
    code, status = "InvalidRequestException", 400


class _NotFoundError(ServiceError):
    code, status = "ResourceNotFoundException", 404


class _NotConfiguredError(ServiceError):
    code, status = "NotConfiguredException", 404


class _LimitExceededError(ServiceError):
    code, status = "LimitExceededException", 410


class SmallOperations:
    """Answers them."""

    operations = frozenset(
        {
            "DeleteV2LoggingLevel",
            "DescribeEndpoint",
            "GetLoggingOptions",
            "GetV2LoggingOptions",
            "ListV2LoggingLevels",
            "SetLoggingOptions",
            "SetV2LoggingLevel",
            "SetV2LoggingOptions",
            "iot-data:DeleteConnection",
            "iot-data:ListNamedShadowsForThing",
        }
    )
    invalid = "InvalidRequestException"

    def __init__(self, emulator: Emulator, arn_prefix: str) -> None:
        self._emulator = emulator
        self._arn_prefix = arn_prefix
        self._logging: dict[str, Any] = {"logLevel": "DISABLED"}
        self._logging_v2: dict[str, Any] | None = None
        self._levels: dict[tuple[str, str], str] = {}

    def arn(self, operation: str, in_path: Mapping[str, str]) -> str:
        """What a policy calls the resource."""
        names = {"thingName": "thing", "clientId": "client"}
        return next((f"{self._arn_prefix}:{kind}/{in_path[key]}" for key, kind in names.items() if key in in_path), "*")

    async def answer(self, request: Request) -> Mapping[str, Any] | None:
        """Do one operation."""
        handler = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.operation).lower())
        result = handler(request.parameters, request.now_ms)
        answer: Mapping[str, Any] | None = await result if isawaitable(result) else result
        return answer

    # -- addresses ---

    def _describe_endpoint(self, p: dict[str, Any], now_ms: int) -> dict[str, str]:
        asked = p.get("endpointType", "iot:Data")
        if asked not in _ENDPOINT_TYPES:
            raise _InvalidError(f"Unknown endpointType {asked}; there are {', '.join(_ENDPOINT_TYPES)}")
        return {"endpointAddress": f"localhost:{self._emulator.iot._GATEWAY_PORT}"}

    # -- connections ---

    async def _delete_connection(self, p: dict[str, Any], now_ms: int) -> None:
        iot = self._emulator.iot
        with self._emulator.scoped():
            key = (iot.get_account_id(), iot.get_region(), p["clientId"])
            connection, sessions = iot._connected_clients.get(key), iot._WSSession._shared
            if connection is None and key not in sessions.stored:
                raise _NotFoundError(f"There is neither a connection nor a session of client {p['clientId']}")
            if connection is not None:
                if p.get("preventWillMessage"):
                    connection._will_topic = None
                if p.get("cleanSession"):
                    connection._persist_session = False
                connection._end("API_INITIATED_DISCONNECT", _ADMINISTRATIVE_ACTION)
                await connection._ending
            if p.get("cleanSession"):
                sessions.forget(key)

    # -- shadows ---

    def _list_named_shadows_for_thing(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        with self._emulator.scoped():
            found = sorted(
                name
                for (thing, name), shadow in self._emulator.iot._shadows.items()
                if thing == p["thingName"] and name and not shadow.get("deleted")
            )
        part, token = _page(found, p.get("nextToken"), p.get("pageSize", _SHADOWS_PAGE))
        return {"results": part, "nextToken": token, "timestamp": now_ms // 1000}

    # -- logging ---

    def _set_logging_options(self, p: dict[str, Any], now_ms: int) -> None:
        self._logging = {"logLevel": "DISABLED", **p["loggingOptionsPayload"]}

    def _get_logging_options(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        return self._logging

    def _set_v2_logging_options(self, p: dict[str, Any], now_ms: int) -> None:
        before = self._logging_v2 or {"defaultLogLevel": "DISABLED", "disableAllLogs": False}
        self._logging_v2 = {**before, **p}

    def _get_v2_logging_options(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        options = dict(self._configured())
        if not p.get("verbose"):
            options.pop("eventConfigurations", None)
        return options

    def _set_v2_logging_level(self, p: dict[str, Any], now_ms: int) -> None:
        self._configured()
        target = _target(p["logTarget"])
        if target not in self._levels and len(self._levels) >= _LEVELS_MAX:
            raise _LimitExceededError(f"The limit of {_LEVELS_MAX} logging levels is reached")
        self._levels[target] = p["logLevel"]

    def _list_v2_logging_levels(self, p: dict[str, Any], now_ms: int) -> dict[str, Any]:
        self._configured()
        found = {
            f"{kind}/{name}": {"logTarget": {"targetType": kind, "targetName": name}, "logLevel": level}
            for (kind, name), level in sorted(self._levels.items())
            if kind == p.get("targetType", kind)
        }
        part, token = _page(list(found), p.get("nextToken"), p.get("maxResults", _LEVELS_PAGE))
        return {"logTargetConfigurations": [found[one] for one in part], "nextToken": token}

    def _delete_v2_logging_level(self, p: dict[str, Any], now_ms: int) -> None:
        self._levels.pop((p["targetType"], p["targetName"]), None)

    def _configured(self) -> dict[str, Any]:
        if self._logging_v2 is None:
            raise _NotConfiguredError("Logging is not configured; see SetV2LoggingOptions")
        return self._logging_v2


def _target(said: Mapping[str, str]) -> tuple[str, str]:
    kind, name = said["targetType"], said.get("targetName", "")
    if (kind == "DEFAULT") != (name == ""):
        raise _InvalidError("A logTarget has a targetName, except the one of type DEFAULT")
    return kind, name


def _page(names: list[str], token: str | None, size: int) -> tuple[list[str], str | None]:
    """A page of sorted names, and the token for the rest."""
    if token is not None:
        try:
            last = b64decode(token, b"-_", validate=True).decode()
        except ValueError:
            raise _InvalidError("The nextToken is not valid") from None
        names = [name for name in names if name > last]
    part = names[:size]
    return part, urlsafe_b64encode(part[-1].encode()).decode() if len(part) < len(names) else None
