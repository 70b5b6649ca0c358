"""Provisioning: says once in its life, after its first connection, who it is.

The flash remembers that it was said, so neither a reconnection nor a reboot says it again.
"""

from typing import Literal

from pydantic import Field

from simulator.behaviours import Behaviour, Body, Duty, Outputs
from simulator.behaviours._platform import EVENT, report
from simulator.messages import Connected, Input, Note


class Provisioning(Behaviour):
    """Publishes provisioning_complete when the device comes to life."""

    kind: Literal["provisioning"] = "provisioning"
    topic: str = Field(
        f"{EVENT}/pub/provisioning_complete/json", description="With {env}, {hub} and {thing} filled in."
    )

    def duty(self) -> Duty:
        return ProvisioningDuty(self)


class ProvisioningDuty(Duty):
    __slots__ = ("what",)

    def __init__(self, what: Provisioning) -> None:
        super().__init__()
        self.what = what

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        if not isinstance(said, Connected) or "provisioned_ms" in body.flash:
            return []
        body.flash["provisioned_ms"] = now_ms
        facts = {"thing": body.thing, "product": body.product, "package": body.package, "version": body.version}
        told = report(body, now_ms, "provisioning_complete", body.topic(self.what.topic), {"provisioning": facts})
        return [Note("provisioned", {"version": body.version}), told]
