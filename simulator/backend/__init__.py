"""The sandbox's platform: from a message to an alarm, an action, its verification or an escalation.

    decode, contract      bytes → standard telemetry, or a named reason (dead letter)
    conditions, rules     what counts as bad, and what is to be done about it
    alarms, uploads, core the pure part: values in, effects out, time as an argument
    devices, open_alarms  what the core keeps of each device, and what moves an alarm
    hearing, fire_alarms  silence, and what fire records come to
    store, reader, queries SQLite: the only place that writes, the only place that reads
    pipeline              core and store in the right order: decided, stored, done
    consumer, actions     MQTT in, boto3 out
    tcp_gateway           frames of devices that keep a connection
    rest_gateway, rest_body  POSTs of devices: JSON, CSV
    changes               rules and specs at run time, dead letters once more
    api, __main__         the API, the process

Rules: decode … core import no socket, no clock and no thread. The shell commits what the core decided
before it acknowledges a message and before it acts on AWS, so a crash loses nothing and repeats safely.
"""
