"""junit.xml: the checks of a run as test cases, for a CI that shows those.

Rules: one test case a check, named as in the other reports; one that failed says what was measured, the bound and why.
A run that ended before anything was checked is one test case in error; an inconclusive one has one beside its checks.
The same facts give the same bytes.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from simulator.report.facts import Check, Report
from simulator.report.json_report import replace
from simulator.report.text import headline, measured_text

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(report: Report, path: Path) -> None:
    """Write junit.xml, replacing an earlier one at once."""
    replace(path, dumps(report))


def dumps(report: Report) -> bytes:
    """The checks as JUnit's XML."""
    lasted_s = f"{(report.ended_at_ms - report.started_at_ms) / 1000:.3f}"
    failures = sum(not check.passed for check in report.checks)
    in_error = not report.checks or report.verdict == "inconclusive"
    counts = {
        "tests": str(len(report.checks) + in_error), "failures": str(failures), "errors": str(int(in_error)),
        "skipped": "0", "time": lasted_s,
    }  # fmt: skip
    root = ElementTree.Element("testsuites", {"name": "fleetsim", **counts})
    at = datetime.fromtimestamp(report.started_at_ms / 1000, UTC).isoformat(timespec="seconds")
    suite = ElementTree.SubElement(root, "testsuite", {"name": _text(report.scenario), "timestamp": at, **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("fleetsim", report.fleetsim), ("seed", report.seed), ("target", report.target)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": _text(str(value))})
    for check in report.checks:
        _case(suite, report, check)
    if in_error:
        case = _testcase(suite, report, "the run")
        said = ElementTree.SubElement(case, "error", {"message": _text(headline(report)), "type": report.verdict})
        said.text = _text("\n".join([report.reason, *report.log_tail]))
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ElementTree.Element, report: Report, check: Check) -> None:
    case = _testcase(suite, report, check.name)
    words = f"measured {measured_text(check)}, must be {check.bound}"
    if check.passed:
        ElementTree.SubElement(case, "system-out").text = _text(f"{words}. {check.why}".strip())
        return
    failure = ElementTree.SubElement(case, "failure", {"message": _text(words), "type": "check"})
    failure.text = _text("\n".join([f"{check.name}: {words}", *([check.why] if check.why else [])]))


def _testcase(suite: ElementTree.Element, report: Report, name: str) -> ElementTree.Element:
    attributes = {"classname": _text(f"fleetsim.{report.scenario}"), "name": _text(name), "time": "0"}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
