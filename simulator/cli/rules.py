"""A scenario with its rules. The backend reads them, and it starts late: here they are read before anything does."""

import re
from collections.abc import Mapping
from pathlib import Path

from simulator import scenarios
from simulator.backend.config import read_config
from simulator.backend.platform.formulas import read_formulas
from simulator.backend.rules import check_formulas, load_rules
from simulator.errors import UsageError
from simulator.parameters import Value
from simulator.profiles import Profile
from simulator.scenarios import Scenario
from simulator.schema import Loc, YamlProblems, load_marked

_NOWHERE = {"state_dir": ".", "mqtt": {"host": "nowhere", "port": 0, "client_id": "nobody"}}  # what every backend needs


def read_scenario(
    path: Path, given: Mapping[str, Value] | None = None, seed: int | None = None
) -> tuple[Scenario, dict[str, Profile]]:
    """As `scenarios.read`; what the backend would refuse of rules, formulas and the rest is a YamlProblem too."""
    scenario, profiles = scenarios.read(path, given, seed)
    try:
        rules = load_rules(scenario.sandbox.rules, sorted({profile.thing_type for profile in profiles.values()}))
        formulas = read_formulas(scenario.sandbox.formulas).by_id
        for i, entry in enumerate(scenario.sandbox.rules):
            check_formulas(f"rules[{i}]", rules.by_id[str(entry["ruleId"])], formulas)
        read_config({**_NOWHERE, **scenario.sandbox.told})
    except UsageError as error:
        mistake = str(error)
        loaded = load_marked(path, Scenario, scenarios.filled(given, seed))
        raise YamlProblems([loaded.problem(_loc(mistake), mistake, at_key="unknown key" in mistake)]) from None
    return scenario, profiles


def _loc(mistake: str) -> Loc:
    """`rules[0].condition: …` → where that is in a scenario."""
    parts = re.findall(r"\w+", mistake.partition(":")[0])
    return ("sandbox", *(int(part) if part.isdigit() else part for part in parts))
