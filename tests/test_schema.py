"""YAML → models: the exact sentences a user reads, and the JSON Schema an editor reads."""

import json
import os
import string
from collections.abc import Iterator
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

import simulator
from simulator.errors import UsageError
from simulator.schema import (
    MAX_FILE_BYTES,
    Misplaced,
    OneOf,
    Strict,
    YamlProblems,
    json_schema,
    load,
    load_marked,
    parse,
    parse_marked,
    union,
)

Draft7Validator: Any = import_module("jsonschema").Draft7Validator  # its stubs are not on every index

HANG = '''
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field

class Hang(BaseModel):
    """A part stops answering."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["hang"] = "hang"
    part: Literal["fan", "pump"] = Field(description="Which part.")
    delay: float = 0
'''
DELAY = """
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field

class Delay(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["delay"] = "delay"
    delay_ms: int = Field(gt=0)
    delay: float = 0  # named as its kind, to mislead
"""


@pytest.fixture(scope="module", autouse=True)
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two rooms of real files beside the product's own: one with two kinds, one with a single kind."""
    folder = tmp_path_factory.mktemp("rooms")
    for room, files in {"two_kinds": {"hang": HANG, "delay": DELAY}, "one_kind": {"hang": HANG}}.items():
        (folder / room).mkdir()
        (folder / room / "__init__.py").touch()
        for kind, source in files.items():
            (folder / room / f"{kind}.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator, "__path__", [*simulator.__path__, str(folder)])
        yield


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


class Range(NamedTuple):
    low: float
    high: float


class Limits(Strict):
    upper_c: float = Field(le=200, description="Above it the part breaks.")
    span_kmh: tuple[float, float] = (0, 10)


class Fleet(Strict):
    profile: str
    count: int = Field(ge=1)


class Plan(Strict):
    """A fleet and what happens to it."""

    title: str = Field(min_length=1, description="Shown in the report.")
    version: str = "1.0.0"
    every_s: float = Field(1, ge=1)
    pause_s: float | Range = 0
    delay_ms: int = 0
    temp_c: float = 20
    load_percent: int = 0
    cools_c_per_s: float = 0
    rate_per_s: float | Literal["max"] = 1
    speed: float = 0
    on: bool = False
    mode: Mode = Mode.FAST
    name: str = Field("a", pattern="^[a-z]+$", max_length=8)
    products: str | list[str] = ""
    counts: dict[str, int] = Field(default_factory=dict)
    sizes: tuple[int, ...] = Field((), max_length=3)
    fleets: tuple[Fleet, ...] = ()
    limits: Limits | None = None
    sub: "tuple[Plan, ...]" = ()

    @field_validator("speed")
    @classmethod
    def _speed(cls, speed: float) -> float:
        if speed == 13:
            raise PydanticCustomError("unlucky", "13 brings bad luck")
        if speed == 14:
            raise ValueError("14 is no better")
        return speed

    @model_validator(mode="after")
    def _twice(self) -> "Plan":
        names = [fleet.profile for fleet in self.fleets]
        Misplaced.raise_any(
            Misplaced(("fleets", at, "profile"), f"'{name}' is listed twice")
            for at, name in enumerate(names)
            if name in names[:at]
        )
        return self


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # keys
        ("every_ms: 1", "2:1: unknown key 'every_ms' (did you mean 'every_s'?)"),
        ("limits: {upper_c: 1, uper_c: 1}", "2:22: unknown key 'uper_c' (did you mean 'upper_c'?)"),
        ("limits: {upper_c: 1, zzz: 1}", "2:22: unknown key 'zzz' (known: span_kmh, upper_c)"),
        ("fleets: [{profile: a, count: 1, cuont: 2}]", "2:33: unknown key 'cuont' (did you mean 'count'?)"),
        ("fleets:\n  - count: 1", "3:5: missing key 'profile'"),
        ("limits: {}", "2:9: missing key 'upper_c'"),
        ("sub: [{title: x, sub: [{}]}]", "2:24: missing key 'title'"),
        (
            "sub: [{title: x, sub: [{title: y, vresion: z}]}]",
            "2:35: unknown key 'vresion' (did you mean 'version'?)",
        ),
        # text
        ("version: 1.0", "2:10: expected text: write '1.0' in quotes"),
        ("version: 1.10", "2:10: expected text: write '1.10' in quotes"),
        ("version: true", "2:10: expected text: write 'true' in quotes"),
        ("version:", "2:9: expected text, got nothing"),
        ("version: [1]", "2:10: expected text, got a list"),
        ("name: A", "2:7: 'A' does not have the form ^[a-z]+$"),
        ("name: abcdefghi", "2:7: must have at most 8 characters, is 'abcdefghi'"),
        # numbers and units
        ("every_s: 5min", "2:10: expected a number of seconds, got '5min'"),
        ("every_s: 12:30", "2:10: expected a number of seconds, got '12:30'"),
        ("every_s: '5'", "2:10: expected a number of seconds, got '5': remove the quotes"),
        ("every_s: true", "2:10: expected a number of seconds, got true"),
        ("every_s: 0", "2:10: must be ≥ 1, is 0"),
        ("every_s: 0.5", "2:10: must be ≥ 1, is 0.5"),
        ("every_s: .inf", "2:10: .inf is no usable number"),
        ("delay_ms: 1s", "2:11: expected a whole number of milliseconds, got '1s'"),
        ("delay_ms: 1.5", "2:11: expected a whole number of milliseconds, got 1.5"),
        ("temp_c: hot", "2:9: expected a number in degrees Celsius, got 'hot'"),
        ("load_percent: 5%", "2:15: expected a whole number in percent, got '5%'"),
        ("cools_c_per_s: {}", "2:16: expected a number in degrees Celsius per second, got a mapping"),
        ("speed: fast", "2:8: expected a number, got 'fast'"),
        ("limits: {upper_c: 1, span_kmh: [1, x]}", "2:36: expected a number in km/h, got 'x'"),
        ("limits: {upper_c: 201}", "2:19: must be ≤ 200, is 201"),
        # booleans, choices, branches
        ("on: yes", "2:5: expected true or false, got 'yes'"),
        ("mode: fats", "2:7: unknown mode 'fats' (did you mean 'fast'?)"),
        ("mode: 5", "2:7: expected one of fast, slow; got 5"),
        ("products: 5", "2:11: expected text or a list, got 5"),
        ("products: [a, 5]", "2:15: expected text: write '5' in quotes"),
        ("rate_per_s: x", "2:13: expected a number per second or 'max', got 'x'"),
        # lists and mappings
        ("sizes: {a: 1}", "2:8: expected a list, got a mapping"),
        ("sizes: 5", "2:8: expected a list, got 5"),
        ("sizes: [1, x]", "2:12: expected a whole number, got 'x'"),
        ("sizes: [1, 2, 3, 4]", "2:8: takes at most 3 items, has 4"),
        ("counts: [1]", "2:9: expected a mapping, got a list"),
        ("counts: {title: x}", "2:17: expected a whole number, got 'x'"),
        ("limits: upper_c:5", "2:9: expected a mapping, got 'upper_c:5': a space is missing after ':'"),
        ("limits: {upper_c: 1, span_kmh: [1]}", "2:32: item 2 is missing"),
        ("limits: {upper_c: 1, span_kmh: [1, 2, 3]}", "2:32: takes at most 2 items, has 3"),
        ("pause_s: 5min", "2:10: expected a number of seconds or a list, got '5min'"),
        ("pause_s: [1]", "2:10: item 2 is missing"),
        ("pause_s: [1, 2, 3]", "2:10: takes at most 2 items, has 3"),
        ("pause_s: [1, x]", "2:14: expected a number of seconds, got 'x'"),
        ("pause_s: {low: 1, high: 2, mid: 3}", "2:28: unknown key 'mid'"),
        # a model's own sentences
        ("speed: 13", "2:8: 13 brings bad luck"),
        ("speed: 14", "2:8: 14 is no better"),
        ("fleets: [{profile: a, count: 1}, {profile: a, count: 1}]", "2:44: 'a' is listed twice"),
        (
            "sub: [{title: x, fleets: [{profile: a, count: 1}, {profile: a, count: 1}]}]",
            "2:61: 'a' is listed twice",
        ),
    ],
)
def test_sentences(text: str, line: str) -> None:
    with pytest.raises(YamlProblems) as raised:
        parse(f"title: x\n{text}\n", "plan.yaml", Plan)
    assert str(raised.value) == f"plan.yaml:{line}"


