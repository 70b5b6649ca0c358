"""Tags of AWS IoT resources: MiniStack keeps them by ARN, and this makes it know every kind of resource there is.

Rules: one store for all (`_tags`), so that whoever lists tags sees those of MiniStack's resources and of ours.
A resource that does not exist has no tags to list: ResourceNotFoundException, where MiniStack gives an empty list.
"""

from collections.abc import Callable, Mapping
from typing import Any


class Tags:
    """The tags of everything."""

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        original = iot._tag_target_error
        iot._tag_target_error = lambda arn, must_exist: original(arn, True)

    def know(self, kind: str, exists: Callable[[str], bool], message: str = "{arn} does not exist") -> None:
        """Let resources of a kind be tagged: `exists` gets what follows `kind/` in the ARN."""
        self._iot._TAGGABLE_RESOURCES[kind] = (_Known(exists), message)

    def created(self, arn: str, tags: Mapping[str, str] | None) -> None:
        """A new resource has these tags, and none of a namesake's that was deleted."""
        self.gone(arn)
        if tags:
            self._iot._tags[arn] = dict(tags)

    def gone(self, arn: str) -> None:
        """A resource was deleted."""
        self._iot._tags.pop(arn, None)


class _Known:
    """The table that MiniStack looks a resource up in: a record, which it only compares with None, or None."""

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self._exists = exists

    def get(self, name: str) -> dict[str, str] | None:
        return {} if self._exists(name) else None
