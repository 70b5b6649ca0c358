"""The twin: a scenario in virtual time, with the platform's pure core and a model of the cloud in the same process.

A day of a fleet takes seconds, needs no sandbox, and the same seed gives the same report, byte for byte. Nothing here
opens a socket, reads a clock or draws a number that the seed does not give.

    loop.py     an asyncio loop whose time is the virtual clock: it plays the timeline that live runs play
    cloud.py    what is between a device and the platform: routing, shadows, jobs, downloads, uploads
    backend.py  the platform's core, with a store in memory (store.py) in the place of its shell
    play.py     plays a scenario and makes its report
"""

from simulator.twin.play import play, run, unfit

__all__ = ["play", "run", "unfit"]
