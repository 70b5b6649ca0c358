"""The live index without a cloud: what is kept current, who is told, what is built when; and its configuration."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from simulator.cloud.indexing.documents import difference, group_hit, shadow_part, thing_document, thing_hit
from simulator.cloud.indexing.feed import install
from simulator.cloud.indexing.index import Index, IndexNotReadyError
from simulator.cloud.indexing.query import InvalidQueryError
from simulator.cloud.indexing.settings import (
    THING_GROUPS,
    InvalidAggregationError,
    InvalidRequestError,
    NoIndexError,
    Settings,
)

ALL = Settings(mode="REGISTRY_AND_SHADOW", connectivity=True, named_shadows=("$package", "config"))


class Registry:
    """Things, shadows and groups."""

    def __init__(self, *names: str) -> None:
        self.things: dict[str, dict[str, Any]] = {name: {"thingName": name, "thingId": f"id-{name}"} for name in names}
        self.shadows: dict[tuple[str, str], dict[str, Any]] = {}
        self.group_table: dict[str, dict[str, Any]] = {}

    def names(self) -> list[str]:
        return list(self.things)

    def thing(self, name: str) -> dict[str, Any] | None:
        return self.things.get(name)

    def shadow(self, thing: str, name: str) -> dict[str, Any] | None:
        return self.shadows.get((thing, name))

    def connectivity(self, thing: str) -> dict[str, Any]:
        return {"connected": thing == "online"}

    def groups(self) -> dict[str, dict[str, Any]]:
        return self.group_table


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


async def active(index: Index) -> None:
    while index.status() != "ACTIVE":
        await asyncio.sleep(0.001)


def test_it_is_built_then_follows() -> None:
    async def work() -> None:
        registry = Registry(*(f"thing-{number:04}" for number in range(600)))
        index, told = Index(registry), list[frozenset[str]]()
        index.subscribe(told.append)
        index.touch("thing-0001")  # nothing is indexed yet
        with pytest.raises(NoIndexError):
            index.check_ready()
        index.configure(ALL)
        assert index.status() == "BUILDING"
        with pytest.raises(IndexNotReadyError):
            index.check_ready()
        await active(index)
        assert [len(names) for names in told] == [250, 250, 100]
        everything = index.parse("*")
        assert index.matching(everything) == sorted(registry.things)

        told.clear()
        registry.things["new"] = {"thingName": "new", "thingId": "x", "attributes": {"colour": "red"}}
        del registry.things["thing-0007"]
        for name in ("new", "thing-0007", "thing-0007", "nobody"):
            index.touch(name)
        assert not index.matches(everything, "new")
        while not told:
            await asyncio.sleep(0.001)
        assert told == [frozenset({"new", "thing-0007"})]
        assert index.matching(index.parse("attributes.colour:RED")) == ["new"]
        assert not index.matches(everything, "thing-0007")
        assert len(index.matching(everything)) == 600

        index.configure(ALL)  # the same again: nothing to do
        assert index.status() == "ACTIVE"
        index.configure(Settings(mode="REGISTRY", named_shadows=("config",)))
        assert index.status() == "REBUILDING"
        assert len(index.matching(everything)) == 600
        await active(index)
        told.clear()
        index.configure(Settings())
        assert sum(map(len, told)) == 600
        assert index.matching(everything) == []

    run(work())


def test_one_who_fails_to_hear_does_not_deafen_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        index, told = Index(Registry("a")), list[frozenset[str]]()

        def deaf(names: frozenset[str]) -> None:
            raise RuntimeError("deaf")

        index.subscribe(deaf)
        index.subscribe(told.append)
        index.configure(Settings(mode="REGISTRY"))
        await active(index)
        assert told == [frozenset({"a"})]

    run(work())
    assert "deaf" in caplog.text


def test_what_of_a_thing_is_indexed() -> None:
    async def work() -> None:
        registry = Registry("online", "a")
        registry.shadows["a", ""] = {"state": {"reported": {"x": 1}}, "version": 3}
        registry.shadows["a", "config"] = {"state": {"reported": {"y": 2}}, "version": 4}
        registry.shadows["a", "secret"] = {"state": {"reported": {"z": 3}}, "version": 5}
        index = Index(registry)

        async def found(settings: Settings, text: str) -> list[str]:
            index.configure(settings)
            await active(index)
            return index.matching(index.parse(text))

        assert await found(ALL, "shadow.reported.x:1") == ["a"]
        assert await found(ALL, "shadow.name.config.reported.y:2") == ["a"]
        assert await found(ALL, "3") == []
        assert await found(ALL, "connectivity.connected:true") == ["online"]
        classic = Settings(mode="REGISTRY_AND_SHADOW")
        assert await found(classic, "1 OR 2") == ["a"]
        assert await found(classic, "2") == []
        with pytest.raises(InvalidQueryError, match=r"field name: shadow\.name\.config"):
            index.parse("shadow.name.config.reported.y:2")
        with pytest.raises(InvalidRequestError, match="Connectivity indexing is not enabled"):
            index.parse("connectivity.connected:true")
        assert await found(Settings(mode="REGISTRY"), "1") == []
        with pytest.raises(InvalidRequestError, match="Shadow indexing is not enabled"):
            index.parse("shadow.reported.x:1")

    run(work())


@pytest.mark.parametrize(
    "name",
    ["vin", "ThingName", "attributes", "attributes.", "registry.version", "shadow", "shadow.version", "shadow.name",
     "shadow.name.config", "shadow.name.config.version", "shadow.name.secret.reported.x", "shadow.reported.",
     "shadow.hasDelta.x", "connectivity", "connectivity.version", "deviceDefender", "thingName.x"],
)  # fmt: skip
def test_fields_that_no_index_has(name: str) -> None:
    with pytest.raises(InvalidQueryError, match="invalid field name"):
        ALL.check_fields("AWS_Things", [name], f"{name}:1")


def test_groups() -> None:
    registry = Registry()
    for name, parent in (("world", None), ("europe", "world"), ("berlin", "europe")):
        registry.group_table[name] = {"thingGroupName": name, "thingGroupId": f"id-{name}"}
        if parent:
            registry.group_table[name]["thingGroupMetadata"] = {"parentGroupName": parent}
    index = Index(registry)
    with pytest.raises(NoIndexError):
        index.check_ready(THING_GROUPS)
    index.configure(Settings(groups=True))
    index.check_ready(THING_GROUPS)
    with pytest.raises(InvalidQueryError):
        index.parse("thingName:x", THING_GROUPS)
    query = index.parse("parentGroupNames:world", THING_GROUPS)
    found = [group_hit(document) for document in index.documents(query, THING_GROUPS)]
    assert [(hit["thingGroupName"], hit["parentGroupNames"]) for hit in found] == [
        ("berlin", ["world", "europe"]),
        ("europe", ["world"]),
    ]


# -- documents ---


def test_a_document_has_only_what_there_is() -> None:
    bare = thing_document({"thingName": "a", "thingId": "i", "attributes": {}, "thingTypeName": None}, None, {}, None)
    assert thing_hit(bare) == {"thingName": "a", "thingId": "i"}


def test_a_shadow_in_a_document() -> None:
    state = {"desired": {"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}, "reported": {"a": 1.0, "b": {"c": 9, "d": 3}}}
    part = shadow_part({"state": state, "version": 7, "metadata": {"desired": {}, "reported": {"a": {"timestamp": 5}}}})
    assert part["delta"] == {"b": {"c": 2}, "e": [1]}
    assert (part["hasDelta"], part["version"], part["metadata"]) == (True, 7, {"reported": {"a": {"timestamp": 5}}})
    assert difference({"a": True}, {"a": 1}) == {"a": True}
    assert shadow_part({"state": {"reported": {}}}) == {"hasDelta": False, "version": 1}


# -- the configuration ---


def things(**values: Any) -> dict[str, Any]:
    return {"thingIndexingConfiguration": {"thingIndexingMode": "REGISTRY_AND_SHADOW", **values}}


def custom(name: str, kind: str | None = "String") -> dict[str, Any]:
    return things(customFields=[{"name": name, "type": kind}])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "At least one configuration"),
        (things(thingIndexingMode="OFF", thingConnectivityIndexingMode="STATUS"), "ThingConnectivityIndexingMode"),
        (things(thingIndexingMode="OFF", namedShadowIndexingMode="ON"), "enabling NamedShadowIndexingMode"),
        (things(thingIndexingMode="OFF", deviceDefenderIndexingMode="VIOLATIONS"), "DeviceDefenderIndexingMode"),
        (things(namedShadowIndexingMode="ON"), "NamedShadowNames Filter must not be empty"),
        (things(filter={"namedShadowNames": list("abcdefghijk")}), "At most 10 namedShadowNames"),
        (things(customFields=[{"name": f"attributes.{x}", "type": "String"} for x in "abcdef"]), "At most 5 customFie"),
        (custom("thingName"), "reserved field"),
        (custom("vin"), "Invalid custom field name: vin"),
        (custom("connectivity.connected"), "reserved field"),
        (custom("deviceDefender.x"), "needs Devicedefender indexing"),
        (custom(""), "name cannot be null"),
        (custom("attributes.a", None), "Invalid field type"),
    ],
)
def test_wrong_configurations(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        Settings().updated(parameters)


def test_a_configuration_is_replaced_as_a_whole() -> None:
    named = {"namedShadowIndexingMode": "ON", "filter": {"namedShadowNames": ["a", "b"]}}
    fields = [{"name": "shadow.name.a.reported.x", "type": "Number"}]
    first = Settings().updated(things(**named, customFields=fields))
    groups = {"thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "ON"}}
    both = first.updated(groups)
    assert (both.named_shadows, both.groups, both.custom) == (("a", "b"), True, {"shadow.name.a.reported.x": "Number"})
    again = both.updated(things(thingConnectivityIndexingMode="STATUS"))
    assert (again.named_shadows, again.custom, again.groups) == ((), {}, True)
    off = again.updated(things(thingIndexingMode="OFF"))
    assert off == Settings(groups=True)
    assert off.described()["thingIndexingConfiguration"]["thingIndexingMode"] == "OFF"
    assert "managedFields" in off.described()["thingGroupIndexingConfiguration"]


@pytest.mark.parametrize(
    ("settings", "schema"),
    [
        (Settings(mode="REGISTRY"), "REGISTRY"),
        (Settings(mode="REGISTRY_AND_SHADOW"), "REGISTRY_AND_SHADOW"),
        (Settings(mode="REGISTRY", connectivity=True), "REGISTRY_AND_CONNECTIVITY_STATUS"),
        (Settings(mode="REGISTRY_AND_SHADOW", connectivity=True), "REGISTRY_AND_SHADOW_AND_CONNECTIVITY_STATUS"),
        (ALL, "MULTI_INDEXING_MODE"),
    ],
)
def test_schemas(settings: Settings, schema: str) -> None:
    assert settings.schema("AWS_Things") == schema


def test_fields_that_can_be_aggregated() -> None:
    settings = Settings(mode="REGISTRY_AND_SHADOW", named_shadows=("a",), custom={"attributes.x": "Boolean"})
    kinds = {name: settings.aggregated("AWS_Things", name) for name in
             ("registry.version", "shadow.hasDelta", "shadow.name.a.version", "attributes.x")}  # fmt: skip
    assert list(kinds.values()) == ["Number", "Boolean", "Number", "Boolean"]
    for name in ("attributes.y", "shadow.name.b.version", "connectivity.connected"):
        with pytest.raises(InvalidAggregationError, match=f"field {name} is neither"):
            settings.aggregated("AWS_Things", name)
    with pytest.raises(InvalidAggregationError, match=r"its managed name is registry\.thingTypeName"):
        settings.aggregated("AWS_Things", "thingTypeName")


# -- the feed ---


class Scoped:
    """As MiniStack's tables: what is in them is by account and region."""

    def __init__(self) -> None:
        self._data: dict[Any, Any] = {}


