"""MQTT packets by property: what is written is read again, any bytes are safe, chunks do not matter."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.wire.mqtt import Decoder, MqttError, encode
from simulator.wire.mqtt import packets as p
from simulator.wire.mqtt.properties import PROPERTIES, Property, Value

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)
filters = texts.filter(bool)
blobs = st.binary(max_size=40)
ids = st.integers(1, 0xFFFF)
codes = st.integers(0, 0xFF)
levels = st.integers(0, 2)


def values(row: Property) -> st.SearchStrategy[Value]:
    if row.name == "user_property":
        return st.tuples(texts, texts)
    if row.kind.high is not None:
        return st.integers(row.kind.low, row.kind.high)
    return blobs if row.name.endswith("_data") else texts


def properties(packet: str, version: int) -> st.SearchStrategy[tuple[tuple[str, Value], ...]]:
    if version < 5:
        return st.just(())
    rows = [row for row in PROPERTIES if packet in row.packets]
    single = st.lists(
        st.sampled_from(rows).flatmap(lambda row: st.tuples(st.just(row.name), values(row))),
        max_size=4,
        unique_by=lambda pair: pair if pair[0] == "user_property" else pair[0],
    )
    return single.map(tuple)


def answers(made: type, name: str, version: int) -> st.SearchStrategy[p.Packet]:
    if version < 5:
        return st.builds(lambda packet_id: made(packet_id), ids)
    return st.builds(made, ids, codes, properties(name, version))


def packets(version: p.Version) -> st.SearchStrategy[p.Packet]:
    v5 = version == 5
    wills = st.builds(p.Will, topics, blobs, levels, st.booleans(), properties("WILL", version))
    credentials = st.sampled_from([(None, None), ("u", None), ("u", b"p")] + [(None, b"p")] * v5)
    options = (levels, st.booleans(), st.booleans(), levels) if v5 else (levels,)
    subscriptions = st.lists(
        st.tuples(filters, *options).map(lambda fields: p.Subscription(*fields)), min_size=1, max_size=9
    ).map(tuple)
    said = st.lists(codes, min_size=1, max_size=9).map(tuple)
    seconds = st.integers(0, 0xFFFF)
    kinds: list[st.SearchStrategy[p.Packet]] = [
        st.builds(
            lambda name, will, who, clean, keep, said: p.Connect(name, version, clean, keep, said, will, *who),
            texts,
            st.none() | wills,
            credentials,
            st.booleans(),
            seconds,
            properties("CONNECT", version),
        ),
        st.builds(p.Connack, st.booleans(), codes, properties("CONNACK", version)),
        st.builds(
            lambda topic, payload, qos, retain, dup, packet_id, said: p.Publish(
                topic, payload, qos, retain, dup and qos > 0, packet_id if qos else 0, said
            ),
            topics,
            blobs,
            levels,
            st.booleans(),
            st.booleans(),
            ids,
            properties("PUBLISH", version),
        ),
        answers(p.Puback, "PUBACK", version),
        answers(p.Pubrec, "PUBREC", version),
        answers(p.Pubrel, "PUBREL", version),
        answers(p.Pubcomp, "PUBCOMP", version),
        st.builds(p.Subscribe, ids, subscriptions, properties("SUBSCRIBE", version)),
        st.builds(p.Suback, ids, said, properties("SUBACK", version)),
        st.builds(
            p.Unsubscribe,
            ids,
            st.lists(filters, min_size=1, max_size=9).map(tuple),
            properties("UNSUBSCRIBE", version),
        ),
        st.builds(p.Unsuback, ids, said, properties("UNSUBACK", version)) if v5 else ids.map(p.Unsuback),
        st.just(p.Pingreq()),
        st.just(p.Pingresp()),
        st.builds(p.Disconnect, codes, properties("DISCONNECT", version)) if v5 else st.just(p.Disconnect()),
    ]
    if v5:
        kinds.append(st.builds(p.Auth, codes, properties("AUTH", version)))
    return st.one_of(kinds)


def read_all(decoder: Decoder, chunks: list[bytes]) -> tuple[list[p.Packet], str]:
    """Every packet of the chunks, and the mistake that ended them."""
    found: list[p.Packet] = []
    try:
        for chunk in chunks:
            found += decoder.feed(chunk)
        decoder.feed(b"")
    except MqttError as error:
        return found, str(error)
    return found, ""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


versions: st.SearchStrategy[p.Version] = st.sampled_from((p.V311, p.V5))
streams = st.one_of(
    st.tuples(st.just(p.V311), st.lists(packets(p.V311), min_size=1, max_size=3)),
    st.tuples(st.just(p.V5), st.lists(packets(p.V5), min_size=1, max_size=3)),
)


@settings(max_examples=300, deadline=None)
@given(streams, st.lists(st.integers(0, 10_000), max_size=5))
def test_what_is_written_is_read_again_in_any_chunks(
    stream: tuple[p.Version, list[p.Packet]], places: list[int]
) -> None:
    version, said = stream
    # The decoder follows a CONNECT's version, which here is the one spoken already.
    data = b"".join(encode(packet, version) for packet in said)
    assert read_all(Decoder(version), cut(data, places)) == (said, "")


@settings(max_examples=500, deadline=None)
@given(versions, st.binary(max_size=80), st.lists(st.integers(0, 10_000), max_size=5))
def test_any_bytes_give_packets_or_an_mqtt_error_in_any_chunks(
    version: p.Version, data: bytes, places: list[int]
) -> None:
    assert read_all(Decoder(version), [data]) == read_all(Decoder(version), cut(data, places))


@settings(max_examples=500, deadline=None)
@given(streams, st.integers(0, 10_000), st.integers(0, 255), st.lists(st.integers(0, 10_000), max_size=5))
def test_one_wrong_byte_gives_packets_or_an_mqtt_error(
    stream: tuple[p.Version, list[p.Packet]], place: int, byte: int, places: list[int]
) -> None:
    version, said = stream
    data = bytearray(b"".join(encode(packet, version) for packet in said))
    data[place % len(data)] = byte
    once = read_all(Decoder(version), [bytes(data)])
    assert once == read_all(Decoder(version), cut(bytes(data), places))


@settings(max_examples=300, deadline=None)
@given(streams)
def test_what_was_read_can_be_written_again(stream: tuple[p.Version, list[p.Packet]]) -> None:
    version, said = stream
    data = b"".join(encode(packet, version) for packet in said)
    found, _ = read_all(Decoder(version), [data])
    assert b"".join(encode(packet, version) for packet in found) == data
