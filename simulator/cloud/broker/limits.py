"""What AWS IoT Core takes of an MQTT client: sizes, depths, counts, and how long it may be silent. Pure.

Rules: the figures are the quotas of the digest. Reserved topics (`$aws/…`) are the service's own and may be deeper;
`$share/<name>/` does not count. A verdict is a reason in words; what the client is told depends on its version.
https://docs.aws.amazon.com/general/latest/gr/iot-core.html
"""

PAYLOAD_BYTES_MAX = 128 * 1024
TOPIC_BYTES_MAX = 256
SLASHES_MAX = 7
FILTERS_IN_A_PACKET_MAX = 8
SUBSCRIPTIONS_MAX = 50
IN_FLIGHT_MAX = 100  # unacknowledged messages of QoS 1, each way
SESSION_EXPIRY_MAX_S = 3600
KEEP_ALIVE_MIN_S, KEEP_ALIVE_MAX_S = 30, 1200
_SILENCE = 1.5  # times the keep-alive


def keep_alive_s(asked_s: int) -> int:
    """The keep-alive that holds for a client that asked for another."""
    return KEEP_ALIVE_MAX_S if asked_s == 0 else min(max(asked_s, KEEP_ALIVE_MIN_S), KEEP_ALIVE_MAX_S)


def silence_max_s(asked_s: int) -> float:
    """After so long without a packet the connection is given up."""
    return _SILENCE * keep_alive_s(asked_s)


def session_expiry_s(asked_s: int) -> int:
    """How long a session is kept for a client that asked for longer."""
    return min(asked_s, SESSION_EXPIRY_MAX_S)


def topic_wrong(topic: str) -> str:
    """Why a topic cannot be published to; empty when it can. (Wildcards and its length are looked at elsewhere.)"""
    if topic.count("/") > SLASHES_MAX and not topic.startswith("$aws/"):
        return f"the topic has more than {SLASHES_MAX} slashes"
    return ""


def filter_wrong(topic_filter: str) -> str:
    """Why a topic filter cannot be subscribed to; empty when it can."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[-1]
    levels = topic_filter.split("/")
    if not topic_filter:
        return "the filter is empty"
    if len(topic_filter.encode()) > TOPIC_BYTES_MAX:
        return f"the filter is longer than {TOPIC_BYTES_MAX} bytes"
    if len(levels) > SLASHES_MAX + 1 and levels[0] != "$aws":
        return f"the filter has more than {SLASHES_MAX} slashes"
    if "#" in topic_filter and (topic_filter.count("#") > 1 or levels[-1] != "#"):
        return "# stands elsewhere than alone at the end"
    if any("+" in level and level != "+" for level in levels):
        return "+ stands in a level with something else"
    return ""
