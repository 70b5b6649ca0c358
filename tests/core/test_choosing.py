"""Which devices a step is for: profiles, names, groups, queries, shares and counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simulator.faults.bias import Bias
from simulator.steps import Clear as ClearFaults
from simulator.steps import Connect, Disconnect, Entry
from simulator.steps import Inject as InjectFault
from simulator.steps._query import FACTS, QueryError, parse
from simulator.steps.clear import Clear
from simulator.steps.inject import Inject
from simulator.steps.ramp import Ramp

ROSTER = [
    Entry(f"V-{n:02}", "suv" if n % 2 else "sedan", n < 3, "canary" if n < 5 else "", "1.1.0" if n % 3 else "1.0.0",
          "mqtt", n < 10, n < 8)
    for n in range(20)
]  # fmt: skip


def who(**keys: object) -> list[str]:
    step = Inject.model_validate({"fault": {"kind": "bias", "signal": "x", "by": 1}, **keys})
    [command] = step.plan(ROSTER, 7)
    assert isinstance(command, InjectFault)
    return list(command.things)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("firmware == '1.0.0'", lambda e: e.firmware == "1.0.0"),
        ("firmware == '1.0.0' and not faulted", lambda e: e.firmware == "1.0.0" and not e.faulted),
        ("profile in ['suv', 'truck'] or thing == 'V-00'", lambda e: e.profile == "suv" or e.thing == "V-00"),
        ("group != 'canary'", lambda e: e.group != "canary"),
        ("not (online or started)", lambda e: not (e.online or e.started)),
        ("faulted == True", lambda e: e.faulted),
        ("thing not in ('V-01',)", lambda e: e.thing != "V-01"),
    ],
)
def test_a_query_chooses(query: str, expected: object) -> None:
    assert callable(expected)
    assert who(query=query) == [entry.thing for entry in ROSTER if expected(entry)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("firmwar == '1'", "unknown fact 'firmwar' (did you mean 'firmware'?)"), ("firmware", "alone says nothing"),
        ("firmware == 1", "expected text in quotes"), ("thing in 'V-01'", "use =="), ("thing == ['a']", "use in"),
        ("__import__('os')", "a query compares facts"), ("thing == ", "cannot read the query"),
        ("thing.x == 'a'", "unknown fact 'thing.x'"), ("'a' == thing", "unknown fact"),
        ("(lambda: 1)()", "a query compares facts"), ("thing < 'a'", "a query compares facts"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_read(query: str, said: str) -> None:
    with pytest.raises(QueryError) as error:
        parse(query)
    assert said in str(error.value)
    with pytest.raises(ValidationError):
        who(query=query)


@given(st.text(max_size=40))
def test_no_text_does_anything_but_choose_or_refuse(text: str) -> None:
    try:
        query = parse(text)
    except QueryError:
        return
    assert isinstance(query(ROSTER[0]), bool)


def test_every_fact_is_one_of_the_roster() -> None:
    assert set(FACTS) == set(Entry._fields)


def test_share_and_count() -> None:
    assert len(who(count=3)) == 3
    assert len(who(share=0.25)) == 5
    assert len(who(share=0.001)) == 1
    assert who(groups=["canary"]) == ["V-00", "V-01", "V-02", "V-03", "V-04"]
    assert not {"V-00", "V-01", "V-02"} & set(who(count=10)), "those without a fault come first"
    with pytest.raises(ValidationError, match="say the same"):
        who(share=0.5, count=1)


def test_several_faults_on_the_same() -> None:
    step = Inject.model_validate(
        {
            "fault": {"kind": "bias", "signal": "x", "by": 1},
            "also": [{"kind": "bias", "signal": "y", "by": 2}],
            "count": 4,
        }
    )
    first, second = step.plan(ROSTER, 7)
    assert isinstance(first, InjectFault)
    assert isinstance(second, InjectFault)
    assert first.things == second.things
    assert second.fault == Bias(signal="y", by=2)


def test_clear_is_for_the_broken() -> None:
    assert Clear(fault="bias").plan(ROSTER, 7) == [ClearFaults("bias", ("V-00", "V-01", "V-02"))]


@pytest.mark.parametrize(("to", "kind", "count"), [(15, Connect, 5), (10, Connect, 0), (4, Disconnect, 6)])
def test_a_ramp_goes_up_and_down(to: int, kind: type, count: int) -> None:
    change, _ = Ramp(to=to, over_s=3).plan(ROSTER, 7)
    assert isinstance(change, kind)
    assert len(getattr(change, "things")) == count  # noqa: B009 - of several types
