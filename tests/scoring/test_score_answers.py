"""Files of predictions: joined by sensor and time, and every mistake with its line."""

import json
from pathlib import Path

import numpy as np
import pytest

from simulator.dataset import reading
from simulator.errors import UsageError
from simulator.scoring.answers import Predictions
from simulator.scoring.known import known
from tests.dataset.small_sets import made

HEAD = "device,at_ms,score\n"


def test_a_file_is_joined_by_sensor_and_time(tmp_path: Path) -> None:
    made(tmp_path, days=0.05)
    [table] = reading.tables(tmp_path / "data.csv")
    rows = [f"{device},{at_ms},{place % 10 / 10}" for place, (device, at_ms) in enumerate(
        zip(table.devices, table.at_ms.tolist(), strict=True)
    )]  # fmt: skip
    answers = tmp_path / "answers.csv"
    answers.write_text(HEAD + "\n".join([*reversed(rows[5:]), rows[7], "device-001,5,0.5"]))
    ask = Predictions(answers)
    found = known(tmp_path / "data.csv", ask, lambda done: None)
    assert (ask.twice, ask.without_record, int(np.isnan(found.score).sum())) == (1, 1, 5)
    expected = {key: place % 10 / 10 for place, key in enumerate(zip(table.devices, table.at_ms.tolist(), strict=True))}
    for device, at_ms, score in zip(found.device, found.at_ms.tolist(), found.score.tolist(), strict=True):
        if score == score:
            assert score == pytest.approx(expected[found.names[device], at_ms])
    assert (np.diff(found.device) >= 0).all(), "by sensor"
    split = (row.split(",") for row in rows)
    lines = "\n".join(json.dumps({"device": name, "at_ms": at_ms, "score": score}) for name, at_ms, score in split)
    (tmp_path / "answers.jsonl").write_text(lines + "\n\n")
    same = known(tmp_path / "data.csv", Predictions(tmp_path / "answers.jsonl"), lambda done: None)
    assert np.isnan(same.score).sum() == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", HEAD + "x,1,1.5\n", r"a\.csv:2: a score is a number from 0 to 1"),
        ("a.csv", HEAD + "x,1,nan\n", "a score is a number"),
        ("a.csv", HEAD + "x,1,0.5\nx,one,0.5\n", r"a\.csv:3: invalid literal"),
        ("a.csv", "device,at_ms,p\nx,1,1\n", r"a\.csv:2: has no 'score'"),
        ("a.csv", HEAD + 'x,1,"0.5\n', "unexpected end"),
        ("a.csv", HEAD + "x" * 20_000, "more than 10000 characters"),
        ("a.jsonl", '{"device": "x", "at_ms": 1}\n', r"a\.jsonl:1: has no 'score'"),
        ("a.jsonl", "[1]\n", "is no JSON object"),
        ("a.jsonl", '{"device": "x", "at_ms": 1, "score": true', "a.jsonl:1"),
        ("a.jsonl", '{"device": "x", "at_ms": 1, "score": null}', "a.jsonl:1"),
    ],
)
def test_wrong_predictions_have_their_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        Predictions(tmp_path / name)


def test_predictions_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no text"):
        Predictions(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="there are no predictions"):
        Predictions(tmp_path / "none.csv")
