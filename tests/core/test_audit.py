"""Both ends of the audit: what is written down of each message, and what is made of it beside what arrived."""

from array import array
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import matching
from simulator.audit import TOGETHER, Audit, Subject, Way
from simulator.matching import FATES, LISTED_MAX, ODD, Audited, Deliveries, Fate, Lives, match
from simulator.messages import Publish
from tests.core.fleets import START_MS

KINDS = ("telemetry", "alert_report")
EPOCH_MS = float(START_MS)


class Nothing:
    """Nothing explains anything."""

    def explain(self, fate: Fate, of: Subject, stamp: int, begin_ms: int, end_ms: int) -> str:
        return ""


class Always:
    """Everything has a cause; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def explain(self, fate: Fate, of: Subject, stamp: int, begin_ms: int, end_ms: int) -> str:
        self.asked.append((fate, of.thing, stamp, begin_ms - START_MS, end_ms - START_MS))
        return "loss dropped it"


def audit(rows_max: int = 1000) -> Audit:
    made = Audit(KINDS, lambda index, topic: topic.split("/")[1], rows_max)
    made.epoch_ms = EPOCH_MS
    return made


def said(stamp: int, thing: str = "a", kind: str = "telemetry") -> Publish:
    return Publish(kind, f"t/{thing}/{kind}", b"", stamp=stamp)


# What is written down


def test_what_was_said_and_answered_is_in_the_book() -> None:
    it, way = audit(), Way(0)
    first, second, alert = said(11), said(12), said(12, kind="alert_report")
    for at_s, message in ((1.0, first), (2.0, second), (2.0, alert), (3.0, said(7, kind="shadow_get"))):
        it.said(way, message, at_s)
    it.answered(way, first, 0, 1.25)
    it.answered(way, alert, 0x87, 2.5)
    it.dropped(way, second)
    book = it.book()
    assert book.subjects == [Subject("telemetry", "a"), Subject("alert_report", "a")]
    assert book.said.stamp.tolist() == [11, 12, 12]
    assert book.said.subject.tolist() == [0, 0, 1]
    assert book.said.at_ms.tolist() == [START_MS + 1000, START_MS + 2000, START_MS + 2000]
    assert (book.answered.stamp.tolist(), book.answered.at_ms.tolist()) == ([11], [START_MS + 1250])
    assert (book.refused, book.dropped) == ([(1, 12, START_MS + 2500, 0x87)], [(0, 12)])
    assert (it.taken, book.unaudited) == (1, Counter())


def test_what_has_no_stamp_or_no_room_is_counted() -> None:
    it, way = audit(rows_max=3), Way(0)
    for stamp in (1, 0, 2, 3, 4, 5):
        it.said(way, said(stamp), 1.0)
    it.said(way, said(9, kind="alert_report"), 1.0)
    book = it.book()
    assert book.said.stamp.tolist() == [1, 2, 3]
    assert book.unaudited == {"telemetry": 3, "alert_report": 1}
    outcome = match(book, Deliveries("there", book.subjects), Nothing())
    assert outcome.unaudited.total() == 4


def test_many_messages_take_32_bytes_each() -> None:
    count = TOGETHER
    it, way, topic = audit(rows_max=10 * count), Way(0), "t/a/telemetry"
    for stamp in range(1, count + 1):
        message = Publish("telemetry", topic, b"", stamp=stamp)
        it.said(way, message, stamp / 1000)
        it.answered(way, message, 0, stamp / 1000)
    for log in (it._said, it._answered):
        log.pack()
        assert log.pile.all().nbytes == 16 * count
    assert it.book().said.stamp.tolist() == list(range(1, count + 1))


def test_one_mouth_may_speak_for_several() -> None:
    """As a hub does for its children, on topics that are the same strings or equal ones."""
    it, way = audit(), Way(0)
    for thing in ("a", "b", "a"):
        it.said(way, said(5, thing), 1.0)
    other = Way(1)
    it.said(other, said(6, "a"), 1.0)
    book = it.book()
    assert book.subjects == [Subject("telemetry", "a"), Subject("telemetry", "b")]
    assert book.said.subject.tolist() == [0, 1, 0, 0]


# What is made of it


class Told(NamedTuple):
    """A story: what the fleet did, in order, and what the backend says."""

    steps: str  # of one subject: each letter a message, stamps from 1
    fates: list[Fate]
    hops: list[str] = []  # noqa: RUF012 (a tuple's default)


# s: stored, l: lost after its answer, u: never answered, d: dead letter, r: refused by the broker, n: never sent,
# 2: stored twice, R: came again, L: stored late, <: stored, and before that the message after it
TOLD = [
    Told("sss", ["delivered"] * 3),
    Told("slu", ["delivered", "lost", "lost"],
         ["after it was acknowledged, before the store",
          "between the device and the broker or gateway: never acknowledged"]),
    Told("drn", ["refused", "refused", "never_sent"],
         ["the backend refused it: metric.range", "the broker or gateway refused it: reason code 0x97",
          "the device: there was no room to keep it"]),
    Told("2R", ["duplicate", "duplicate"], ["the store has it 2 times", "delivered again, and kept once"]),
    Told("sLs", ["delivered", "late", "delivered"], ["stored 6.0 s after it was said"]),
    Told("<ss", ["reordered", "delivered", "delivered"], ["arrived after one that was said later"]),
]  # fmt: skip


def play(steps: str) -> tuple[Audit, Deliveries]:
    it, way = audit(), Way(0)
    arrivals: list[tuple[int, str, int]] = []  # (place, how, stamp)
    for i, step in enumerate(steps):
        message, at_s = said(i + 1), float(10 * i)
        it.said(way, message, at_s)
        if step == "n":
            it.dropped(way, message)
        elif step == "r":
            it.answered(way, message, 0x97, at_s)
        elif step != "u":
            it.answered(way, message, 0, at_s + 0.1)
        arrivals.append((10 * i + (15 if step == "<" else 0), step, i + 1))
    got = Deliveries("there", [Subject("telemetry", "a")])
    for seq, (_, step, stamp) in enumerate(sorted(arrivals)):
        stored_ms = START_MS + 10_000 * (stamp - 1) + (6000 if step == "L" else 200)
        if step in "s2RL<":
            got.stored("telemetry", "a", stamp, stored_ms, seq)
        if step == "2":
            got.stored("telemetry", "a", stamp, stored_ms, seq)
        if step == "R":
            got.repeated("telemetry", "a", stamp, stored_ms + 400)
        if step == "d":
            got.dead("telemetry", "a", stamp, stored_ms, "metric.range")
    return it, got


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.steps)
def test_every_message_has_its_fate(told: Told) -> None:
    it, got = play(told.steps)
    outcome = match(it.book(), got, Nothing())
    [tally] = outcome.tallies
    assert (tally.said, tally.fates) == (len(told.steps), Counter(told.fates))
    assert tally.unexplained == Counter(fate for fate in told.fates if fate != "delivered")
    odd = sorted((one.stamp, one.fate, one.hop) for one in outcome.unexplained)
    assert [fate for _, fate, _ in odd] == [fate for fate in told.fates if fate != "delivered"]
    assert [hop for _, _, hop in odd] == told.hops


def test_what_is_explained_is_counted_by_its_cause() -> None:
    it, got = play("slR")
    why = Always()
    [tally] = match(it.book(), got, why).tallies
    assert tally.unexplained == {}
    assert tally.causes == {"lost": {"loss dropped it": 1}, "duplicate": {"loss dropped it": 1}}
    assert why.asked == [("lost", "a", 2, 10_000, 10_100), ("duplicate", "a", 3, 20_000, 20_600)], "with their lives"


def test_without_a_backend_what_was_acknowledged_is_delivered() -> None:
    it, _ = play("slun")
    outcome = match(it.book(), None, Nothing())
    assert not outcome.sees_store
    assert outcome.tallies[0].fates == {"delivered": 2, "lost": 1, "never_sent": 1}
    assert outcome.took_ms["telemetry"].tolist() == []


def test_times_are_those_of_messages_that_nothing_disturbed() -> None:
    it, got = play("sLs")
    assert match(it.book(), got, Nothing()).took_ms["telemetry"].tolist() == [200, 200, 6000]
    assert match(it.book(), got, Always()).took_ms["telemetry"].tolist() == [200, 200]


def test_messages_that_look_alike_are_told_apart_by_number() -> None:
    it, way = audit(), Way(0)
    for at_s in (1.0, 1.0, 1.0):
        it.said(way, said(5), at_s)
        it.answered(way, said(5), 0, at_s)
    got = Deliveries("there", it.subjects)
    got.stored("telemetry", "a", 5, START_MS + 1100, 1)
    got.stored("telemetry", "a", 5, START_MS + 1100, 2)
    assert match(it.book(), got, Nothing()).tallies[0].fates == {"delivered": 2, "lost": 1}
    got.repeated("telemetry", "a", 5, START_MS + 1200)
    assert match(it.book(), got, Nothing()).tallies[0].fates == {"delivered": 2, "duplicate": 1}


def test_a_kind_that_nobody_audits_has_no_strangers() -> None:
    for followed, strangers in (((), 1), (("control_result",), 2)):
        got = Deliveries("there", [Subject("telemetry", "a")], followed).anew()
        for kind in ("telemetry", "upload_request", "control_result"):
            got.stored(kind, "b", 5)
        assert got.strangers == strangers
        whose = [("telemetry", "b"), ("upload_request", "a"), ("control_result", "b")]
        got.all_stored(whose, array("q", [0, 5, 7, 1, 5, 7, 2, 5, 7]))
        assert (got.strangers, got.count) == (2 * strangers, 0)


def test_what_nobody_said_and_what_cannot_be_read_is_counted_apart() -> None:
    it, got = play("s")
    got.stored("telemetry", "stranger", 5)
    got.dead("telemetry", "a", 0, START_MS, "payload.not_json")
    got.dead("", "", 0, START_MS, "topic.unknown")
    outcome = match(it.book(), got, Nothing())
    assert (outcome.strangers, outcome.unread) == (1, {"payload.not_json": 1, "topic.unknown": 1})
    assert outcome.refusals == [("a", START_MS)]


def test_pages_of_an_api() -> None:
    got = Deliveries("there", [Subject("telemetry", "a")])
    rows = got.page({"stored": [["telemetry", "a", 1], ["telemetry", "a", 2, 5], ["telemetry", "a", 3, 6, 7]]})
    assert (rows, got.count) == (3, 3)
    assert got.pick(None).stored.tolist() == [[0, 0, 0], [1, 2, 3], [-1, 5, 6], [-1, -1, 7]]
    assert got.page({"dead": [["telemetry", "a", 4, 9, "why"]], "repeated": [["telemetry", "a", 1, 9]]}) == 2
    assert got.anew().count == 0
    with pytest.raises(ValueError, match="unpack"):
        got.page({"stored": [["telemetry", "a"]]})


def test_only_some_of_the_unexplained_are_listed() -> None:
    it, way = audit(10_000), Way(0)
    for stamp in range(1, LISTED_MAX + 51):
        it.said(way, said(stamp), 1.0)
    outcome = match(it.book(), Deliveries("there", it.subjects), Nothing())
    assert (outcome.tallies[0].unexplained["lost"], len(outcome.unexplained)) == (LISTED_MAX + 50, LISTED_MAX)


def test_an_empty_run() -> None:
    outcome = match(audit().book(), Deliveries("there", []), Nothing())
    assert (outcome.tallies, outcome.unexplained) == ([], [])
    assert Audited("").count(ODD) == 0


# Any history at all


class Message(NamedTuple):
    thing: str
    fate: str
    after_ms: int  # from said to stored


HISTORIES = st.lists(
    st.builds(
        Message,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(
            ["stored", "stored", "stored", "lost", "unanswered", "twice", "again", "dead", "refused", "unsent"]
        ),
        st.integers(0, 12_000),
    ),
    max_size=60,
)


@given(history=HISTORIES)
def test_any_history_is_told_right(history: list[Message]) -> None:
    """Planted fates are found, whatever the order in which things arrive."""
    it, ways = audit(), {thing: Way(i) for i, thing in enumerate("abc")}
    stored: list[tuple[int, int, str]] = []  # (when, which, thing)
    for i, (thing, fate, after_ms) in enumerate(history):
        at_ms, message = 100 * i, said(1000 + i, thing)
        it.said(ways[thing], message, at_ms / 1000)
        if fate == "unsent":
            it.dropped(ways[thing], message)
        elif fate != "unanswered":
            it.answered(ways[thing], message, 0x80 if fate == "refused" else 0, at_ms / 1000)
        stored += [(at_ms + after_ms, i, thing)] * {"stored": 1, "again": 1, "twice": 2}.get(fate, 0)
    book = it.book()
    got = Deliveries("there", book.subjects)
    for seq, (at_ms, i, thing) in enumerate(sorted(stored)):
        got.stored("telemetry", thing, 1000 + i, START_MS + at_ms, seq)
    for i, (thing, fate, _) in enumerate(history):
        if fate == "again":
            got.repeated("telemetry", thing, 1000 + i, START_MS)
        elif fate == "dead":
            got.dead("telemetry", thing, 1000 + i, START_MS, "why")

    firsts = {i: place for place, (_, i, _) in reversed(list(enumerate(sorted(stored))))}
    expected: list[Fate] = []
    for i, (thing, fate, after_ms) in enumerate(history):
        overtaken = (
            any(history[j].thing == thing and firsts[j] < firsts[i] for j in firsts if j > i) if i in firsts else False
        )
        expected.append(
            {"lost": "lost", "unanswered": "lost", "twice": "duplicate", "again": "duplicate", "dead": "refused",
             "refused": "refused", "unsent": "never_sent"}.get(fate)  # type: ignore[arg-type]
            or ("reordered" if overtaken else "late" if after_ms > 5000 else "delivered")
        )  # fmt: skip
    outcome = match(book, got, Nothing())
    fates = sum((tally.fates for tally in outcome.tallies), Counter[Fate]())
    assert fates == Counter(expected)
    assert sum(tally.said for tally in outcome.tallies) == len(history)
    odd = {one.stamp - 1000: one.fate for one in outcome.unexplained}
    assert odd == {i: fate for i, fate in enumerate(expected) if fate != "delivered"}


@given(
    stamps=st.lists(st.integers(1, 4), max_size=40),
    stored=st.lists(st.integers(1, 5), max_size=40),
    repeated=st.lists(st.integers(1, 5), max_size=10),
    dead=st.lists(st.integers(1, 5), max_size=10),
    dropped=st.lists(st.integers(1, 4), max_size=10),
)
def test_every_message_is_accounted_for(
    stamps: list[int], stored: list[int], repeated: list[int], dead: list[int], dropped: list[int]
) -> None:
    """However many look alike, each said message gets exactly one fate, and no arrival is used twice."""
    it, way = audit(), Way(0)
    for stamp in stamps:
        it.said(way, said(stamp), 1.0)
    for stamp in dropped:
        it.dropped(way, said(stamp))
    got = Deliveries("there", [Subject("telemetry", "a")])
    for seq, stamp in enumerate(stored):
        got.stored("telemetry", "a", stamp, START_MS + 1000, seq)
    for stamp in repeated:
        got.repeated("telemetry", "a", stamp, START_MS + 1000)
    for stamp in dead:
        got.dead("telemetry", "a", stamp, START_MS, "why")
    tallies = match(it.book(), got, Nothing()).tallies
    fates = tallies[0].fates if tallies else Counter[Fate]()
    assert sum(fates[fate] for fate in FATES) == len(stamps)
    arrived = {s: stored.count(s) + repeated.count(s) + dead.count(s) for s in set(stamps)}
    missing = sum(max(0, stamps.count(s) - arrived[s]) for s in set(stamps))
    assert fates["lost"] + fates["never_sent"] == missing


def test_columns_are_small() -> None:
    it, _ = play("sss")
    assert it.book().said.subject.dtype == np.uint32


def test_a_long_run_is_matched_some_subjects_at_a_time_and_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    things = [f"d{i}" for i in range(17)]
    it, ways = Audit(KINDS, lambda index, topic: things[index]), [Way(index) for index in range(17)]
    it.epoch_ms = EPOCH_MS
    told = [(n, n * 7 % 17, KINDS[n % 3 == 0], n // 2 + 1, EPOCH_MS + 100 * n) for n in range(2_000)]
    for n, index, kind, stamp, _ in told:
        message = Publish(kind, f"{kind}/{things[index]}", b"", stamp=stamp)
        it.said(ways[index], message, n / 10)
        if n % 19 == 0:
            it.dropped(ways[index], message)
        else:
            it.answered(ways[index], message, 0x87 if n % 23 == 0 else 0, n / 10)
    got = Deliveries("there", it.subjects)
    for n, index, kind, stamp, at_ms in told:
        if n % 29 and n % 19:
            got.stored(kind, things[index], stamp, int(at_ms) + (6_000 if n % 31 == 0 else 5), n)
        elif n % 2:
            got.dead(kind, things[index], stamp, int(at_ms), f"odd {n % 5}")
        if n % 37 == 0:
            got.repeated(kind, things[index], stamp, int(at_ms))
    all_lives: list[Lives] = []
    some_lives: list[Lives] = []
    whole = match(it.book(), got, Nothing(), follow=all_lives.append)
    monkeypatch.setattr(matching, "TOGETHER", 300)
    apart = match(it, got, Nothing(), follow=some_lives.append)
    assert apart.tallies == whole.tallies
    assert {fate for tally in whole.tallies for fate in tally.fates} >= {"delivered", "late", "lost", "refused"}
    assert Counter(apart.unexplained) == Counter(whole.unexplained)
    assert sorted(apart.refusals) == sorted(whole.refusals)
    for kind in KINDS:
        assert apart.took_ms[kind].tolist() == whole.took_ms[kind].tolist()
    assert len(some_lives) > len(all_lives) == 1
    together = sorted(ms for some in some_lives for ms in some.stored_ms.tolist())
    assert together == sorted(all_lives[0].stored_ms.tolist())
