"""All fire sensors: a record in, what is to be kept out.

Rules: what is remembered has a bound a sensor (history.py) and so has the number of sensors; one that was silent for
FORGET_MS, without an open alert, is forgotten. A window is kept when the next one begins, or GRACE_MS after its end.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from simulator.backend.fire.alerts import CLEAR_MS, Alert
from simulator.backend.fire.clusters import Site
from simulator.backend.fire.device import Device, Fate
from simulator.backend.fire.history import HOUR_MS, LATE_MS, entry_of
from simulator.backend.fire.outcomes import FireWrite
from simulator.backend.fire.reading import read
from simulator.backend.fire.stream import WINDOW_MS, window, window_start
from simulator.backend.silence import Moments

DEVICES_MAX = 200_000
GRACE_MS = 5_000
FORGET_MS = 2 * (HOUR_MS + LATE_MS)
REMEMBER_MS = HOUR_MS + LATE_MS  # what a restart has to be told of again
_INTEGER_MAX = (1 << 63) - 1


class Taken(NamedTuple):
    """What became of a record."""

    fate: Fate
    writes: list[FireWrite]
    risk: int  # of the sensor's newest record, in ten-thousandths
    alert: Alert | None  # that is open now
    news: bool  # it was raised or has risen by this


class Restored(NamedTuple):
    """What a restart takes up."""

    records: Sequence[tuple[str, int, int, int, str]] = ()  # (sensor, time, index, key, metrics as JSON), in order
    alerts: Mapping[str, Alert] = {}  # the open ones
    sites: Mapping[str, str] = {}


class Fire:
    """The analysis of every sensor and every site."""

    def __init__(self, devices_max: int = DEVICES_MAX) -> None:
        self.fates: Counter[str] = Counter()
        self._devices_max = devices_max
        self._devices: dict[str, Device] = {}
        self._sites: dict[str, Site] = {}
        self._places: dict[str, str] = {}  # the site of each sensor
        self._moments = Moments()

    def take(
        self, thing: str, at_ms: int, idx: int, key: int, metrics: Mapping[str, Any], clear_ms: int = CLEAR_MS
    ) -> Taken | None:
        """Take a record; None when there are too many sensors. `key` tells it from every other of the sensor."""
        device = self._devices.get(thing) or self._device(thing)
        if device is None:
            self.fates["too_many"] += 1
            return None
        entry = entry_of(at_ms, min(max(idx, -_INTEGER_MAX), _INTEGER_MAX), key, read(metrics))
        before = device.state.alert
        writes: list[FireWrite] = []
        fate = device.take(entry, clear_ms, writes)
        self.fates[fate] += 1
        log = device.log
        if fate in ("repeated", "too_late"):
            return Taken(fate, writes, log.risk[-1] if log.risk else 0, before, False)
        if device.site:
            site = self._sites[device.site]
            if fate == "next":
                site.take(thing, writes)
            else:
                site.again(at_ms, writes)
        writes.append(device.now())
        if not device.waits:
            device.waits = True
            self._moments.expect(thing, window_start(log.at_ms[-1]) + WINDOW_MS + GRACE_MS)
        alert = log.states[-1].alert
        return Taken(fate, writes, log.risk[-1], alert, alert is not None and alert != before)

    def _device(self, thing: str) -> Device | None:
        if len(self._devices) >= self._devices_max:
            return None
        device = self._devices[thing] = Device(thing)
        self._join(device, self._places.get(thing, ""))
        return device

    def place(self, thing: str, site: str) -> None:
        """The sensor is on a site, or on none: its neighbours are the sensors of the same one."""
        if thing not in self._places and len(self._places) >= self._devices_max:
            return
        self._places[thing] = site
        device = self._devices.get(thing)
        if device is not None and device.site != site:
            self._leave(device)
            self._join(device, site)

    def _join(self, device: Device, site: str) -> None:
        device.site = site
        if site:
            self._sites.setdefault(site, Site(site)).add(device.thing, device.log)

    def _leave(self, device: Device) -> None:
        old = self._sites.get(device.site)
        if old is not None:
            old.members.pop(device.thing, None)
            if not old.members:
                del self._sites[old.name]

    def alert_of(self, thing: str) -> Alert | None:
        """The open alert of a sensor."""
        device = self._devices.get(thing)
        return device.state.alert if device else None

    def tick(self, now_ms: int) -> list[FireWrite]:
        """Let windows end; call it a few times a second."""
        writes: list[FireWrite] = []
        for thing in self._moments.come(now_ms):
            device = self._devices[thing]
            if device.waits:
                device.waits = False
                start_ms = window_start(device.newest_ms)
                if start_ms + WINDOW_MS + GRACE_MS > now_ms:  # it went on in another one meanwhile
                    device.waits = True
                    self._moments.expect(thing, start_ms + WINDOW_MS + GRACE_MS)
                    continue
                writes.append(window(thing, device.log, start_ms))
            forget_at_ms = device.newest_ms + FORGET_MS
            if now_ms < forget_at_ms or device.state.alert:
                self._moments.expect(thing, max(forget_at_ms, now_ms + WINDOW_MS))
            else:
                self._leave(device)
                del self._devices[thing]
        return writes

    # -- restart

    def resume(self, restored: Restored) -> None:
        """Take up what was before. What came of the records is kept already; older ones come too late from now on."""
        for thing, site in restored.sites.items():
            self.place(thing, site)
        for thing, at_ms, idx, key, metrics in restored.records:
            self.take(thing, at_ms, idx, key, orjson.loads(metrics))
        self.fates.clear()
        for thing in restored.alerts:
            if thing not in self._devices:
                self._device(thing)
        for thing, device in self._devices.items():
            device.floor_ms = device.newest_ms
            alert = restored.alerts.get(thing)
            state = device.state._replace(alert=alert)
            if alert is None:
                state = state._replace(clear_since=0)
            if device.log.states:
                device.log.states[-1] = state
            else:
                device.origin = state
