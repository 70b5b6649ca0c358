"""Data sets: the same bytes for the same options, labels that look ahead, parts by sensor, all or nothing."""

import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.clock import VIRTUAL_START_MS
from simulator.dataset import making, mix, reading
from simulator.dataset.columns import COLUMNS, FEATURE_NAMES
from simulator.dataset.making import Options
from simulator.errors import UsageError
from tests.dataset.small_sets import BUSY, made

ALL = ("csv", "jsonl", "parquet", "npz")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


_MAKE = """
import sys
from pathlib import Path
from tests.dataset.small_sets import made
made(Path(sys.argv[1]), forms=("csv", "jsonl", "parquet", "npz"), split=(0.5, 0.5))
made(Path(sys.argv[1]) / "zipped", gzip=True)
"""


@pytest.mark.e2e
def test_the_same_options_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", _MAKE, str(folder)], env=environment, check=True)
        (zipped,) = [path for path in folder.iterdir() if path.is_dir()]
        of_zipped = sums(zipped)
        for path in zipped.iterdir():
            path.unlink()
        zipped.rmdir()
        found.append((sums(folder), of_zipped))
    assert found[0] == found[1]
    assert len(found[0][0]) == 10
    assert len(found[0][1]) == 3


def test_blocks_and_groups_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "one", forms=("csv", "npz"), stride=7)
    monkeypatch.setattr(making, "_CELLS_MAX", 12_000)
    made(tmp_path / "blocks", forms=("csv", "npz"), stride=7)
    assert sums(tmp_path / "one") == sums(tmp_path / "blocks")
    monkeypatch.setattr(making, "_CELLS_MAX", 8_000)  # two sensors in a group
    made(tmp_path / "groups")
    key = lambda row: (row["at_ms"], row["device"])  # noqa: E731
    assert sorted(rows(tmp_path / "one/data.csv"), key=key) == sorted(rows(tmp_path / "groups/data.csv"), key=key)


def test_the_label_looks_ten_minutes_ahead(tmp_path: Path) -> None:
    counts = made(tmp_path)
    of: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows(tmp_path / "data.csv"):
        of[row["device"]].append(row)
    assert [len(some) for some in of.values()] == [360] * 3
    positive = fires = 0
    for some in of.values():
        holds = [row["lead_s"] == "0" for row in some]
        for place, row in enumerate(some[:-60]):
            assert int(row["label"]) == any(holds[place : place + 11]), (row["device"], place)
            ahead = next((n for n, is_so in enumerate(holds[place : place + 61]) if is_so), None)
            assert row["lead_s"] == ("" if ahead is None else str(60 * ahead))
        positive += sum(row["label"] == "1" for row in some)
        fires += sum(row["fire"] == "1" for row in some)
    assert counts.positive.total() == positive > 20
    assert counts.fire.total() == fires > positive / 2
    assert {row["event"] for some in of.values() for row in some} == {"0", "1", "2"}


def test_the_card_says_what_is_in_it(tmp_path: Path) -> None:
    counts = made(tmp_path, forms=ALL)
    card = json.loads((tmp_path / "card.json").read_bytes())
    assert card["rows"] == counts.rows.total() == 1080
    assert card["parts"]["data"]["positive"] == counts.positive[""]
    assert card["parts"]["data"]["windows"] == counts.windows[""] > 20
    assert [column["name"] for column in card["columns"]] == [column.name for column in COLUMNS]
    assert card["seed"] == 5
    assert sum(event["count"] for event in card["events"]) == sum(counts.events.values()) > 0
    assert card["files"] == ["data.csv", "data.jsonl", "data.parquet", "data.npz"]
    text = (tmp_path / "card.md").read_text()
    assert card["command"] in text
    assert str(tmp_path) not in text


def test_all_forms_say_the_same(tmp_path: Path) -> None:
    made(tmp_path, forms=ALL, gzip=True)
    tables = {name: list(reading.tables(tmp_path / name)) for name in ("data.csv.gz", "data.jsonl.gz", "data.parquet")}
    first = tables["data.csv.gz"]
    for name, some in tables.items():
        assert [table.devices for table in some] == [table.devices for table in first], name
        for one, other in zip(some, first, strict=True):
            for column in ("at_ms", "features", "label", "fire", "lead_s"):
                np.testing.assert_array_equal(getattr(one, column), getattr(other, column), name)


