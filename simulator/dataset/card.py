"""The data card: what is in a data set, how it was made, and what a reader should know before they train on it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from simulator import __version__, profiles
from simulator.dataset.columns import AHEAD_S, COLUMNS, FEATURE_NAMES
from simulator.dataset.making import FORMS, HORIZON_S, WINDOW, Counts, Options
from simulator.dataset.writers import Put
from simulator.profiles import Profile


def command(options: Options) -> str:
    """The command that gives the same bytes. A mix of its own is in the card."""
    parts = [
        "fleetsim dataset", f"--devices {options.devices}", f"--days {options.days:g}", f"--every {options.every_s:g}",
        f"--step {options.step_s:g}", *(f"--profile {name}" for name in options.profiles), f"--seed {options.seed}",
        f"--format {','.join(form for form in FORMS if form in options.forms)}",
    ]  # fmt: skip
    parts += [f"--{name} {value:g}" for name, value in (("fires", options.fires), ("harmless", options.harmless))
              if value is not None]  # fmt: skip
    if options.mix_file:
        parts.append(f"--mix {options.mix_file}")
    if options.split:
        parts.append(f"--split {','.join(f'{share:g}' for share in options.split)}")
    if options.gzip:
        parts.append("--gzip")
    if "npz" in options.forms:
        parts.append(f"--stride {options.stride}")
    return " ".join(parts)


def document(options: Options, used: Sequence[Profile], counts: Counts) -> dict[str, Any]:
    """The card as JSON."""
    parts = {
        part or "data": {
            "devices": counts.devices[part],
            "rows": counts.rows[part],
            "positive": counts.positive[part],
            "positive_share": round(counts.positive[part] / max(1, counts.rows[part]), 6),
            "fire_condition": counts.condition[part],
            "fire": counts.fire[part],
            "fire_share": round(counts.fire[part] / max(1, counts.rows[part]), 6),
            "values_not_said": counts.not_said[part],
            **({"windows": counts.windows[part]} if "npz" in options.forms else {}),
        }
        for part in options.parts
    }
    return {
        "card": 1,
        "title": "Records of simulated fire sensors",
        "command": command(options),
        "seed": options.seed,
        "versions": {"fleetsim": __version__, "numpy": np.__version__},
        "devices": options.devices,
        "days": options.days,
        "every_s": options.every_s,
        "step_s": options.step_s,
        "files": [name for name in options.files() if not name.startswith("card")],
        "rows": counts.rows.total(),
        "records_never_made": counts.missing,
        "parts": parts,
        "profiles": [
            {
                "profile": one.profile,
                "devices": sum(options.profile_of(n) == one.profile for n in range(options.devices)),
                "sha256": hashlib.sha256(profiles.path_of(one.profile).read_bytes()).hexdigest(),
            }
            for one in used
        ],
        "label_ahead_s": AHEAD_S,
        "lead_horizon_s": HORIZON_S,
        "window": WINDOW,
        "events": [
            {
                "event": number,
                "name": one.name,
                "fire": one.is_fire,
                "per_day": one.per_day,
                "count": counts.events[one.name],
                "faults": [fault.params for fault in one.faults],
            }
            for number, one in enumerate(options.mix.happenings, 1)
        ],
        "columns": [column._asdict() for column in COLUMNS],
        "model_input": list(FEATURE_NAMES),
    }


def markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: dict[str, Any]) -> Iterator[str]:
    yield f"# {card['title']}"
    yield ""
    yield f"{card['rows']:,} records of {card['devices']:,} sensors over {card['days']:g} days,"
    yield f"one each every {card['every_s']:g} s; {card['records_never_made']:,} were never made, as a sensor was off."
    yield "Made by a simulation: no real sensor said any of it. The same command gives the same bytes."
    yield ""
    yield f"    {card['command']}"
    yield ""
    yield f"Seed {card['seed']}; fleetsim {card['versions']['fleetsim']}, numpy {card['versions']['numpy']}."
    yield ""
    yield "## Class balance"
    yield ""
    yield "| part | sensors | rows | positive | share | fire condition holds | a fire goes on |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, part in card["parts"].items():
        yield (
            f"| {name} | {part['devices']:,} | {part['rows']:,} | {part['positive']:,} |"
            f" {100 * part['positive_share']:.3f} % | {part['fire_condition']:,} | {part['fire']:,} |"
        )
    yield ""
    yield "`label` is what the contracts have a model predict, from the sensors' own values; `fire` is what was done to"
    yield "them. A fire is true long before the condition holds, and the condition may hold without one."
    yield "Parts, where there are some, are split by sensor: no sensor is in two."
    yield ""
    yield "## What befell the sensors"
    yield ""
    yield "| event | what | how often | a day and sensor | fire |"
    yield "| ---: | --- | ---: | ---: | --- |"
    for one in card["events"]:
        burns = "yes" if one["fire"] else ""
        yield f"| {one['event']} | {one['name']} | {one['count']:,} | {one['per_day']:g} | {burns} |"
    yield ""
    yield "## Columns"
    yield ""
    yield "| column | unit | |"
    yield "| --- | --- | --- |"
    for column in card["columns"]:
        yield f"| `{column['name']}` | {column['unit']} | {column['about']} |"
    yield ""
    yield "A value that a sensor did not say is empty; on the wire it is -999."


def write(put: Put, options: Options, used: Sequence[Profile], counts: Counts) -> None:
    """card.json and card.md."""
    card = document(options, used, counts)
    put.file("card.json").write(orjson.dumps(card, option=orjson.OPT_INDENT_2) + b"\n")
    put.file("card.md").write(markdown(card).encode())
