"""Where the sandbox still differs from AWS IoT in something that a device or a client can notice. Pure data.

Rules: the table is for the README and for whoever wonders; what is put right is not in it. `aws` and `sandbox` are
whole clauses that read on after the names of their columns.
"""

from typing import NamedTuple


class Difference(NamedTuple):
    """One row."""

    area: str
    aws: str
    sandbox: str


DIFFERENCES: tuple[Difference, ...] = (
    # -- the broker ---
    Difference(
        "MQTT rates",
        "100 messages and 512 KB a second for each connection, both ways together; 1 CONNECT a second for each "
        "client id; quotas of the account above that",
        "as fast as the machine is: a backend may take in a whole fleet's messages over one connection",
    ),
    Difference(
        "API rates",
        "each operation has its quota (CreateThing 100/s, Jobs control operations 10/s); beyond it ThrottlingException",
        "never throttles; our own tools keep to the quotas on both targets",
    ),
    Difference(
        "Messages of a stored session",
        "are sent after a reconnect at 10 a second, and count against 500 a second for the account",
        "are sent at once, as fast as they are acknowledged; 200,000 messages or 256 MiB wait for each session",
    ),
    Difference(
        "Redelivery",
        "of QoS 1 to a client that is online ends after 1 h (MQTT 3.1.1) or 16 min (MQTT 5)",
        "goes on every 30 s as long as the connection lives",
    ),
    Difference(
        "Shared subscriptions",
        "`$share/<name>/<filter>` gives each message to one member of the group",
        "does not have them: CONNACK says so, and such a filter hears nothing",
    ),
    Difference(
        "Topic aliases (MQTT 5)",
        "8 for each connection",
        "does not have them: CONNACK says 0",
    ),
    Difference(
        "Will delay (MQTT 5)",
        "undocumented",
        "publishes the will at once",
    ),
    Difference(
        "Retained messages",
        "not on topics that begin with `$`; 1 a second for each topic",
        "on every topic that may be published to, at any rate",
    ),
    Difference(
        "Session expiry",
        "1 h, adjustable up to 7 days; a session may outlive it by 30 minutes",
        "1 h to the second",
    ),
    Difference(
        "WebSocket connections",
        "are cut after 24 h",
        "live as long as they are used",
    ),
    Difference(
        "Publishing without permission at QoS 0 (MQTT 5)",
        "undocumented; the message is dropped at least",
        "disconnects with 0x87",
    ),
    Difference(
        "Changes of policies",
        "take minutes to reach open connections",
        "hold from the next packet on",
    ),
    Difference(
        "Policy variables",
        "also `${iot:Connection.Thing.ThingTypeName}`, `.Attributes[…]`, `${aws:SourceIp}` and every certificate field",
        "knows ClientId, Connection.Thing.ThingName, .IsAttached and Certificate.Subject.CommonName",
    ),
    Difference(
        "Lifecycle events",
        "may come twice or out of order; versionNumber rises by one for each connection",
        "come once and in order, at QoS 1; versionNumber rises by two",
    ),
    Difference(
        "Ports",
        "8883, and 443 with ALPN; MQTT with a custom authorizer",
        "one port for MQTT over TLS and one for HTTPS and WebSocket, both on loopback; no custom authorizers",
    ),
    # -- shadows ---
    Difference(
        "Shadow requests",
        "at most 20 a second for each shadow and 10 unanswered for each thing (429)",
        "no limit",
    ),
    Difference(
        "Depth of a shadow",
        "sources differ: 5 levels below `desired` and `reported`, or 8",
        "5, with the error text of the service",
    ),
    Difference(
        "Version of a deleted shadow",
        "is kept for 48 hours",
        "is kept as long as the sandbox runs",
    ),
    # -- jobs ---
    Difference(
        "Maintenance windows of a job",
        "executions are rolled out and visible only within the windows",
        "takes and shows them, and rolls out at once; `startTime` and `endTime` hold",
    ),
    Difference(
        "Deleting a job",
        "takes a while: DELETION_IN_PROGRESS, at most 10 at a time",
        "is done when DeleteJob answers",
    ),
    Difference(
        "Time-outs of executions",
        "are applied up to 60 s late",
        "within 2 s",
    ),
    Difference(
        "Retried executions and abort criteria",
        "undocumented whether an attempt that is tried again counts as a failure",
        "it does not count, neither for the criteria nor in jobProcessDetails",
    ),
    Difference(
        "statusDetails of a report",
        "undocumented whether they replace the earlier ones or are merged into them",
        "replaces the whole map",
    ),
    Difference(
        "Unknown topics below `$aws/things/<thing>/jobs`",
        "are answered with the code InvalidTopic",
        "are not answered",
    ),
    Difference(
        "Concurrent jobs",
        "500 concurrent and 100,000 active jobs; jobs are kept for two years",
        "as many as fit in memory, kept as long as the sandbox runs",
    ),
    # -- the registry ---
    Difference(
        "Deleting a thing type",
        "only 5 minutes after it was deprecated",
        "at once after it was deprecated; `thing_type_wait_s: 300` in the cloud's configuration gives AWS's wait",
    ),
    Difference(
        "Detaching a principal",
        "takes effect a moment later, so that DeleteThing may have to be tried again",
        "takes effect at once",
    ),
    Difference(
        "Persistence",
        "is for ever",
        "everything is gone when the sandbox ends",
    ),
)
