"""Why a kind of device cannot have a fault of the network or of a protocol; None when it can."""

from simulator.faults import Subject


def unshaped(subject: Subject) -> str | None:
    """Nobody can get between it and the network."""
    return "speaks by link sdk, whose bytes cannot be shaped" if subject.link == "sdk" else None


def no_connection(subject: Subject) -> str | None:
    """It has no connection of its own whose bytes are only its own."""
    return "has no connection of its own over rest" if subject.channel == "rest" else unshaped(subject)


def no_mqtt(subject: Subject) -> str | None:
    """It speaks no MQTT."""
    return f"speaks no MQTT over {subject.channel}" if subject.channel != "mqtt" else None


def no_json(subject: Subject) -> str | None:
    """What it says is not JSON."""
    return "says its telemetry in bytes, not in JSON" if subject.channel == "tcp" or subject.codec == "frame" else None


def no_frames(subject: Subject) -> str | None:
    """It sends no frames."""
    return f"sends no frames over {subject.channel}" if subject.channel != "tcp" else None
