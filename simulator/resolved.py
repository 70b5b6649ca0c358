"""A scenario written as YAML again: what is left of a file once its parameters were filled in and its values checked.

Rules: what is read from it is the scenario, to the last digit; what the file did not say is not said here either. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from simulator.scenarios import Scenario
from simulator.yaml_marks import scalar

WIDTH = 120


def data(scenario: Scenario, seed: int) -> dict[str, Any]:
    """The scenario as plain values, without parameters: theirs are in their places."""
    said = scenario.model_dump(mode="json", exclude_unset=True) | {"seed": seed}
    said.pop("parameters", None)
    first = {name: said.pop(name) for name in ("scenario", "title", "seed") if name in said}
    found: dict[str, Any] = _in_order(first | said)
    return found


def text(scenario: Mapping[str, Any], heading: str = "") -> str:
    """Plain values as a scenario file; `heading` becomes comments."""
    comments = "".join(f"# {line}\n" for line in heading.splitlines())
    body: str = yaml.dump(
        _escaped(scenario), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=WIDTH
    )
    return comments + body


def _in_order(value: Any) -> Any:
    """The kind of a thing comes before what is said of it."""
    if isinstance(value, dict):
        kind = {"kind": value["kind"]} if "kind" in value else {}
        return {key: _in_order(below) for key, below in (kind | value).items()}
    return [_in_order(below) for below in value] if isinstance(value, list) else value


def _escaped(value: Any) -> Any:
    """`${` is no parameter here."""
    if isinstance(value, dict):
        return {key: _escaped(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_escaped(below) for below in value]
    return re.sub(r"\$\{(?=[^}]*\})", "$${", value) if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):
    """Writes text so that our reader, which follows YAML 1.2, takes it for text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.Node:
        try:
            plain = scalar(value) == value
        except ValueError:
            plain = False
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.text)
