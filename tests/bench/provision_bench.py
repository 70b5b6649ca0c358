"""How long a fleet with certificates takes to be provisioned in the sandbox, and to be removed: run it by hand.

    python -m tests.bench.provision_bench [devices]

A cloud of its own is started; the bars are 1,000 things in less than 60 s, each way. It ends with 1 when one is missed.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from simulator import firmware
from simulator.ops import cleanup, inventory, members, provision
from simulator.ops.aws import Aws
from simulator.targets import Addresses
from tests.cloud.conftest import KEY_ID, SECRET, start, stop

TYPES = ["SedanVehicle", "SUVVehicle", "TruckVehicle"]
BAR_S = 60.0  # for a thousand


def main(devices: int) -> int:
    """Provision, look, provision again, clean up; the exit code."""
    with tempfile.TemporaryDirectory(prefix="fleetsim-bench-") as name:
        folder = Path(name)
        cloud = start(folder)
        at = cloud.ready
        aws = Aws(
            Addresses(
                "sandbox", "bench", at["region"], at["mqtt_host"], at["mqtt_port"], at["endpoint_url"], at["ca_file"],
                KEY_ID, SECRET,
            )
        )  # fmt: skip
        try:
            return _measure(aws, folder, devices)
        finally:
            aws.close()
            stop(cloud.process)


def _measure(aws: Aws, folder: Path, devices: int) -> int:
    identities = folder / "identities"
    identities.mkdir()
    key = firmware.signing_key(folder / "key.pem")
    images = [firmware.build(release, kind, key) for release in firmware.releases() for kind in TYPES]
    plan = provision.Plan(members.vehicles(devices, TYPES, 1, codes=["US", "DE", "JP"]), images)
    quiet = lambda what, done, of: None  # noqa: E731 - three words
    took = [
        _timed("provision", lambda: provision.provision(aws, plan, identities, quiet), devices),
        _timed("cleanup all", lambda: cleanup.remove(aws, "all", quiet), devices),
    ]
    assert inventory.read(aws).empty()
    provision.provision(aws, plan, identities, quiet)
    _timed("provision again", lambda: provision.provision(aws, plan, identities, quiet), devices)
    _timed("inventory", lambda: inventory.read(aws), devices)
    return int(max(took) > BAR_S * devices / 1000)


def _timed(what: str, do: Callable[[], object], devices: int) -> float:
    began_s = time.monotonic()
    do()
    took_s = time.monotonic() - began_s
    print(f"{what:<16} {took_s:6.1f} s   {devices / took_s:7.0f} things/s")
    return took_s


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
