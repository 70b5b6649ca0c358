"""A device's certificate is no good: it has expired, or its authority is unknown. The broker refuses it.

Both are made locally and are never told to any account. A broker that asks for no certificate cannot refuse one: there
the device stays connected, and the ledger says so.
"""

from typing import ClassVar, Literal

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.faults import Active, Disguise, Expected, Family, Fault, Subject
from simulator.messages import Note, Relink


class BadCertificate(Fault):
    """Connects anew with such a certificate, and with its own again at the end."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = "{kind: bad_certificate, certificate: expired, for_s: 600}"

    kind: Literal["bad_certificate"] = "bad_certificate"
    certificate: Literal["expired", "unknown"] = "expired"

    def unfit(self, subject: Subject) -> str | None:
        return None if subject.channel == "mqtt" else "speaks no MQTT"

    def expects(self, subject: Subject) -> Expected:
        return Expected("", f"its certificate is {self.certificate}, so it cannot connect and is silent", "silence")

    def start(self, body: Body, now_ms: int) -> Active:
        return Refused(self, now_ms)


class Refused(Active):
    __slots__ = ("idle_because", "told")
    what: BadCertificate

    def __init__(self, what: BadCertificate, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.wake_at_ms = now_ms
        self.idle_because, self.told = "", False

    def disguise(self) -> Disguise | None:
        return Disguise(certificate=self.what.certificate)

    def not_disguised(self, why: str) -> None:
        if not self.told:
            self.idle_because, self.wake_at_ms = why, self.since_ms

    def step(self, body: Body, now_ms: int) -> Outputs:
        self.wake_at_ms = NEVER_MS
        if not self.idle_because:
            return [Relink()]
        self.told = True
        return [Note("fault_idle", {"fault": self.kind, "why": self.idle_because})]

    def end(self, body: Body, now_ms: int) -> Outputs:
        return [Relink()]