@cache
def fault_model() -> type[BaseModel]:
    class Step(Strict):
        at_s: float
        fault: Annotated[Any, OneOf("two_kinds")] | None = None
        only: union("one_kind") = None  # type: ignore[valid-type]

    class Timeline(Strict):
        steps: list[Step]
        named: dict[str, Annotated[Any, OneOf("two_kinds")]] = Field(default_factory=dict)

    return Timeline


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("fault: {kind: hnag, part: fan}", "3:17: unknown kind 'hnag' (did you mean 'hang'?)"),
        ("fault: {kind: zzz}", "3:17: unknown kind 'zzz' (known: delay, hang)"),
        ("fault: {kind: 5}", "3:17: expected one of delay, hang; got 5"),
        ("fault: {kind: [a]}", "3:17: expected one of delay, hang; got a list"),
        ("fault: {part: fan}", "3:10: missing key 'kind' (one of: delay, hang)"),
        ("fault: {kind: hang}", "3:10: missing key 'part'"),
        ("fault: {kind: hang, prat: fan, part: fan}", "3:23: unknown key 'prat' (did you mean 'part'?)"),
        ("fault: {kind: hang, part: fam}", "3:29: unknown part 'fam' (did you mean 'fan'?)"),
        ("fault: {kind: delay, delay_ms: 1, delay: x}", "3:44: expected a number, got 'x'"),
        ("fault: {kind: delay, delay_ms: 0}", "3:34: must be > 0, is 0"),
        ("fault: {delay: {}, delay_ms: 1, kind: delay}", "3:18: expected a number, got a mapping"),
        ("fault: hang", "3:10: expected a mapping, got 'hang'"),
        ("only: {kind: hnag, part: fan}", "3:16: unknown kind 'hnag' (did you mean 'hang'?)"),
        ("only: {kind: hang}", "3:9: missing key 'part'"),
    ],
)
def test_kinds_of_a_room(text: str, line: str) -> None:
    with pytest.raises(YamlProblems) as raised:
        parse(f"steps:\n- at_s: 1\n  {text}\n", "f.yaml", fault_model())
    assert str(raised.value) == f"f.yaml:{line}"


