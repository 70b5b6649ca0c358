"""Who a device is on paper: customer, site, country, VIN, manufacturing date. Made up by Faker, once for a seed.

Rules: what a device gets is a function of the seed and its name, whoever else is in the fleet. Every value is
fit to be an attribute of an AWS thing, so a name is written as `wagner-ltd`.

Faker is slow for a device (300 µs for names and places), so customers and sites are drawn from lists made once.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from simulator import seeds
from simulator.errors import did_you_mean

if TYPE_CHECKING:
    from faker import Faker

_CUSTOMERS = 24
_SITES_EACH = 5
_COUNTRIES = ("US", "CA", "MX", "BR", "AR", "DE", "FR", "GB", "JP", "KR", "IN", "ZA", "EG", "AU")  # six continents
_FIRST_DAY, _DAYS = date(2021, 1, 1), 1826  # five years, up to 2025-12-31
_PLACE = re.compile(r"\{([^{}]*)\}")
_KEY = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_TEXT = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]*")
_CHARS_MAX = 400  # of a text before its fields are filled in; AWS takes 800 after


class _Customer(NamedTuple):
    name: str
    sites: tuple[tuple[str, str], ...]  # (name, country)


class _Paper(NamedTuple):
    faker: "Faker"
    customers: tuple[_Customer, ...]


@cache
def _paper(seed: int) -> _Paper:
    from faker import Faker  # a quarter of a second, and most commands do without

    faker = Faker("en_US")
    faker.seed_instance(seeds.key(seed, "identity"))
    companies = [_slug(faker.unique.company()) for _ in range(_CUSTOMERS)]
    sites = [_slug(faker.unique.city()) for _ in range(_CUSTOMERS * _SITES_EACH)]
    placed = [(site, faker.random_element(_COUNTRIES)) for site in sites]
    return _Paper(faker, tuple(_Customer(company, tuple(placed[i::_CUSTOMERS])) for i, company in enumerate(companies)))


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _customer(seed: int, thing: str) -> _Customer:
    customers = _paper(seed).customers
    return customers[int(seeds.fraction(seed, "customer", thing) * len(customers))]


def _site(seed: int, thing: str) -> tuple[str, str]:
    sites = _customer(seed, thing).sites
    return sites[int(seeds.fraction(seed, "site", thing) * len(sites))]


def _vin(seed: int, thing: str) -> str:
    faker = _paper(seed).faker
    faker.seed_instance(seeds.key(seed, "vin", thing))
    vin: str = faker.vin()
    return vin


def _manufactured(seed: int, thing: str) -> str:
    return (_FIRST_DAY + timedelta(days=int(seeds.fraction(seed, "manufactured", thing) * _DAYS))).isoformat()


FIELDS: Mapping[str, Callable[[int, str], str]] = {
    "customer": lambda seed, thing: _customer(seed, thing).name,
    "site": lambda seed, thing: _site(seed, thing)[0],
    "country": lambda seed, thing: _site(seed, thing)[1],
    "vin": _vin,
    "manufactured": _manufactured,
    "thing": lambda seed, thing: thing,
}


def attributes(declared: Mapping[str, str], seed: int, thing: str) -> dict[str, str]:
    """A profile's attributes with their {fields} filled in for one thing. Not for several threads at a time."""
    return {name: _PLACE.sub(lambda m: FIELDS[m[1]](seed, thing), text) for name, text in declared.items()}


def mistakes(declared: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(attribute, what is wrong with it) of a profile's attributes."""
    for name, text in declared.items():
        if not _KEY.fullmatch(name):
            yield name, "an attribute's name has 1 to 128 letters, digits or _.,@/:#-"
        unknown = [field for field in _PLACE.findall(text) if field not in FIELDS]
        for field in unknown:
            yield name, f"unknown field '{{{field}}}'{did_you_mean(field, list(FIELDS))}"
        if not unknown and not _TEXT.fullmatch(_PLACE.sub("", text)):
            yield name, f"AWS takes letters, digits and _.,@/:#=[]- in an attribute (no spaces), got '{text[:80]}'"
        if len(text) > _CHARS_MAX:
            yield name, f"an attribute has at most {_CHARS_MAX} characters, this one has {len(text)}"
