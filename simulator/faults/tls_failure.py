"""No handshake succeeds any more: the device does not trust the backend's certificate, or they share no cipher."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import Away, missed

_WHY = {
    "untrusted": "TLS: certificate verify failed: unable to get local issuer certificate",
    "expired": "TLS: certificate verify failed: certificate has expired",
    "handshake": "TLS: sslv3 alert handshake failure",
}


class TlsFailure(Fault):
    """The device ends every handshake; `cut` ends the connection that there is, or nothing would show before."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: tls_failure, why: expired, for_s: 120}"

    kind: Literal["tls_failure"] = "tls_failure"
    why: Literal["untrusted", "expired", "handshake"] = Field("untrusted", description="What the device says of it.")
    cut: bool = Field(True, description="The connection that there is ends with it.")

    def expects(self, subject: Subject) -> Expected:
        if not self.cut:
            return Expected("", "its connection stays, and it could not make another one", "nothing")
        return missed(self.for_s, "it makes no handshake with the backend")

    def start(self, body: Body, now_ms: int) -> Active:
        return Away(self, now_ms, _WHY[self.why], cut=self.cut)
