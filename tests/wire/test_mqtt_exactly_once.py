"""QoS 2, message expiry and the will's properties in the MQTT session, against a scripted server in virtual time."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.messages import Publish
from simulator.wire.mqtt import Acknowledged, Closed, Decoder, Event, Opened, Received, Session, Settings, encode
from simulator.wire.mqtt import packets as p

V311 = Settings("d1", version=4)
BOTH = pytest.mark.parametrize("settings", [Settings("d1"), V311], ids=["5", "3.1.1"])
NOT_FOUND = 0x92


def message(text: str = "hi", qos: int = 2) -> Publish:
    return Publish("telemetry", "a/b", text.encode(), qos)


class Far:
    """The server's end: says what it is told to say, and reads what the session says."""

    def __init__(self, settings: Settings, connack: p.Connack | None = None) -> None:
        self.session = Session(settings)
        self.version = settings.version
        self.now_s = 100.0
        self.connect(connack or p.Connack())

    def connect(self, connack: p.Connack) -> p.Connect:
        self.decoder = Decoder(self.version)
        self.session.connected(self.now_s)
        (connect,) = self.decoder.feed(self.session.take())
        assert isinstance(connect, p.Connect)
        self.say(connack)
        opened, *self.early = self.session.drain()
        assert isinstance(opened, Opened)
        return connect

    def say(self, *said: p.Packet) -> None:
        self.session.receive(b"".join(encode(packet, self.version) for packet in said), self.now_s)

    def heard(self) -> list[p.Packet]:
        return self.decoder.feed(self.session.take())

    def publish(self, *texts: str, qos: int = 2) -> None:
        for text in texts:
            assert self.session.publish(message(text, qos), self.now_s)

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.session.tick(self.now_s)

    def unknown(self, packet_id: int) -> int:
        """What is said about a packet id that nobody knows."""
        return NOT_FOUND if self.version == 5 else 0


# --- out ---


@BOTH
def test_a_message_takes_four_packets(settings: Settings) -> None:
    far = Far(settings)
    far.publish("1")
    assert far.heard() == [p.Publish("a/b", b"1", 2, packet_id=1)]
    far.say(p.Pubrec(1))
    assert far.heard() == [p.Pubrel(1)]
    assert far.session.drain() == []
    assert far.session.unfinished == 1
    far.now_s += 1
    far.say(p.Pubcomp(1))
    assert far.session.drain() == [Acknowledged(message("1"), 100.0, 0)]
    assert far.session.unfinished == 0
    assert far.heard() == []


@BOTH
def test_the_window_counts_both_halves(settings: Settings) -> None:
    far = Far(settings._replace(in_flight_max=2))
    far.publish("1", "2", "3")
    far.publish("4", qos=1)
    assert [type(packet) for packet in far.heard()] == [p.Publish, p.Publish]
    far.say(p.Pubrec(2))
    assert far.heard() == [p.Pubrel(2)]
    far.say(p.Pubcomp(2))
    assert far.heard() == [p.Publish("a/b", b"3", 2, packet_id=3)]
    far.say(p.Pubrec(1), p.Pubcomp(1))
    assert far.heard() == [p.Pubrel(1), p.Publish("a/b", b"4", 1, packet_id=4)]
    far.say(p.Puback(4), p.Pubrec(3), p.Pubcomp(3))
    done = [event.message.payload for event in far.session.drain() if isinstance(event, Acknowledged)]
    assert done == [b"2", b"1", b"4", b"3"]


def test_a_refusal_ends_it() -> None:
    far = Far(Settings("d1"))
    far.publish("1")
    far.heard()
    far.say(p.Pubrec(1, 0x87))
    assert far.session.drain() == [Acknowledged(message("1"), 100.0, 0x87)]
    assert far.heard() == []
    assert far.session.unfinished == 0


@pytest.mark.parametrize("version", [4, 5])
def test_what_the_server_has_no_qos_for_is_refused_here(version: p.Version) -> None:
    """MQTT 5 alone can say so beforehand."""
    far = Far(Settings("d1", version), p.Connack(properties=(("maximum_qos", 1),) if version == 5 else ()))
    far.publish("1")
    if version == 5:
        assert far.session.drain() == [Acknowledged(message("1"), 100.0, 0x9B)]
        assert far.heard() == []
    else:
        assert len(far.heard()) == 1
    # What was in flight before a reconnect is judged again.
    far = Far(Settings("d1", clean_start=False))
    far.publish("1")
    far.connect(p.Connack(True, 0, (("maximum_qos", 1),)))
    assert far.early == [Acknowledged(message("1"), 100.0, 0x9B)]
    assert far.heard() == []


