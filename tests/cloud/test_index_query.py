"""The query language: what its texts mean, which are wrong and how that is said, and random ones."""

import fnmatch
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cloud.indexing.query import InvalidQueryError, parse
from simulator.cloud.indexing.tree import And, Everything, Node, Not, Or, Phrase, Present, Range, Term, Word

DOCUMENT: dict[str, Any] = {
    "thingName": "Vehicle-VIN-007",
    "thingId": "0f1e",
    "thingTypeName": "SedanVehicle",
    "thingGroupNames": ["DEFleet", "Hot"],
    "attributes": {"country": "DE", "year": "2024", "serial": "abce", "a.b": "dotted", "level": "7.0"},
    "shadow": {
        "reported": {
            "batteryStatus": 75,
            "temp": -3.5,
            "on": True,
            "note": "two red cars",
            "text": "75",
            "empty": {},
            "list": [1, 2, "Three"],
            "objects": [{"x": 1}],
            "none": [None],
            "stats": {"battery": 80},
        },
        "desired": {"fan": {"speed": 3}},
        "delta": {"fan": {"speed": 3}},
        "metadata": {"reported": {"batteryStatus": {"timestamp": 1700000000}}},
        "hasDelta": True,
        "version": 9,
        "name": {
            "$package": {
                "reported": {
                    "SedanVehicle": {"version": "1.1.0", "attributes": {}},
                    "my.pkg": {"version": "2.0.0"},
                },
                "hasDelta": False,
                "version": 4,
            }
        },
    },
    "connectivity": {"connected": False, "timestamp": 1557651600001, "disconnectReason": "CONNECTION_LOST"},
}


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "thingName:*",
        "thingName:vehicle-vin-007",
        'thingName:"Vehicle-VIN-007"',
        "thingName=Vehicle-VIN-007",
        "thingName:Vehicle*",
        "thingName:*007",
        "thingName:*vin*",
        "thingName:V?hicle-VIN-00?",
        "thingGroupNames:hot",
        "thingGroupNames:DE*",
        "attributes.country:(FR OR DE)",
        "attributes.country:(D* AND -DX*)",
        "attributes.year:2024",
        "attributes.year:2024.0",
        "attributes.level:7",
        "attributes.year:[2020 TO 2024]",
        "attributes.year:{2020 TO 2024]",
        "attributes.year:[* TO 2024.5}",
        "attributes.year>2023 AND attributes.year<=2024",
        "attributes.year >= 2024",
        'attributes.serial:["abcd" TO "abcf"]',
        "attributes.serial:[abcd TO abcf]",
        "attributes.serial:[abcd abcf]",
        'attributes.serial<"abcf"',
        "attributes.a.b:dotted",
        "attributes.a\\.b:dotted",
        "shadow.reported.batteryStatus:75",
        "shadow.reported.batteryStatus:75.0",
        "shadow.reported.batteryStatus:7.5e1",
        "shadow.reported.batteryStatus:[50 TO *]",
        "shadow.reported.batteryStatus:{74 TO 76}",
        "shadow.reported.temp:-3.5",
        "shadow.reported.temp<0",
        "shadow.reported.temp:[-4 TO -3]",
        "shadow.reported.on:true",
        "shadow.reported.on:TRUE",
        "shadow.reported.note:red",
        'shadow.reported.note:"red cars"',
        "shadow.reported.note:c?rs",
        "shadow.reported.note:two\\ red\\ cars",
        "shadow.reported.text:75",
        "shadow.reported.list:2",
        "shadow.reported.list:three",
        "shadow.reported.list:[0 TO 1]",
        "shadow.reported.stats:*",
        "shadow.reported.stats.battery:{70 TO 100} (SedanVehicle OR v3) NOT attributes.model:legacy",
        "shadow.desired.fan.speed:3",
        "shadow.delta.fan.speed:3",
        "shadow.hasDelta:true",
        "shadow.metadata.reported.batteryStatus.timestamp>1600000000",
        "shadow.name.$package.reported.SedanVehicle.version:1.1.0",
        "shadow.name.\\$package.reported.SedanVehicle.version:1.1.0",
        "shadow.name.\\$package.reported.SedanVehicle.version:(1.0.0 OR 1.1.0)",
        "shadow.name.$package.reported.my.pkg.version:2.0.0",
        "shadow.name.$package.hasDelta:false",
        "thingTypeName:SedanVehicle AND shadow.name.$package.reported.SedanVehicle.version:* "
        "AND NOT shadow.name.$package.reported.SedanVehicle.version:2.0.0",
        "connectivity.connected:false AND connectivity.timestamp : [1557651600000 TO 1557867600000]",
        "connectivity.connected:false AND connectivity.timestamp > 1557651600000",
        "connectivity.disconnectReason:connection_lost",
        "75",
        "dotted",
        "1.1.0 AND 2.0.0",
        '"two red cars"',
        "tw*",
        "-missing",
        "NOT missing",
        "!attributes.country:FR",
        "NOT attributes.nothing:x",
        "-attributes.nothing:*",
        "attributes.country:FR OR attributes.year:2024",
        "attributes.country:FR || attributes.year:2024 && thingName:*",
        "- (attributes.country:FR)",
        "-(-(attributes.country:DE))",
        "(((attributes.country:DE)))",
        "(thingName:a OR thingName:Vehicle*)(attributes.country:DE)",
        "\tattributes.country:DE\n",
    ],
)
def test_it_matches(text: str) -> None:
    assert parse(text).matches(DOCUMENT)