def test_kinds_are_read() -> None:
    text = "steps:\n- {at_s: 1, fault: {kind: hang, part: fan}, only: {kind: hang, part: pump}}\n"
    loaded: Any = parse(text + "named: {a: {kind: delay, delay_ms: 5}}\n", "f.yaml", fault_model())
    step = loaded.steps[0]
    assert (type(step.fault).__name__, step.only.part, loaded.named["a"].delay_ms) == ("Hang", "pump", 5)


def test_a_union_stands_alone() -> None:
    for room in ("one_kind", "two_kinds"):
        adapter = TypeAdapter[Any](union(room))
        assert adapter.validate_python({"kind": "hang", "part": "fan"}).part == "fan"
        with pytest.raises(ValidationError):
            adapter.validate_python({"kind": "other"})


def test_all_problems_are_said_at_once_in_the_order_of_the_file() -> None:
    text = "title: 1.0\nevery_s: 5min\nevery_s: 6\non: .nan\nfleets:\n  - profile: a\n    cuont: 1\n"
    with pytest.raises(YamlProblems) as raised:
        parse(text, "f.yaml", Plan)
    assert str(raised.value).splitlines() == [
        "f.yaml:1:8: expected text: write '1.0' in quotes",
        "f.yaml:2:10: expected a number of seconds, got '5min'",
        "f.yaml:3:1: duplicate key 'every_s' (first on line 2, column 1)",
        "f.yaml:4:5: .nan is no usable number",
        "f.yaml:6:5: missing key 'count'",
        "f.yaml:7:5: unknown key 'cuont' (did you mean 'count'?)",
    ]
    assert [problem.line for problem in raised.value.problems] == [1, 2, 3, 4, 6, 7]


