"""`fleetsim dataset` and `fleetsim score`, from flags to exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator.cli.app import app
from simulator.dataset import reading
from simulator.errors import UsageError
from simulator.scoring import page
from simulator.scoring.finished import finished
from tests.scoring.model_servers import Answer, Model

FEW = ("--devices", "12", "--days", "0.5", "--fires", "1", "--seed", "3")


def fleetsim(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "set"
    assert fleetsim("dataset", "--out", folder, *FEW).exit_code == 0
    return folder


def test_a_data_set_is_made_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    dry = json.loads(fleetsim("dataset", "--out", folder, *FEW, "--dry-run", "--json").stdout)
    assert not folder.exists()
    assert (dry["rows"], dry["files"][0]) == (8640, str(folder / "data.csv"))
    assert "would write 8,640 records" in fleetsim("dataset", "--out", folder, *FEW, "--dry-run").stdout
    card = json.loads(fleetsim("dataset", "--out", folder, *FEW, "--json").stdout)
    assert card == json.loads((folder / "card.json").read_bytes())
    assert "--fires 1" in card["command"]
    with pytest.raises(UsageError, match="--force"):
        fleetsim("dataset", "--out", folder, *FEW)
    before = (folder / "data.csv").read_bytes()
    told = fleetsim("dataset", "--out", folder, *FEW, "--force").stdout
    assert f"{card['rows']:,} records of 12 sensors" in told
    assert (folder / "data.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--split", "a"), "--split wants"), (("--format", "xml"), "--format knows"), (("--days", "0"), "--days"),
        (("--out", __file__), "wants a folder"), (("--mix", "/nowhere.yaml"), "nowhere"),
    ],
)  # fmt: skip
def test_wrong_flags_of_dataset(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fleetsim("dataset", "--out", tmp_path / "set", *flags)


def test_the_baseline_is_scored_and_drawn(data: Path, tmp_path: Path) -> None:
    result = fleetsim("score", "--data", data, "--baseline", "--out", tmp_path, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["passed"]
    assert told["alerts"]["fires"] > 2
    assert json.loads((tmp_path / "score.json").read_bytes()) == told
    text = (tmp_path / "score.html").read_text()
    assert "<svg" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    lines = fleetsim("score", "--data", data, "--baseline").stdout
    assert "PASSED: judged by alerts" in lines


def test_below_the_minimum_is_exit_1(data: Path, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("device,at_ms,score\n")
    result = fleetsim("score", "--data", data, "--predictions", tmp_path / "none.csv")
    assert result.exit_code == 1
    assert "have no score, and count as 0" in result.stdout
    assert "missed: device-" in result.stdout
    assert "FAILED" in result.stdout


@pytest.mark.parametrize(
    ("judge", "lacking"), [("alerts", "no fire in this data"), ("records", "no record is positive in this data")]
)
def test_without_a_fire_there_is_nothing_to_judge(tmp_path: Path, judge: str, lacking: str) -> None:
    folder = tmp_path / "set"
    flags = ("--devices", "3", "--days", "0.1", "--fires", "0", "--harmless", "0")
    assert fleetsim("dataset", "--out", folder, *flags).exit_code == 0
    result = fleetsim("score", "--data", folder, "--baseline", "--judge", judge, "--out", tmp_path / "told")
    assert result.exit_code == 4
    assert f"INCONCLUSIVE: {lacking}: make more with --fires" in result.stdout
    assert "FAILED" not in result.stdout
    told = json.loads((tmp_path / "told" / "score.json").read_bytes())
    assert (told["verdict"], told["passed"]) == ("inconclusive", False)
    text = (tmp_path / "told" / "score.html").read_text()
    assert "<h1>Inconclusive:" in text
    assert f"{lacking[:1].upper()}{lacking[1:]}: make more with --fires." in text


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet", "npz"])
def test_progress_knows_how_many_records_there_are(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "set"
    few, gzip = ("--devices", "3", "--days", "0.1"), ["--gzip"] if form.endswith(".gz") else []
    assert fleetsim("dataset", "--out", folder, *few, "--format", form.removesuffix(".gz"), *gzip).exit_code == 0
    [path] = [path for path in folder.iterdir() if path.name.endswith(form)]
    many = reading.count(path)
    assert many == sum(len(table.devices) for table in reading.tables(path)) > 10
    if form != "npz":  # which the baseline does not look at
        assert f"records scored {many}/{many}" in fleetsim("score", "--data", folder, "--baseline").stderr
    for broken in (b"", b"PK\x03\x04 broken", path.read_bytes()[:100]):
        path.write_bytes(broken)
        assert reading.count(path) < many, "and no error: who reads it will say what is wrong"


def test_lead_time_and_accuracy_are_explained(data: Path) -> None:
    told = " ".join(fleetsim("score", "--data", data, "--baseline").stdout.split())
    assert page.HOW in told
    assert page.HOW in page.render(json.loads(fleetsim("score", "--data", data, "--baseline", "--json").stdout))


def test_a_model_that_knows_the_label_meets_every_target(data: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (data / "data.csv").read_text().splitlines()]
    head = rows[0]
    device, at_ms, label = (head.index(name) for name in ("device", "at_ms", "label"))
    answers = [{"device": row[device], "at_ms": int(row[at_ms]), "score": int(row[label])} for row in rows[1:]]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, answers)))
    result = fleetsim("score", "--data", data, "--predictions", tmp_path / "all.jsonl", "--judge", "records", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {row["state"] for row in told["bounds"]} == {"target"}
    assert (told["records"]["auc"], told["calibration"]["error"]) == (1.0, 0.0)
    assert told["lead"]["p50_s"] == 600


def test_an_endpoint_is_asked_from_the_command(data: Path) -> None:
    with Model([]).serving() as model:
        result = fleetsim("score", "--data", data, "--http", model.url, "--batch", 5000, "--threshold", 0.9)
    assert result.exit_code == 1
    assert len(model.asked) == 2
    with Model([Answer(404)]).serving() as model:
        result = CliRunner().invoke(app, ["score", "--data", str(data), "--http", model.url])
    assert getattr(result.exception, "exit_code", None) == 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "give one of"), (("--baseline", "--http", "http://127.0.0.1"), "give one of"),
        (("--baseline", "--judge", "x"), "--judge knows"), (("--baseline", "--threshold", "0"), "--threshold"),
        (("--http", "http://model.example.org/"), "add --yes"), (("--sagemaker", "x"), "add --yes"),
        (("--baseline", "--timeout", "0"), "--timeout"), (("--baseline", "--part", "test"), "comes in parts"),
    ],
)  # fmt: skip
def test_wrong_flags_of_score(data: Path, flags: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(UsageError, match=said):
        fleetsim("score", "--data", data, *flags)


def test_score_wants_data() -> None:
    with pytest.raises(UsageError, match="--data is missing"):
        fleetsim("score", "--baseline")


def report(**changes: Any) -> dict[str, Any]:
    fire = {"of": "fire", "faults": 20, "noticed": 19, "detect_s": None, "missed": ["device-1 (fire, 3 s overdue)"]}
    return {
        "scenario": "fire-day", "seed": 1, "fleet": {"profiles": [{"count": 200}]},
        "scores": {
            "total": {"alarms": 18, "false_alarms": 2, "false_per_device_day": 0.01}, "by_fault": [fire],
        },
    } | changes  # fmt: skip


def test_the_alarms_of_a_run_are_scored(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report()))
    of = finished(tmp_path)
    assert [(bound.name, bound.value) for bound in of.bounds()] == [
        ("precision", 0.9), ("recall", 0.95), ("false alarms", 0.01),
    ]  # fmt: skip
    result = fleetsim("score", "--run", tmp_path)
    assert result.exit_code == 0
    assert "missed: device-1 (fire, 3 s overdue)" in result.stdout
    quiet = report()["scores"]
    quiet["by_fault"] = []
    (tmp_path / "report.json").write_text(json.dumps(report(scores=quiet)))
    result = fleetsim("score", "--run", tmp_path)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (4, "INCONCLUSIVE: no fire in this run")
    scores = report()["scores"]
    scores["by_fault"][0]["noticed"] = 10
    (tmp_path / "report.json").write_text(json.dumps(report(scores=scores)))
    assert fleetsim("score", "--run", tmp_path, "--json").exit_code == 1


@pytest.mark.parametrize(("text", "said"), [("{}", "no report"), ("no", "no report"), (None, "no run")])
def test_what_is_no_run(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        finished(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps(report(scores=None)))
    with pytest.raises(UsageError, match="has no scores"):
        finished(tmp_path)


def test_names_from_outside_are_escaped(data: Path) -> None:
    told = json.loads(fleetsim("score", "--data", data, "--baseline", "--json").stdout)
    text = page.render(told | {"predictions": "<script>alert(1)</script>"})
    assert "<script" not in text
    assert "&lt;script&gt;" in text
