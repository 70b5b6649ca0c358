"""What Locust's --csv wrote."""

import csv

from tests.load.load_processes import Started


def table(locust: Started, name: str) -> list[dict[str, str]]:
    """The rows of a file."""
    with (locust.folder / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))
