"""A WebSocket client without I/O (RFC 6455, by wsproto): bytes of a connection ⇄ the bytes that travel inside.

    socket = WebSocket(url, "mqtt")   its first word, the upgrade request, is in `take`
    socket.receive(data)              bytes came → what they held; never raises
    socket.send(data)                 → the bytes of one binary message
    socket.close()                    → the bytes of a goodbye

After `receive`, `take` gives what must be written, and `ended` says why it is over, if it is.

Rules: what comes is a stream: borders of frames and messages mean nothing, so nothing is collected and a long
message costs no memory. Answers are bounded too: one pong for all pings of a chunk. Masks and the key of the
handshake are drawn by wsproto, as RFC 6455 wants them unpredictable; nothing that can be observed follows from
them.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from simulator.wire import ProtocolError

REFUSAL_BYTES_MAX = 300  # of the body of a refusal, for the log
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


class WebSocketError(ProtocolError):
    """The far side is no WebSocket server that we could use, or is no longer."""


class WebSocket:
    """The client's side of one connection. `is_open` and `ended` may be read."""

    __slots__ = ("_codec", "_out", "_refusal", "_status", "_subprotocol", "ended", "is_open")

    def __init__(self, url: str, subprotocol: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"a WebSocket URL is ws://HOST… or wss://HOST…, not '{parts.scheme}:…'")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if parts.port not in (None, _DEFAULT_PORTS[parts.scheme]):
            host += f":{parts.port}"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._codec = WSConnection(ConnectionType.CLIENT)
        self._subprotocol = subprotocol
        self._out = bytearray(self._codec.send(Request(host=host, target=target, subprotocols=[subprotocol])))
        self._status = 0  # of an answer that refuses
        self._refusal = bytearray()
        self.is_open = False
        self.ended = ""  # why it is over

    def take(self) -> bytes:
        """The bytes to write now; empty when there are none."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def send(self, data: bytes) -> bytes:
        """One binary message; nothing when it is over or has not begun."""
        return bytes(self._codec.send(BytesMessage(data=data))) if self.is_open else b""

    def close(self) -> bytes:
        """Our goodbye. The owner ends the transport; what still comes is not looked at."""
        self._end("closed", CloseReason.NORMAL_CLOSURE)
        return self.take()

    def receive(self, data: bytes) -> bytes:
        """What these bytes held, also when they end it."""
        if self.ended or not data:  # to wsproto no bytes are the end
            return b""
        found = bytearray()
        try:
            self._codec.receive_data(data)
            ping: Ping | None = None
            for event in self._codec.events():
                if isinstance(event, BytesMessage):
                    found += event.data
                elif isinstance(event, Ping):
                    ping = event
                else:
                    self._seldom(event)
                if self.ended:
                    return bytes(found)
            if ping is not None:
                self._out += self._codec.send(ping.response())
        except (RemoteProtocolError, ValueError) as error:  # ValueError: a header that is not ASCII
            self._end(f"the server sent no answer to a WebSocket upgrade: {error}")
        return bytes(found)

    def lost(self) -> None:
        """The transport is gone."""
        if not self.ended:
            self._end(self._refused() if self._status else "the server closed the connection")

    def _seldom(self, event: Event) -> None:
        match event:
            case AcceptConnection(subprotocol=subprotocol):
                self.is_open = True
                if subprotocol != self._subprotocol:
                    self._end(f"the server does not speak '{self._subprotocol}'", CloseReason.PROTOCOL_ERROR)
            case CloseConnection(code=code, reason=reason) if self._codec.state == ConnectionState.OPEN:
                # What wsproto says of bytes that are no frames: it is we who have to say it to the server.
                self._end(f"the server sent what is no WebSocket frame: {reason}", code)
            case CloseConnection(code=code, reason=reason):
                self._out += self._codec.send(event.response())
                self._end(f"the server closed the WebSocket: {_named(code)}{f': {reason}' if reason else ''}")
            case TextMessage():
                self._end("the server sent text", CloseReason.UNSUPPORTED_DATA)
            case RejectConnection(status_code=status, has_body=has_body):
                self._status = status
                if not has_body:
                    self._end(self._refused())
            case RejectData(data=data, body_finished=is_last):
                self._refusal += data[: REFUSAL_BYTES_MAX - len(self._refusal)]
                if is_last or len(self._refusal) >= REFUSAL_BYTES_MAX:
                    self._end(self._refused())

    def _refused(self) -> str:
        phrase = HTTPStatus(self._status).phrase if self._status in HTTPStatus._value2member_map_ else ""
        body = " ".join(self._refusal.decode(errors="replace").split())
        words = "".join(letter for letter in body if letter.isprintable())
        return f"WebSocket refused: HTTP {self._status} {phrase}{f': {words}' if words else ''}".rstrip()

    def _end(self, why: str, code: int | None = None) -> None:
        if code is not None and self.is_open and not self.ended:
            self._out += self._codec.send(CloseConnection(code=code))
        self.is_open = False
        self.ended = self.ended or why


def _named(code: int) -> str:
    try:
        return f"{code} {CloseReason(code).name.lower().replace('_', ' ')}"
    except ValueError:
        return str(code)
