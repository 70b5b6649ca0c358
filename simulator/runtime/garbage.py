"""Python's search for cycles, kept out of a fleet's way.

A fleet is a million objects that live as long as the run, and hardly any of them ever become a cycle that nobody
holds. Left alone, the collector goes through all of them again and again while devices connect, and stops everything
for as long. What is there when a run begins is not looked at any more, and what comes later less often.
"""

import gc

THRESHOLDS = (50_000, 20, 20)


def spare() -> None:
    """From now on. For a process that runs one fleet after another: call it for each."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
