"""What a fleet needs before its first device can connect: a backend, everything provisioned there, and links.

Shared by all that run a fleet live, whoever conducts it.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator import firmware
from simulator.device import Device
from simulator.errors import UsageError
from simulator.faults._part import PartFault
from simulator.links import Link, Sink
from simulator.links.mqtt import Mqtt
from simulator.links.rest import Rest
from simulator.links.tcp import Tcp
from simulator.ops import provision
from simulator.ops.aws import Aws
from simulator.profiles import Profile
from simulator.runtime import capacity
from simulator.runtime.broker import Broker, api_token, check, password, token
from simulator.runtime.control_server import ControlPlace
from simulator.runtime.engine import MakeLink
from simulator.runtime.sandbox import Sandbox
from simulator.scenarios import Scenario
from simulator.steps.inject import Inject
from simulator.steps.sandbox import Sandbox as SandboxStep
from simulator.targets import Addresses, Target
from simulator.wire.spec import ProductSpec

if TYPE_CHECKING:
    from simulator.links.sdk import Sdk


def _nobody(what: str, done: int, of: int) -> None:
    """Progress that nobody looks at."""


class Setup:
    """Makes one target ready for one fleet. `sandbox` is there once `addresses` has started it."""

    def __init__(
        self, scenario: Scenario, profiles: dict[str, Profile], seed: int, target: Target, state_dir: Path
    ) -> None:
        self.scenario, self.profiles, self.seed, self.target = scenario, profiles, seed, target
        self.state_dir = state_dir
        check(target, profiles)
        if target.kind != "sandbox":
            _only_ours(scenario, target)
        self.sandbox: Sandbox | None = None

    def addresses(self, stack: ExitStack, control: ControlPlace | None = None) -> Addresses:
        """Where the backend is; a sandbox is started, and ends with `stack`. Its pages reach the run by `control`."""
        target = self.target
        if target.kind == "sandbox":
            self.sandbox = Sandbox(
                self.state_dir,
                self.scenario.sandbox.rules,
                products=known_products(self.profiles),
                region=target.region,
                told=self.scenario.sandbox.told,
                control=control,
            )
            return stack.enter_context(self.sandbox).addresses
        found = Addresses(
            target.kind, target.target, target.region, target.mqtt_host or "", target.broker_port, target.endpoint_url,
            target.ca_file, aws_profile=target.aws_profile, api_url=target.api_url,
            mqtt_tls=target.mqtt_tls, mqtt_transport=target.mqtt_transport,
            username=target.username, password=password(target), tcp_host=target.tcp_host, tcp_port=target.tcp_port,
            rest_url=target.rest_url, rest_token=token(target), api_token=api_token(target),
        )  # fmt: skip
        if found.mqtt_host:
            return found
        aws = Aws(found)
        host = aws.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
        aws.close()
        return replace(found, mqtt_host=host)

    @property
    def key_file(self) -> Path:
        """Where the manufacturer's key is."""
        return self.state_dir / "manufacturer.key.pem"

    def provision(self, aws: Aws, progress: provision.Progress = _nobody) -> bytes:
        """Everything the fleet needs in the account, if there is one; the manufacturer's public key."""
        key = firmware.signing_key(self.key_file)
        if not self.target.has_account:
            return firmware.public_bytes(key)
        used = {profile.software for profile in self.profiles.values()}
        images = [
            firmware.build(r, package, key) for r in firmware.releases() for package in r.packages if package in used
        ]
        if self.sandbox is None:
            provision.groundwork(aws)
        provision.catalogue(aws, images)
        members = [(thing, self.profiles[name]) for thing, name, _ in self.scenario.things()]
        wanted = [(thing, profile) for thing, profile in members if profile.channel == "mqtt"]
        children = [(thing, self.profiles[name]) for thing, name, _ in self.scenario.children(self.profiles)]
        provision.things(aws, wanted, children, self.seed, self._identities(), progress)
        return firmware.public_bytes(key)

    def links(self, addresses: Addresses, loop: asyncio.AbstractEventLoop) -> MakeLink:
        """What makes the link of a device, as its profile says."""
        sources = capacity.used_by(self.scenario, self.profiles, self.target)
        broker = Broker(addresses, self._identities(), self.seed, sources)

        def make_link(device: Device, sink: Sink) -> Link:
            profile = self.profiles[device.profile]
            if profile.channel == "tcp":
                return Tcp(broker.tcp(device, profile), sink, loop)
            if profile.channel == "rest":
                return Rest(broker.rest(device, profile), sink, loop)
            return _link(profile.link.kind)(broker.endpoint(device, profile.link), sink, loop)

        return make_link

    def _identities(self) -> Path:
        folder = self.state_dir / "identities"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def _only_ours(scenario: Scenario, target: Target) -> None:
    """UsageError for a step that does something to a part of the sandbox."""
    for _, step in scenario.steps():
        faults = (step.fault, *step.also) if isinstance(step, Inject) else ()
        if isinstance(step, SandboxStep) or any(isinstance(fault, PartFault) for fault in faults):
            raise UsageError(
                f"step '{step.title}' does something to a part of the sandbox: "
                f"target '{target.target}' is not ours to touch"
            )


def known_products(profiles: Mapping[str, Profile]) -> list[dict[str, Any] | str]:
    """What the backend has to know of these profiles: specs where there are some, and names where JSON says it all."""
    with_spec = products(profiles)
    named = {str(product["productId"]) for product in with_spec}
    return [*with_spec, *sorted({profile.thing_type for profile in profiles.values()} - named)]


def products(profiles: Mapping[str, Profile]) -> list[dict[str, Any]]:
    """What the backend has to know to read the bytes of these profiles: [{"productId", "spec"}]."""
    specs: dict[str, ProductSpec] = {}
    for name, profile in profiles.items():
        if profile.payload and specs.setdefault(profile.thing_type, profile.payload) != profile.payload:
            raise UsageError(f"profile '{name}': product '{profile.thing_type}' has another payload spec already")
    return [
        {"productId": name, "spec": spec.model_dump(mode="json", exclude_unset=True)} for name, spec in specs.items()
    ]


def _link(kind: str) -> "type[Mqtt] | type[Sdk]":
    if kind == "sdk":
        from simulator.links.sdk import Sdk  # awscrt is large, and most runs do not need it

        return Sdk
    return Mqtt
