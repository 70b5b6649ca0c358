"""Steps that choose devices: by profile, name, group, query, share and count, common to all such steps.

The seed decides who: devices that match are ranked by a number of their own, and those without a fault yet come
first, so two injections of one scenario do not meet on a device while there is another one left.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pydantic import Field, model_validator

from simulator import seeds
from simulator.schema import Misplaced
from simulator.steps import Entry, Step
from simulator.steps._query import Query, QueryError, parse


class Choosing(Step):
    """A step for some of the devices; members add `kind` and what to do with them."""

    profiles: list[str] = Field(["*"], min_length=1, max_length=100, description="Profiles, with wildcards.")
    things: list[str] = Field(["*"], min_length=1, max_length=1000, description="Names of things, with wildcards.")
    groups: list[str] = Field(["*"], min_length=1, max_length=100, description="Groups of the fleet, with wildcards.")
    query: str | None = Field(
        None, max_length=500,
        description="Such as firmware == '1.0.0' and not faulted.",
    )  # fmt: skip
    share: float | None = Field(None, gt=0, le=1, description="What part of those that match; at least one.")
    count: int | None = Field(None, ge=1, description="How many of them; absent: all.")

    @model_validator(mode="after")
    def _readable(self) -> "Choosing":
        if self.share is not None and self.count is not None:
            raise ValueError("'share' and 'count' say the same: give one of them")
        if self.query is not None:
            try:
                parse(self.query)
            except QueryError as error:
                raise Misplaced(("query",), str(error)) from None
        return self

    def matches(self, entry: Entry) -> bool:
        """May this device be chosen?"""
        return self._matches(entry, parse(self.query) if self.query else None)

    def may_match(self, entry: Entry) -> bool:
        """May it be chosen at some time? What a query asks of the moment is not known yet."""
        return self._matches(entry, None)

    def _matches(self, entry: Entry, query: Query | None) -> bool:
        return (
            any(fnmatchcase(entry.profile, p) for p in self.profiles)
            and any(fnmatchcase(entry.thing, t) for t in self.things)
            and any(fnmatchcase(entry.group, g) for g in self.groups)
            and (query is None or query(entry))
        )

    def chosen(self, roster: Sequence[Entry], seed: int) -> tuple[str, ...]:
        """The things that this step is for."""
        query = parse(self.query) if self.query else None
        found = [entry for entry in roster if self._matches(entry, query)]
        if self.share is None and self.count is None:
            return tuple(entry.thing for entry in found)
        ranked = sorted(
            found,
            key=lambda entry: (entry.faulted, seeds.key(seed, self._purpose(), entry.thing), entry.thing),
        )
        count = self.count if self.share is None else max(1, round(self.share * len(ranked)))
        return tuple(entry.thing for entry in ranked[:count])

    def _purpose(self) -> str:
        """What the draw is for: steps of one kind choose alike, so that what one broke another can clear."""
        return str(self.model_dump()["kind"])
