"""YAML file → pydantic model. What is wrong is said as `file:line:column: message`, all of it at once.

    class Fan(Strict):
        every_s: float = Field(gt=0, description="Time between two readings.")

    fan = load(Path("fan.yaml"), Fan)     # or YamlProblems: fan.yaml:3:3: unknown key 'evry_s' (did you …

Rules: our models are `Strict`; a field's suffix names its unit, and messages say it in words; values are
never converted from text. A room's kinds become a field by `Annotated[Fault, OneOf("faults")]`. A validator
raises ValueError with a sentence, or `Misplaced` to point inside its value. What only the caller can check
(does this profile exist?) becomes `loaded.problem(loc, message)` and is raised as YamlProblems.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from simulator import rooms
from simulator.errors import UsageError, did_you_mean
from simulator.yaml_marks import Loc, Marks, Problem, YamlProblems, read, scalar, shortened

__all__ = [
    "Loaded",
    "Loc",
    "Marks",
    "Misplaced",
    "OneOf",
    "Problem",
    "Strict",
    "YamlProblems",
    "json_schema",
    "load",
    "load_marked",
    "parse",
    "parse_marked",
    "union",
]

MAX_FILE_BYTES = 1024 * 1024
MAX_WORDED = 200  # errors of one file that get a sentence; further ones are only counted

M = TypeVar("M", bound=BaseModel)
Prepare = Callable[[Marks], list[Problem]]  # changes a file's values in place before they become a model
JsonSchema = dict[str, Any]


class Strict(BaseModel):
    """The base of everything read from YAML: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Misplaced(ValueError):
    """Raised in a validator: the mistake is inside the validated value, at `loc` counted from there."""

    def __init__(self, loc: Loc, message: str) -> None:
        super().__init__(message)
        self.spots: list[tuple[Loc, str]] = [(loc, message)]

    @classmethod
    def raise_any(cls, found: "Iterable[Misplaced]") -> None:
        """Raises all that a validator found as one; returns when it found nothing."""
        spots = [spot for one in found for spot in one.spots]
        if spots:
            together = cls(*spots[0])
            together.spots = spots
            raise together


@dataclass(frozen=True)
class OneOf:
    """Marks a field as one of a room's kinds, chosen by its key `kind`."""

    room: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(found) for kind, found in rooms.members(self.room).items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def union(room: str) -> Any:
    """A room's kinds as one type, also when there is only one: `TypeAdapter(union("faults"))`."""
    return Annotated[Any, OneOf(room)]


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """A model and the places its values were written at."""

    value: M
    marks: Marks

    def problem(self, loc: Loc, message: str, *, at_key: bool = False) -> Problem:
        return self.marks.problem(loc, message, at_key=at_key)


def load(path: Path, model: type[M]) -> M:
    """The model a file describes. YamlProblems, or UsageError when there is no such file."""
    return load_marked(path, model).value


def load_marked(path: Path, model: type[M], prepare: "Prepare | None" = None) -> Loaded[M]:
    """As `load`, with the places, for checks the model cannot make alone; `prepare` may change the values first."""
    return parse_marked(_text(path), _shown(path), model, prepare)


def parse(text: str, name: str, model: type[M]) -> M:
    """As `load`, from text; `name` is what the messages call the file."""
    return parse_marked(text, name, model).value


