"""What faults of versions share: a device that says it runs another one than it does."""

import orjson

from simulator.messages import Note, Output, Publish


def claiming(said: Output, version: str) -> Output:
    """What it says of its own version in `$package`, with another one; everything else as it is."""
    if type(said) is Note and said.kind == "version_reported":
        return said._replace(detail={**said.detail, "version": version})
    if type(said) is not Publish or said.kind != "package_report":
        return said
    document = orjson.loads(said.payload)
    for package in document["state"]["reported"].values():
        package["version"] = version
    return said._replace(payload=orjson.dumps(document))
