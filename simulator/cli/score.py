"""`fleetsim score`: predictions against a data set, or the alarms of a run.

1 below the minimum of the contracts, 4 where nothing was there to be noticed.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from simulator.cli.screen import Screen
from simulator.dataset import reading
from simulator.errors import CHECKS_FAILED, PASSED, Inconclusive, UsageError
from simulator.report.text import in_encoding
from simulator.scoring import page
from simulator.scoring.answers import Predictions
from simulator.scoring.baseline import Baseline
from simulator.scoring.bounds import Judged, Verdict, verdict
from simulator.scoring.endpoint import Endpoint, checked, over_http, sagemaker
from simulator.scoring.figures import figures
from simulator.scoring.finished import finished
from simulator.scoring.known import Ask, known

_EXITS: dict[Verdict, int] = {"passed": PASSED, "failed": CHECKS_FAILED, "inconclusive": Inconclusive.exit_code}


class Whose(NamedTuple):
    """Where the scores come from; one of them."""

    predictions: Path | None = None
    http: str | None = None
    sagemaker: str | None = None
    baseline: bool = False
    run: Path | None = None


class Asking(NamedTuple):
    """How an endpoint is asked."""

    batch: int = 1000
    timeout_s: float = 10.0
    form: str = "csv"
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    yes: bool = False


def score(
    data: Path | None, part: str | None, whose: Whose, asking: Asking, threshold: float, judge: str,
    out: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """The exit code."""
    chosen = [name for name, value in whose._asdict().items() if value]
    if len(chosen) != 1:
        raise UsageError("give one of --predictions, --http, --sagemaker, --baseline and --run")
    if judge not in ("alerts", "records"):
        raise UsageError(f"--judge knows alerts and records, not '{judge}'")
    if whose.run:
        return _run(whose.run, as_json)
    if data is None:
        raise UsageError("--data is missing: the folder of a data set, or one of its files")
    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold must lie above 0 and not above 1, is {threshold:g}")
    if not 0.1 <= asking.timeout_s <= 600:
        raise UsageError(f"--timeout must lie between 0.1 and 600 s, is {asking.timeout_s:g}")
    file = reading.file_of(data, part)
    ask, name = _asked(whose, asking)
    screen = Screen(sys.stderr)
    try:
        many = reading.count(file)
        found = known(file, ask, lambda done: screen.progress("records scored", done, max(done, many)))
    finally:
        screen.close()
    counts = {"unknown_predictions": ask.without_record, "twice": ask.twice} if isinstance(ask, Predictions) else {}
    judged: Judged = "records" if judge == "records" else "alerts"
    told = page.document(figures(found, threshold), judged, file.name, name, counts)
    _say(told, page.lines(told), as_json)
    if out:
        for path in page.write(told, out):
            print(path, file=sys.stderr)
    return _EXITS[told["verdict"]]


def _asked(whose: Whose, asking: Asking) -> tuple[Ask, str]:
    if whose.predictions:
        return Predictions(whose.predictions), whose.predictions.name
    if whose.http:
        url = checked(whose.http, asking.yes)
        return Endpoint(over_http(url, asking.timeout_s), asking.batch), url
    if whose.sagemaker:
        url = asking.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or ""
        if url:
            checked(url, asking.yes)
        elif not asking.yes:
            raise UsageError("this would send the records to AWS, and each request costs; add --yes to do it")
        send = sagemaker(
            whose.sagemaker, asking.region, asking.profile, asking.timeout_s, asking.form, asking.endpoint_url
        )
        return Endpoint(send, asking.batch), f"SageMaker endpoint {whose.sagemaker}"
    return Baseline(), "rule-based risk"


def _run(folder: Path, as_json: bool) -> int:
    of = finished(folder)
    rows = of.bounds()
    judgement = verdict(rows)
    told = {
        **of._asdict(), "bounds": [page.bound_row(row) for row in rows], "verdict": judgement,
        "passed": judgement == "passed",
    }  # fmt: skip
    lines = [
        f"the alarms of {of.scenario}, seed {of.seed}: {of.noticed} of {of.fires} fires noticed, {of.alarms} alarms"
        f" with a reason, {of.false_alarms} without",
        *(f"  missed: {one}" for one in of.missed), "",
        *page.verdict_lines(
            [page.bound_row(row) for row in rows], judgement,
            "no fire in this run" if judgement == "inconclusive" else "judged by alerts",
        ),
    ]  # fmt: skip
    _say(told, lines, as_json)
    return _EXITS[judgement]


def _say(told: dict[str, Any], lines: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for line in lines:
        print(in_encoding(line, sys.stdout.encoding or "ascii"))
