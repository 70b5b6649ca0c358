"""The live index: the documents of all registered things, kept current, and the queries that run over them.

Rules: a change is in the index, and told to subscribers, within a tenth of a second: changes are collected for half of
that and then worked off in slices, so that thousands of them never keep the loop for long. A new index is BUILDING
until every thing is in it, and says so to whoever queries it; one whose configuration changed is REBUILDING, and
answers meanwhile. A query looks at every document: at 10,000 things that takes less than a tenth of a second, and a
page of its results much less.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from simulator.cloud.indexing.documents import Document, group_document, thing_document
from simulator.cloud.indexing.query import Query, parse
from simulator.cloud.indexing.settings import THING_GROUPS, THINGS, Settings
from simulator.cloud.indexing.tokens import TERMS_MAX
from simulator.cloud.service import ServiceError

Heard = Callable[[frozenset[str]], None]

_COLLECT_S = 0.05
_SLICE = 250  # documents made before others have their turn: some 5 ms
_LOG = logging.getLogger("fleetsim.cloud")


class IndexNotReadyError(ServiceError):
    """The index is being built."""

    code = "IndexNotReadyException"
    status = 400


class Source(Protocol):
    """Where the things are."""

    def names(self) -> list[str]: ...

    def thing(self, name: str) -> dict[str, Any] | None: ...

    def shadow(self, thing: str, name: str) -> dict[str, Any] | None: ...

    def connectivity(self, thing: str) -> dict[str, Any]: ...

    def groups(self) -> dict[str, dict[str, Any]]: ...


class Index:
    """Documents, queries, and who wants to know of changes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._settings = Settings()
        self._documents: dict[str, Document] = {}
        self._names: list[str] | None = []  # sorted; None: must be sorted again
        self._unbuilt: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._building = False
        self._timer: asyncio.Handle | None = None
        self._heard: list[Heard] = []

    # -- what is indexed ---

    @property
    def settings(self) -> Settings:
        """What is indexed."""
        return self._settings

    def configure(self, settings: Settings) -> None:
        """Index something else from now on."""
        if settings == self._settings:
            return
        before, self._settings = self._settings, settings
        self._changed.clear()
        if not settings.things:
            gone = frozenset(self._documents)
            self._documents, self._names, self._building = {}, [], False
            self._unbuilt.clear()
            self._tell(gone)
            return
        self._building = self._building or not before.things
        self._unbuilt = dict.fromkeys([*self._source.names(), *self._documents])
        self._arm(_COLLECT_S)

    def status(self, index: str = THINGS) -> str:
        """BUILDING, REBUILDING or ACTIVE; raises the error for an index that is not there."""
        self._settings.check_index(index)
        if index == THING_GROUPS or not (self._unbuilt or self._building):
            return "ACTIVE"
        return "BUILDING" if self._building else "REBUILDING"

    def check_ready(self, index: str = THINGS) -> None:
        """Raise the error for an index that is not there, or not yet."""
        if self.status(index) == "BUILDING":
            raise IndexNotReadyError(f"Index {index} is still building. Please wait for its status to be ACTIVE")

    # -- changes ---

    def touch(self, thing: str) -> None:
        """Something about a thing changed: its entry, a shadow, its connection, or it came or went."""
        if self._settings.things:
            self._changed[thing] = None
            self._arm(_COLLECT_S)

    def subscribe(self, heard: Heard) -> None:
        """Call `heard` on the loop with the names of things whose document changed or went."""
        self._heard.append(heard)

    def _arm(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._work)

    def _work(self) -> None:
        """Make the next slice of documents."""
        self._timer = None
        told: set[str] = set()
        for waiting in (self._changed, self._unbuilt):
            for name in list(waiting)[: _SLICE - len(told)]:
                del waiting[name]
                if self._renew(name):
                    told.add(name)
        if not self._unbuilt:
            self._building = False
        if self._changed or self._unbuilt:
            self._arm(0)
        self._tell(frozenset(told))

    def _renew(self, name: str) -> bool:
        """Make the document of a thing anew; whether there is one, or was."""
        settings, thing = self._settings, self._source.thing(name)
        if thing is None:
            if self._documents.pop(name, None) is None:
                return False
            self._names = None
            return True
        if name not in self._documents:
            self._names = None
        shadows = ((shadow, self._source.shadow(name, shadow)) for shadow in settings.named_shadows)
        self._documents[name] = thing_document(
            thing,
            self._source.shadow(name, "") if settings.shadows else None,
            {shadow: record for shadow, record in shadows if record is not None},
            self._source.connectivity(name) if settings.connectivity else None,
        )
        return True

    def _tell(self, names: frozenset[str]) -> None:
        for heard in self._heard if names else ():
            try:
                heard(names)
            except Exception:
                _LOG.exception("index: who was told of a change failed")

    # -- queries ---

    def parse(self, text: str, index: str = THINGS, *, terms_max: int = TERMS_MAX) -> Query:
        """The query that a text says; raises the error for a wrong one, or for fields that are not indexed."""
        query = parse(text, terms_max=terms_max)
        self._settings.check_fields(index, query.fields, text)
        return query

    def matching(self, query: Query) -> list[str]:
        """The names of the things that match, sorted."""
        return [document["thingName"] for document in self.documents(query)]

    def matches(self, query: Query, thing: str) -> bool:
        """Whether a thing matches; one that is not in the index does not."""
        document = self._documents.get(thing)
        return document is not None and query.matches(document)

    def documents(self, query: Query, index: str = THINGS, *, after: str = "") -> Iterator[Document]:
        """The documents that match, in the order of their names, beginning after one."""
        documents = self._group_documents() if index == THING_GROUPS else self._documents
        if index == THING_GROUPS or self._names is None:
            names = sorted(documents)
            self._names = self._names if index == THING_GROUPS else names
        else:
            names = self._names
        matches = query.matches
        for at in range(bisect_right(names, after) if after else 0, len(names)):
            document = documents[names[at]]
            if matches(document):
                yield document

    def _group_documents(self) -> Mapping[str, Document]:
        groups = self._source.groups()

        def above(name: str) -> list[str]:
            found: list[str] = []
            parent = _parent(groups.get(name))
            while parent is not None and parent not in found:
                found.insert(0, parent)
                parent = _parent(groups.get(parent))
            return found

        return {name: group_document(group, above(name)) for name, group in groups.items()}


def _parent(group: Mapping[str, Any] | None) -> str | None:
    return ((group or {}).get("thingGroupMetadata") or {}).get("parentGroupName")
