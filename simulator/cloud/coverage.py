"""Which operations of AWS IoT the sandbox answers, and which it does not: found out, not written down.

    python -m simulator.cloud.coverage [--json]

Rules: the operations are those of botocore's models. Ours are what the features say they answer; MiniStack's are found
by asking it for each, in an account that nobody uses, and seeing whether it knows the path.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from simulator.cloud.config import CloudConfig
from simulator.cloud.emulator import Emulator, prepare
from simulator.cloud.rest_json import api
from simulator.cloud.service import Feature

SERVICES = ("iot", "iot-data", "iot-jobs-data")
OURS, MINISTACK, NOBODY = "ours", "ministack", "nobody"
_ACCOUNT_ID = "999999999998"

Coverage = dict[str, dict[str, str]]  # service → operation → who answers


async def coverage(emulator: Emulator, features: Sequence[Feature]) -> Coverage:
    """Who answers what."""
    ours = {name if ":" in name else f"iot:{name}" for feature in features for name in feature.operations}
    found: Coverage = {}
    for service in SERVICES:
        model = api(service)
        found[service] = {
            name: OURS if f"{service}:{name}" in ours else await _of_ministack(emulator, service, name)
            for name in sorted(model.operations)
        }
    return found


async def _of_ministack(emulator: Emulator, service: str, operation: str) -> str:
    from ministack.core.responses import request_scope

    method, uri = api(service).request_line(operation)
    path = re.sub(r"\{\w+\+?\}", "probe", uri.partition("?")[0])
    with request_scope(_ACCOUNT_ID, "us-east-1"):
        status, _, _ = await emulator.unjudged(service, method, path, b"{}", {})
    return NOBODY if status == 501 else MINISTACK


def missing(found: Coverage) -> dict[str, list[str]]:
    """What nobody answers, by service."""
    return {service: [name for name, who in of.items() if who == NOBODY] for service, of in found.items()}


def markdown(found: Coverage) -> str:
    """The list for the README."""
    lines = []
    for service, names in missing(found).items():
        of = found[service]
        lines.append(f"**{service}**: {len(of) - len(names)} of {len(of)} operations are answered.")
        if names:
            lines.append(f"Not there: {', '.join(f'`{name}`' for name in names)}.")
        lines.append("")
    return "\n".join(lines)


def find() -> Coverage:
    """Start what is needed in this process, which must not have it already, and find out."""
    from simulator.cloud.features import features

    async def found() -> Coverage:
        emulator = Emulator(config, 0)
        return await coverage(emulator, features(emulator, config))

    with tempfile.TemporaryDirectory(prefix="fleetsim-coverage-") as folder:
        config = CloudConfig(Path(folder), log_level="ERROR")
        prepare(config, 0, 0)
        return asyncio.run(found())


def main(arguments: list[str]) -> int:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m simulator.cloud.coverage", description="What the sandbox answers.")
    parser.add_argument("--json", action="store_true", help="service → operation → ours, ministack or nobody")
    options = parser.parse_args(arguments)
    found = find()
    sys.stdout.write((json.dumps(found) if options.json else markdown(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
