"""YAML text → values with places: tables of what is read, what is refused and where."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from simulator import yaml_marks
from simulator.yaml_marks import MAX_DEPTH, MAX_VALUES, Problem, YamlProblems, read

LAUGHS = 'a: &a ["lol", "lol"]\n' + "".join(
    f"{chr(c)}: &{chr(c)} [{', '.join(['*' + chr(c - 1)] * 9)}]\n" for c in range(ord("b"), ord("k"))
)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs on libyaml and on PyYAML's own parser, which is used where libyaml is missing."""
    monkeypatch.setattr(yaml_marks, "LOADER", getattr(yaml, request.param))


def lines(text: str) -> list[str]:
    """What is wrong with a text, as the user sees it."""
    try:
        _, problems = read(text, "f.yaml")
    except YamlProblems as error:
        return str(error).splitlines()
    return [str(problem) for problem in sorted(problems)]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1.5E3", 1500.0),
        (".5", 0.5),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("-010", -10),
        ("9223372036854775807", 2**63 - 1),
        ("12:30", "12:30"),
        ("1:30:00", "1:30:00"),
        ("1_000", "1_000"),
        ("1.0.0", "1.0.0"),
        ("0b11", "0b11"),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("Off", "Off"),
        ("y", "y"),
        ("nan", "nan"),
        ("2026-11-20", "2026-11-20"),
        ("2026-11-20T07:00:00Z", "2026-11-20T07:00:00Z"),
        ("=", "="),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("! 1", "1"),
        ("!!str 1.0", "1.0"),
        ("!!float 1", 1.0),
        ("!!int 7", 7),
        ("|\n  1\n", "1\n"),
        ("'<<'", "<<"),
        ("!!seq [1, {b: [2]}]", [1, {"b": [2]}]),
    ],
)
def test_scalars_are_yaml_1_2(written: str, value: Any) -> None:
    marks, problems = read(f"a: {written}\n", "f.yaml")
    assert problems == []
    assert marks.root.value == {"a": value}
    assert type(marks.root.value["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        ("a: 1\na: 2\n", "2:1: duplicate key 'a' (first on line 1, column 1)"),
        ("a:\r\n  b: 1\r\n  b: 2\r\n", "3:3: duplicate key 'b' (first on line 2, column 3)"),
        ("\ufeffa: 1\na: 2\n", "2:1: duplicate key 'a' (first on line 1, column 1)"),
        ("\ufeff{a: 1, a: 2}", "1:8: duplicate key 'a' (first on line 1, column 2)"),
        ("{&k a: 1, *k : 2}", "1:11: duplicate key 'a' (first on line 1, column 2)"),
        ("1: x\n", "1:1: a key must be text: write '1' in quotes"),
        ("1.0: x\n", "1:1: a key must be text: write '1.0' in quotes"),
        ("true: x\n", "1:1: a key must be text: write 'true' in quotes"),
        ("? [a]\n: 1\n", "1:3: a key must be text"),
        ("?\n: x\n", "1:2: a key must be text"),
        ("b: &b {x: 1}\na:\n  <<: *b\n", "3:3: '<<' (merge) is not supported: write the keys out"),
        ("a: .nan\n", "1:4: .nan is no usable number"),
        ("a: [1, -.inf]\n", "1:8: -.inf is no usable number"),
        ("a: 1e999\n", "1:4: number out of range: 1e999"),
        ("a: 9223372036854775808\n", "1:4: number out of range: 9223372036854775808"),
        (f"a: {'9' * 9000}\n", f"1:4: number out of range: {'9' * 59}…"),
        ("a: !!python/name:os.system x\n", "1:4: tag !!python/name:os.system is not supported here"),
        ("a: !vault x\n", "1:4: tag '!vault' is not supported here"),
        ("a: !!set {x}\n", "1:4: tag !!set is not supported here"),
        ("a: !!timestamp 2026-11-20\n", "1:4: tag !!timestamp is not supported here"),
        ("a: !!map [1]\n", "1:4: tag !!map is not supported here"),
        ("a: !!int x\n", "1:4: !!int does not fit this value"),
        ("a: *b\n", "1:4: '*b' refers to no '&b' above it"),
        ("a: &a [*a]\n", "1:8: '*a' is inside its own '&a'"),
        ("a: 1\n---\nb: 2\n", "2:1: a file holds one document: nothing may follow this '---'"),
        ("a: 1\n...\nb\n", "3:1: unexpected text after the end of the document"),
        ("a: 1\nb:\n\t- 2\n", "3:1: a tab cannot indent: use spaces"),
        ("a: @x\n", "1:4: text that starts with '@' needs quotes"),
        ("a: `x\n", "1:4: text that starts with '`' needs quotes"),
        ("a: b: c\n", "1:5: unexpected ':': wrong indentation, or text that needs quotes"),
        ("a:\n  b: 1\n c: 2\n", "3:2: wrong indentation: expected a key"),
        ("a: 'x\n\n", "3:1: the closing quote is missing (opened on line 1)"),
        ("a: [1, 2\nb: 3\n", "2:2: expected ',' or ']' (opened on line 1)"),
        ("a: {b: 1\n", "2:1: expected ',' or '}' (opened on line 1)"),
        ("a: 1\nb: é\x00\n", "2:5: character U+0000 is not allowed"),
        ("a: \ud800\n", "1:4: character U+D800 is not allowed"),
        ("[" * 100_000, f"1:{MAX_DEPTH + 2}: nested deeper than {MAX_DEPTH} levels"),
        ("{a: " * 100_000, f"1:{4 * MAX_DEPTH + 2}: nested deeper than {MAX_DEPTH} levels"),
        ("- " * 1000, f"1:{2 * (MAX_DEPTH + 1) + 1}: nested deeper than {MAX_DEPTH} levels"),
        (LAUGHS, f"6:12: more than {MAX_VALUES} values, aliases expanded"),
    ],
)
def test_what_is_refused(text: str, line: str) -> None:
    assert lines(text) == [f"f.yaml:{line}"]