def test_very_many_problems_are_counted() -> None:
    text = "title: x\n" + "".join(f"x{n}: 1\n" for n in range(5000))
    with pytest.raises(YamlProblems) as raised:
        parse(text, "f.yaml", Plan)
    shown = str(raised.value).splitlines()
    assert (len(shown), shown[-1]) == (21, "… and 4980 more")


def test_long_keys_and_values_stay_short() -> None:
    with pytest.raises(YamlProblems) as raised:
        parse(f"? {'k' * 100_000}\n: 1\ntitle: x\nspeed: {'v' * 100_000}\n", "f.yaml", Plan)
    assert all(len(line) < 450 for line in str(raised.value).splitlines())


def test_the_caller_places_its_own_problems() -> None:
    loaded = parse_marked("title: x\nfleets:\n  - {profile: bus, count: 2}\n", "f.yaml", Plan)
    assert loaded.value.fleets[0].profile == "bus"
    problem = loaded.problem(("fleets", 0, "profile"), "no such profile: bus")
    assert str(YamlProblems([problem])) == "f.yaml:3:15: no such profile: bus"
    assert loaded.problem(("fleets", 0, "profile"), "m", at_key=True).column == 6


# --- files -----------------------------------------------------------------------------------------------


def test_paths_are_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profiles").mkdir()
    path = tmp_path / "profiles" / "bus.yaml"
    path.write_text("titel: x\n")
    monkeypatch.chdir(tmp_path)
    for given_path in (path, Path("profiles/bus.yaml")):
        with pytest.raises(YamlProblems, match=r"^profiles/bus\.yaml:1:1: missing key 'title'\nprofiles/"):
            load(given_path, Plan)
    monkeypatch.chdir(tmp_path / "profiles")
    with pytest.raises(YamlProblems, match=r"^bus\.yaml:1:1: "):
        load(path, Plan)
    monkeypatch.chdir("/")
    path.write_text("title: x\n")
    assert load_marked(path, Plan).marks.file == str(path).lstrip("/")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sedan.yaml").write_bytes(b"title: ok\r\nversion: caf\xe9\r\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    os.mkfifo(tmp_path / "pipe.yaml")
    cases = {
        "sedn.yaml": "no such file: sedn.yaml (did you mean 'sedan.yaml'?)",
        "zzz.yaml": "no such file: zzz.yaml (known: large.yaml, pipe.yaml, sedan.yaml)",
        "no/zzz.yaml": "no such file: no/zzz.yaml",
        "sedan.yaml/x": "no such file: sedan.yaml/x",
        ".": "not a file: .",
        "pipe.yaml": "not a file: pipe.yaml",
        "large.yaml": f"file too large: large.yaml has more than {MAX_FILE_BYTES} bytes",
        "sedan.yaml": "sedan.yaml:2:13: byte 0xe9 is not UTF-8: save the file as UTF-8",
        "x" * 300: f"cannot read {'x' * 300}: File name too long",
    }
    for name, message in cases.items():
        with pytest.raises(UsageError) as raised:
            load(Path(name), Plan)
        assert str(raised.value) == message


