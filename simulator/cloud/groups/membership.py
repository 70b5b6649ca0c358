"""Which groups a thing may be in: the rules, without a registry.

Rules: a thing is in at most ten groups. Static groups are chosen by a caller, who is refused when there is no room,
unless he lets them displace dynamic ones. Dynamic groups take what room is left, oldest first: so a thing whose
groups are full joins only a dynamic group that is older than one it is in, and leaves its newest one for it. A thing
is in one group of a hierarchy of static groups at most.
https://docs.aws.amazon.com/iot/latest/developerguide/dynamic-thing-groups.html
"""

from collections.abc import Callable, Iterator, Sequence

GROUPS_PER_THING_MAX = 10
DEPTH_MAX = 7
CHILDREN_MAX = 100
DYNAMIC_GROUPS_MAX = 100

Parent = Callable[[str], str | None]


def dynamic_groups(matching: Sequence[str], static_count: int) -> Sequence[str]:
    """Those of the dynamic groups that a thing matches, oldest first, in which it is."""
    return matching[: max(0, GROUPS_PER_THING_MAX - static_count)]


def displaced(static_count: int, dynamic: Sequence[str], *, override: bool) -> list[str] | None:
    """The dynamic groups, oldest first, that a thing leaves when it is added to a static one; None: no room."""
    if static_count >= GROUPS_PER_THING_MAX:
        return None
    leaving = list(dynamic[GROUPS_PER_THING_MAX - static_count - 1 :])
    return leaving if override or not leaving else None


def ancestors(group: str, parent: Parent) -> list[str]:
    """The groups above a group, from the root down."""
    return list(_upwards(group, parent))[:0:-1]


def depth(group: str, parent: Parent) -> int:
    """1 for a group without a parent."""
    return len(ancestors(group, parent)) + 1


def same_hierarchy(group: str, others: Sequence[str], parent: Parent) -> str | None:
    """The first of other groups that has a root in common with a group."""
    root = _root(group, parent)
    return next((other for other in others if other != group and _root(other, parent) == root), None)


def below(group: str | None, names: Sequence[str], parent: Parent, *, recursive: bool) -> list[str]:
    """The children of a group (None: the groups without a parent), and theirs too."""
    if group is None:
        return list(names) if recursive else [name for name in names if parent(name) is None]
    if recursive:
        return [name for name in names if group in ancestors(name, parent)]
    return [name for name in names if parent(name) == group]


def _root(group: str, parent: Parent) -> str:
    return list(_upwards(group, parent))[-1]


def _upwards(group: str, parent: Parent) -> Iterator[str]:
    """A group and those above it. A hierarchy is no deeper than DEPTH_MAX."""
    found: str | None = group
    for _ in range(DEPTH_MAX):
        if found is None:
            return
        yield found
        found = parent(found)
