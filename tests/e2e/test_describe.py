"""`fleetsim describe` as a user runs it: profiles, also one that no code knows, rooms, and what there is not."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simulator import rooms
from simulator.report.plot import sparkline
from tests.e2e.fleetsim_command import REPO, Command

pytestmark = pytest.mark.e2e

Start = Callable[..., Command]

BARREL = """profile: barrel
title: Rain barrel
thing_type: Barrel
attributes: {owner: "{customer}"}
signals:
  sun: {kind: cycle, in_step: true, points: [[0, 0], [43200, 9], [86400, 0]]}
  water_c: {kind: blend, of: [sun], offset: 10, unit: °C, resolution: 0.1, sensor: [-10, 60], limit: [0, 40]}
behaviours:
  - {kind: telemetry, every_s: 60, topic: "barrels/{env}/{thing}", metrics: [water_c]}
  - {kind: shadow, actions: {dry: {restarts: sun, takes_s: 4}}}
"""


def test_a_shipped_profile(fleetsim: Start) -> None:
    first = fleetsim("describe", "profile", "fire-sensor", "--seed", 3)
    again = fleetsim("describe", "profile", "fire-sensor", "--seed", 3)
    other = fleetsim("describe", "profile", "fire-sensor", "--seed", 4)
    assert (first.wait(), again.wait(), other.wait()) == (0, 0, 0), first.stderr
    said = first.stdout
    assert said == again.stdout != other.stdout
    assert re.search(r"^  co +ppm +0 to 1,000 +0\.1 +0 to 17$", said, re.M)
    assert re.search(r"^  ct +[\d.]+ +[\d.]+ +[\d.]+  [▁-█]{48}$", said, re.M)
    assert re.search(r"^  telemetry, every \d+ ms, on ", said, re.M), "the home of these tests is in a hurry"
    assert "on fire-prediction/device/fire-sensor-001/data" in said
    assert '"deviceId": "fire-sensor-001"' in said
    assert "hears $aws/things/fire-sensor-001/shadow/update/delta" in said
    assert max(map(len, said.splitlines())) <= 112


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPO / "profiles").glob("*.yaml")))
def test_every_shipped_profile_can_be_described_in_ascii(fleetsim: Start, name: str) -> None:
    command = fleetsim("describe", "profile", name, PYTHONIOENCODING="ascii")
    assert command.wait() == 0, command.stderr
    assert command.stdout.isascii()
    assert "\nSends\n" in command.stdout


class Page(HTMLParser):
    """What a page would load, what it shows, and whether its tags fit."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.charts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href") and value and value[0] != "#"]
        self.charts += tag == "svg"
        if tag not in ("meta", "br", "path"):
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.tags.pop() == tag


def test_a_profile_that_no_code_knows_as_a_page(fleetsim: Start, home: Path) -> None:
    (home / "profiles" / "barrel.yaml").write_text(BARREL)
    try:
        command = fleetsim("describe", "profile", "barrel", "--html", "barrel.html")
        assert command.wait() == 0, command.stderr
        text = fleetsim("describe", "profile", "barrel")
        assert text.wait() == 0, text.stderr
    finally:
        (home / "profiles" / "barrel.yaml").unlink()
    assert command.stdout == "html  barrel.html\n"
    shown = (command.folder / "barrel.html").read_text()
    page = Page(shown)
    assert page.loads == []
    assert page.charts == 2, "what it sends, and the part that can be restarted"
    assert "<script" not in shown
    for said in (
        "Rain barrel",
        "barrels/stg/barrel-001",
        "actions dry",
        "restarts sun, takes_s 4.0",
        "every 1 min 00 s",
    ):
        assert said in shown
    assert re.search(r"^  water_c +10 +14\.\d+ +19  ▁", text.stdout, re.M)


@pytest.mark.parametrize("room", ["signals", "behaviours", "faults", "steps", "checks"])
def test_a_room(fleetsim: Start, room: str) -> None:
    command = fleetsim("describe", room)
    assert command.wait() == 0, command.stderr
    heads = re.findall(r"^(\w+)(?: \(\w+\))? — \w", command.stdout.replace("— `", "— "), re.M)
    assert heads == list(rooms.kinds(room))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["profile"], "which profile? (known: "),
        (["profile", "fire-senser"], "no profile 'fire-senser' (did you mean 'fire-sensor'?)"),
        (["profiles"], "cannot describe 'profiles' (did you mean 'profile'?)"),
        (["faults", "hang"], "'describe faults' takes no name and no --html"),
        (["profile", "machine-a", "--html", "no/such/folder.html"], "cannot write file 'no/such/folder.html'"),
    ],
)
def test_what_cannot_be_described(fleetsim: Start, arguments: list[str], said: str) -> None:
    command = fleetsim("describe", *arguments)
    assert command.wait() == 2
    assert command.stdout == ""
    assert said in command.stderr
    assert "Traceback" not in command.stderr


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 8, ""),
        ([5.0, 5.0], 8, "▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([0, 0, 1, 1], 2, "▁█"),
        ([0.0, 0.0], 2, "▁▁"),
    ],
)
def test_a_curve_as_a_line(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn
    plain = sparkline(values, width, "ascii")
    assert (plain.isascii(), len(plain)) == (True, len(drawn))
