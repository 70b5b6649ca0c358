"""Who was heard, and who is missed: alarms of devices that say nothing for too long. Pure.

Rules: silence is measured by our clock. Who was heard before the platform itself was away is given its time again.
"""

from simulator.backend.devices import Device, Devices
from simulator.backend.effects import Effect
from simulator.backend.open_alarms import OpenAlarms
from simulator.backend.silence import Moments


class Hearing:
    """When to look whether a device was heard again."""

    def __init__(self, devices: Devices, alarms: OpenAlarms) -> None:
        self._devices, self._alarms = devices, alarms
        self._moments = Moments()

    def heard(self, device: Device, at_ms: int, now_ms: int) -> list[Effect]:
        """A device said something, whatever it was."""
        if at_ms <= device.heard_ms:
            return []  # also a dead letter of old that is tried again
        device.heard_ms = at_ms
        if not device.silence_rules:
            return []
        effects: list[Effect] = []
        for rule in device.silence_rules:
            if (alarm := device.alarms.get(rule.ruleId)) is not None:
                effects += self._alarms.moved(alarm, alarm.close(now_ms, "it speaks again"))
        if effects:
            self.expect(device)
        return effects

    def expect(self, device: Device) -> None:
        """Say when to look at it."""
        waits = [rule.after_s or 0 for rule in device.silence_rules if rule.ruleId not in device.alarms]
        self._moments.expect(device.thing, device.heard_ms + int(1000 * min(waits)) if waits else None)

    def tick(self, now_ms: int) -> list[Effect]:
        """Look at those whose moment has come."""
        effects: list[Effect] = []
        for thing in self._moments.come(now_ms):
            effects += self._miss(self._devices[thing], now_ms)
        return effects

    def _miss(self, device: Device, now_ms: int) -> list[Effect]:
        """Raise what is to be raised."""
        effects: list[Effect] = []
        for rule in device.silence_rules:
            silent_ms = now_ms - device.heard_ms
            if rule.ruleId not in device.alarms and silent_ms >= int(1000 * (rule.after_s or 0)):
                effects += self._alarms.open(device, rule, device.heard_ms, None, now_ms)
        self.expect(device)
        return effects

    def anew(self, now_ms: int) -> None:
        """Nobody was silent until now."""
        self._moments.clear()
        for device in self._devices.values():
            device.heard_ms = now_ms
            self.expect(device)