@pytest.mark.parametrize(
    "text",
    [
        "thingname",
        "thingName:vehicle",
        "thingName:\\*",
        'thingName:"Vehicle*"',
        "attributes.Country:DE",
        "attributes.year:[2024 TO *] attributes.year:{2024 TO *]",
        "attributes.country>10",
        "attributes.serial:[1 TO 9]",
        "attributes.none:*",
        "shadow.reported.text:[70 TO 80]",
        "shadow.reported.batteryStatus:[a TO z]",
        "shadow.reported.on:1",
        "shadow.reported.empty:*",
        "shadow.reported.objects:*",
        "shadow.reported.objects.x:1",
        "shadow.reported.none:*",
        "shadow.reported.stats:80",
        "shadow.reported.note.more:x",
        "shadow.version:9",
        'shadow.reported.note:"cars red"',
        "connectivity.connected:true",
        "CONNECTION_LOST",
        "false",
        "9",
        "(thingName:a)(attributes.country:DE)",
        "thingName:Vehicle* -attributes.country:DE",
        # AND binds tighter than OR, and OR tighter than two terms side by side.
        "attributes.country:DE OR thingName:Vehicle* thingName:other",
        "thingName:other AND attributes.country:DE OR thingName:another",
    ],
)
def test_it_does_not_match(text: str) -> None:
    assert not parse(text).matches({**DOCUMENT, "shadow": {**DOCUMENT["shadow"], "version": None}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid syntax: the query is empty"),
        ("  ", "invalid syntax: the query is empty"),
        ("thingName:", "a value is expected after thingName:, at character 11"),
        ("thingName:AND", "a value is expected after thingName:, at character 11"),
        ("thingName:>5", "a value is expected after thingName:, at character 11"),
        ("thingName<[1 TO 2]", "a value is expected after thingName<"),
        (":a", "a field name is expected before ':', at character 1"),
        ('"a":b', "a field name is expected before ':', at character 4"),
        ("a:b:c", "unexpected ':' in a value; escape it with \\, at character 4"),
        ("a:(b:c)", "a field within the values of a, at character 4"),
        ("thingName:(a", "the parenthesis is not closed, at character 11"),
        ("thingName:a)", "')' closes no parenthesis, at character 12"),
        ("()", "nothing is between the parentheses, at character 1"),
        ("a AND", "a term is expected after AND, at character 6"),
        ("(a OR)", "a term is expected after OR, at character 6"),
        ("OR a", "a term is expected before OR, at character 1"),
        ("a AND OR b", "a term is expected before OR, at character 7"),
        ("a NOT", "a term is expected after NOT"),
        ("a -", "a term is expected after -"),
        ("NOT NOT a", "two negations in a row, at character 5"),
        ("NOT -a", "two negations in a row, at character 5"),
        ('thingName:"a', "the quote is not closed, at character 11"),
        ('a"b"', "unexpected '\"' in a word"),
        ("a\\", "nothing follows the \\, at character 2"),
        ("+a", 'unsupported operator - "+", at character 1'),
        ("a~2", "unsupported query type - fuzzy, at character 2"),
        ("a^2", "unsupported query type - boost, at character 2"),
        ("thingName:/a/", "unsupported query type - regular expression"),
        ("thingName:a@b", "the character @ is not supported, at character 12"),
        ("thingName:a\\,b", "the character , is not supported, at character 13"),
        ("thingName:[a", "the range lacks an end"),
        ("thingName:[a TO]", "the range lacks an end"),
        ("thingName:[a TO b", "a range is [low TO high]"),
        ("thingName:[a to b]", "a range is [low TO high]"),
        ("thingName:[a* TO b]", "wildcards are not allowed in the ends of a range"),
        ("thingName:]", "']' closes no range"),
        ("thingName<a*", "wildcards are not allowed in a comparison"),
        ("*:a", "invalid field name, field name: *"),
        ("thingName:*a*b*", "too many wildcards (*). The maximum allowed per term is 2, field name: thingName"),
        ("thingName:a?????b?", "too many wildcards (?). The maximum allowed per term is 5"),
        ("thingName:?a", "wildcard character (?) is not allowed at the start of the value"),
        ("thingName:*a OR thingTypeName:*b", "only one term of a query may begin with a wildcard"),
        ("thingName:*a OR " + "b" * 90, "a query with a leading wildcard cannot exceed 100 characters"),
        ("(" + " ".join(["a:b"] * 12) + ") c:[1 TO 2]", "number of terms cannot exceed 12, terms found: 13"),
        ("a:(" + " OR ".join("abcdefghijklm") + ")", "number of terms cannot exceed 12, terms found: 13"),
        ("a" * 1001, "number of characters cannot exceed 1000, characters found: 1001"),
    ],
)
def test_what_is_wrong_and_where(text: str, message: str) -> None:
    with pytest.raises(InvalidQueryError) as caught:
        parse(text)
    assert str(caught.value).startswith("Unable to parse query, ")
    assert message in str(caught.value)


