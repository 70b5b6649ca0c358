"""The way of a message through the broker: who hears it, what is kept of it, and which service reads it.

It stands in the place of MiniStack's three broker functions, which hold each publish against every subscription
and every stored session. Rules: filters are found by their levels (`subscriptions`). An answer of the Jobs service
goes to the connection that asked, subscribed or not, and to nobody else. Lifecycle, job and registry events go
out at QoS 1, so that a stored session keeps them. Delivery never waits for a subscriber (see `connections`).
"""

import json
import logging
import re
import time
from contextvars import ContextVar
from typing import Any, Protocol

from simulator.cloud.broker.subscriptions import Subscriptions

_BASIC_INGEST = "$aws/rules/"
_THINGS = "$aws/things/"
_JOB_ANSWER = re.compile(r"\$aws/things/[^/]+/jobs/(get|start-next|[^/]+/(get|update))/(accepted|rejected)")
_LOG = logging.getLogger("fleetsim.cloud")


class Requester(Protocol):
    """A connection that asked something."""

    async def answered(self, topic: str, payload: bytes) -> None: ...


# The connection whose request is being served; none, when it came over HTTPS or from the service itself.
requester: ContextVar[Requester | None] = ContextVar("requester", default=None)


class Broker:
    """Subscriptions, and what happens to a message."""

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._table = Subscriptions()
        self._by_id: dict[str, Any] = {}  # of MiniStack's _Subscription
        self._basic_ingest = iot.broker_publish
        iot._subscriptions = self._table

    # -- subscriptions ---

    def add(self, subscription: Any) -> str:
        """Let it hear; its id."""
        self._table.setdefault(subscription.filter_prefixed, set()).add(subscription)
        self._by_id[subscription.subscription_id] = subscription
        return str(subscription.subscription_id)

    def find(self, subscription_id: str) -> Any | None:
        return self._by_id.get(subscription_id)

    def remove(self, subscription_id: str) -> None:
        subscription = self._by_id.pop(subscription_id, None)
        if subscription is None:
            return
        subscribers = self._table.get(subscription.filter_prefixed, set())
        subscribers.discard(subscription)
        if not subscribers:
            self._table.pop(subscription.filter_prefixed, None)

    async def subscribe(
        self,
        account_id: str,
        region: str,
        topic_filter: str,
        callback: Any,
        granted_qos: int = 0,
        client_id: str | None = None,
        retain_as_published: bool = False,
        retain_handling: int = 0,
    ) -> str:
        """As MiniStack's: add a subscriber, and give it the retained message where the filter is a topic."""
        iot = self._iot
        prefixed = f"{account_id}/{region}/{topic_filter}"
        known = client_id is not None and any(one.client_id == client_id for one in self._table.get(prefixed, ()))
        subscription = iot._Subscription(
            prefixed, account_id, region, callback, granted_qos, client_id=client_id,
            retain_as_published=retain_as_published,
        )  # fmt: skip
        self.add(subscription)
        if retain_handling == 0 or (retain_handling == 1 and not known):
            message = iot.broker_get_retained(account_id, region, topic_filter)
            if message is not None:
                properties = iot._aged_properties(message.properties, message.ts)
                qos = min(message.qos, granted_qos)
                await self._deliver(subscription, topic_filter, message.payload, qos, properties, True)
        return str(subscription.subscription_id)

    async def unsubscribe(self, subscription_id: str) -> None:
        self.remove(subscription_id)

    # -- messages ---

    async def publish(
        self,
        account_id: str,
        region: str,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        client_id: str | None = None,
        principal: str | None = None,
    ) -> None:
        """As MiniStack's: to the subscribers, to the rules, and to the service that a reserved topic belongs to."""
        iot = self._iot
        reserved = topic.startswith("$aws/")
        if reserved:
            if topic.startswith(_BASIC_INGEST):
                await self._basic_ingest(
                    account_id, region, topic, payload, qos, retain, properties, client_id, principal
                )
                return
            asking = requester.get()
            if asking is not None and _JOB_ANSWER.fullmatch(topic):
                await asking.answered(topic, payload)
                return
        scoped = f"{account_id}/{region}/{topic}"
        now_s = time.time()
        if retain:
            if payload:
                iot._retained[scoped] = iot._RetainedMessage(scoped, payload, qos, properties, now_s)
            else:
                iot._retained.pop(scoped, None)
        sent = iot._aged_properties(properties, now_s, now_s) or b"" if properties else b""
        prefix = len(scoped) - len(topic)
        for found in list(self._table.matching(scoped)):
            if iot._subscription_matches(found[prefix:], topic):
                for subscription in list(self._table.get(found, ())):
                    flag = retain and subscription.retain_as_published
                    await self._deliver(subscription, topic, payload, min(qos, subscription.granted_qos), sent, flag)
        if iot._topic_rules._data:
            with iot._rule_message_scope(principal):
                await iot._evaluate_topic_rules(account_id, region, topic, payload, client_id)
        if reserved and topic.startswith(_THINGS):
            await self._serve(account_id, region, topic, payload)

    def heard(self, account_id: str, region: str, topic: str) -> bool:
        """Whether anyone may listen to a topic: a subscriber, or any rule."""
        scoped = f"{account_id}/{region}/{topic}"
        return bool(self._iot._topic_rules._data) or next(self._table.matching(scoped), None) is not None

    async def _deliver(
        self, subscription: Any, topic: str, payload: bytes, qos: int, properties: bytes | None, retain: bool
    ) -> None:
        if properties is None:  # expired
            return
        iot = self._iot
        if not properties and not retain:  # what the variables say anyway
            await self._hand_over(subscription, topic, payload, qos)
            return
        as_properties, as_retained = iot._delivery_properties.set(properties), iot._delivery_retain.set(retain)
        try:
            await self._hand_over(subscription, topic, payload, qos)
        finally:
            iot._delivery_retain.reset(as_retained)
            iot._delivery_properties.reset(as_properties)

    async def _hand_over(self, subscription: Any, topic: str, payload: bytes, qos: int) -> None:
        try:
            await subscription.deliver(topic, payload, qos)
        except Exception:
            _LOG.exception("a message on %s did not reach subscriber %s", topic, subscription.client_id)

    async def _serve(self, account_id: str, region: str, topic: str, payload: bytes) -> None:
        """Let the service of a reserved topic answer. Whatever it chokes on must not end the publisher's connection."""
        iot = self._iot
        try:
            if (shadow := iot._parse_shadow_topic(topic)) is not None:
                await iot._handle_shadow_publish(account_id, region, *shadow, payload)
            elif (job := iot._parse_jobs_topic(topic)) is not None:
                async with iot.publishing_events():
                    await iot._handle_jobs_publish(account_id, region, *job, payload)
        except Exception:
            _LOG.exception("the request on %s was not served", topic)

    async def publish_event(self, account_id: str, region: str, topic: str, event: dict[str, Any]) -> None:
        """A message on `$aws/events`."""
        await self._iot.broker_publish(account_id, region, topic, json.dumps(event).encode(), qos=1)


def install(iot: Any) -> Broker:
    """Put it in the place of MiniStack's own in its module `services.iot`."""
    broker = Broker(iot)
    iot.broker_publish, iot.broker_subscribe, iot.broker_unsubscribe = (
        broker.publish, broker.subscribe, broker.unsubscribe,
    )  # fmt: skip
    iot._publish_event = broker.publish_event
    return broker
