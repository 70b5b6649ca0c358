"""The data contract: required fields, types and ranges. What breaks it is a dead letter with its reason.

Rules: a check gives the reason or an empty string; it never raises and never repairs a value.
"""

from simulator.backend.decode import ControlResult, Report, Telemetry

METRICS_MAX = 200
NODES_MAX = 2000
UPLOAD_MAX = 5 * 1024**3
PARTS_MAX = 64  # the URLs of more would not fit into one message
NAME_MAX = 64
TEXT_MAX = 256
ID_MAX = 256
NUMBER_MAX = 1e15
INDEX_MAX = (1 << 63) - 1  # what the store can hold
OLDEST_MS = 946_684_800_000  # 2000-01-01: no device of ours is older
AHEAD_MAX_MS = 24 * 3_600_000  # a device's clock may run ahead by this much

# The valid ranges of a fire sensor's record.
FIRE_RANGES = {
    "volt": (0.0, 300.0),
    "voltLow": (0.0, 300.0),
    "current": (0.0, 200.0),
    "pcbTemp": (-10.0, 100.0),
    "sensorTemp": (-10.0, 100.0),
    "power_factor": (0.0, 1.0),
}
FIRE_REQUIRED = ("volt", "current", "pcbTemp", "sensorTemp")


def check_telemetry(sample: Telemetry) -> str:
    """The reason why a sample is refused, or ''."""
    reason = _check_time(sample.device_timestamp, sample.ingest_timestamp)
    if reason:
        return reason
    if sample.hub_timestamp is not None and _check_time(sample.hub_timestamp, sample.ingest_timestamp):
        return "hub_timestamp.range"
    if sample.idx is not None and not -INDEX_MAX <= sample.idx <= INDEX_MAX:
        return "idx.range"
    if sample.nodes is not None and (reason := check_nodes(sample.nodes)):
        return reason
    metrics = sample.metrics
    if type(metrics) is not dict:
        return "metrics.type"
    if not metrics:
        return "metrics.empty"
    if len(metrics) > METRICS_MAX:
        return "metrics.too_many"
    for name, value in metrics.items():
        kind = type(value)
        if kind is float or kind is int:
            if not -NUMBER_MAX <= value <= NUMBER_MAX:
                return "metric.range"
        elif kind is str:
            if len(value) > TEXT_MAX:
                return "metric.too_long"
        elif kind is not bool:
            return "metric.type"
        if not 0 < len(name) <= NAME_MAX:
            return "metric.name"
    return _check_fire(metrics) if sample.stream == "fire" else ""


def _check_fire(metrics: dict[str, object]) -> str:
    for name in FIRE_REQUIRED:
        if name not in metrics:
            return f"{name}.missing"
    for name, (low, high) in FIRE_RANGES.items():
        value = metrics.get(name, low)
        if type(value) is not float and type(value) is not int:
            return f"{name}.type"
        if not low <= value <= high:
            return f"{name}.range"
    return ""


def check_control_result(result: ControlResult, now_ms: int) -> str:
    """The reason why a control result is refused, or ''."""
    reason = _check_time(result.device_timestamp, now_ms)
    if reason:
        return reason
    for name, value in (("name", result.action), ("id", result.action_id), ("result", result.result)):
        if type(value) is not str:
            return f"control.{name}.type" if value is not None else f"control.{name}.missing"
        if not 0 < len(value) <= ID_MAX:
            return f"control.{name}.range"
    return "" if type(result.reason) is str else "control.reason.type"


def check_report(report: Report, now_ms: int) -> str:
    """The reason why another report is refused, or ''."""
    reason = _check_time(report.device_timestamp, now_ms)
    if not reason and report.nodes is not None:
        reason = check_nodes(report.nodes)
    if not reason and report.kind == "upload_request":
        reason = _check_upload_request(report.data.get("upload"))
    return reason


def check_nodes(nodes: object) -> str:
    """The reason why a list of who is there is refused, or ''."""
    if type(nodes) is not list:
        return "nodes.type"
    if len(nodes) > NODES_MAX:
        return "nodes.too_many"
    for node in nodes:
        if type(node) is not dict:
            return "nodes.type"
        for name in ("device_id", "role", "parent"):
            value = node.get(name, "" if name != "device_id" else None)
            if type(value) is not str:
                return f"nodes.{name}.type"
            if len(value) > ID_MAX:
                return f"nodes.{name}.range"
    return ""


def _check_upload_request(upload: object) -> str:
    if type(upload) is not dict:
        return "upload.type"
    for name, length_max in (("name", 200), ("content_type", 100), ("id", ID_MAX)):
        text = upload.get(name, "" if name == "id" else None)
        if type(text) is not str:
            return f"upload.{name}.type"
        if (not text and name != "id") or len(text) > length_max or not text.isprintable():
            return f"upload.{name}.range"
    for name, most in (("size", UPLOAD_MAX), ("parts", PARTS_MAX)):
        number = upload.get(name)
        if type(number) is not int:
            return f"upload.{name}.type"
        if not 1 <= number <= most:
            return f"upload.{name}.range"
    return ""


def _check_time(at_ms: object, now_ms: int) -> str:
    if type(at_ms) is not int:
        return "device_timestamp.type"
    return "" if OLDEST_MS <= at_ms <= now_ms + AHEAD_MAX_MS else "device_timestamp.range"
