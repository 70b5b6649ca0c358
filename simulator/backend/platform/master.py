"""Master data: device → site → customer.

Rules: what was put there counts before what the registry says. A device on a site that was put there is that site's
customer's, and goes with it when it changes; elsewhere the device says itself whose it is. How many are known has a
bound.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from simulator.backend.platform import settings
from simulator.backend.platform.outcomes import Count, SaveMaster, SaveSite

THING_MAX = 128
CUSTOMER_KEYS = ("customerId", "customer")
SITE_KEYS = ("siteId", "site")

Write = SaveMaster | SaveSite | Count


class Where(NamedTuple):
    """Where a device stands."""

    site_id: str
    customer_id: str
    source: str


class Master:
    """All of it."""

    def __init__(self) -> None:
        self._things: dict[str, Where] = {}
        self._sites: dict[str, str] = {}
        self._on: dict[str, dict[str, None]] = {}  # devices of each site

    def of(self, thing: str) -> Where | None:
        """Where a device stands, if that is known."""
        return self._things.get(thing)

    def registered(self, thing: str, attributes: Mapping[str, str]) -> list[Write]:
        """What the registry says of a device."""
        known = self._things.get(thing)
        if known is not None and known.source == "put":
            return []
        site, customer = (
            next((attributes[name] for name in names if attributes.get(name)), "")
            for names in (SITE_KEYS, CUSTOMER_KEYS)
        )
        if not site and not customer:
            return []
        return self._place(thing, site[:THING_MAX], customer[:THING_MAX], "registry")

    def put(self, said: settings.Master) -> list[Write]:
        """What somebody wrote down; sites first."""
        effects: list[Write] = []
        for site in said.sites:
            effects += self._own(site.site_id, site.customer_id)
        for device in said.devices:
            effects += self._place(device.device_id, device.site_id, device.customer_id, "put")
        return effects

    def resume(self, things: Iterable[SaveMaster], sites: Iterable[SaveSite]) -> None:
        """Take up what the store remembers."""
        self._sites = {site.site_id: site.customer_id for site in sites}
        for one in things:
            self._things[one.thing] = Where(*one[1:])
            if one.site_id:
                self._on.setdefault(one.site_id, {})[one.thing] = None

    def _own(self, site: str, customer: str) -> list[Write]:
        if self._sites.get(site) == customer:
            return []
        if site not in self._sites and len(self._sites) >= settings.MASTER_MAX:
            return [Count("master.dropped")]
        self._sites[site] = customer
        effects: list[Write] = [SaveSite(site, customer, "put")]
        for thing in list(self._on.get(site, ())):
            effects += self._place(thing, site, "", self._things[thing].source)
        return effects

    def _place(self, thing: str, site: str, customer: str, source: str) -> list[Write]:
        known = self._things.get(thing)
        if known is None and len(self._things) >= settings.MASTER_MAX:
            return [Count("master.dropped")]
        if known is not None and known.site_id != site:
            self._on.get(known.site_id, {}).pop(thing, None)
        if site:
            self._on.setdefault(site, {})[thing] = None
            customer = self._sites.get(site, customer)
        where = Where(site, customer, source)
        if where == known:
            return []
        self._things[thing] = where
        return [SaveMaster(thing, *where)]