def test_limits() -> None:
    assert parse("(" * 490 + "thingName:x" + ")" * 490)
    assert parse("-(" * 300 + "thingName:x" + ")" * 300)
    assert parse(" ".join(["a:b"] * 12))
    with pytest.raises(InvalidQueryError, match="cannot exceed 5, terms found: 6"):
        parse(" ".join("abcdef"), terms_max=5)
    assert parse("thingName:" + "é" * 990)


def test_a_query_knows_its_fields() -> None:
    query = parse("thingName:a (b OR -attributes.c:(d OR e)) shadow.reported.f>1")
    assert query.fields == {"thingName", "attributes.c", "shadow.reported.f"}
    assert query == parse(query.text)


# -- at random ---

_ALPHABET = "ab01*?\"\\ ()[]{}:<>=!-+~^/'@AND OR NOT TO.&|\t$é"


@given(st.text(_ALPHABET, max_size=60) | st.text(max_size=60))
@settings(max_examples=1500)
def test_any_text_is_a_query_or_an_error(text: str) -> None:
    try:
        query = parse(text)
    except InvalidQueryError as error:
        assert str(error).startswith("Unable to parse query, ")  # noqa: PT017 - or it is a query
    else:
        assert query.matches(DOCUMENT) in (True, False)
        assert query.matches({}) in (True, False)


