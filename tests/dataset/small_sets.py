"""Small data sets for tests: few sensors, and something happens to most of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from simulator.dataset import making, mix
from simulator.dataset.making import Counts, Options
from simulator.faults.fire import Fire
from simulator.faults.rise import Rise
from simulator.signals import Range

BUSY = mix.Mix(
    happenings=[
        mix.Happening(name="fire", per_day=4, fault=Fire(kind="fire", smoulder_s=Range(300, 900), for_s=3600)),
        mix.Happening(
            name="cooking", per_day=2,
            fault=Rise(kind="rise", signal="voc_air", by=Range(300, 700), for_s=900, harmless=True),
        ),
    ]
)  # fmt: skip
SMALL = Options(devices=3, days=0.25, mix=BUSY, seed=5)


def made(folder: Path, **changes: Any) -> Counts:
    """A small data set in a folder."""
    return making.write(folder, replace(SMALL, **changes), lambda what, done, of: None)