@pytest.mark.parametrize(
    ("qos", "answer", "reason"),
    [
        (2, p.Puback(1), "PUBACK for a message of QoS 2"),
        (1, p.Pubrec(1), "PUBREC for a message of QoS 1"),
        (1, p.Pubcomp(1), "PUBCOMP for a message that it has not received"),
        (2, p.Pubcomp(1), "PUBCOMP for a message that it has not received"),
    ],
)
def test_an_answer_of_another_qos_ends_the_connection(qos: int, answer: p.Packet, reason: str) -> None:
    far = Far(Settings("d1"))
    far.publish("1", qos=qos)
    far.heard()
    far.say(answer)
    assert far.session.drain() == [Closed(f"the server sent a {reason}")]
    assert far.heard() == [p.Disconnect(0x82)]
    assert far.session.unfinished == 1


@BOTH
def test_a_pubrec_of_an_earlier_life_is_answered(settings: Settings) -> None:
    far = Far(settings)
    far.say(p.Pubrec(9))
    assert far.heard() == [p.Pubrel(9, far.unknown(9))]
    far.say(p.Pubcomp(9))
    assert far.session.drain() == []
    if settings.version == 5:
        far.say(p.Pubrec(9, 0x87))
        assert far.heard() == []


@BOTH
def test_a_resumed_session_repeats_only_what_the_server_does_not_have(settings: Settings) -> None:
    far = Far(settings._replace(clean_start=False))
    far.publish("1", "2", "3")
    far.publish("4", qos=1)
    far.heard()
    far.say(p.Pubrec(3), p.Pubrec(1))
    assert far.heard() == [p.Pubrel(3), p.Pubrel(1)]
    far.session.lost()
    far.now_s += 5
    far.connect(p.Connack(session_present=True))
    assert far.heard() == [
        p.Publish("a/b", b"2", 2, dup=True, packet_id=2),
        p.Publish("a/b", b"4", 1, dup=True, packet_id=4),
        p.Pubrel(3),  # in the order of the PUBRECs
        p.Pubrel(1),
    ]
    far.say(p.Pubcomp(3, far.unknown(3)), p.Pubcomp(1), p.Puback(4), p.Pubrec(2), p.Pubcomp(2))
    assert far.session.drain() == [Acknowledged(message(t, 1 if t == "4" else 2), 100.0, 0) for t in "3142"]
    assert far.session.unfinished == 0


@BOTH
def test_without_the_session_a_message_that_the_server_took_is_not_sent_again(settings: Settings) -> None:
    far = Far(settings)
    far.publish("1", "2")
    far.heard()
    far.say(p.Pubrec(1))
    far.connect(p.Connack())
    assert far.early == [Acknowledged(message("1"), 100.0, 0)]
    assert far.heard() == [p.Publish("a/b", b"2", 2, packet_id=3)]
    far.say(p.Pubrec(3), p.Pubcomp(3))
    assert far.session.drain() == [Acknowledged(message("2"), 100.0, 0)]


@pytest.mark.parametrize(("answers", "awaited"), [([], "PUBREC"), ([p.Pubrec(1)], "PUBCOMP")])
def test_each_half_has_its_time_out(answers: list[p.Packet], awaited: str) -> None:
    far = Far(Settings("d1", answer_timeout_s=5))
    far.publish("1")
    far.pass_s(4)
    if answers:
        far.say(*answers)
        far.pass_s(4)
    assert far.session.drain() == []
    far.pass_s(1)
    assert far.session.drain() == [Closed(f"no {awaited} within 5 s")]


# --- in ---


def hearing(settings: Settings, connack: p.Connack | None = None) -> Far:
    return Far(settings._replace(subscribe_qos=2), connack)


