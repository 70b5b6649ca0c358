"""The sandbox's AWS: MiniStack in a process of its own, on loopback, and in front of it what it lacks.

    config      the JSON file of the process            authority   one CA for HTTPS and MQTT
    process     sockets, loop, ready line, the end      emulator    MiniStack: environment and our seams in it
    front       the ASGI app that every request meets   rest_json   requests and answers by botocore's model
    features    the list of what we add or replace      service     what a feature is: operations in, answers out
    corrections what is put right in MiniStack          differences where we still differ from AWS IoT

    packages/ indexing/ groups/ jobs/ commands/ registration/ shadows/ broker/    one part of AWS IoT each

Rules: whatever MiniStack does right stays MiniStack's; each place where we reach into it is in `emulator`, or in
a function `install` of the part that needs it, and says why. Everything binds to
127.0.0.1. State lives as long as the process.
"""
