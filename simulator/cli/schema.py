"""`fleetsim schema`: JSON Schema for editors."""

import json
import sys

from simulator.errors import UsageError, did_you_mean
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.schema import Strict, json_schema
from simulator.targets import Target

KINDS: dict[str, type[Strict]] = {"profile": Profile, "scenario": Scenario, "target": Target}


def schema(kind: str) -> None:
    """Prints the schema; UsageError for a kind there is not."""
    if kind not in KINDS:
        raise UsageError(f"no schema '{kind}'{did_you_mean(kind, list(KINDS))}")
    found = json_schema(KINDS[kind], f"fleetsim {kind}", parameters=kind == "scenario")
    document = json.dumps(found, indent=2, ensure_ascii=False)
    sys.stdout.buffer.write(f"{document}\n".encode())  # JSON is UTF-8, whatever the terminal is
