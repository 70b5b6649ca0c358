"""The backend's API: what the platform knows, who may know it, and what may be changed.

    route.py      what an address is: the declaration that everything else is made from
    app.py        puts it together: checks, handlers, answers, pages
    gate.py       before and after every request: names of this host, foreign pages, safe headers
    tokens.py     the three roles        sessions.py   a browser's cookie        access.py   their addresses
    fleet.py      the devices            fleet_rows.py   what the store knows of them
    latest.py     chosen metrics of all devices
    lists.py      what happened, by pages
    settings.py   rules, specs, formulas, master data, and their changes
    feed.py       events for many listeners        stream.py   as Server-Sent Events
    status.py     health, counters, times
    openapi.py    the description        answers.py    the shapes of answers
    reads.py      connections to read by

Rules: answers come from what was committed; a wrong argument is a 400 that says which, what is not there (or is another
customer's) a 404. A route that is not in the tables of these modules is not there, so nothing escapes roles,
description and tests.
"""

from simulator.backend.api.app import ROUTES, Api

__all__ = ["ROUTES", "Api"]
