"""MiniStack's subscriptions, indexed by the levels of their filters.

MiniStack holds each publish against every subscription in turn, and each unsubscribe too: with a few hundred
devices of ten filters each that is milliseconds a message. `install` puts this table in the place of its
dictionary. While a message is being published, `values()` gives only the filters that may match its topic (MiniStack
itself decides which do); the topic comes in a context variable, because the publishing code calls `values()` with
nothing in its hand.
"""

from collections.abc import Iterator, ValuesView
from contextvars import ContextVar
from typing import Any

_publishing: ContextVar[str | None] = ContextVar("publishing", default=None)

Subscribers = set[Any]  # of MiniStack's _Subscription
Node = dict[str, Any]  # level → node; _HERE → the filter that ends at this node

_HERE = ""


class Subscriptions(dict[str, Subscribers]):
    """Filter → subscribers, with a trie of the filters' levels beside it. Filters have the account's prefix."""

    def __init__(self) -> None:
        super().__init__()
        self._root: Node = {}

    def setdefault(self, key: str, default: Subscribers | None = None) -> Subscribers:
        if key not in self:
            node = self._root
            for level in key.split("/"):
                node = node.setdefault(f"/{level}", {})
            node[_HERE] = key
            self[key] = default if default is not None else set()
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            path = [self._root]
            for level in key.split("/"):
                path.append(path[-1][f"/{level}"])
            del path[-1][_HERE]
            for parent, level in zip(reversed(path[:-1]), reversed(key.split("/")), strict=True):
                if parent[f"/{level}"]:
                    break
                del parent[f"/{level}"]
        return super().pop(key, *default)

    def clear(self) -> None:
        super().clear()
        self._root = {}

    def values(self) -> ValuesView[Subscribers]:  # type: ignore[override]
        topic = _publishing.get()
        if topic is None:
            return super().values()
        return {found: self[found] for found in self.matching(topic)}.values()

    def matching(self, topic: str) -> Iterator[str]:
        """Every filter that may match a topic (with the prefix), and few others."""
        nodes = [self._root]
        for level in topic.split("/"):
            for node in nodes:
                if "/#" in node:
                    yield from _ends(node["/#"])
            keys = (f"/{level}",) if level == "+" else (f"/{level}", "/+")
            nodes = [node[key] for node in nodes for key in keys if key in node]
        for node in nodes:
            yield from _ends(node)
            if "/#" in node:
                yield from _ends(node["/#"])


def _ends(node: Node) -> Iterator[str]:
    if _HERE in node:
        yield node[_HERE]


def install(iot: Any) -> None:
    """Give MiniStack's module `services.iot` the table, and let it know the topic of each publish."""
    table = Subscriptions()
    for key, subscribers in iot._subscriptions.items():
        table.setdefault(key, subscribers)
    iot._subscriptions = table
    publish, subscribe = iot.broker_publish, iot.broker_subscribe
    filters: dict[str, str] = {}  # subscription id → filter

    async def broker_publish(account_id: str, region: str, topic: str, *args: Any, **kwargs: Any) -> None:
        token = _publishing.set(f"{account_id}/{region}/{topic}")
        try:
            await publish(account_id, region, topic, *args, **kwargs)
        finally:
            _publishing.reset(token)

    async def broker_subscribe(account_id: str, region: str, topic_filter: str, *args: Any, **kwargs: Any) -> str:
        subscription_id: str = await subscribe(account_id, region, topic_filter, *args, **kwargs)
        filters[subscription_id] = f"{account_id}/{region}/{topic_filter}"
        return subscription_id

    async def broker_unsubscribe(subscription_id: str) -> None:
        key = filters.pop(subscription_id, "")
        async with iot._broker_lock:
            subscribers = table.get(key, set())
            for one in [one for one in subscribers if one.subscription_id == subscription_id]:
                subscribers.discard(one)
            if not subscribers:
                table.pop(key, None)

    iot.broker_publish, iot.broker_subscribe, iot.broker_unsubscribe = (
        broker_publish, broker_subscribe, broker_unsubscribe,
    )  # fmt: skip
