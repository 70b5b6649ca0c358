"""The verdict as lines for a terminal.

Rules: it reads the same without colour, and where the terminal's encoding has no ✓ it falls back to ASCII.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from simulator.matching import FATES
from simulator.report.facts import Check, Report
from simulator.words import number, printable, span

_ASCII = {
    "✓": "+",
    "✗": "x",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "—": "-",
    "–": "-",
    "…": "...",
    "°": " deg ",
    "×": "x",
}
_VERDICTS = {
    "passed": "PASSED",
    "failed": "FAILED",
    "inconclusive": "INCONCLUSIVE",
    "interrupted": "INTERRUPTED",
    "unavailable": "BACKEND UNAVAILABLE",
}


def verdict_lines(report: Report, paths: Sequence[Path] = (), encoding: str = "utf-8") -> list[str]:
    """Each check with what was measured and its bound, the verdict, and where the report files are."""
    rows = [_row(check) for check in report.checks]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    lines = []
    for check, row in zip(report.checks, rows, strict=True):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {cells}  {'' if check.passed else check.why}".rstrip())
    if lines:
        lines.append("")
    if astray := astray_line(report):
        lines += [astray, ""]
    lines += level_lines(report)
    lines.append(f"{headline(report)}  ({span(report.ended_at_ms - report.started_at_ms)}, seed {report.seed})")
    lines += [report.reason] if report.reason else []
    lines += [f"  | {line}" for line in report.log_tail]
    lines += [f"{path.suffix.lstrip('.') or 'file':<5} {path}" for path in paths]
    return [in_encoding(line, encoding) for line in lines]


def level_lines(report: Report) -> list[str]:
    """`last good level: 1,500 devices; at 1,750 no more: …`, of a load that looked for its limit."""
    levels = report.load.levels if report.load else []
    if not levels or report.load is None:
        return []
    good = "none" if report.load.knee is None else f"{number(report.load.knee)} devices"
    bad = next((f"; at {number(level.devices)} no more: {level.why}" for level in levels if not level.passed), "")
    return [f"last good level: {good}{bad}", ""]


def astray_line(report: Report) -> str:
    """`12,000 messages: 11,998 delivered, 2 lost (1 unexplained)`; empty when all went well, or nobody looked."""
    kinds = report.audit.kinds if report.audit else []
    said, told = sum(kind.said for kind in kinds), []
    for fate in FATES:
        count = sum(kind.fates.get(fate, 0) for kind in kinds)
        odd = sum(kind.unexplained.get(fate, 0) for kind in kinds)
        if count:
            told.append(f"{number(count)} {fate.replace('_', ' ')}" + (f" ({number(odd)} unexplained)" if odd else ""))
    return f"{number(said)} messages: {', '.join(told)}" if len(told) > 1 else ""


def headline(report: Report) -> str:
    """`PASSED: 8 of 8 checks`; a run that ended early was not judged."""
    if not report.checks:
        return f"{verdict_words(report)}: no check was made"
    kept = sum(check.passed for check in report.checks)
    return f"{verdict_words(report)}: {kept} of {len(report.checks)} checks" + (
        "" if report.verdict == "passed" else " passed"
    )


def verdict_words(report: Report) -> str:
    """The verdict in capitals."""
    return _VERDICTS[report.verdict]


def measured_text(check: Check) -> str:
    """What was measured, with its unit; a dash where nothing was."""
    if check.measured is None:
        return "–"
    value = check.measured if isinstance(check.measured, str) else number(check.measured)
    return f"{value} {check.unit}".strip()


def rerun(report: Report) -> str:
    """The command that does it again."""
    scenario = report.scenario_file or report.scenario
    target = {"sandbox": [], "virtual": ["--virtual"]}.get(report.target, ["--target", report.target])
    return shlex.join(["fleetsim", "load" if report.load else "run", scenario, "--seed", str(report.seed), *target])


def _row(check: Check) -> tuple[str, str, str, str]:
    return ("✓" if check.passed else "✗", check.name, measured_text(check), check.bound)


def in_encoding(line: str, encoding: str) -> str:
    """One line as a terminal of that encoding can show it."""
    line = printable(line)
    try:
        line.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        for sign, plain in _ASCII.items():
            line = line.replace(sign, plain)
        line = line.encode("ascii", "replace").decode("ascii")
    return line
