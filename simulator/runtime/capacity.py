"""How many devices this machine can carry: open files, memory, ports. Found out before anything is started.

    demand(…)   what a fleet wants          machine()   what there is          plan(…)   whether it goes, and how

Open files: a connection is one. The soft limit is raised to the hard one; a twentieth is left for everything else.
Memory: by about what a device takes, and its other half where the sandbox runs on the same machine.
Ports: each connection to a destination has its own, of those of one local address. Where they run out, devices connect
from several local addresses: of 127.0.0.0/8 to a backend on this machine, and of those that this machine has elsewhere.

Rules: `plan` and `demand` are pure; what cannot be found out is not judged. All processes of a run come to the same
addresses by themselves, from the fleet alone. REST devices share a few connections, so they need neither.
"""

import resource
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import NamedTuple

from simulator.errors import UsageError
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.targets import Target
from simulator.words import number

FILES_SHARE = 0.95  # of the open files may be connections
PORTS_SHARE = 0.9  # of the ports may be in use: what was closed a moment ago holds its own for a while
MEMORY_SHARE = 0.9
SOURCES_MAX = 250
REST_CONNECTIONS = 16  # as links.rest

# About what each takes, in bytes.
PROCESS = 150 << 20
DEVICE = 4 << 10  # its state; a hub's child, too
PLAIN, TLS = 16 << 10, 120 << 10  # a connection, our half, with what is kept of its messages
SANDBOX_PLAIN, SANDBOX_TLS = 32 << 10, 350 << 10  # the other half
SANDBOX = 250 << 20


class Demand(NamedTuple):
    """What a fleet wants of this machine."""

    devices: int  # that are on at once
    mqtt: int  # of them, on connections of their own …
    tcp: int
    rest: int  # … and on shared ones
    state: int  # devices and hubs' children that there are, on or off
    tls: bool  # MQTT goes over TLS
    sandbox: bool  # the other half is on this machine, too
    loopback: bool  # the backend is
    processes: int  # that share the devices


class Machine(NamedTuple):
    """What there is; None: nobody knows."""

    files: int  # open files of a process, at most
    memory: int | None  # bytes that are free
    ports: int | None  # of one local address
    addresses: Sequence[str]  # local ones, to connect from to another machine


class Plan(NamedTuple):
    """How it goes."""

    sources: tuple[str, ...]  # local addresses to connect from; none: whatever the system chooses
    line: str  # what is used


def demand(
    scenario: Scenario, profiles: Mapping[str, Profile], target: Target, devices: int | None = None, processes: int = 1
) -> Demand:
    """Of a scenario's fleet, or of so many of its devices."""
    members = scenario.things()
    channels = Counter(profiles[name].channel for _, name, _ in members)
    on = len(members) if devices is None else min(devices, len(members))
    mqtt, tcp, rest = (min(channels[channel], on) for channel in ("mqtt", "tcp", "rest"))
    host = target.mqtt_host or ""
    local = target.kind == "sandbox" or host == "localhost" or host.startswith("127.")
    tls = target.mqtt_tls and any(profiles[name].link.transport != "tcp" for _, name, _ in members)
    state = len(members) + len(scenario.children(profiles))
    return Demand(on, mqtt, tcp, rest, state, tls, target.kind == "sandbox", local, processes)


def sources_wanted(wanted: Demand, ports: int | None) -> int:
    """How many local addresses the connections to the busiest destination need."""
    if ports is None:
        return 1
    return max(1, ceil(max(wanted.mqtt, wanted.tcp) / (ports * PORTS_SHARE)))


def connections(wanted: Demand) -> int:
    """Of the process that has most: an engine has its share of the devices, a part of the sandbox all of a channel."""
    of_engine = ceil((wanted.mqtt + wanted.tcp) / wanted.processes) + min(wanted.rest, REST_CONNECTIONS)
    return max(of_engine, *((wanted.mqtt, wanted.tcp) if wanted.sandbox else ()), 0)


def memory(wanted: Demand) -> int:
    """Bytes that all of it takes."""
    workers = wanted.processes + (wanted.processes > 1)  # of several workers, somebody has a picture of all devices
    ours = workers * (PROCESS + wanted.state * DEVICE) + wanted.mqtt * (TLS if wanted.tls else PLAIN)
    ours += wanted.tcp * PLAIN
    if not wanted.sandbox:
        return ours
    return ours + SANDBOX + wanted.mqtt * SANDBOX_TLS + wanted.tcp * SANDBOX_PLAIN


