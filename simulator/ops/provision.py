"""Provisioning: everything a fleet needs in the account before it can connect. Run again, it does what is left.

groundwork   policies, roles, index     once an account
catalogue    bucket, images, packages   once a firmware
things       types, groups, things, certificates, in parallel

This is the one door to them; each has its own file.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulator.firmware import Image
from simulator.ops import policies
from simulator.ops import things as registry
from simulator.ops.aws import Aws
from simulator.ops.catalogue import catalogue, store
from simulator.ops.groundwork import JOBS_ROLE, PACKAGES_ROLE, bucket, groundwork, indexing, roles
from simulator.ops.members import Member, of_profiles
from simulator.ops.policies import BACKEND_CLIENT, BACKEND_POLICY, DEVICE_POLICY
from simulator.ops.things import Found, How
from simulator.profiles import Profile

__all__ = [
    "BACKEND_CLIENT", "BACKEND_POLICY", "DEVICE_POLICY", "JOBS_ROLE", "PACKAGES_ROLE", "Plan", "Progress",
    "bucket", "catalogue", "groundwork", "provision", "things",
]  # fmt: skip

Progress = Callable[[str, int, int], object]  # (what, done, of)


@dataclass(frozen=True)
class Plan:
    """A fleet and what it needs."""

    members: Sequence[Member]
    images: Sequence[Image]
    how: How = field(default_factory=How)


def things(
    aws: Aws,
    wanted: Sequence[tuple[str, Profile]],
    children: Sequence[tuple[str, Profile]],
    seed: int,
    folder: Path,
    progress: Progress,
) -> None:
    """What a run needs: thing types, things and certificates (PEM files in `folder`). The seed says who is whose.

    Children of hubs become things too, so that the backend can look them up, but have no certificate to connect with.
    """
    members = of_profiles(wanted, children, seed)
    registry.types(aws, members)
    registry.register(aws, members, folder, progress, How(groups=False, strangers=True))


def provision(
    aws: Aws, plan: Plan, folder: Path, progress: Progress, step: Callable[[str], object] = lambda name: None
) -> Counter[str]:
    """All of it, step by step; `step` hears the name of each (as in explain.py) before. What was made of things."""
    found = registry.look(aws, plan.members, folder, plan.how)
    step("thing types")
    registry.types(aws, plan.members)
    step("policies")
    policies.put(aws, DEVICE_POLICY, policies.device(aws))
    step("roles")
    roles(aws)
    step("artifacts")
    store(aws)
    step("packages")
    catalogue(aws, plan.images, progress)
    step("indexing")
    indexing(aws)
    if plan.how.groups:
        step("groups")
        registry.groups(aws, {group for one in plan.members if (group := found.group(one))}, progress)
    step("things")
    return registry.register(aws, plan.members, folder, progress, plan.how, found)


def left(aws: Aws, plan: Plan, folder: Path) -> tuple[int, Found]:
    """How many things lack something, and what there is; reads only."""
    found = registry.look(aws, plan.members, folder, plan.how)
    return sum(found.lacks(one, plan.how) for one in plan.members), found
