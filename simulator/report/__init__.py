"""Report: what a run showed, told four ways from one set of facts.

    facts, waterfall   ledger events, counters and alarms → the report's values (pure)
    json_report        those values as report.json, and back
    html, svg          the same as one file that opens offline
    text               the verdict in a terminal
    words              what an event is called, here and in the live view

Rules: everything here is a function from values to values but the two `write`s. No part asks a clock: the
report tells the times it was given.
"""
