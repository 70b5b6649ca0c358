"""Which worker runs which device."""

import random

import pytest

from simulator.runtime.claims import Claims, Grants, interleaved


def fresh() -> Claims:
    return Claims({"mqtt": [0, 2, 4, 6], "tcp": [1, 3, 5]})


def test_the_first_that_are_free_go_to_who_wants_them() -> None:
    claims = fresh()
    assert claims.want("a", {"mqtt": 2}) == {"a": [0, 2]}
    assert claims.want("b", {"mqtt": 1, "tcp": 2}) == {"b": [4, 1, 3]}
    assert claims.want("a", {"mqtt": 3}) == {"a": [6]}
    assert (claims.taken, claims.idle) == (6, 0)
    assert claims.owner == {0: "a", 2: "a", 6: "a", 4: "b", 1: "b", 3: "b"}


def test_who_wants_more_than_there_are_waits_and_gets_what_comes_back() -> None:
    claims = fresh()
    claims.want("a", {"mqtt": 3})
    assert claims.want("b", {"mqtt": 3}) == {"b": [6]}
    assert claims.idle == 2
    assert claims.want("a", {"mqtt": 1}) == {}, "what is too much the worker gives back itself"
    assert claims.release("a", [4, 2]) == {"b": [2, 4]}
    assert claims.idle == 0


def test_what_a_dead_worker_had_is_free_and_goes_to_who_waits() -> None:
    claims = fresh()
    claims.want("a", {"mqtt": 4, "tcp": 1})
    claims.want("b", {"mqtt": 1})
    assert claims.lost("a") == ([0, 1, 2, 4, 6], {"b": [0]})
    assert claims.lost("a") == ([], {})
    assert claims.want("b", {"mqtt": 4, "tcp": 3}) == {"b": [2, 4, 6, 1, 3, 5]}


def test_nobody_gives_back_what_is_another_s() -> None:
    claims = fresh()
    claims.want("a", {"tcp": 2})
    assert claims.release("b", [1, 3, 99]) == {}
    assert claims.owner == {1: "a", 3: "a"}


def test_a_channel_that_the_fleet_does_not_have_is_not_waited_for() -> None:
    claims = fresh()
    assert claims.want("a", {"rest": 3}) == {}
    assert claims.idle == 0


@pytest.mark.parametrize("seed", range(20))
def test_each_device_is_one_workers_whatever_happens(seed: int) -> None:
    dice, held = random.Random(seed), {name: set[int]() for name in "abc"}  # noqa: S311
    claims = Claims({"mqtt": list(range(0, 40, 2)), "tcp": list(range(1, 40, 2))})

    def give(grants: Grants) -> None:
        for worker, indexes in grants.items():
            assert not held[worker] & set(indexes)
            held[worker] |= set(indexes)

    for _ in range(200):
        worker = dice.choice("abc")
        match dice.randrange(4):
            case 0:
                back = dice.sample(sorted(held[worker]), len(held[worker]) // 2)
                held[worker] -= set(back)
                claims.want(worker, {})
                give(claims.release(worker, back))
            case 1 if dice.random() < 0.2:
                had, grants = claims.lost(worker)
                assert set(had) == held[worker]
                held[worker] = set()
                give(grants)
            case _:
                give(claims.want(worker, {"mqtt": dice.randrange(15), "tcp": dice.randrange(15)}))
        everyone = [index for indexes in held.values() for index in indexes]
        assert len(everyone) == len(set(everyone)) == claims.taken
        assert all(index in held[name] for index, name in claims.owner.items())


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_the_same_devices_are_on_however_many_workers_there_are(workers: int) -> None:
    claims = Claims({"mqtt": interleaved([60, 30, 10])})
    for users in (10, 37, 60):
        for n in range(workers):
            claims.want(f"w{n}", {"mqtt": users // workers + (n < users % workers)})
        assert set(claims.owner) == set(interleaved([60, 30, 10])[:users])


def test_any_first_ones_are_of_all_groups_in_proportion() -> None:
    order = interleaved([60, 30, 10])
    assert sorted(order) == list(range(100))
    for n in (10, 20, 50):
        counts = [sum(first <= i < last for i in order[:n]) for first, last in ((0, 60), (60, 90), (90, 100))]
        assert counts == [pytest.approx(n * share, abs=1) for share in (0.6, 0.3, 0.1)]
