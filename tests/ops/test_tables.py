"""What people see: columns and outlines."""

import io
import re
import sys

import pytest

from simulator.cli import tables


def test_columns_are_the_same_wherever_there_is_no_terminal() -> None:
    assert tables.table(["thing", "status"], [["Vehicle-VIN-001", None], ["x", "SUCCEEDED"]]) == [
        "thing            status",
        "Vehicle-VIN-001  -",
        "x                SUCCEEDED",
    ]
    assert tables.table(["thing"], []) == []
    assert tables.table(["a", "b"], [["x\n\x1b[31m", {"k": 1}], [True, {}]]) == [
        "a        b",
        "x??[31m  k=1",
        "yes      -",
    ]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    drawn = tables.table(["thing", "reason"], [["Vehicle-VIN-001", "[red]the image does not boot and never will"]])
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn]
    assert any("─" in line for line in lines)
    assert all(len(line) <= 40 for line in lines)
    assert "[red]" in "".join(lines), "what devices say is no markup"


def test_an_outline_of_a_document() -> None:
    document = {"a": 1, "b": {"c": [1, 2], "d": [{"e": "x", "f": {}}, 3]}, "g": [], "h": {}}
    assert tables.outline(document) == [
        "a: 1", "b:", "  c: 1, 2", "  d:", "    - e: x", "      f: -", "    - 3", "g: -", "h: -",
    ]  # fmt: skip


def test_counts() -> None:
    assert [tables.counted(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert tables.counted(2, "match", "matches") == "2 matches"
