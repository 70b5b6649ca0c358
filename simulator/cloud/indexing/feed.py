"""Where the index gets its data: MiniStack's registry, shadows and connections, and which thing changed.

MiniStack keeps all three in dictionaries of its module, and puts back into them whatever it changes, so `install` puts
dictionaries in their place that tell the key of every change. Nothing else in MiniStack says so: HTTP, MQTT, fleet
provisioning and rules all write by themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

Touched = Callable[[str], None]
_Key = tuple[str, str, Any]  # account, region, and the name (of a shadow: its thing's and its own)


class _Telling(dict[Any, Any]):
    """A dictionary that tells the key of every change."""

    def __init__(self, content: Mapping[Any, Any], tell: Callable[[Any], None]) -> None:
        super().__init__(content)
        self._tell = tell

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._tell(key)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._tell(key)

    def pop(self, key: Any, *default: Any) -> Any:
        value = super().pop(key, *default)
        self._tell(key)
        return value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def clear(self) -> None:
        keys = list(self)
        super().clear()
        for key in keys:
            self._tell(key)


class Things:
    """The things of one account and region, as MiniStack has them now."""

    def __init__(self, iot: Any, account: str, region: str) -> None:
        self._iot = iot
        self._scope = (account, region)

    def names(self) -> list[str]:
        """All things."""
        return [name for name, _ in self._iot._things.items_scoped(*self._scope)]

    def thing(self, name: str) -> dict[str, Any] | None:
        """The entry of the registry."""
        found: dict[str, Any] | None = self._iot._things.get_scoped(*self._scope, name)
        return found

    def shadow(self, thing: str, name: str) -> dict[str, Any] | None:
        """A shadow; the classic one has no name."""
        found: dict[str, Any] | None = self._iot._shadows.get_scoped(*self._scope, (thing, name))
        return found if found is not None and not found.get("deleted") else None

    def connectivity(self, thing: str) -> dict[str, Any]:
        """Whether a client with the name of the thing is connected, since when, or how that ended."""
        found: dict[str, Any] = self._iot._thing_connectivity(*self._scope, thing)
        return found

    def groups(self) -> dict[str, dict[str, Any]]:
        """All thing groups."""
        return dict(self._iot._thing_groups.items_scoped(*self._scope))


def install(iot: Any, account: str, region: str, touched: Touched) -> None:
    """Call `touched` with the name of each thing that changes, whether it is registered or not."""

    def of_thing(key: _Key) -> None:
        if key[:2] == (account, region):
            touched(key[2])

    def of_shadow(key: _Key) -> None:
        if key[:2] == (account, region):
            touched(key[2][0])

    iot._things._data = _Telling(iot._things._data, of_thing)
    iot._shadows._data = _Telling(iot._shadows._data, of_shadow)
    iot._connectivity = _Telling(iot._connectivity, of_thing)
