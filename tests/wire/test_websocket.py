"""The WebSocket client against bytes written by hand, against wsproto's server, and against any bytes at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, RejectConnection, Request
from wsproto.events import RejectData as Body
from wsproto.utilities import generate_accept_token

from simulator.wire.websocket import REFUSAL_BYTES_MAX, WebSocket

URL = "wss://broker.example/mqtt?X-Amz-Signature=a%2Fb"


class Server:
    """wsproto's server at the other end; `heard` is all that the client said."""

    def __init__(self, url: str = URL) -> None:
        self.client = WebSocket(url, "mqtt")
        self.codec = WSConnection(ConnectionType.SERVER)
        self.heard: list[Event] = []
        self.read()
        assert isinstance(self.heard[0], Request)
        self.request = self.heard[0]

    def read(self, data: bytes = b"") -> None:
        self.codec.receive_data(data or self.client.take())
        self.heard += self.codec.events()

    def say(self, event: Event) -> bytes:
        return self.client.receive(self.codec.send(event))


def opened() -> Server:
    server = Server()
    assert server.say(AcceptConnection(subprotocol="mqtt")) == b""
    assert server.client.is_open
    return server


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        (URL, "broker.example", "/mqtt?X-Amz-Signature=a%2Fb"),
        ("ws://127.0.0.1:8080", "127.0.0.1:8080", "/"),
        ("ws://broker:80/a%20b", "broker", "/a%20b"),
        ("wss://broker:80/", "broker:80", "/"),
        ("wss://[::1]:443/mqtt", "[::1]", "/mqtt"),
    ],
)
def test_the_request_asks_for_what_the_url_says(url: str, host: str, target: str) -> None:
    """Byte for byte, because a signature is over them."""
    request = Server(url).request
    assert (request.host, request.target, request.subprotocols) == (host, target, ["mqtt"])


@pytest.mark.parametrize("url", ["https://broker/mqtt", "broker/mqtt", "ws://"])
def test_what_is_no_websocket_url_is_the_callers_mistake(url: str) -> None:
    with pytest.raises(ValueError, match="a WebSocket URL is"):
        WebSocket(url, "mqtt")


def test_bytes_go_both_ways() -> None:
    server = opened()
    for size in (0, 1, 125, 126, 70_000):
        said = bytes(range(256)) * (size // 256 + 1)
        server.read(server.client.send(said[:size]))
        assert server.heard[-1] == BytesMessage(said[:size])
        assert server.say(BytesMessage(said[:size])) == said[:size]
    server.read(server.client.close())
    assert server.heard[-1] == CloseConnection(1000, "")
    assert server.client.send(b"more") == b""
    assert server.client.receive(b"\x82\x01x") == b""


def test_what_the_client_says_is_masked() -> None:
    """RFC 6455, 5.3: a server ends the connection otherwise."""
    client = opened().client
    frame = client.send(b"hello")
    assert frame[:2] == bytes((0x82, 0x80 | 5))
    assert bytes(byte ^ frame[2 + index % 4] for index, byte in enumerate(frame[6:])) == b"hello"
    assert client.send(b"hello")[2:6] != frame[2:6] or client.send(b"hello")[2:6] != frame[2:6]


def test_fragments_are_a_stream() -> None:
    """With control frames between them, and whatever the borders of the chunks are."""
    frames = b"".join((b"\x02\x02ab", b"\x89\x02hi", b"\x00\x00", b"\x89\x03you", b"\x80\x01c", b"\x82\x7e\x00\x80"))
    data = frames + b"x" * 128
    for size in (1, 2, 3, 7, len(data)):
        server = opened()
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        assert b"".join(server.client.receive(chunk) for chunk in chunks) == b"abc" + b"x" * 128
        server.read()
        pongs = [event.payload for event in server.heard if isinstance(event, Pong)]
        # A chunk with several pings has one answer: that to the last.
        assert pongs == ([b"you"] if size == len(data) else [b"hi", b"you"])
        assert server.client.ended == ""


def test_the_servers_goodbye_is_answered_and_told() -> None:
    for code, reason, told in (
        (1000, None, "1000 normal closure"),
        (1008, "not you", "1008 policy violation: not you"),
        (4001, "", "4001"),
    ):
        server = opened()
        assert server.say(CloseConnection(code, reason)) == b""
        assert server.client.ended == f"the server closed the WebSocket: {told}"
        server.read()
        assert isinstance(server.heard[-1], CloseConnection)


def test_what_came_before_the_end_is_given() -> None:
    server = opened()
    assert server.client.receive(b"\x82\x02ab\x88\x02\x03\xe8\x82\x01c") == b"ab"
    assert server.client.ended.startswith("the server closed the WebSocket: 1000")


@pytest.mark.parametrize(
    ("data", "why", "code"),
    [
        (b"\x81\x02hi", "the server sent text", 1003),
        (b"\x82\x81abcdx", "the server sent what is no WebSocket frame: ", 1002),  # masked
        (b"\xc2\x00", "the server sent what is no WebSocket frame: ", 1002),  # a reserved bit
        (b"\x83\x00", "the server sent what is no WebSocket frame: ", 1002),  # no such opcode
        (b"\x80\x00", "the server sent what is no WebSocket frame: ", 1002),  # goes on with nothing
        (b"\x89\x7e\x00\x80", "the server sent what is no WebSocket frame: ", 1002),  # a long ping
    ],
)
def test_what_a_server_may_not_say_ends_it(data: bytes, why: str, code: int) -> None:
    server = opened()
    assert server.client.receive(data) == b""
    assert server.client.ended.startswith(why)
    server.read()
    assert [event.code for event in server.heard if isinstance(event, CloseConnection)] == [code]


def test_a_refusal_says_why() -> None:
    server = Server()
    server.say(RejectConnection(status_code=403, has_body=True, headers=[(b"content-length", b"23")]))
    assert server.client.ended == ""
    server.say(Body(data=b'{"message":"Forbidden\n"}'[:23]))
    assert server.client.ended == 'WebSocket refused: HTTP 403 Forbidden: {"message":"Forbidden "'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "WebSocket refused: HTTP 404 Not Found"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "WebSocket refused: HTTP 100 Continue"),
        (b"HTTP/1.1 799 Odd\r\ncontent-length: 2\r\n\r\n\x01\n", "WebSocket refused: HTTP 799"),
        (b"SSH-2.0-x\r\n\r\n", "the server sent no answer to a WebSocket upgrade: Bad HTTP message"),
        (b"HTTP/1.1 101 S\r\n\r\n", "the server sent no answer to a WebSocket upgrade: Missing header, 'Connection"),
        (
            b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: no\r\n\r\n",
            "the server sent no answer to a WebSocket upgrade: Bad accept token",
        ),
        (b"HTTP/1.1 101 S\r\nconnection: \xff\r\n\r\n", "the server sent no answer to a WebSocket upgrade: "),
        (b"x" * 100_000, "the server sent no answer to a WebSocket upgrade: "),
    ],
)
def test_an_answer_that_is_none(answer: bytes, why: str) -> None:
    for size in (len(answer), 1000):
        client = WebSocket(URL, "mqtt")
        for start in range(0, len(answer), size):
            client.receive(answer[start : start + size])
        assert client.ended.startswith(why)