def parse_marked(text: str, name: str, model: type[M], prepare: "Prepare | None" = None) -> Loaded[M]:
    """As `load_marked`, from text."""
    marks, problems = read(text, name)
    if prepare:
        problems += prepare(marks)
    try:
        # Through JSON, because strict there means: numbers are numbers, text is text, lists may be tuples.
        value = model.model_validate_json(json.dumps(marks.root.value), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        known = {(problem.line, problem.column) for problem in problems}
        worded = _worded(found[:MAX_WORDED], model, marks)
        problems += [problem for problem in worded if (problem.line, problem.column) not in known]
        raise YamlProblems(problems, unlisted=len(found[MAX_WORDED:])) from None
    if problems:
        raise YamlProblems(problems)
    return Loaded(value, marks)


# --- files -----------------------------------------------------------------------------------------------


def _shown(path: Path) -> str:
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _text(path: Path) -> str:
    shown = _shown(path)
    try:
        if not path.exists():
            raise UsageError(f"no such file: {shown}{_sibling(path)}")
        if not path.is_file():
            raise UsageError(f"not a file: {shown}")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"file too large: {shown} has more than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise YamlProblems([Problem(shown, line, column, message)]) from None


def _sibling(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    hint = did_you_mean(path.name, names)
    return hint if len(names) <= 12 or "did you mean" in hint else ""


# --- from pydantic's errors to sentences -----------------------------------------------------------------

_EXPECTED = {
    "string_type": "text",
    "path_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "nothing",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), "a number"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "named_tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a mapping"),
}

_OF_KEY = ("missing", "extra_forbidden")  # errors at what is missing or too much: the parent is what has a schema

_UNITS = {
    "ms": "of milliseconds",
    "s": "of seconds",
    "min": "of minutes",
    "h": "of hours",
    "days": "of days",
    "c": "in degrees Celsius",
    "kmh": "in km/h",
    "km": "of kilometres",
    "m": "of metres",
    "rpm": "of revolutions per minute",
    "percent": "in percent",
    "ppm": "in parts per million",
    "bytes": "of bytes",
    "kb": "of kilobytes",
    "mb": "of megabytes",
    "hz": "in hertz",
    "v": "of volts",
    "a": "of amperes",
    "w": "of watts",
    "j": "of joules",
    "kw": "of kilowatts",
    "kpa": "of kilopascals",
}
_PER = {
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
    "km": "kilometre",
    "c": "degree",
    "k": "kelvin",
}

_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": ("≥", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("≤", "le"),
}


def _worded(errors: list[ErrorDetails], model: type[BaseModel], marks: Marks) -> list[Problem]:
    """A problem for each error; union branches that each expected something else share one sentence."""
    problems: list[Problem] = []
    expected: dict[Loc, list[str]] = {}  # what each branch would have taken there
    literals: dict[Loc, ErrorDetails] = {}
    fitting: set[Loc] = set()  # the places above an error: some branch did fit there
    for error in errors:
        loc, kind = error["loc"], error["type"]
        of_key = kind in _OF_KEY
        path, schemas = _trace(model, loc[:-1] if of_key else loc)
        fitting.update(path[:depth] for depth in range(len(path) + of_key))
        if kind in _EXPECTED:
            expected.setdefault(path, []).append(_EXPECTED[kind])
        elif kind in ("literal_error", "enum"):
            literals[path] = error
        else:
            if kind in ("too_long", "too_short"):
                fitting.add(path)  # a list was right there, only not so long a one
            problems += _problems(error, path, schemas, marks)
    for path, error in literals.items():
        _, schemas = _trace(model, error["loc"])
        if path in expected:
            expected[path] += [f"'{value}'" for value in _allowed(schemas)]
        elif path not in fitting:
            problems += _problems(error, path, schemas, marks)
    for path, words in expected.items():
        if path not in fitting:
            problems.append(marks.problem(path, _expectation(path, words, marks)))
    return problems


def _problems(error: ErrorDetails, path: Loc, schemas: list[JsonSchema], marks: Marks) -> list[Problem]:
    """What one error says; more than one only when a validator raised several Misplaced."""
    key, raised = error["loc"][-1] if error["loc"] else "", error.get("ctx", {}).get("error")
    match error["type"]:
        case "extra_forbidden":
            known = sorted({name for schema in schemas for name in schema.get("properties", ())})
            name = shortened(str(key))
            message = f"unknown key '{name}'{did_you_mean(name, known)}"
            return [marks.problem((*path, key), message, at_key=True)]
        case "missing":
            message = f"missing key '{key}'" if isinstance(key, str) else f"item {key + 1} is missing"
            return [marks.problem(path, message)]
        case "union_tag_invalid":
            return [marks.problem((*path, _tag_key(error)), _sentence(error, path, schemas))]
        case "value_error" if isinstance(raised, Misplaced):
            return [marks.problem(path + below, message) for below, message in raised.spots]
        case _:
            return [marks.problem(path, _sentence(error, path, schemas), at_key=key == "[key]")]


def _expectation(path: Loc, words: list[str], marks: Marks) -> str:
    """`expected a number of seconds, got '5min'`."""
    node = marks.node(path)
    plain = node.plain if node else None
    if words == ["text"] and plain:
        return f"expected text: write '{shortened(plain)}' in quotes"
    unique = list(dict.fromkeys(words))
    if "a number" in unique and "a whole number" in unique:
        unique.remove("a whole number")
    sentence = " or ".join(word + _unit(_name(path)) if word.endswith("number") else word for word in unique)
    value = node.value if node else None
    hint = ""
    if isinstance(value, str) and plain is None and any(word.endswith("number") for word in unique):
        hint = ": remove the quotes" if _is_number(value) else ""
    elif isinstance(value, str) and plain and ":" in plain and unique == ["a mapping"]:
        hint = ": a space is missing after ':'"
    return f"expected {sentence}, got {_got(value, plain)}{hint}"


def _is_number(text: str) -> bool:
    try:
        return type(scalar(text)) in (int, float)
    except ValueError:
        return False


def _got(value: Any, plain: str | None = None) -> str:
    match value:
        case None:
            return "nothing"
        case str():
            return f"'{shortened(value)}'"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case float() if value.is_integer() and abs(value) < 1e15:
            return plain or str(int(value))
        case _:
            return shortened(plain or json.dumps(value, default=str))


def _unit(name: str) -> str:
    """The unit a name ends with, in words: `every_s` → ` of seconds`, `rate_per_s` → ` per second`."""
    head, per, tail = name.rpartition("_per_")
    if per and tail in _PER:
        return f"{_unit(head)} per {_PER[tail]}"
    _, suffixed, suffix = name.rpartition("_")
    return f" {_UNITS[suffix]}" if suffixed and suffix in _UNITS else ""


def _sentence(error: ErrorDetails, path: Loc, schemas: list[JsonSchema]) -> str:
    kind, value, ctx = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "union_tag_invalid":
            tag = value.get(_tag_key(error)) if isinstance(value, dict) else None
            return _unknown(_tag_key(error), tag, _tags(schemas))
        case "union_tag_not_found":
            return f"missing key '{_tag_key(error)}' (one of: {', '.join(_tags(schemas))})"
        case "literal_error" | "enum":
            return _unknown(_name(path) or "value", value, _allowed(schemas))
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            sign, key = _BOUNDS[kind]
            return f"must be {sign} {_got(ctx[key])}, is {_got(value)}"
        case "too_short":
            return f"needs at least {_count(ctx['min_length'], 'item')}, has {ctx['actual_length']}"
        case "too_long":
            return f"takes at most {_count(ctx['max_length'], 'item')}, has {ctx['actual_length'] or 'more'}"
        case "string_too_short":
            return f"must have at least {_count(ctx['min_length'], 'character')}, is {_got(value)}"
        case "string_too_long":
            return f"must have at most {_count(ctx['max_length'], 'character')}, is {_got(value)}"
        case "string_pattern_mismatch":
            return f"{_got(value)} does not have the form {ctx['pattern']}"
        case "value_error" | "assertion_error":
            return str(ctx["error"]) or "wrong value"
        case _:  # a validator's own sentence, or a type of pydantic's that is rare
            return error["msg"].replace("Input should be", "must be")


def _unknown(what: str, value: Any, allowed: list[Any]) -> str:
    """`unknown kind 'hnag' (did you mean 'hang'?)`."""
    if isinstance(value, str):
        words = [word for word in allowed if isinstance(word, str)]
        return f"unknown {what} {_got(value)}{did_you_mean(shortened(value), words)}"
    return f"expected one of {', '.join(map(str, allowed))}; got {_got(value)}"


def _name(path: Loc) -> str:
    """The key a value belongs to, also when it is in a list there."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _tags(schemas: list[JsonSchema]) -> list[str]:
    return sorted({tag for schema in schemas for tag in _choices(schema)})


def _tag_key(error: ErrorDetails) -> str:
    return str(error["ctx"]["discriminator"]).strip("'")


def _allowed(schemas: list[JsonSchema]) -> list[Any]:
    """The values an enumeration allows."""
    found = [one for schema in schemas for one in schema.get("enum", [schema.get("const")])]
    return [one for one in found if one is not None]


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


# --- JSON Schema -----------------------------------------------------------------------------------------


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Every S" beside `every_s` tells an editor's user nothing


@cache
def _raw(model: type[BaseModel]) -> JsonSchema:
    return model.model_json_schema(schema_generator=_Generator)


def json_schema(model: type[BaseModel], title: str, *, parameters: bool = False) -> JsonSchema:
    """The JSON Schema of a model, draft-07, for editors; with `parameters` a value may be ${name} too."""
    schema = _draft7(_raw(model))
    if parameters:
        schema = _or_parameter(schema)
    return {**schema, "$schema": "http://json-schema.org/draft-07/schema#", "title": title}


_PARAMETER: JsonSchema = {"type": "string", "pattern": r"\$\{[a-zA-Z_][a-zA-Z0-9_]*\}"}


def _or_parameter(schema: Any) -> Any:
    """The same, where a number, a choice or a text of some form may also hold ${name}."""
    if isinstance(schema, list):
        return [_or_parameter(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        word: {name: _or_parameter(one) for name, one in below.items()} if word in ("properties", "definitions")
        else _or_parameter(below)
        for word, below in schema.items()
    }  # fmt: skip
    formed = schema.get("type") in ("integer", "number", "boolean") or (
        schema.get("type") == "string" and ("enum" in schema or "pattern" in schema)
    )
    return {"anyOf": [inner, _PARAMETER]} if formed and "const" not in schema else inner


_OF_NAMES = ("properties", "patternProperties", "$defs")
_OF_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_OF_ONE = ("items", "additionalProperties", "propertyNames", "contains", "not")


def _draft7(schema: Any) -> Any:
    """A schema of draft 2020-12, as far as pydantic uses it, in the words of draft-07."""
    if not isinstance(schema, dict):
        return schema  # true, false
    done: JsonSchema = {}
    for word, below in schema.items():
        if word in _OF_NAMES:
            renamed = "definitions" if word == "$defs" else word
            done[renamed] = {name: _draft7(one) for name, one in below.items()}
        elif word in _OF_LISTS:
            done["items" if word == "prefixItems" else word] = [_draft7(one) for one in below]
        elif word in _OF_ONE:
            done["additionalItems" if word == "items" and "prefixItems" in schema else word] = _draft7(below)
        elif word == "discriminator":
            done["required"] = [below["propertyName"]]  # `const` in each choice does the rest
        elif word == "$ref":
            done["$ref"] = below.replace("#/$defs/", "#/definitions/", 1)
        else:
            done[word] = below
    if "$ref" in done and len(done) > 1:  # draft-07 ignores what stands beside a $ref
        done = {"allOf": [{"$ref": done.pop("$ref")}], **done}
    return done


def _trace(model: type[BaseModel], loc: Loc) -> tuple[Loc, list[JsonSchema]]:
    """Pydantic's loc as a path of the file (without the names of union branches), and the schemas there."""
    defs = _raw(model).get("$defs", {})
    path: list[str | int] = []
    at = _alternatives(_raw(model), defs)
    for part in loc:
        chosen = [choices[part] for one in at if isinstance(part, str) and part in (choices := _choices(one))]
        below = chosen or [found for one in at if (found := _child(one, part)) is not None]
        if below:
            if not chosen:
                path.append(part)
            at = [found for one in below for found in _alternatives(one, defs)]
    return tuple(path), at


def _alternatives(schema: JsonSchema, defs: JsonSchema) -> list[JsonSchema]:
    """The schemas a value may follow here; a union chosen by a tag stays one."""
    if "$ref" in schema:
        return _alternatives(defs[schema["$ref"].removeprefix("#/$defs/")], defs)
    if "discriminator" in schema:
        return [schema]
    below = [one for word in ("anyOf", "oneOf", "allOf") for one in schema.get(word, ())]
    return [found for one in below for found in _alternatives(one, defs)] or [schema]


def _choices(schema: JsonSchema) -> dict[str, JsonSchema]:
    """Tag → schema, of a union chosen by a tag."""
    mapping = schema.get("discriminator", {}).get("mapping", {})
    return {tag: {"$ref": one} if isinstance(one, str) else one for tag, one in mapping.items()}


def _child(schema: JsonSchema, part: str | int) -> JsonSchema | None:
    """The schema of a mapping's value or a list's item."""
    if isinstance(part, int):
        prefix = schema.get("prefixItems", ())
        found = prefix[part] if part < len(prefix) else schema.get("items")
    else:
        found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    if found is True:
        return {}
    return found if isinstance(found, dict) else None
