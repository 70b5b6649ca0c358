"""Endpoints: asked in batches, again when it is worth it, never on another machine by itself."""

import json
from collections.abc import Sized
from pathlib import Path

import numpy as np
import pytest

from simulator.dataset import reading
from simulator.dataset.columns import FEATURE_NAMES
from simulator.dataset.reading import Table
from simulator.errors import BackendUnavailable, UsageError
from simulator.scoring import endpoint
from simulator.scoring.endpoint import Endpoint, checked, over_http, sagemaker, scores_in
from tests.dataset.small_sets import made
from tests.scoring.model_servers import Answer, Model


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("data")
    made(folder, days=0.05)
    [found] = reading.tables(folder / "data.csv")
    found.features[3, 8] = np.nan
    return found


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", str(tmp_path / "none")), ("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none")),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)


def test_rows_go_in_batches_with_their_names(table: Table) -> None:
    with Model([]).serving() as model:
        ask = Endpoint(over_http(f"{model.url}/predict", 5), 100)
        scores = ask(table)
    assert scores.tolist() == pytest.approx((table.features[:, 0] / 1000).tolist())
    assert len(model.asked) == ask.asked == -(-len(table.devices) // 100)
    first = json.loads(model.asked[0].body)
    assert first["features"] == list(FEATURE_NAMES)
    assert len(first["rows"]) == 100
    assert first["rows"][3][8] is None
    assert (model.asked[0].path, model.asked[0].kind) == ("/predict", "application/json")


def test_windows_go_whole(tmp_path: Path) -> None:
    made(tmp_path, forms=("npz",), days=0.05)
    [windows] = reading.tables(tmp_path / "data.npz")
    with Model([]).serving() as model:
        Endpoint(over_http(model.url, 5), 4)(windows)
    sent = json.loads(model.asked[0].body)["windows"]
    assert np.array(sent).shape == (4, 30, 31)


def test_what_may_pass_is_asked_again_a_few_times(table: Table) -> None:
    pauses: list[float] = []
    with Model([Answer(503), Answer(429), Answer()]).serving() as model:
        Endpoint(over_http(model.url, 5, pauses.append), 10_000)(table)
    assert len(model.asked) == 3
    assert pauses == [0.5, 1.0]
    with (
        Model([Answer(500)] * 9).serving() as model,
        pytest.raises(BackendUnavailable, match=r"after 4 tries: HTTP 500"),
    ):
        Endpoint(over_http(model.url, 5, pauses.append), 10_000)(table)
    assert len(model.asked) == 4


def test_nobody_there_ends_it(table: Table) -> None:
    with Model([]).serving() as model:
        url = model.url
    with pytest.raises(BackendUnavailable, match="after 4 tries: ConnectionError"):
        Endpoint(over_http(url, 1, lambda pause_s: None), 10_000)(table)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(404), "HTTP 404"), (Answer(302, b"", location="http://127.0.0.1:1/"), "HTTP 302"),
        (Answer(body=b"{}"), "no scores"), (Answer(body=b'{"scores": [0.5]}'), "gave 1 scores for"),
        (Answer(body=b'{"scores": [[0.5]]}'), "no scores"), (Answer(body=b'{"scores": ["0.5"]}'), "no scores"),
        (Answer(body=b'{"scores": [2]}'), "from 0 to 1, is 2"), (Answer(body=b"no"), "no scores"),
        (Answer(body=b"[" + b" " * 5_000_000 + b"]"), "more than 4000000 bytes"),
    ],
    ids=lambda of: of if isinstance(of, str) else str(of.status),
)  # fmt: skip
def test_a_wrong_answer_is_said(table: Table, answer: Answer, said: str) -> None:
    with Model([answer]).serving() as model, pytest.raises(BackendUnavailable, match=said):
        Endpoint(over_http(model.url, 5), 10_000)(table)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://localhost/x", "https://[::1]:8/", "http://127.8.0.1"])
def test_this_machine_may_be_asked(url: str) -> None:
    assert checked(url, remote=False) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://10.0.0.1/", "another machine"), ("http://localhost.example.org/", "another machine"),
        ("http://127.0.0.1.example.org", "another machine"), ("ftp://127.0.0.1/", "is no address"),
        ("file:///etc/passwd", "is no address"), ("127.0.0.1:80", "is no address"), ("http://", "is no address"),
        ("http://u:p@127.0.0.1/", "password"), ("http://127.0.0.1:99999/", "is no address"),
        ("http://[::1", "no address"),
    ],
)  # fmt: skip
def test_another_machine_may_not(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked(url, remote=False)


def test_unless_it_was_agreed_to() -> None:
    assert checked("https://model.example.org/x", remote=True)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_sagemaker_is_asked_by_its_name(table: Table, form: str) -> None:
    with Model([]).serving() as model:
        scores = Endpoint(sagemaker("fires", None, None, 5, form, model.url), 50)(table)
    assert scores.tolist() == pytest.approx((table.features[:, 0] / 1000).tolist())
    assert {asked.path for asked in model.asked} == {"/endpoints/fires/invocations"}
    kind = {"csv": "text/csv", "json": "application/json"}[form]
    assert {asked.kind for asked in model.asked} == {kind}
    if form == "csv":
        lines = model.asked[0].body.decode().splitlines()
        assert len(lines) == 50
        assert all(len(line.split(",")) == len(FEATURE_NAMES) for line in lines)
        assert lines[3].split(",")[8] == ""


def test_sagemaker_answers_in_its_ways() -> None:
    assert scores_in(b'{"predictions": [{"score": 0.5}, {"score": 1}]}', "application/json", "x") == [0.5, 1]
    assert scores_in(b'{"predictions": [0.5]}', "application/json; charset=utf-8", "x") == [0.5]
    assert scores_in(b"0.5,0.25\n1\n", "text/csv", "x") == [0.5, 0.25, 1]
    with pytest.raises(BackendUnavailable, match="no scores"):
        scores_in(b'{"predictions": [{}]}', "application/json", "x")
    with pytest.raises(BackendUnavailable, match="from 0 to 1"):
        scores_in(b"0.5\nnan", "text/csv", "x")


def test_sagemaker_refuses(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"message": "Endpoint fires not found"}'
    with Model([Answer(400, body)]).serving() as model, pytest.raises(BackendUnavailable, match="'fires'"):
        Endpoint(sagemaker("fires", None, None, 5, "csv", model.url), 1000)(table)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(UsageError, match="cannot be asked"):
        sagemaker("fires", None, None, 5, "csv")
    with pytest.raises(UsageError, match="--as knows"):
        sagemaker("fires", None, None, 5, "xml")


def test_a_batch_has_its_bounds(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--batch"):
        Endpoint(lambda rows: [], 0)
    monkeypatch.setattr(endpoint, "CELLS_MAX", 31 * 7)
    sizes: list[int] = []

    def send(rows: Sized) -> list[float]:
        sizes.append(len(rows))
        return [0.0] * len(rows)

    Endpoint(send, 1000)(table)
    assert set(sizes[:-1]) == {7}