def test_a_long_refusal_is_cut() -> None:
    client = WebSocket(URL, "mqtt")
    client.receive(b"HTTP/1.1 500 Oops\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 2000)
    assert client.ended == f"WebSocket refused: HTTP 500 Internal Server Error: {'x' * REFUSAL_BYTES_MAX}"


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", "the server closed the connection"), (b"HTTP/1.1 503 No\r\n\r\nb", "HTTP 503")]
)
def test_the_end_of_the_transport_is_told(answer: bytes, why: str) -> None:
    client = WebSocket(URL, "mqtt")
    client.receive(answer)
    client.lost()
    assert why in client.ended


def test_a_server_must_choose_our_subprotocol() -> None:
    server = Server()
    server.say(AcceptConnection())
    assert server.client.ended == "the server does not speak 'mqtt'"
    assert not server.client.is_open


# --- any bytes ---


def accept(client: WebSocket) -> bytes:
    """The answer that grants the upgrade."""
    (key,) = [line[19:] for line in client.take().split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: ")]
    return b"\r\n".join(
        (
            b"HTTP/1.1 101 Switching Protocols",
            b"upgrade: websocket",
            b"connection: Upgrade",
            b"sec-websocket-protocol: mqtt",
            b"sec-websocket-accept: " + generate_accept_token(key),
            b"\r\n",
        )
    )


frames = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(lambda head, body: bytes((head, len(body))) + body, st.integers(0x80, 0x8F), st.binary(max_size=20)),
        st.sampled_from([b"\x89\x00" * 50, b"\x88\x02\x03\xe8", b"\x02\x00", b"\x82\x7f" + b"\x7f" * 8]),
    ),
    max_size=12,
)


@settings(max_examples=500, deadline=None)
@given(frames, st.booleans(), st.integers(1, 64))
def test_any_bytes_are_bytes_or_the_end(parts: list[bytes], upgraded: bool, size: int) -> None:
    client = WebSocket(URL, "mqtt")
    answer = accept(client)
    data = (answer if upgraded else b"") + b"".join(parts)
    given_size = out_size = 0
    for start in range(0, len(data), size):
        given_size += len(client.receive(data[start : start + size]))
        out_size += len(client.take())
    assert given_size <= len(data)
    assert out_size <= 131 * (len(data) // size + 2)  # a pong for a chunk, and a goodbye
    client.lost()
    assert client.ended
    assert client.receive(b"\x82\x01x") == b""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=10), st.integers(1, 1000))
def test_what_is_said_is_what_is_heard(messages: list[bytes], size: int) -> None:
    server = opened()
    data = b"".join(server.client.send(message) for message in messages)
    server.read(data) if data else None
    assert b"".join(event.data for event in server.heard if isinstance(event, BytesMessage)) == b"".join(messages)
    back = b"".join(server.codec.send(BytesMessage(message)) for message in messages)
    chunks = [back[start : start + size] for start in range(0, len(back), size)]
    assert b"".join(server.client.receive(chunk) for chunk in chunks) == b"".join(messages)
    assert server.say(Ping(b"still there?")) == b""
    server.read()
    assert server.heard[-1] == Pong(b"still there?")
