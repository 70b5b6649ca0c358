"""What engines leave behind, and that it adds up exactly."""

import random
from collections import Counter
from pathlib import Path

import numpy as np

from simulator.audit import Audit, Way
from simulator.causes import Causes
from simulator.histogram import Histogram
from simulator.ledger import Ledger
from simulator.matching import match
from simulator.messages import Publish
from simulator.runtime import accounts
from simulator.runtime.accounts import Merged
from simulator.runtime.meter import Row
from simulator.runtime.rows import Rows

KINDS = ("telemetry", "alert_report")


def engine(things: list[str], messages: int, seed: int) -> tuple[Ledger, Audit]:
    """An engine that said so much."""
    dice, ledger = random.Random(seed), Ledger()  # noqa: S311
    audit = Audit(KINDS, lambda index, topic: things[index])
    audit.epoch_ms = 1_700_000_000_000
    ways = [Way(index) for index in range(len(things))]
    for n in range(messages):
        index, kind = dice.randrange(len(things)), dice.choice(KINDS)
        message = Publish(kind, f"{kind}/{things[index]}", b"x", stamp=1_000_000 * (seed + 1) + n)
        at_s = n / 100
        ledger.attempted[kind] += 1
        audit.said(ways[index], message, at_s)
        match dice.randrange(10):
            case 0:
                ledger.dropped[kind] += 1
                audit.dropped(ways[index], message)
            case 1:
                ledger.sent[kind] += 1
                ledger.refused[kind] += 1
                audit.answered(ways[index], message, 0x87, at_s + 0.01)
            case _:
                ledger.sent[kind] += 1
                ledger.acknowledged[kind] += 1
                audit.answered(ways[index], message, 0, at_s + 0.01)
    return ledger, audit


def test_an_account_survives_its_file(tmp_path: Path) -> None:
    ledger, audit = engine(["a", "b"], 500, 1)
    accounts.write(tmp_path / "account.npz", ledger, audit)
    counts, account = accounts.read(tmp_path / "account.npz")
    book = account.book()
    assert counts == accounts.counts(ledger)
    before = audit.book()
    assert book.subjects == before.subjects
    for name in ("said", "answered"):
        for mine, theirs in zip(getattr(book, name), getattr(before, name), strict=True):
            assert np.array_equal(mine, theirs)
    assert (book.refused, book.dropped, book.unaudited) == (before.refused, before.dropped, before.unaudited)
    assert [path.name for path in tmp_path.iterdir()] == ["account.npz"]


def test_the_books_of_several_engines_come_to_what_one_would_have_written() -> None:
    made = [engine(["a", "b", "c"], 400, 1), engine(["d", "c"], 300, 2), engine([], 0, 3)]
    merged = Merged([audit.book() for _, audit in made])
    total = accounts.total([accounts.counts(ledger) for ledger, _ in made])
    together = match(merged.book(), None, Causes([], 0, {}))
    for kind in KINDS:
        (tally,) = [tally for tally in together.tallies if tally.kind == kind]
        assert tally.said == total["attempted"][kind] == sum(ledger.attempted[kind] for ledger, _ in made)
        assert tally.fates["delivered"] == total["acknowledged"][kind]
        assert tally.fates["refused"] == total["refused"][kind]
        assert tally.fates["never_sent"] == total["dropped"][kind]
    assert merged.taken == sum(total["acknowledged"].values())
    assert set(merged.subjects) == {subject for _, audit in made for subject in audit.subjects}
    assert np.all(np.diff(merged.book().said.at_ms) >= 0), "in the order in which it was said"


def test_nobody_s_books_are_an_empty_one() -> None:
    merged = Merged([])
    assert (merged.taken, merged.subjects, len(merged.book().said.subject)) == (0, [], 0)


def test_rows_are_the_same_whoever_measured_what() -> None:
    dice, rows, whole = random.Random(5), Rows(), Histogram()  # noqa: S311
    failed: Counter[str] = Counter()
    for _ in range(50):
        row = Row("MQTT", dice.choice(["telemetry", "connect"]))
        for _ in range(20):
            value = dice.randrange(1, 10**9)
            row.latency.add(value)
            if row.name == "telemetry":
                whole.add(value)
        row.untimed += 1
        row.fail("full")
        if row.name == "telemetry":
            failed["full"] += 1
        rows.add([Row.unpack(row.pack())])
    mine = rows.total["MQTT", "telemetry"]
    assert mine.latency.pack() == whole.pack()
    assert mine.failed == failed
    assert rows.latencies()["telemetry"].quantile(0.99) == whole.quantile(0.99)


def test_a_level_counts_from_its_beginning() -> None:
    rows = Rows()
    for value in (1, 2):
        row = Row("MQTT", "telemetry")
        row.latency.add(value)
        rows.begin_level()
        rows.add([row])
    assert rows.latencies()["telemetry"].count == 2
    assert rows.latencies(of_level=True)["telemetry"].low == 2
