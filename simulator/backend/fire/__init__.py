"""Fire prediction: what the records of fire sensors say of the risk, as section 3 of the contracts has it. Pure.

    reading      one record's values          history      the last hour of one sensor, and its modifier
    indicators   the risk in one message      alerts       raised, quieted, risen, resolved
    realtime     rule, status and pattern     stream       windows, spikes, arcs, jumps, normal ranges
    device       one sensor, record by record clusters     neighbours on a site
    analysis     all sensors                  periodicity  what comes again and again
    outcomes     what is to be kept           state        a sensor as it is now

Rules: a sensor's records count in the order of (time, index), however they come. A late one is put where it belongs
and what it changes is worked out anew, up to LATE_MS back; one that is later still changes nothing, and is counted.
What is added up are whole numbers (risks in ten-thousandths, temperatures in thousandths of a degree), so that no
order of adding makes a difference and no limit is missed by a rounding.
"""