@BOTH
def test_what_comes_twice_is_given_once(settings: Settings) -> None:
    far = hearing(settings)
    said = p.Publish("c", b"1", 2, packet_id=7)
    far.say(said)
    assert far.heard() == [p.Pubrec(7)]
    far.say(said._replace(dup=True))
    assert far.heard() == [p.Pubrec(7)]
    assert far.session.drain() == [Received("c", b"1", 2, False, False, 0, ())]
    far.connect(p.Connack(session_present=True))
    far.say(said._replace(dup=True))
    assert far.heard() == [p.Pubrec(7)]
    assert far.session.drain() == []
    far.say(p.Pubrel(7))
    assert far.heard() == [p.Pubcomp(7)]
    far.say(p.Pubrel(7))
    assert far.heard() == [p.Pubcomp(7, far.unknown(7))]
    # From here on the packet id means another message.
    far.say(said)
    assert far.session.drain() == [Received("c", b"1", 2, False, False, 0, ())]


@BOTH
def test_a_new_session_has_new_packet_ids(settings: Settings) -> None:
    far = hearing(settings)
    far.say(p.Publish("c", b"1", 2, packet_id=7))
    far.session.drain()
    far.connect(p.Connack())
    far.say(p.Publish("c", b"2", 2, packet_id=7))
    assert far.session.drain() == [Received("c", b"2", 2, False, False, 0, ())]


def test_manual_acknowledgement_is_a_pubrec() -> None:
    far = hearing(Settings("d1", auto_ack=False))
    said = p.Publish("c", b"1", 2, packet_id=7)
    far.say(said, said._replace(dup=True))
    (received,) = far.session.drain()
    assert isinstance(received, Received)
    assert far.heard() == []
    assert far.session.ack(received.ack_token)
    assert not far.session.ack(received.ack_token)
    assert far.heard() == [p.Pubrec(7)]
    far.say(said._replace(dup=True))
    assert far.session.drain() == []
    assert far.heard() == [p.Pubrec(7)]


@pytest.mark.parametrize(("asked", "best", "granted"), [(2, 2, 2), (2, 1, 1), (1, 2, 1), (0, 2, 0)])
def test_subscriptions_ask_for_no_more_than_there_is(asked: int, best: int, granted: int) -> None:
    properties = () if best == 2 else (("maximum_qos", best),)
    far = Far(Settings("d1", subscribe_qos=asked), p.Connack(properties=properties))
    far.session.subscribe(("a",), far.now_s)
    (subscribe,) = far.heard()
    assert isinstance(subscribe, p.Subscribe)
    assert [one.qos for one in subscribe.subscriptions] == [granted]


# --- expiry ---


@pytest.mark.parametrize("qos", [0, 1, 2])
@BOTH
def test_a_message_says_when_it_expires(settings: Settings, qos: int) -> None:
    far = Far(settings._replace(clean_start=False))
    said = message("1", qos)._replace(expiry_s=30)
    far.session.publish(said, far.now_s)
    properties = (("message_expiry_interval", 30),) if settings.version == 5 else ()
    expected = p.Publish("a/b", b"1", qos, packet_id=1 if qos else 0, properties=properties)
    assert far.session.take() == encode(expected, settings.version)
    if qos:
        far.connect(p.Connack(session_present=True))
        assert far.heard() == [expected._replace(dup=True)]


def test_the_size_limit_is_exact() -> None:
    """Of the whole packet, with and without properties."""
    for said in (message("x" * 100, 1), message("x" * 100, 1)._replace(expiry_s=1), message("x" * 300, 0)):
        wire = Far(Settings("d1"))
        wire.session.publish(said, 0.0)
        size = len(wire.session.take())
        for limit in (size, size - 1):
            far = Far(Settings("d1"), p.Connack(properties=(("maximum_packet_size", limit),)))
            far.session.publish(said, 0.0)
            assert len(far.heard()) == (limit == size)
            refused = [e for e in far.session.drain() if isinstance(e, Acknowledged) and e.reason_code]
            assert refused == ([] if limit == size else [Acknowledged(said, 0.0, 0x95)])


@BOTH
def test_a_will_may_expire(settings: Settings) -> None:
    will = Publish("will", "w", b"off", 2, True, expiry_s=60)
    connect = Far(settings._replace(will=will)).connect(p.Connack())
    properties = (("message_expiry_interval", 60),) if settings.version == 5 else ()
    assert connect.will == p.Will("w", b"off", 2, True, properties)


# --- all of it ---


