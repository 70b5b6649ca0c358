"""Thing types, country groups and things with their certificates and first shadows. Again: does what is left.

Rules: what there is, is listed once (things by their mark, groups' members, certificates), and only what lacks is
made, in parallel. Membership in the country's group comes last, so it says that a thing is complete. A thing that is
there stays as it is; one of another type, or without our mark, is a mistake of the user's, said before it is touched.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from simulator.errors import UsageError
from simulator.ops import certificates, countries, mark
from simulator.ops.answers import MISSING, THERE, at_once, pages
from simulator.ops.aws import Aws, code
from simulator.ops.groundwork import PACKAGE_SHADOW
from simulator.ops.members import Member, searchable
from simulator.ops.policies import DEVICE_POLICY

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class How:
    """What is made beside the things themselves."""

    groups: bool = True  # a static one for each country
    shared: bool = False  # one certificate for all
    strangers: bool = False  # things without our mark get certificates too, as a run wants it


@dataclass
class Found:
    """What there is of a fleet."""

    types: dict[str, str] = field(default_factory=dict)  # thing → type
    countries: dict[str, str] = field(default_factory=dict)  # thing → country
    grouped: set[str] = field(default_factory=set)
    certified: set[str] = field(default_factory=set)  # things with a certificate that works, and its files
    stale: dict[str, str] = field(default_factory=dict)  # name → certificate in its file, which is off or gone
    begun: dict[bytes, str] = field(default_factory=dict)  # see certificates.begun

    def lacks(self, member: Member, how: How) -> bool:
        """Is there anything left to do for it?"""
        return (
            member.name not in self.types
            or (member.certificate and member.name not in self.certified)
            or (how.groups and self.group(member) is not None and member.name not in self.grouped)
        )

    def group(self, member: Member) -> str | None:
        """The thing group of its country: the one it has, or is to have."""
        country = self.countries.get(member.name) or member.attributes.get("country")
        return countries.group(country) if country else None


def look(aws: Aws, members: Sequence[Member], folder: Path, how: How) -> Found:
    """What there is of these; reads only. UsageError when a thing is of another type."""
    found = Found()
    wanted = {member.name: member.type for member in members}
    for thing in pages(aws.iot, "list_things", "things", attributeName=mark.KEY, attributeValue=mark.FLEET):
        name, kind = str(thing["thingName"]), str(thing.get("thingTypeName"))
        if wanted.get(name, kind) != kind:
            raise UsageError(
                f"thing '{name}' is there already, as a {kind} and not a {wanted[name]}; remove the old fleet "
                "(fleetsim cleanup things), or ask for the same types again"
            )
        if name in wanted:
            found.types[name] = kind
            found.countries[name] = str(thing.get("attributes", {}).get("country", ""))
    if how.groups:
        names = sorted({group for member in members if (group := found.group(member))})
        for inside in at_once(lambda group: _inside(aws, group), names):
            found.grouped |= inside
    _certificates(aws, members, folder, how, found)
    return found


def _inside(aws: Aws, group: str) -> set[str]:
    try:
        return set(pages(aws.iot, "list_things_in_thing_group", "things", thingGroupName=group))
    except ClientError as error:
        if code(error) in MISSING:
            return set()
        raise


def _certificates(aws: Aws, members: Sequence[Member], folder: Path, how: How, found: Found) -> None:
    names = [member.name for member in members if member.certificate]
    if not names:
        return
    there = certificates.listed(aws)
    active = {one.id for one in there if one.active}
    if how.shared:
        if (one := certificates.local(folder, certificates.SHARED)) in active and one:
            arn = certificates.arn_of(aws, one)
            found.certified = set(pages(aws.iot, "list_principal_things", "things", principal=arn))
        names = [certificates.SHARED]
    known = {}
    for name in names:
        if (one := certificates.local(folder, name)) in active:
            known[name] = one
        elif one is not None:
            found.stale[name] = one
    if not how.shared:
        found.certified = {name for name in known if name in found.types or how.strangers}
    found.begun = certificates.begun(aws, folder, names, there, {one for one in known.values() if one})


def types(aws: Aws, members: Sequence[Member]) -> None:
    """Thing types with what their things are searched by; one that a cleanup had deprecated is taken back."""
    for name, attributes in searchable(members).items():
        made = {"thingTypeName": name, "thingTypeProperties": {"searchableAttributes": attributes}}
        mark.once(aws.iot.create_thing_type, **made, tags=mark.tags())
        about = aws.iot.describe_thing_type(thingTypeName=name)
        if about.get("thingTypeMetadata", {}).get("deprecated"):
            if not mark.ours(aws, mark.arn(aws, f"thingtype/{name}")):
                raise UsageError(f"thing type '{name}' is deprecated, and not ours to take back; choose another type")
            aws.iot.deprecate_thing_type(thingTypeName=name, undoDeprecate=True)


def groups(aws: Aws, names: Collection[str], progress: Progress) -> None:
    """Static groups; one of the same name that is not ours is left alone, and a mistake to ask for."""

    def one(name: str) -> None:
        about = {"thingGroupDescription": "Vehicles of a country, by fleetsim"}
        if not mark.once(
            aws.iot.create_thing_group, thingGroupName=name, thingGroupProperties=about, tags=mark.tags()
        ) and not mark.ours(aws, mark.arn(aws, f"thinggroup/{name}")):
            raise UsageError(f"thing group '{name}' is there already and is not ours (no tag {mark.KEY}={mark.FLEET})")

    at_once(one, sorted(names), lambda done: progress("groups", done, len(names)))


def register(
    aws: Aws, members: Sequence[Member], folder: Path, progress: Progress, how: How, found: Found | None = None
) -> Counter[str]:
    """Make what lacks of these things; PEM files go to `folder`. What was made, by kind."""
    found = found or look(aws, members, folder, how)
    left = [member for member in members if found.lacks(member, how)]
    at_once(lambda name: _drop(aws, folder, name, found.stale[name]), list(found.stale))
    made: Counter[str] = Counter()
    if not left:
        progress("things", len(members), len(members))
        return made
    shared = None
    if how.shared:
        shared = certificates.local(folder, certificates.SHARED)
        if shared is None:
            certificates.create(aws, folder, certificates.SHARED, DEVICE_POLICY, begun=found.begun)
            shared = certificates.local(folder, certificates.SHARED)
            made["certificates"] += 1
    before = len(members) - len(left)
    work = _Work(aws, folder, how, found, certificates.arn_of(aws, shared) if shared else None)
    for done in at_once(work.one, left, lambda done: progress("things", before + done, len(members))):
        made.update(done)
    return made


def _drop(aws: Aws, folder: Path, name: str, certificate: str) -> None:
    """A certificate that a cleanup had switched off before it was killed, and its files."""
    certificates.discard(aws, certificate)
    certificates.forget(folder, name)


class _Work:
    """One thing after the other, in many threads."""

    def __init__(self, aws: Aws, folder: Path, how: How, found: Found, shared_arn: str | None) -> None:
        self.aws, self.folder, self.how, self.found, self.shared_arn = aws, folder, how, found, shared_arn

    def one(self, member: Member) -> list[str]:
        """All that lacks of it; what was made."""
        made, new = [], member.name not in self.found.types
        if new:
            self._create(member)
            made.append("things")
        self._shadow(member, None, member.reported, new)
        if member.software:
            package, version = member.software
            self._shadow(member, PACKAGE_SHADOW, {package: {"version": version, "attributes": {}}}, new)
        if member.certificate and member.name not in self.found.certified:
            if self.shared_arn:
                self.aws.iot.attach_thing_principal(thingName=member.name, principal=self.shared_arn)
            else:
                certificates.create(
                    self.aws, self.folder, member.name, DEVICE_POLICY, member.name, begun=self.found.begun
                )
                made.append("certificates")
                if not new:
                    self._retire_lost(member.name)
        group = self.found.group(member) if self.how.groups else None
        if group and member.name not in self.found.grouped:
            self.aws.iot.add_thing_to_thing_group(thingGroupName=group, thingName=member.name)
        return made

    def _create(self, member: Member) -> None:
        try:
            self.aws.iot.create_thing(
                thingName=member.name,
                thingTypeName=member.type,
                attributePayload={"attributes": dict(member.attributes)},
            )
        except ClientError as error:
            if code(error) not in THERE:
                raise
            if not self.how.strangers:
                raise UsageError(
                    f"thing '{member.name}' is there already and is not ours (no attribute {mark.KEY}={mark.FLEET})"
                ) from None

    def _shadow(self, member: Member, name: str | None, reported: Mapping[str, Any] | None, new: bool) -> None:
        """A first shadow; a device of a thing that was there may have said more by now, and is not overwritten."""
        if reported is None:
            return
        where = {"thingName": member.name, **({"shadowName": name} if name else {})}
        if not new:
            try:
                self.aws.data.get_thing_shadow(**where)
            except ClientError as error:
                if code(error) not in MISSING:
                    raise
            else:
                return
        self.aws.data.update_thing_shadow(**where, payload=json.dumps({"state": {"reported": dict(reported)}}))

    def _retire_lost(self, thing: str) -> None:
        """Certificates that an earlier run gave it, and whose files are gone, let nobody connect any more."""
        mine = certificates.local(self.folder, thing)
        for arn in pages(self.aws.iot, "list_thing_principals", "principals", thingName=thing):
            if arn.rsplit("/", 1)[-1] == mine:
                continue
            policies = pages(self.aws.iot, "list_attached_policies", "policies", target=arn)
            if any(policy["policyName"] == DEVICE_POLICY for policy in policies):
                certificates.retire(self.aws, thing, arn, ours=True)
