"""Where `profiles/`, `scenarios/` and `firmware/` are: beside the code in a wheel, else in the repository.

`FLEETSIM_HOME` names a folder that holds them, for projects that bring their own.
"""

import os
from pathlib import Path

from simulator.errors import UsageError

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """One of the top-level folders; UsageError when it is nowhere."""
    home = os.environ.get("FLEETSIM_HOME")
    places = [Path(home) / name] if home else [_PACKAGE / "_data" / name, _PACKAGE.parent / name]
    for place in places:
        if place.is_dir():
            return place
    raise UsageError(f"no folder '{name}' in {places[-1].parent}; set FLEETSIM_HOME to the folder that holds it")
