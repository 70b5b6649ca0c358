"""The report of a score: a document for programs, lines for a terminal, a page for people."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from markupsafe import Markup, escape

from simulator import __version__
from simulator.report import html
from simulator.report.json_report import replace
from simulator.scoring.bounds import Bound, Judged, Verdict, bounds, verdict
from simulator.scoring.figures import Bin, Figures

_SIZE, _PAD = 320, 36
_TEMPLATE = Path(__file__).parent / "score.html.j2"
HOW = (
    "A lead time is from an alert to the onset of the fire condition; below 0, the alert came so many seconds after "
    "it. Accuracy is always by record; precision, recall and false alarms are by what it is judged by."
)
_STATES = {"target": "target met", "minimum": "minimum met", "below": "below the minimum", "unknown": "cannot be known"}


def document(found: Figures, judged: Judged, what: str, whose: str, counts: dict[str, int]) -> dict[str, Any]:
    """Everything as JSON."""
    measures = bounds(found, judged)
    judgement = verdict(measures)
    return {
        "fleetsim": __version__,
        "data": what,
        "predictions": whose,
        "judged_by": judged,
        "verdict": judgement,
        "passed": judgement == "passed",
        "bounds": [bound_row(bound) for bound in measures],
        "threshold": found.threshold,
        "records": {
            "rows": found.rows, "devices": found.devices, "device_days": found.device_days, "positive": found.positive,
            "without_score": found.without_score, "true_positive": found.true_positive,
            "false_positive": found.false_positive, "false_negative": found.false_negative,
            "true_negative": found.true_negative, "precision": found.precision, "recall": found.recall,
            "f1": found.f1, "accuracy": found.accuracy, "false_positive_rate": found.false_positive_rate,
            "auc": found.auc,
        },
        "alerts": {
            "fires": found.fires, "noticed": found.fires_noticed, "alerts": found.alerts,
            "false_alerts": found.false_alerts, "precision": found.alert_precision, "recall": found.fire_recall,
            "false_per_device_day": found.false_per_device_day,
            "devices_falsely_alarmed": found.devices_falsely_alarmed,
            "missed": [{"device": one.thing, "begin_ms": one.begin_ms, "why": one.why} for one in found.missed],
        },
        "lead": {
            "onsets": found.onsets, "noticed": len(found.lead_s), "foreseen": found.onsets_foreseen,
            "p50_s": found.lead_p50_s, "mean_s": found.lead_mean_s,
        },
        "calibration": {
            "brier": found.brier, "error": found.calibration_error, "bins": [one._asdict() for one in found.bins],
        },
        **counts,
    }  # fmt: skip


def bound_row(bound: Bound) -> dict[str, Any]:
    """A bound as JSON."""
    return {**bound._asdict(), "state": bound.state}


def lines(of: dict[str, Any]) -> Iterator[str]:
    """The same for a terminal."""
    records, alerts, lead = of["records"], of["alerts"], of["lead"]
    yield f"{of['predictions']} on {of['data']}: {records['rows']:,} records, {records['devices']:,} sensors"
    if records["without_score"]:
        yield f"  {records['without_score']:,} records have no score, and count as 0"
    for name, words in (
        ("unknown_predictions", "predictions have no record"),
        ("twice", "predictions are there twice"),
    ):
        if of.get(name):
            yield f"  {of[name]:,} {words}"
    yield ""
    measured = ("precision", "recall", "f1", "accuracy", "auc")
    yield f"  by record, at {of['threshold']:g}   {'  '.join(f'{name} {_shown(records[name])}' for name in measured)}"
    false = f"{alerts['false_alerts']} false, {_shown(alerts['false_per_device_day'])} a device-day"
    noticed = f"{alerts['noticed']} of {alerts['fires']} fires noticed"
    yield f"  by alert            {noticed}; {alerts['alerts']} alerts, {false}"
    foreseen = f"{lead['foreseen']} of {lead['onsets']} onsets foreseen"
    yield f"  lead time           p50 {_seconds(lead['p50_s'])}, mean {_seconds(lead['mean_s'])}; {foreseen}"
    told = of["calibration"]
    yield f"  calibration         error {_shown(told['error'])}, Brier {_shown(told['brier'])}"
    for one in alerts["missed"][:8]:
        yield f"  missed: {one['device']}: {one['why']}"
    yield ""
    yield from textwrap.wrap(HOW, 110, initial_indent="  ", subsequent_indent="  ")
    yield ""
    yield from verdict_lines(of["bounds"], of["verdict"], _by(of))


def verdict_lines(rows: Sequence[dict[str, Any]], verdict: Verdict, by: str) -> Iterator[str]:
    """The bounds and what comes of them."""
    for row in rows:
        sign, mark = (">", "≥") if row["rises"] else ("<", "≤")
        tick = "✓" if row["state"] in ("target", "minimum") else "✗"
        yield (
            f"  {tick}  {row['name']:<14} {_shown(row['value']):<8} target {sign} {row['target']:g},"
            f" minimum {mark} {row['minimum']:g}: {_STATES[row['state']]}"
        )
    yield ""
    yield f"{verdict.upper()}: {by}"


def _by(of: dict[str, Any]) -> str:
    if of["verdict"] != "inconclusive":
        return f"judged by {of['judged_by']}"
    lacking = "no record is positive" if of["judged_by"] == "records" else "no fire"
    return f"{lacking} in this data: make more with --fires"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"


def write(of: dict[str, Any], folder: Path) -> list[Path]:
    """score.json and score.html, in place of earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "score.json", folder / "score.html"]
    replace(paths[0], orjson.dumps(of, option=orjson.OPT_INDENT_2) + b"\n")
    replace(paths[1], render(of).encode())
    return paths


