"""What comes of fire sensors' records: alerts that are said, and an alarm for as long as there is one. Pure."""

import orjson

from simulator.backend.decode import Telemetry
from simulator.backend.devices import Device
from simulator.backend.effects import Effect, Say
from simulator.backend.fire.alerts import Alert, document_of
from simulator.backend.fire.analysis import Fire, Taken
from simulator.backend.fire.realtime import HIGH, ONE, level_of
from simulator.backend.open_alarms import OpenAlarms


def predict(fire: Fire, alarms: OpenAlarms, device: Device, sample: Telemetry, now_ms: int) -> list[Effect]:
    """Analyse a fire sensor's record, whenever it is from."""
    clear_ms = int(1000 * device.fire_rule.clearFor_s)
    at_ms, idx = sample.device_timestamp, sample.idx or 0
    taken = fire.take(device.thing, at_ms, idx, sample.key, sample.metrics, clear_ms)
    if taken is None:
        return []
    effects: list[Effect] = [*taken.writes]
    if taken.news and taken.alert is not None:
        effects.append(_said(device.thing, taken.alert))
    if device.waiting is None:
        effects += _judge(alarms, device, taken, at_ms, now_ms)
    return effects


def _judge(alarms: OpenAlarms, device: Device, taken: Taken, at_ms: int, now_ms: int) -> list[Effect]:
    """An alarm for as long as there is an alert; one that is open goes by the risk of every newer record."""
    rule, alert, risk = device.fire_rule, taken.alert, taken.risk / ONE
    alarm = device.alarms.get(rule.ruleId)
    if alarm is None:
        return alarms.open(device, rule, at_ms, risk, now_ms, alert) if alert else []
    effects: list[Effect] = []
    rule = alarms.raised_by[alarm.alarm_id]
    if alert is not None and alarm.severity != alert.level.lower():
        effects += alarm.rise(alert.level.lower(), document_of(alert), risk, now_ms, rule)
    if taken.fate == "next":
        effects += alarm.sample(rule, level_of(taken.risk) >= HIGH, at_ms, risk, now_ms)
    return alarms.moved(alarm, effects, changed=True)


def _said(thing: str, alert: Alert) -> Say:
    """What the fire prediction publishes of an alert."""
    payload = orjson.dumps({"deviceId": thing, **document_of(alert)})
    return Say(thing, f"fire-prediction/alerts/{alert.level.lower()}/{thing}", payload)