def test_windows_are_thirty_records_of_one_sensor(tmp_path: Path) -> None:
    made(tmp_path, forms=("csv", "npz"), stride=10)
    [whole] = reading.tables(tmp_path / "data.csv")
    by_key = {key: place for place, key in enumerate(zip(whole.devices, whole.at_ms.tolist(), strict=True))}
    [windows] = reading.tables(tmp_path / "data.npz")
    assert windows.features.shape[1:] == (30, len(FEATURE_NAMES))
    assert len(windows.devices) == 3 * ((360 - 30) // 10 + 1)
    for place, (device, at_ms) in enumerate(zip(windows.devices, windows.at_ms.tolist(), strict=True)):
        last = by_key[device, at_ms]
        places = [by_key[device, at_ms - 60_000 * (29 - n)] for n in range(30)]
        np.testing.assert_array_equal(windows.features[place], whole.features[places].astype(np.float32))
        assert (windows.label[place], windows.fire[place]) == (whole.label[last], whole.fire[last])


def test_no_window_has_a_gap(tmp_path: Path) -> None:
    crash = mix.Mix.model_validate(
        {"happenings": [{"name": "crash", "per_day": 20, "fault": {"kind": "crash", "off_s": 400.0, "for_s": 500.0}}]}
    )
    counts = made(tmp_path, mix=crash, forms=("csv", "npz"), stride=1)
    assert counts.missing > 10
    assert counts.rows.total() == 1080 - counts.missing
    [windows] = reading.tables(tmp_path / "data.npz")
    assert 0 < len(windows.devices) < 3 * 331 - 29 * 3
    assert not np.isnan(windows.features).any()


def test_parts_share_no_sensor(tmp_path: Path) -> None:
    made(tmp_path, devices=12, days=0.02, split=(0.5, 0.25, 0.25))
    things = [{row["device"] for row in rows(tmp_path / f"{part}.csv")} for part in making.PARTS]
    assert sum(map(len, things)) == len(set.union(*things)) == 12
    assert all(things)
    with pytest.raises(UsageError, match="--part"):
        reading.file_of(tmp_path)
    assert reading.file_of(tmp_path, "test").name == "test.csv"


def test_a_gzip_file_has_no_time_in_it(tmp_path: Path) -> None:
    made(tmp_path, gzip=True, days=0.02)
    data = (tmp_path / "data.csv.gz").read_bytes()
    assert data[4:8] == bytes(4)
    assert gzip.decompress(data).startswith(b"device,at_ms,voltage,")


def test_nothing_is_overwritten_unless_told_to(tmp_path: Path) -> None:
    options = Options()
    making.refuse_to_overwrite(tmp_path, options, force=False)
    (tmp_path / "data.csv").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        making.refuse_to_overwrite(tmp_path, options, force=False)
    making.refuse_to_overwrite(tmp_path, options, force=True)


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"fleetsim\[parquet\]"):
        made(tmp_path, forms=("csv", "parquet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devices": 0}, "--devices"), ({"days": 0.0}, "--days"), ({"every_s": 7.0, "step_s": 2.0}, "whole number"),
        ({"every_s": 5.0}, "whole number"), ({"forms": ("xml",)}, "'xml'"), ({"forms": ()}, "nothing"),
        ({"split": (0.5, 0.4)}, "--split"), ({"split": (1.0,)}, "--split"), ({"profiles": ("machine-a",)}, "no fire"),
        ({"profiles": ("fire-senso",)}, "did you mean"), ({"devices": 100_000, "days": 3000.0}, "rows are more"),
        ({"stride": 0}, "--stride"), ({"days": 0.001, "every_s": 3600.0}, "no record"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Options(**changes).check()


def test_times_are_those_of_the_virtual_clock(tmp_path: Path) -> None:
    made(tmp_path, days=0.01)
    assert rows(tmp_path / "data.csv")[0]["at_ms"] == str(VIRTUAL_START_MS + 60_000)


def test_a_mix_is_scaled_in_its_proportions() -> None:
    usual = mix.usual()
    scaled = usual.scaled(0.5, 0)
    assert all(one.is_fire for one in scaled.happenings)
    assert sum(one.per_day for one in scaled.happenings) == pytest.approx(0.5)
    assert usual.scaled(None, None) == usual
    with pytest.raises(UsageError, match="no fires"):
        mix.Mix(happenings=[]).scaled(1.0, None)


def test_one_thing_at_a_time_befalls_a_sensor() -> None:
    for number in range(50):
        found = mix.events(BUSY, 1, f"device-{number}", 10)
        for before, after in pairwise(found):
            assert after.at_s >= before.at_s + BUSY.happenings[before.kind].lasts_s + mix.REST_S


def test_as_much_befalls_sensors_as_the_mix_says() -> None:
    rare = mix.Mix(happenings=[BUSY.happenings[0].model_copy(update={"per_day": 0.05})])
    count = sum(len(mix.events(rare, 1, f"device-{n}", 4)) for n in range(2000))
    assert 340 < count < 460  # 400 in the mean


def test_mistakes_in_a_mix_have_their_line(tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text("happenings:\n  - {name: a, per_day: 0.1, fault: {kind: fires}}\n")
    with pytest.raises(UsageError, match=r"mix.yaml:2.*fires"):
        mix.read(path)
    twice = "{name: a, per_day: 0.1, fault: {kind: fire}}"
    path.write_text(f"happenings:\n  - {twice}\n  - {twice}\n")
    with pytest.raises(UsageError, match=r"mix.yaml:3.*there already"):
        mix.read(path)
    path.write_text("happenings:\n  - {name: a, per_day: 0.1, fault: {kind: hang, part: fan}}\n")
    with pytest.raises(UsageError, match="cannot have the fault 'hang'"):
        Options(mix=mix.read(path)).check()
    path.write_text("happenings:\n  - {name: a, per_day: 0.1, fault: {kind: outage, signal: grid}}\n")
    mix.read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "data.csv:1: these are not"),
        ("{head}\ndevice-001,1,2\n", "data.csv:2: 3 columns"),
        ("{head}\ndevice-001,x{rest}\n", "data.csv:2: could not"),
    ],
)
def test_a_broken_table_has_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "data.csv"
    head = ",".join(column.name for column in COLUMNS)
    path.write_text(text.format(head=head, rest=",1" * (len(COLUMNS) - 2)))
    with pytest.raises(UsageError, match=said):
        list(reading.tables(path))


def test_what_is_no_data_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there"):
        reading.file_of(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no card\.json"):
        reading.file_of(tmp_path)
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(UsageError, match="no data card"):
        reading.file_of(tmp_path)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(UsageError, match="its name ends"):
        reading.file_of(tmp_path / "x.txt")
    for name in ("x.npz", "x.parquet"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(UsageError, match="cannot be read"):
            list(reading.tables(tmp_path / name))
