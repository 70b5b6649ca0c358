"""Continents and their countries (ISO 3166 codes), the best known first, and the thing group that each country has."""

from collections.abc import Sequence

from simulator import seeds
from simulator.errors import UsageError, did_you_mean

NAMES = {
    1: "North America",
    2: "South America",
    3: "Europe",
    4: "Asia",
    5: "Africa",
    6: "Oceania",
    7: "Antarctica",
}
COUNTRIES = {
    1: "US CA MX GT CU HT DO HN NI SV CR PA JM TT BS BZ BB LC GD VC AG DM KN",
    2: "BR AR CO PE VE CL EC BO PY UY GY SR",
    3: "DE FR GB IT ES PL NL BE SE AT CH PT GR CZ RO HU DK FI NO IE UA BG RS SK HR LT SI LV EE BA AL MK MD BY ME LU MT "
    "IS CY AD LI MC SM VA XK RU",
    4: "JP KR IN CN ID TH VN PH MY SG TW HK BD PK TR SA AE IL LK NP MM KH LA UZ KZ IQ IR JO LB KW QA OM BH YE SY AF AZ "
    "GE AM TJ KG TM MN BT MV BN TL MO KP PS",
    5: "ZA EG NG KE MA ET GH TZ DZ UG SD AO MZ CM CI MG NE BF ML MW ZM SN TD ZW RW GN BJ BI TN SS TG SL LY CG LR CF MR "
    "ER GM BW NA GA LS GW GQ MU SZ DJ KM CV ST SC SO CD",
    6: "AU NZ PG FJ SB VU WS TO KI FM MH PW NR TV",
    7: "AQ",
}


def of(continent: int) -> list[str]:
    """The countries of a continent; UsageError when there is no such one."""
    if continent not in COUNTRIES:
        known = ", ".join(f"{number} {name}" for number, name in NAMES.items())
        raise UsageError(f"no continent {continent} (known: {known})")
    return COUNTRIES[continent].split()


def chosen(continent: int | None, wanted: str | None) -> list[str]:
    """What `--continent` and `--countries` mean together: codes, or how many of a continent; none: no choice made."""
    if not wanted:
        return of(continent) if continent is not None else []
    if wanted.strip().isdigit():
        number, there = int(wanted), of(1 if continent is None else continent)
        if not 1 <= number <= len(there):
            raise UsageError(f"{number} countries: {NAMES[continent or 1]} has 1 to {len(there)}")
        return there[:number]
    known = of(continent) if continent is not None else [code for each in COUNTRIES for code in of(each)]
    codes = list(dict.fromkeys(code.strip().upper() for code in wanted.split(",") if code.strip()))
    for code in codes:
        if code not in known:
            where = f" in {NAMES[continent]}" if continent is not None else ""
            near = did_you_mean(code, known) if len(known) < 30 else ""
            raise UsageError(f"no country '{code}'{where}{near}")
    return codes


def country(codes: Sequence[str], seed: int, thing: str) -> str:
    """Where a thing is: one of these, by the seed and its name."""
    return codes[int(seeds.fraction(seed, "country", thing) * len(codes))]


def group(code: str) -> str:
    """The static thing group of a country: `USFleet`."""
    return f"{code}Fleet"
