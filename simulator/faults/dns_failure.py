"""The backend's name cannot be looked up any more, so no new connection can be made."""

from typing import ClassVar, Literal

from pydantic import Field

from simulator.behaviours import Body
from simulator.faults import Active, Expected, Family, Fault, Subject
from simulator.faults._away import Away, missed


class DnsFailure(Fault):
    """Names are not known; `cut` ends the connection that there is, or nothing would show before the next one."""

    family: ClassVar[Family] = "network"
    example: ClassVar[str] = "{kind: dns_failure, for_s: 120}"

    kind: Literal["dns_failure"] = "dns_failure"
    cut: bool = Field(True, description="The connection that there is ends with it.")

    def expects(self, subject: Subject) -> Expected:
        if not self.cut:
            return Expected("", "its connection stays, and it could not make another one", "nothing")
        return missed(self.for_s, "it cannot look up the backend's name")

    def start(self, body: Body, now_ms: int) -> Active:
        return Away(self, now_ms, "name or service not known", cut=self.cut)
