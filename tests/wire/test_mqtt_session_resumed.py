"""An MQTT session after a reconnect: what it sends again and in which order, and that nothing is lost."""

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.wire.mqtt import Acknowledged, Settings
from simulator.wire.mqtt import packets as p
from tests.wire.mqtt_far_side import BOTH, Far, message, up


@BOTH
def test_a_resumed_session_repeats_in_order_as_duplicates(settings: Settings) -> None:
    far = up(settings._replace(in_flight_max=3, clean_start=False))
    far.publish(*"12345")
    assert far.payloads() == ["1", "2", "3"]
    far.say(p.Puback(2))
    far.session.drain()
    far.session.lost()
    far.now_s += 5
    far.connect(p.Connack(session_present=True))
    sent = [packet for packet in far.heard() if isinstance(packet, p.Publish)]
    assert [(packet.packet_id, packet.payload, packet.dup) for packet in sent] == [
        (1, b"1", True),
        (3, b"3", True),
        (4, b"4", True),
    ]
    far.say(p.Puback(1), p.Puback(3), p.Puback(4))
    assert far.payloads() == ["5"]
    # The latency of a message counts from its first write.
    assert far.session.drain()[1:] == [Acknowledged(message(text), 100.0, 0) for text in "134"]


@BOTH
def test_a_new_session_gets_the_unacknowledged_ones_as_new(settings: Settings) -> None:
    far = up(settings._replace(in_flight_max=2))
    far.publish(*"123")
    far.session.lost()
    far.publish("4")
    far.connect()
    assert far.payloads() == ["1", "2"]
    far.say(p.Puback(3), p.Puback(4))
    assert far.payloads() == ["3", "4"]


def test_a_smaller_receive_maximum_is_kept_while_repeating() -> None:
    far = up(Settings("d1", in_flight_max=4, clean_start=False))
    far.publish(*"12345")
    far.session.lost()
    far.connect(p.Connack(True, 0, (("receive_maximum", 1),)))
    assert far.payloads() == ["1!"]
    far.session.subscribe(("a",), far.now_s)
    (subscribe,) = far.heard()
    assert isinstance(subscribe, p.Subscribe)
    assert subscribe.packet_id not in (1, 2, 3, 4)
    far.publish("6")
    for packet_id, payload in zip((1, 2, 3), ("2!", "3!", "4!"), strict=True):
        far.say(p.Puback(packet_id))
        assert far.payloads() == [payload]
    # Lost again in the middle: what was not repeated yet is still there, in order.
    far.session.lost()
    far.connect(p.Connack(True))
    assert far.payloads() == ["4!", "5", "6"]


def test_repeating_counts_the_time_out_from_the_reconnect() -> None:
    far = up(Settings("d1", answer_timeout_s=5, clean_start=False))
    far.publish("1")
    far.session.lost()
    far.now_s += 100
    far.connect(p.Connack(True))
    far.pass_s(4)
    assert far.closed() == ""
    far.pass_s(1)
    assert far.closed() == "no PUBACK within 5 s"


# --- all of it ---


steps = st.lists(st.sampled_from(["publish", "ack", "lose", "lose and resume", "pause", "resume"]), max_size=60)


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(1, 4), st.sampled_from([4, 5]))
def test_nothing_is_lost_and_order_is_kept(steps: list[str], window: int, version: p.Version) -> None:
    """Whatever happens to the connection, each message first comes in order, and all come in the end."""
    far = Far(Settings("d1", version, in_flight_max=window, clean_start=False))
    far.connect()
    open_ids: list[int] = []
    first: list[int] = []
    done: set[int] = set()
    count = 0

    def collect() -> None:
        for packet in far.heard():
            assert isinstance(packet, p.Publish)
            assert packet.packet_id not in open_ids
            open_ids.append(packet.packet_id)
            if int(packet.payload) not in first:
                first.append(int(packet.payload))
        assert len(open_ids) <= window
        done.update(int(e.message.payload) for e in far.session.drain() if isinstance(e, Acknowledged))

    for step in [*steps, "resume", *["ack"] * 70]:
        if step == "publish":
            assert far.session.publish(message(str(count)), far.now_s)
            count += 1
        elif step == "ack" and open_ids:
            far.say(p.Puback(open_ids.pop(0)))
        elif step.startswith("lose"):
            far.session.lost()
            open_ids.clear()
            far.connect(p.Connack(session_present=step.endswith("resume")))
        elif step == "pause":
            far.session.pause()
        elif step == "resume":
            far.session.resume(far.now_s)
        collect()
    assert first == list(range(count))
    assert done == set(range(count))
    assert far.session.unfinished == 0