def test_bom_and_crlf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"\xef\xbb\xbftitle: caf\xc3\xa9\r\nsizes:\r\n  - 1\r\n")
    plan = load(path, Plan)
    assert (plan.title, plan.sizes) == ("café", (1,))


# --- JSON Schema -----------------------------------------------------------------------------------------


def words_of(schema: Any) -> Iterator[str]:
    """Every key in a schema."""
    if isinstance(schema, dict):
        yield from schema
        for below in schema.values():
            yield from words_of(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from words_of(below)


def test_the_json_schema_is_draft_7() -> None:
    for model in (Plan, fault_model()):
        schema = json_schema(model, "A plan")
        Draft7Validator.check_schema(schema)
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
        assert schema["title"] == "A plan"
        assert not {"$defs", "prefixItems", "discriminator"} & set(words_of(schema))
        assert "#/$defs/" not in json.dumps(schema)


def test_the_json_schema_helps() -> None:
    schema = json_schema(fault_model(), "Timeline")
    hang = schema["definitions"]["Hang"]
    assert hang["description"] == "A part stops answering."
    assert hang["properties"]["part"]["description"] == "Which part."
    plan = json_schema(Plan, "Plan")["definitions"]["Plan"]  # a model that holds itself is a definition
    assert plan["properties"]["title"]["description"] == "Shown in the report."


def test_words_that_are_names_or_data_are_kept() -> None:
    class Odd(Strict):
        discriminator: tuple[dict[str, str], int] = ({"discriminator": "x", "prefixItems": "y"}, 1)
        prefix_items: int = Field(1, alias="prefixItems")

    schema = json_schema(Odd, "Odd")
    assert set(schema["properties"]) == {"discriminator", "prefixItems"}
    assert schema["properties"]["discriminator"]["default"][0] == {
        "discriminator": "x",
        "prefixItems": "y",
    }


NUMBERS = st.integers(-2, 300) | st.floats(-2, 300, allow_nan=False)
WORDS = st.sampled_from(["x", "fast", "max", "hang", "delay", "fan"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["a", "profile", "count"]), below),
    max_leaves=6,
)
PLANS = st.fixed_dictionaries({"title": WORDS}, optional=dict.fromkeys(Plan.model_fields.keys() - {"title"}, VALUES))
FAULTS = st.fixed_dictionaries(
    {},
    optional={"kind": WORDS, "part": WORDS | NUMBERS, "delay_ms": NUMBERS, "delay": VALUES},
)


def problems_of(text: str, model: type[BaseModel]) -> list[str]:
    try:
        assert isinstance(parse(text, "f.yaml", model), model)
    except YamlProblems as error:
        return str(error).splitlines()
    return []


def same_verdict(model: type[BaseModel], value: Any) -> None:
    """Our reader and a draft-07 validator agree, but for 1.0: a whole number only to the latter."""
    valid = Draft7Validator(json_schema(model, "Plan")).is_valid(value)
    found = problems_of(json.dumps(value), model)
    ours = ("listed twice", "bad luck", "no better", "expected a whole number")
    if valid:
        assert all(any(word in line for word in ours) for line in found)
    else:
        assert found


@given(PLANS)
def test_editor_and_reader_agree_on_plans(value: Any) -> None:
    same_verdict(Plan, value)


@given(st.lists(FAULTS, max_size=2))
def test_editor_and_reader_agree_on_kinds(faults: list[Any]) -> None:
    same_verdict(fault_model(), {"steps": [{"at_s": 1, "fault": fault} for fault in faults]})


TEXT = st.lists(
    st.sampled_from(["title: x", "every_s:", "sub:", "  - title: 1", "fleets: [", "{", "]", "&a", "*a", "\t", "- "])
    | st.text(string.printable, max_size=8),
    max_size=8,
).map("\n".join)


@given(TEXT | st.text())
def test_any_text_gives_a_model_or_problems(text: str) -> None:
    assert all(line.isprintable() for line in problems_of(text, Plan))