def render(of: dict[str, Any]) -> str:
    """The page: one file, offline, without a script."""
    style = html.source("_style.html.j2")
    template = html.environment().from_string(_TEMPLATE.read_text("utf-8"))
    return template.render(
        score=of, style=Markup(style), shown=_shown, seconds=_seconds, states=_STATES, by=_by(of), how=HOW,  # noqa: S704 - our own file
        chart=chart([Bin(**one) for one in of["calibration"]["bins"]]),
    )  # fmt: skip


def chart(bins: Sequence[Bin]) -> Markup:
    """Calibration: what part of the records is positive, by their score. On the line, a score is a probability."""
    inner = _SIZE - 2 * _PAD

    def x(score: float) -> str:
        return f"{_PAD + inner * score:.1f}"

    def y(share: float) -> str:
        return f"{_SIZE - _PAD - inner * share:.1f}"

    filled = [
        (one.score, one.positive, one.records) for one in bins if one.score is not None and one.positive is not None
    ]
    words = "; ".join(f"score {score:.2f}: {100 * share:.0f} % of {count:,}" for score, share, count in filled)
    parts = [
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" width="{_SIZE}" fill="currentColor" role="img"'
        f' aria-label="Calibration. {escape(words)}">',
        f'<path d="M{x(0)} {y(0)}H{x(1)}M{x(0)} {y(0)}V{y(1)}" fill="none" stroke="currentColor"/>',
        f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="currentColor" stroke-dasharray="4 4" opacity=".5"/>',
    ]
    if filled:
        way = "L".join(f"{x(score)} {y(share)}" for score, share, _ in filled)
        parts.append(f'<path d="M{way}" fill="none" stroke="currentColor" stroke-width="2"/>')
    for score, share, count in filled:
        parts.append(
            f'<circle cx="{x(score)}" cy="{y(share)}" r="4" fill="currentColor">'
            f"<title>score {score:.2f}: {100 * share:.1f} % of {count:,} records are positive</title></circle>"
        )
    for at in (0, 0.5, 1):
        parts.append(f'<text x="{x(at)}" y="{_SIZE - _PAD + 16}" text-anchor="middle" font-size="11">{at:g}</text>')
        parts.append(f'<text x="{_PAD - 6}" y="{y(at)}" text-anchor="end" font-size="11">{at:g}</text>')
    parts.append(f'<text x="{_SIZE / 2}" y="{_SIZE - 4}" text-anchor="middle" font-size="11">score</text>')
    parts.append(f'<text x="4" y="{_PAD - 14}" font-size="11">share that is positive</text></svg>')
    return Markup("".join(parts))  # noqa: S704 - numbers, and words that were escaped
