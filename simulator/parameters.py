"""Parameters of a scenario: named values with a default, overridden by `--set`, or drawn by the seed.

    parameters:
      devices: 200                      # as it stands, or --set devices=500
      delay_s: {uniform: [1, 5]}        # drawn once a run, the same for the same seed
      load: {normal: [100, 10], round: 0}
      region: {choice: [US, DE, JP]}

    fleet: [{profile: vehicle-sedan, count: "${devices}", name: "Vehicle-${region}-{n}"}]

Rules: a value that is nothing but `${name}` becomes what the parameter is, number or text; inside other text it is
written out. `$${` stands for `${`. A parameter may not use another one. What was set keeps the place it is used at,
so mistakes are said there. Pure: text and nodes in, nodes out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from simulator import seeds
from simulator.errors import UsageError, did_you_mean
from simulator.yaml_marks import Loc, Marks, Node, Problem, scalar

PARAMETERS_MAX = 100
KEY = "parameters"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_USE = re.compile(r"\$?\$\{([^}]*)\}")
_LAWS = ("uniform", "normal", "choice")

Value = str | int | float | bool


def settings(texts: list[str]) -> dict[str, Value]:
    """`["devices=500"]` → {"devices": 500}, each value read as YAML reads it; UsageError."""
    found: dict[str, Value] = {}
    for text in texts:
        name, equals, said = text.partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise UsageError(f"--set wants name=value, got '{text}'")
        try:
            value = scalar(said)
        except ValueError as error:
            raise UsageError(f"--set {name}: {error}") from None
        found[name.strip()] = said if value is None else value
    return found


def fill(marks: Marks, given: Mapping[str, Value], seed: int) -> list[Problem]:
    """Put the values in, in place; what is wrong with parameters and their uses.

    The resolved values stand at `parameters` afterwards. UsageError for a setting that the file does not know.
    """
    problems: list[Problem] = []
    values = dict(_values(marks, given, seed, problems))
    for name in given:
        if name not in values:
            raise UsageError(f"--set {name}: {marks.file} has no such parameter{did_you_mean(name, list(values))}")
    for key, (_, node) in marks.root.entries.items():
        if key == KEY:
            node.value = values
            node.entries = {name: (place, Node(place.line, place.column, values[name]))
                            for name, (place, _) in node.entries.items() if name in values}  # fmt: skip
        else:
            _use(node, values, marks.file, problems)
    _gather(marks.root)
    return problems


def _values(
    marks: Marks, given: Mapping[str, Value], seed: int, problems: list[Problem]
) -> Iterator[tuple[str, Value]]:
    _, node = marks.root.entries.get(KEY, (None, None))
    if node is None:
        return
    if not isinstance(node.value, dict) or len(node.value) > PARAMETERS_MAX:
        problems.append(marks.problem((KEY,), f"expected a mapping of at most {PARAMETERS_MAX} parameters"))
        return
    for name, said in node.value.items():
        loc: Loc = (KEY, name)
        if not _NAME.fullmatch(name):
            problems.append(marks.problem(loc, f"'{name}' is no name of letters, digits and _", at_key=True))
            continue
        try:
            value = _drawn(said, seeds.fraction(seed, "parameter", name), seeds.fraction(seed, "parameter", name, 2))
        except ValueError as error:
            problems.append(marks.problem(loc, str(error)))
            continue
        if name in given and isinstance(value, (int, float)) and isinstance(given[name], str):
            raise UsageError(f"--set {name}: expected a number like {value}, got '{given[name]}'")
        yield name, given.get(name, value)


def _drawn(said: Any, first: float, second: float) -> Value:
    """The value that a parameter has by itself."""
    if isinstance(said, (str, int, float)):
        return said
    law = next((law for law in _LAWS if isinstance(said, dict) and law in said), None)
    if law is None or set(said) - {law, "round"}:
        raise ValueError(f"expected a value, or one of {', '.join(_LAWS)} (and 'round')")
    of, digits = said[law], said.get("round")
    if not isinstance(of, list) or not of:
        raise ValueError(f"'{law}' wants a list")
    if digits is not None and not (isinstance(digits, int) and 0 <= digits <= 9):
        raise ValueError("'round' wants a number of digits from 0 to 9")
    if law == "choice":
        if not all(isinstance(one, (str, int, float)) for one in of):
            raise ValueError("'choice' wants a list of values")
        chosen: Value = of[int(first * len(of))]
        return chosen
    if len(of) != 2 or not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in of):
        raise ValueError(f"'{law}' wants [{'low, high' if law == 'uniform' else 'mean, deviation'}]")
    # The sum of uniforms, as everywhere here: exact on every machine (seeds.normal).
    value = (
        of[0] + (of[1] - of[0]) * first if law == "uniform" else of[0] + of[1] * 2.449489742783178 * (first - second)
    )
    if digits is None:
        return float(value)
    return round(float(value)) if digits == 0 else round(float(value), digits)


def _use(node: Node, values: Mapping[str, Value], file: str, problems: list[Problem]) -> None:
    """Put the values into a node and all below it."""
    for _, below in node.entries.values():
        _use(below, values, file, problems)
    for below in node.items:
        _use(below, values, file, problems)
    if not isinstance(node.value, str) or "${" not in node.value:
        return
    for use in _USE.finditer(node.value):
        if not use[0].startswith("$${") and use[1] not in values:
            hint = did_you_mean(use[1], list(values)) if values else ": the file has no 'parameters'"
            problems.append(Problem(file, node.line, node.column, f"unknown parameter '{use[1]}'{hint}"))
            return
    whole = _USE.fullmatch(node.value)
    if whole and not whole[0].startswith("$${"):
        node.value, node.plain = values[whole[1]], None
        return
    node.value = _USE.sub(lambda use: use[0][1:] if use[0].startswith("$${") else _written(values[use[1]]), node.value)


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _gather(node: Node) -> Any:
    """Make the values of mappings and lists anew from those below them."""
    if node.entries:
        node.value = {key: _gather(below) for key, (_, below) in node.entries.items()}
    elif node.items:
        node.value = [_gather(below) for below in node.items]
    return node.value