def plan(wanted: Demand, there: Machine) -> Plan:
    """How it goes; UsageError when this machine cannot carry it."""
    devices, most = f"{number(wanted.devices)} devices", int(there.files * FILES_SHARE)
    if (files := connections(wanted)) > most:
        raise UsageError(
            f"{devices} are more than this machine can carry: a process would have {number(files)} connections, and "
            f"may have {number(there.files)} open files, so {number(most)} connections; raise the hard limit "
            "(ulimit -Hn), or share the devices out (`fleetsim load --processes`, more machines)"
        )
    if there.memory is not None and (needed := memory(wanted)) > there.memory * MEMORY_SHARE:
        raise UsageError(
            f"{devices} are more than this machine can carry: they need about {_size(needed)} of memory"
            f"{', with the sandbox,' if wanted.sandbox else ''} and {_size(there.memory)} are free"
        )
    count = sources_wanted(wanted, there.ports)
    found = sources(count, wanted.loopback, there)
    if len(found) < count:
        raise UsageError(
            f"{devices} are more than this machine can carry: the busiest destination needs {count} local addresses "
            f"of {number(there.ports or 0)} ports each, and there {'is' if len(found) == 1 else 'are'} {len(found)}; "
            "widen net.ipv4.ip_local_port_range, or use more machines"
        )
    used = [f"{number(files)} connections of {number(most)} in a process"]
    if there.memory is not None:
        used.append(f"about {_size(memory(wanted))} of {_size(there.memory)} memory")
    if count > 1:
        used.append(f"from {count} local addresses ({found[0]} to {found[-1]})")
    return Plan(found if count > 1 else (), f"this machine carries {devices}: {', '.join(used)}")


def sources(count: int, loopback: bool, there: Machine) -> tuple[str, ...]:
    """So many local addresses to connect from, or as many as there are."""
    if loopback:
        return tuple(f"127.0.0.{n}" for n in range(1, 1 + min(count, SOURCES_MAX)))
    return tuple(there.addresses[:count])


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MB"


# The machine


def machine() -> Machine:
    """This one."""
    return Machine(raise_files(), _free(), _ports(), _addresses())


def raise_files() -> int:
    """Let this process, and those that it starts, open as many files as they may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20  # as Linux has it, where nobody raised it
    if soft != resource.RLIM_INFINITY and soft < hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if soft == resource.RLIM_INFINITY else soft


def _free() -> int | None:
    """Memory that can be had, in a container or not."""
    fields = dict(line.split(":", 1) for line in _text("/proc/meminfo").splitlines() if ":" in line)
    found = [int(fields["MemAvailable"].split()[0]) << 10] if "MemAvailable" in fields else []
    with suppress(ValueError):
        limit, used = (int(_text(f"/sys/fs/cgroup/memory.{name}")) for name in ("max", "current"))
        found.append(limit - used)
    return min(found, default=None)


def _ports() -> int | None:
    """Those that the system gives to connections."""
    with suppress(ValueError):
        low, high = (int(word) for word in _text("/proc/sys/net/ipv4/ip_local_port_range").split())
        return high - low + 1
    return None


def _addresses() -> tuple[str, ...]:
    """IPv4 addresses of this machine that others can see."""
    found: dict[str, None] = {}
    before = ""
    for line in _text("/proc/net/fib_trie").splitlines():
        if "/32 host LOCAL" in line and not before.startswith(("127.", "169.254.")):
            found[before] = None
        before = line.split()[-1] if line.strip() else ""
    return tuple(found)


def _text(path: str) -> str:
    """A file of the system; empty where there is no such."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def used_by(scenario: Scenario, profiles: Mapping[str, Profile], target: Target) -> tuple[str, ...]:
    """The local addresses from which the devices of a fleet connect; none: whatever the system chooses."""
    wanted, there = demand(scenario, profiles, target), machine()
    count = sources_wanted(wanted, there.ports)
    return sources(count, wanted.loopback, there) if count > 1 else ()
