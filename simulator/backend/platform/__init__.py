"""What the data platform does besides rules: master data, aggregates, formulas, escalation, dispatches, notifications,
retention.

`service.py` is what the core drives (pure: an alarm's event or a moment in, effects out), `tables.py` keeps what it
decides, `rollup.py` and `archive.py` work on what is stored, `queries.py` reads.
"""
