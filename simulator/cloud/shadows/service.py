"""The Device Shadow service over MQTT and HTTPS, in the place of MiniStack's, on MiniStack's records.

Rules: `document` decides, here it is only said: who is answered, what is published. An update that came over
HTTPS publishes what one over MQTT does; a refusal over HTTPS publishes nothing. Messages that nobody hears are not
made. MiniStack's functions for a shadow keep their names and meanings, because others look through them.
"""

import json
import time
from typing import Any
from urllib.parse import unquote

from simulator.cloud.broker.broker import Broker
from simulator.cloud.rest_json import Answer
from simulator.cloud.shadows import document as shadows
from simulator.cloud.shadows.document import Json, ShadowError

_CODES = {
    400: "InvalidRequestException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    413: "RequestEntityTooLargeException",
    415: "UnsupportedDocumentEncodingException",
}

_VERBS = {"GET": "get", "POST": "update", "DELETE": "delete"}


class ShadowService:
    """Requests in, answers and messages out."""

    def __init__(self, iot: Any, broker: Broker) -> None:
        self._iot = iot
        self._broker = broker

    # -- in the place of MiniStack's functions ---

    def update(self, thing: str, shadow: str, request: Any) -> tuple[int, Json]:
        try:
            record, answer = shadows.update(self._iot._shadows.get((thing, shadow)), request, _now_s())
        except ShadowError as refused:
            return refused.code, {"message": str(refused)}
        self._iot._shadows[(thing, shadow)] = record
        return 200, answer

    def get(self, thing: str, shadow: str) -> tuple[int, Json]:
        record = self._record(thing, shadow)
        if record is None:
            return 404, {"message": str(shadows.missing(thing, shadow))}
        return 200, shadows.document(record, _now_s())

    def delete(self, thing: str, shadow: str) -> tuple[int, Json]:
        record = self._record(thing, shadow)
        if record is None:
            return 404, {"message": str(shadows.missing(thing, shadow))}
        self._iot._shadows[(thing, shadow)] = {"deleted": True, "version": record["version"]}
        return 200, {"version": record["version"], "timestamp": _now_s()}

    def _record(self, thing: str, shadow: str) -> Any:
        record = self._iot._shadows.get((thing, shadow))
        return None if record is None or record.get("deleted") else record

    def _parse(self, payload: bytes) -> Any:
        """A request; an empty one is an empty object."""
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            raise ShadowError(415, "Unsupported documented encoding; supported encoding is UTF-8") from None
        try:
            return self._iot.parse_shadow_request(text) if text else {}
        except (ValueError, RecursionError):
            raise ShadowError(400, "Invalid JSON") from None

    def _done(self, verb: str, thing: str, shadow: str, request: Any) -> Json:
        """The answer to a request; raises ShadowError. By MiniStack's names, for those who look through them."""
        status: int
        answer: Json
        if verb == "update":
            status, answer = self._iot.update_thing_shadow(thing, shadow, request)
        elif verb == "get":
            status, answer = self._iot.get_thing_shadow(thing, shadow)
        elif verb == "delete":
            status, answer = self._iot.delete_thing_shadow(thing, shadow)
        else:
            status, answer = 405, {"message": "Method Not Allowed"}
        if status != 200:
            raise ShadowError(status, answer.get("message", ""))
        return answer

    # -- MQTT ---

    async def on_publish(
        self, account_id: str, region: str, thing: str, verb: str, shadow: str | None, payload: bytes
    ) -> None:
        base = f"$aws/things/{thing}/shadow" + ("" if shadow is None else f"/name/{shadow}")
        token = None
        try:
            shadows.check_names(thing, shadow)
            request = self._parse(b"" if verb == "delete" else payload)
            token = shadows.client_token(request)
            shadows.check_client_token(request)
            with self._iot.request_scope(account_id, region):
                before = self._iot._shadows.get((thing, shadow or ""))
                answer = self._done(verb, thing, shadow or "", request)
                after = self._iot._shadows.get((thing, shadow or ""))
        except ShadowError as refused:
            said: Json = {"code": refused.code, "message": str(refused)}
            await self._say(account_id, region, f"{base}/{verb}/rejected", _with_token(said, token))
            return
        if verb == "delete":
            token = _token_of(payload)
        await self._say(account_id, region, f"{base}/{verb}/accepted", _with_token(answer, token))
        if verb == "update":
            await self._say_changes(account_id, region, base, before, after, token)

    async def _say(self, account_id: str, region: str, topic: str, message: Json) -> None:
        if self._broker.heard(account_id, region, topic):
            payload = json.dumps(message, separators=(",", ":")).encode()
            await self._iot.broker_publish(account_id, region, topic, payload, qos=1)

    async def _say_changes(
        self, account_id: str, region: str, base: str, before: Any, after: Any, token: str | None
    ) -> None:
        now_s = _now_s()
        difference = shadows.delta_message(after, now_s)
        if difference is not None:
            await self._say(account_id, region, f"{base}/update/delta", _with_token(difference, token))
        sides: Json = {"previous": shadows.side(before), "current": shadows.side(after), "timestamp": now_s}
        await self._say(account_id, region, f"{base}/update/documents", _with_token(sides, token))

    # -- HTTPS ---

    async def on_request(self, method: str, path: str, body: bytes, query: dict[str, str]) -> Answer:
        iot = self._iot
        thing = unquote(path.removeprefix("/things/").removesuffix("/shadow"))
        shadow = query.get("name") or ""
        base = f"$aws/things/{thing}/shadow" + (f"/name/{shadow}" if shadow else "")
        account_id, region = iot.get_account_id(), iot.get_region()
        verb = _VERBS.get(method, "")
        token = None
        try:
            shadows.check_names(thing, shadow or None)
            before = iot._shadows.get((thing, shadow))
            request = self._parse(body) if verb == "update" else {}
            token = shadows.client_token(request)
            answer = self._done(verb, thing, shadow, request)
        except ShadowError as refused:
            code = _CODES.get(refused.code, "MethodNotAllowedException")
            rejected: Answer = iot.error_response_json(code, str(refused), refused.code)
            return rejected
        after = iot._shadows.get((thing, shadow))
        if verb != "get":
            await self._say(account_id, region, f"{base}/{verb}/accepted", answer)
        if verb == "update":
            await self._say_changes(account_id, region, base, before, after, token)
        accepted: Answer = iot.json_response(answer)
        return accepted


def _now_s() -> int:
    return int(time.time())


def _with_token(message: Json, token: str | None) -> Json:
    return message if token is None else {**message, "clientToken": token}


def _token_of(payload: bytes) -> str | None:
    """Of a delete, whose payload is otherwise ignored."""
    try:
        return shadows.client_token(json.loads(payload))
    except ValueError:
        return None


def install(iot: Any, iot_data: Any, broker: Broker) -> None:
    """Put it in the place of MiniStack's, in its modules `services.iot` and `services.iot_data`."""
    service = ShadowService(iot, broker)
    iot.update_thing_shadow, iot.get_thing_shadow, iot.delete_thing_shadow = (
        service.update, service.get, service.delete,
    )  # fmt: skip
    iot._handle_shadow_publish = service.on_publish
    iot_data._shadow = service.on_request
