"""Thing groups: dynamic ones from a wizard's answers or a raw query, looked at before they are made, listed, deleted.

A group without a query is static: provisioning makes one for each country. A query that matches nothing makes no
group, since it is nearly always a mistake.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from simulator.errors import UsageError
from simulator.ops import index, jobs
from simulator.ops.answers import THERE, at_once, named, pages, plain, refused
from simulator.ops.aws import Aws, code

TAG = "fleetsim"
PREVIEW = 10
BATTERY = "shadow.reported.batteryStatus"
QUERY_MAX = 1000
_BATTERY = re.compile(r"(>=|<=|>|<|=)?\s*(\d{1,3}(?:\.\d{1,6})?)")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_NAME = re.compile(r"[a-zA-Z0-9:_.-]{1,128}")


class Preview(NamedTuple):
    """Who matches a query: the first ones by name, and how many there are."""

    things: list[dict[str, Any]]
    of: int


def query(
    countries: Sequence[str] = (),
    thing_type: str = "",
    versions: Sequence[str] = (),
    battery: str = "",
    package: str = "",
) -> str:
    """The index query of a wizard's answers; UsageError when there are none, or one makes no sense.

    `battery` is `>50`, `<30`, `>=50`, `<=30` or `=75`; `package` is the thing type's own unless it is given.
    """
    terms = []
    for country in countries:
        if not _COUNTRY.fullmatch(country):
            raise UsageError(f"country '{country}': two letters, as US")
    for name in (thing_type, package, *versions):
        if name and not _NAME.fullmatch(name):
            raise UsageError(f"'{name}': letters, digits and '_', '-', '.', ':' only; or give the whole --query")
    if thing_type:
        terms.append(f"thingTypeName:{thing_type}")
    if countries:
        terms.append(f"attributes.country:{_any([country.upper() for country in countries])}")
    if versions:
        of = package or thing_type
        if not of:
            raise UsageError("versions of what? Give --thing-type, or --package")
        terms.append(f"shadow.name.$package.reported.{of}.version:{_any(versions)}")
    if battery:
        terms.append(_battery(battery))
    if not terms:
        raise UsageError(
            "a dynamic group needs a condition: --countries, --thing-type, --versions, --battery or --query"
        )
    return " AND ".join(terms)


def _any(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"({' OR '.join(values)})"


def _battery(text: str) -> str:
    read = _BATTERY.fullmatch(text.strip())
    if not read or not 0 <= float(read[2]) <= 100:
        raise UsageError(f"battery '{text}': expected >50, <30, >=50, <=30 or =75, in percent")
    match read[1] or "=":
        case ">=":
            return f"{BATTERY}:[{read[2]} TO *]"
        case "<=":
            return f"{BATTERY}:[* TO {read[2]}]"
        case "=":
            return f"{BATTERY}:{read[2]}"
        case sign:
            return f"{BATTERY}{sign}{read[2]}"


def preview(aws: Aws, text: str, most: int = PREVIEW) -> Preview:
    """Who would be in a group of this query."""
    if len(text) > QUERY_MAX:
        raise UsageError(f"a query has {QUERY_MAX} characters at most, this has {len(text)}")
    found = index.search(aws, text, most + 1)
    count = len(found) if len(found) <= most else index.count(aws, text)
    return Preview(found[:most], count)


def create(aws: Aws, name: str, text: str, description: str = "", deployment: str = "fleet") -> dict[str, Any]:
    """A dynamic group, tagged as ours; UsageError when nothing matches."""
    if not preview(aws, text, 1).of:
        raise UsageError(f"nothing matches '{text}', so there is no group; `fleetsim groups test` tries queries")
    about: dict[str, Any] = {"thingGroupProperties": {"thingGroupDescription": description}} if description else {}
    tags = [{"Key": TAG, "Value": deployment}]
    try:
        with refused(f"group '{name}'", "InvalidQueryException", "LimitExceededException"):
            return dict(
                plain(aws.iot.create_dynamic_thing_group(thingGroupName=name, queryString=text, tags=tags, **about))
            )
    except ClientError as error:
        if code(error) in THERE:
            raise UsageError(f"group '{name}' is there already; delete it first, or give another name") from None
        raise


def show(aws: Aws, name: str) -> dict[str, Any]:
    """One group: `kind` is dynamic or static; a dynamic one has its query and status."""
    with named("group", name, lambda: jobs.group_names(aws)):
        found: dict[str, Any] = plain(aws.iot.describe_thing_group(thingGroupName=name))
    return {"kind": "dynamic" if found.get("queryString") else "static", **found}


def members(aws: Aws, name: str) -> list[str]:
    """Things in a group now, by name."""
    with named("group", name, lambda: jobs.group_names(aws)):
        return sorted(
            str(thing) for thing in pages(aws.iot, "list_things_in_thing_group", "things", thingGroupName=name)
        )


def every(aws: Aws, *, count: bool = False) -> list[dict[str, Any]]:
    """All groups by name; with `count`, how many things each has (`members`), which takes a page for 25 of them."""

    def one(name: str) -> dict[str, Any]:
        group = show(aws, name)
        return {**group, "members": len(members(aws, name))} if count else group

    return at_once(one, sorted(jobs.group_names(aws)))


def delete(aws: Aws, name: str) -> str:
    """Delete a group of either kind, which is returned; the things stay."""
    kind = str(show(aws, name)["kind"])
    with refused(f"group '{name}' cannot be deleted"):
        if kind == "dynamic":
            aws.iot.delete_dynamic_thing_group(thingGroupName=name)
        else:
            aws.iot.delete_thing_group(thingGroupName=name)
    return kind
