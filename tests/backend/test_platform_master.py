"""Master data: from the registry, from the configuration, and put while it runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.backend.platform import settings as settings_module
from simulator.backend.platform.master import Master
from simulator.backend.platform.outcomes import SaveMaster, SaveSite
from simulator.backend.platform.settings import DeviceMaster, SiteMaster
from simulator.backend.platform.settings import Master as Said
from simulator.errors import UsageError
from tests.backend.platform_world import Start, World, worlds

THINGS = {
    "a": ("prod-a", {"customerId": "north", "site": "n-1"}), "b": ("prod-a", {"customerId": "south"}),
    "c": ("prod-b", {"country": "US"}),
}  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with worlds(tmp_path / "state", THINGS) as begin:
        yield begin


def everybody(world: World) -> dict[str, tuple[str, str] | None]:
    found = {}
    for thing in "abc":
        where = world.platform.master(thing)
        found[thing] = (where["site_id"], where["customer_id"]) if where else None
    return found


def test_the_registry_says_where_a_device_stands(start: Start) -> None:
    world = start()
    for thing in "abc":
        world.say(thing, t=1)
    world.pipeline.commit()
    assert everybody(world) == {"a": ("n-1", "north"), "b": ("", "south"), "c": None}


def test_what_is_put_counts_before_it_and_lasts(start: Start) -> None:
    world = start()
    body = (
        b'{"devices": [{"device_id": "a", "site_id": "s-1"}, {"device_id": "c", "customer_id": "east"}],'
        b' "sites": [{"site_id": "s-1", "customer_id": "south"}]}'
    )
    assert world.changes.put_master(body) == {"devices": 2, "sites": 1, "changed": 3}
    assert world.changes.put_master(body) == {"devices": 2, "sites": 1, "changed": 0}
    for thing in "abc":
        world.say(thing, t=1)
    world.pipeline.commit()
    assert everybody(world) == {"a": ("s-1", "south"), "b": ("", "south"), "c": ("", "east")}
    world.again()
    assert world.changes.put_master(b'{"sites": [{"site_id": "s-1", "customer_id": "west"}]}')["changed"] == 2
    assert everybody(world) == {"a": ("s-1", "west"), "b": ("", "south"), "c": ("", "east")}


def test_a_site_that_is_sold_takes_its_devices_along(start: Start) -> None:
    world = start()
    world.say("a", t=1)
    world.pipeline.commit()
    world.changes.put_master(b'{"sites": [{"site_id": "n-1", "customer_id": "west"}]}')
    assert everybody(world)["a"] == ("n-1", "west")


def test_it_may_be_configured(start: Start) -> None:
    world = start(master={"devices": [{"device_id": "a", "site_id": "s", "customer_id": "c"}]})
    assert everybody(world)["a"] == ("s", "c")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[]", "must be an object"),
        (b"{", "not JSON"),
        (b'{"device": []}', "master.device: Extra inputs"),
        (b'{"devices": [{"site_id": "s"}]}', r"master.devices.0.device_id: Field required"),
        (b'{"sites": [{"site_id": "", "customer_id": "c"}]}', "master.sites.0.site_id"),
    ],
)
def test_what_is_no_master_data_is_refused(start: Start, body: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        start().changes.put_master(body)


def test_devices_and_sites_of_a_customer(start: Start) -> None:
    world = start()
    devices = [{"device_id": f"d-{i}", "site_id": f"s-{i % 2}"} for i in range(6)]
    sites = [{"site_id": "s-0", "customer_id": "zero"}, {"site_id": "s-1", "customer_id": "one"}]
    world.again(master={"devices": devices, "sites": sites})
    for i in range(6):
        world.say(f"d-{i}", t=1)
    world.say("other", t=1)
    world.pipeline.commit()
    queries = world.platform
    assert [one["thing"] for one in queries.devices()["devices"]] == [f"d-{i}" for i in range(6)] + ["other"]
    assert [one["thing"] for one in queries.devices("one")["devices"]] == ["d-1", "d-3", "d-5"]
    assert [one["thing"] for one in queries.devices("one", "s-0")["devices"]] == []
    assert [one["thing"] for one in queries.devices(site="s-0")["devices"]] == ["d-0", "d-2", "d-4"]
    first = queries.devices("one", limit=2)
    assert [one["thing"] for one in queries.devices("one", after=first["next"])["devices"]] == ["d-5"]
    assert queries.devices("one")["devices"][0] == {
        "thing": "d-1", "product": "prod-a", "last_timestamp": world.now_ms, "site_id": "s-1", "customer_id": "one",
        "risk": None, "level": None,
    }  # fmt: skip
    assert queries.sites() == [
        {"site_id": "s-0", "customer_id": "zero", "devices": 3}, {"site_id": "s-1", "customer_id": "one", "devices": 3},
    ]  # fmt: skip
    assert [one["site_id"] for one in queries.sites("one")] == ["s-1"]


def test_the_fire_prediction_hears_where_its_sensors_stand(start: Start) -> None:
    world = start()
    world.changes.put_master(b'{"devices": [{"device_id": "f", "site_id": "s-9"}]}')
    assert world.pipeline.core.fire is not None
    assert world.pipeline.core.fire._places["f"] == "s-9"


def test_how_much_is_known_has_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "MASTER_MAX", 1)
    world = start()
    for thing in "ab":
        world.say(thing, t=1)
    world.pipeline.commit()
    assert everybody(world) == {"a": ("n-1", "north"), "b": None, "c": None}
    world.changes.put_master(b'{"sites": [{"site_id": "x", "customer_id": "c"}, {"site_id": "y", "customer_id": "c"}]}')
    assert world.platform.counts()["master.dropped"] == 2


NAMES = st.sampled_from(["", "x", "y"])
DEVICES = st.builds(DeviceMaster, device_id=st.sampled_from("ab"), site_id=NAMES, customer_id=NAMES)
SITES = st.builds(SiteMaster, site_id=st.sampled_from("xy"), customer_id=NAMES)


@given(st.lists(st.builds(Said, devices=st.lists(DEVICES, max_size=2), sites=st.lists(SITES, max_size=2)), max_size=6))
def test_a_restart_knows_the_same(puts: list[Said]) -> None:
    whole, table, sites = Master(), dict[str, SaveMaster](), dict[str, SaveSite]()
    for said in puts:
        again = Master()
        again.resume(table.values(), sites.values())
        effects = whole.put(said)
        assert sorted(map(repr, again.put(said))) == sorted(map(repr, effects))
        for effect in effects:
            if isinstance(effect, SaveMaster):
                table[effect.thing] = effect
            elif isinstance(effect, SaveSite):
                sites[effect.site_id] = effect
    for thing, saved in table.items():
        assert whole.of(thing) == saved[1:]
        if saved.site_id in sites:
            assert saved.customer_id == sites[saved.site_id].customer_id
