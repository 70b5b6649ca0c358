"""MQTT subscriptions, indexed by the levels of their filters.

A look at every subscription for each message is milliseconds a message with a few hundred devices of ten filters each.
It is a dictionary too, because MiniStack, in the place of whose dictionary it stands, empties it when it is reset.
"""

from collections.abc import Iterator
from typing import Any

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