class Server:
    """A server that follows the rules of QoS 2 on both sides, on a connection that may break between any packets."""

    def __init__(self, version: p.Version, auto_ack: bool) -> None:
        asked = Settings(
            "d1", version, clean_start=False, session_expiry_s=60, in_flight_max=3, subscribe_qos=2, auto_ack=auto_ack
        )
        self.session = Session(asked)
        self.version = version
        self.taken: list[str] = []  # from the client
        self.unreleased: set[int] = set()
        self.open: dict[int, tuple[str, bool]] = {}  # to the client: text, and whether PUBREC came
        self.packet_id = 0
        self.given: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.pending: list[p.Packet] = []  # said by the client, not yet read
        self.unacknowledged: list[Received] = []
        self.connect(False)

    def connect(self, present: bool = True) -> None:
        self.pending.clear()
        self.unacknowledged.clear()
        self.decoder = Decoder(self.version)
        self.session.connected(0.0)
        self.session.take()
        self.say(p.Connack(session_present=present))
        for packet_id, (text, released) in list(self.open.items()):
            self.say(p.Pubrel(packet_id) if released else p.Publish("c", text.encode(), 2, False, True, packet_id))

    def say(self, packet: p.Packet) -> None:
        self.session.receive(encode(packet, self.version), 0.0)
        self.listen()

    def listen(self) -> None:
        self.pending += self.decoder.feed(self.session.take())
        events: list[Event] = self.session.drain()
        for event in events:
            assert not isinstance(event, Closed), event
            if isinstance(event, Received):
                if event.ack_token:
                    self.unacknowledged.append(event)
                else:
                    self.given[event.payload.decode()] += 1
            elif isinstance(event, Acknowledged):
                assert event.reason_code == 0
                self.done[event.message.payload.decode()] += 1

    def acknowledge(self) -> None:
        """The application does its part, and counts only what it could acknowledge."""
        if self.unacknowledged:
            received = self.unacknowledged.pop(0)
            if self.session.ack(received.ack_token):
                self.given[received.payload.decode()] += 1
            self.listen()

    def send(self, text: str) -> None:
        self.packet_id = self.packet_id % 5 + 1  # few, so that they are used again
        if self.packet_id not in self.open:
            self.open[self.packet_id] = (text, False)
            self.say(p.Publish("c", text.encode(), 2, packet_id=self.packet_id))

    def read(self, answer: bool) -> None:
        """Read a packet; without an answer when the connection breaks before it is out."""
        if not self.pending:
            return
        answers: list[p.Packet] = []
        match self.pending.pop(0):
            case p.Publish(payload=payload, packet_id=packet_id):
                if packet_id not in self.unreleased:
                    self.unreleased.add(packet_id)
                    self.taken.append(payload.decode())
                answers.append(p.Pubrec(packet_id))
            case p.Pubrel(packet_id):
                self.unreleased.discard(packet_id)
                answers.append(p.Pubcomp(packet_id))
            case p.Pubrec(packet_id):
                if packet_id in self.open:
                    self.open[packet_id] = (self.open[packet_id][0], True)
                answers.append(p.Pubrel(packet_id))
            case p.Pubcomp(packet_id):
                self.open.pop(packet_id, None)
        if answer:
            for packet in answers:
                self.say(packet)
        else:
            self.connect()


steps = st.lists(
    st.sampled_from(["publish", "send", "read", "read", "read", "acknowledge", "read and break", "break"]), max_size=80
)


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from([4, 5]), st.booleans())
def test_everything_comes_exactly_once(steps: list[str], version: p.Version, auto_ack: bool) -> None:
    server = Server(version, auto_ack)
    published: list[str] = []
    sent: set[str] = set()
    for index, step in enumerate(steps):
        text = str(index)
        if step == "publish":
            assert server.session.publish(message(text), 0.0)
            published.append(text)
            server.listen()
        elif step == "send":
            before = dict(server.open)
            server.send(text)
            if server.open != before:
                sent.add(text)
        elif step == "break":
            server.connect()
        elif step == "acknowledge":
            server.acknowledge()
        else:
            server.read(answer=step == "read")
    while server.pending or server.unacknowledged:
        server.acknowledge()
        server.read(answer=True)
    assert server.taken == published
    assert server.done == Counter(published)
    assert server.given == Counter(sent)
    assert server.open == {}
    assert server.session.unfinished == 0