def test_deep_aliases_are_refused_too() -> None:
    deep = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 40))
    assert lines(deep) == [f"f.yaml:32:12: nested deeper than {MAX_DEPTH} levels"]


def test_many_values_are_refused() -> None:
    assert "more than" in lines("[" + "1," * (MAX_VALUES + 1) + "]")[0]


def test_mistakes_of_meaning_are_all_said_and_before_one_of_form() -> None:
    assert lines("a: .nan\na: 1\n2: 3\nb: [\n") == [
        "f.yaml:1:4: .nan is no usable number",
        "f.yaml:2:1: duplicate key 'a' (first on line 1, column 1)",
        "f.yaml:3:1: a key must be text: write '2' in quotes",
        lines("a: .nan\na: 1\n2: 3\nb: [\n")[-1],
    ]
    assert lines("a: 1\nb: [\n")[-1].startswith("f.yaml:3:1: ")


def test_anchors_are_expanded_and_marks_lead_to_where_the_value_is_written() -> None:
    marks, problems = read("base: &fan {rpm: 900}\ncopy: *fan\n", "f.yaml")
    assert problems == []
    assert marks.root.value == {"base": {"rpm": 900}, "copy": {"rpm": 900}}
    assert str(marks.problem(("copy", "rpm"), "odd")) == "f.yaml:1:18: odd"


@pytest.mark.parametrize(
    ("loc", "at_key", "place"),
    [
        ((), False, "1:1"),
        (("steps",), False, "2:3"),
        (("steps",), True, "1:1"),
        (("steps", 1), False, "4:5"),
        (("steps", 1, "at_s"), False, "4:11"),
        (("steps", 1, "at_s"), True, "4:5"),
        (("steps", 1, "left_out"), False, "4:5"),
        (("steps", 1, "left_out", "below"), True, "4:5"),
        (("steps", 9), False, "2:3"),
        (("steps", "at_s"), False, "2:3"),
    ],
)
def test_places(loc: tuple[str | int, ...], at_key: bool, place: str) -> None:
    marks, _ = read("steps:\n  - at_s: 1\n    do: x\n  - at_s: 2\n", "f.yaml")
    assert str(marks.problem(loc, "m", at_key=at_key)) == f"f.yaml:{place}: m"


def test_a_problem_is_one_bounded_line() -> None:
    shown = str(Problem("f.yaml", 1, 1, "a\nb\x1b[31m\u202e\ud800" + "x" * 1000))
    assert shown.startswith("f.yaml:1:1: a\\nb\\x1b[31m\\u202e\\ud800xxx")
    assert len(shown) < 450
    assert shown.isprintable()


def test_at_most_twenty_problems_are_listed() -> None:
    problems = [Problem("f.yaml", line, 1, "bad") for line in range(30, 0, -1)]
    error = YamlProblems(problems, unlisted=2)
    shown = str(error).splitlines()
    assert (len(shown), shown[0], shown[-1]) == (21, "f.yaml:1:1: bad", "… and 12 more")
    assert error.problems == sorted(problems)
    assert error.exit_code == 2


SYNTAX = st.text("ab1.:-,?!&*|>'\"%@`#{}[]<~ \t\n\r\\xuU0\ufeff\x85\u2028é", max_size=60)


@given(st.one_of(st.text(max_size=200), SYNTAX))
@example('"\\UFFFFFFFF"')
@example('"\\ud800"')
@example("%TAG ! tag:yaml.org,2002:\n--- !int 1")
@example("a: !<tag:yaml.org,2002:float> x")
def test_any_text_gives_a_value_or_problems(text: str) -> None:
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml_marks, "LOADER", loader)
            for line in lines(text):
                assert line.startswith(("f.yaml:", "…"))
                assert line.isprintable()