_WORDS = st.sampled_from(["a", "b", "ab", "1", "2", "-3", "1.0", "true"])
_FIELDS = st.sampled_from(["thingName", "attributes.x", "shadow.reported.v", "shadow.reported.o.p"])
_ENDS = st.none() | _WORDS
_TESTS = (
    st.builds(Word, _WORDS)
    | st.builds(Phrase, st.lists(_WORDS, min_size=1, max_size=2).map(" ".join))
    | st.just(Present())
    | st.builds(Range, _ENDS, _ENDS, st.booleans(), st.booleans(), st.just(False))
)
_TERMS: st.SearchStrategy[Node] = st.builds(Term, _FIELDS, _TESTS) | st.just(Everything())
_TREES = st.recursive(
    _TERMS,
    lambda nodes: (
        st.builds(Not, nodes)
        | st.builds(And, st.lists(nodes, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(nodes, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
_VALUES: st.SearchStrategy[Any] = (
    st.sampled_from(["a", "A", "b", "ab", "a b", "1", "2.0", "true", "x"]) | st.sampled_from([1, 2, -3, 1.0, 0.5])
    | st.booleans() | st.none()
)  # fmt: skip


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, Any]:
    text = st.sampled_from(["a", "AB", "1", "1.00", "b"])
    value = draw(_VALUES | st.lists(_VALUES, max_size=2) | st.just({}) | st.just({"q": 1}))
    reported = {"v": value, "o": draw(st.just({}) | st.builds(lambda p: {"p": p}, _VALUES) | st.just(3))}
    return {"thingName": draw(text), "attributes": {"x": draw(text)} if draw(st.booleans()) else {},
            "shadow": {"reported": reported}}  # fmt: skip


def written(node: Node) -> str:
    """A text that says a tree."""
    if isinstance(node, Everything):
        return "*"
    if isinstance(node, Not):
        return f"NOT ({written(node.node)})"
    if isinstance(node, And):
        return " AND ".join(f"({written(part)})" for part in node.nodes)
    if isinstance(node, Or):
        return " OR ".join(f"({written(part)})" for part in node.nodes)
    test = node.test
    if isinstance(test, Word):
        return f"{node.field}:{test.text}"
    if isinstance(test, Phrase):
        return f'{node.field}:"{test.text}"'
    if isinstance(test, Present):
        return f"{node.field}:*"
    ends = f"{test.low or '*'} TO {test.high or '*'}"
    return f"{node.field}:{'[' if test.with_low else '{'}{ends}{']' if test.with_high else '}'}"


def naive(node: Node, document: Mapping[str, Any]) -> bool:
    """Whether a document matches, as the rules say it and as slowly as they read."""
    if isinstance(node, Everything):
        return True
    if isinstance(node, Not):
        return not naive(node.node, document)
    if isinstance(node, And):
        return all(naive(part, document) for part in node.nodes)
    if isinstance(node, Or):
        return any(naive(part, document) for part in node.nodes)
    assert node.field is not None
    found: Any = document
    for name in node.field.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(node.test, Present) and isinstance(found, dict):
        return bool(found)
    values = found if isinstance(found, list) else [found]
    values = [value for value in values if value is not None and not isinstance(value, dict)]
    return any(fits(node.test, value, node.field.startswith("attributes.")) for value in values)


def fits(test: Any, value: Any, attribute: bool) -> bool:
    """Whether one value passes."""
    if isinstance(test, Present):
        return True
    number = as_number(value) if attribute or not isinstance(value, str) else None
    if isinstance(test, Range):
        return fits_range(test, value, number)
    text = str(value).lower()
    wanted = test.text.lower()
    if number is not None and as_number(wanted) is not None and number == as_number(wanted):
        return True
    if not isinstance(value, str):
        return isinstance(value, bool) and text == wanted
    return f" {wanted} " in f" {text} "


def fits_range(test: Range, value: Any, number: float | None) -> bool:
    """Whether one value is in a range."""
    ends = [end for end in (test.low, test.high) if end is not None]
    if not ends:
        return True
    own: Any = number
    low: Any = as_number(test.low or "")
    high: Any = as_number(test.high or "")
    if any(as_number(end) is None for end in ends):
        own, low, high = (value.lower() if isinstance(value, str) else None), test.low, test.high
    if own is None:
        return False
    above = low is None or own > low or (own == low and test.with_low)
    return above and (high is None or own < high or (own == high and test.with_high))


def as_number(value: Any) -> float | None:
    """The number that a value is."""
    try:
        return None if isinstance(value, bool) else float(value)
    except ValueError:
        return None


@given(_TREES, _documents())
@settings(max_examples=600)
def test_it_agrees_with_a_naive_reading(tree: Node, document: dict[str, Any]) -> None:
    query = parse(written(tree), terms_max=24)
    assert query.matches(document) == naive(tree, document)


@given(st.text("ab?*", min_size=1, max_size=5), st.text("ab", max_size=5))
def test_wildcards_agree_with_those_of_a_shell(pattern: str, name: str) -> None:
    if pattern.startswith("?") or pattern.count("*") > 2 or pattern == "*":
        return
    assert parse(f"thingName:{pattern}").matches({"thingName": name}) == fnmatch.fnmatchcase(name, pattern)


@given(_documents(), _WORDS | st.sampled_from(["1.00", "10e-1", "0.5", "5e-1", "-3.0", "x", "é", "2"]))
@settings(max_examples=600)
def test_a_bare_value_is_found_in_every_field(document: dict[str, Any], word: str) -> None:
    paths = ("thingName", "attributes.x", "shadow.reported.v", "shadow.reported.v.q", "shadow.reported.o",
             "shadow.reported.o.p")  # fmt: skip
    each = [parse(f"{path}:{word}").matches(document) for path in paths]
    assert parse(word.replace("-", "\\-", 1) if word[0] == "-" else word).matches(document) == any(each)