class Module:
    """As much of MiniStack's module as the feed touches."""

    def __init__(self) -> None:
        self._things, self._shadows = Scoped(), Scoped()
        self._connectivity: dict[Any, Any] = {("1", "r", "before"): {}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m._things._data.__setitem__(("1", "r", "a"), {}), ["a"]),
        (lambda m: m._things._data.__setitem__(("2", "r", "a"), {}), []),
        (lambda m: m._things._data.__setitem__(("1", "s", "a"), {}), []),
        (lambda m: m._things._data.setdefault(("1", "r", "a"), {}), ["a"]),
        (lambda m: m._things._data.update({("1", "r", "a"): {}, ("1", "r", "b"): {}}), ["a", "b"]),
        (lambda m: m._shadows._data.__setitem__(("1", "r", ("a", "$package")), {}), ["a"]),
        (lambda m: m._connectivity.pop(("1", "r", "before")), ["before"]),
        (lambda m: m._connectivity.__delitem__(("1", "r", "before")), ["before"]),
        (lambda m: m._connectivity.clear(), ["before"]),
    ],
)
def test_the_feed_tells_of_every_change(change: Callable[[Any], object], told: list[str]) -> None:
    module, heard = Module(), list[str]()
    install(module, "1", "r", heard.append)
    assert heard == []
    change(module)
    assert heard == told
