"""What the steps of an operation do in AWS IoT, and why: short texts for `--explain`.

op.explain(*explain.step("provision", "thing types"))
"""

from collections.abc import Mapping
from typing import NamedTuple

from simulator.errors import did_you_mean


class Step(NamedTuple):
    """One explanation."""

    title: str
    text: str


def step(operation: str, name: str) -> Step:
    """The explanation of one step; KeyError for one that there is not, which is a mistake of ours."""
    steps = STEPS[operation]
    if name not in steps:
        raise KeyError(f"no explanation of '{name}' in '{operation}'{did_you_mean(name, list(steps))}")
    return steps[name]


def _numbered(**steps: tuple[str, str]) -> dict[str, Step]:
    of = len(steps)
    return {
        name.replace("_", " "): Step(f"{number}/{of} {title}", text)
        for number, (name, (title, text)) in enumerate(steps.items(), 1)
    }


STEPS: Mapping[str, Mapping[str, Step]] = {
    "provision": _numbered(
        thing_types=(
            "Thing types",
            "CreateThingType names a kind of device and up to three searchable attributes; its things can be listed by "
            "them without fleet indexing, and may have up to 50 attributes instead of 3. A type cannot be changed into "
            "another and is deleted only five minutes after it was deprecated, so types are few and made first.",
        ),
        policies=(
            "Policies",
            "A certificate alone may do nothing. One AWS IoT policy, attached to every device's certificate, allows "
            "what the name of the connected thing allows: to connect as itself, and to speak and hear on its own "
            "topics. So a device that is taken over cannot speak for another, and there is one policy to keep.",
        ),
        roles=(
            "Roles",
            "AWS IoT acts for you by IAM roles that it may assume, each with the least it needs. One lets Jobs sign "
            "URLs for objects of the bucket; one (IoTPackageConfigRole) lets a job that succeeded write the new "
            "version into the device's $package shadow, once the package configuration is switched on.",
        ),
        artifacts=(
            "Bucket and artifacts",
            "Firmware lies in an S3 bucket with versioning on: a package version names the exact version of its "
            "object, so that nobody can put other bytes in its place later. Devices get no rights in S3; a job's "
            "presigned URL lets them read one object for a while.",
        ),
        packages=(
            "Packages and versions",
            "CreatePackage and CreatePackageVersion describe software in the Software Package Catalog. A version is a "
            "DRAFT until it is published; then its attributes and artifact are frozen, which is what makes the "
            "version number mean something. Jobs name package versions, and devices are found by them.",
        ),
        indexing=(
            "Fleet indexing",
            "UpdateIndexingConfiguration lets AWS IoT keep an index of registry, shadows (the reserved $package too) "
            "and connectivity. Queries and dynamic groups look there and nowhere else. It follows changes with a "
            "little delay, and each update of it is paid for.",
        ),
        groups=(
            "Groups",
            "A static group for each country (CreateThingGroup, AddThingToThingGroup). Jobs and policies can aim at "
            "groups instead of single things, and a job on a group reaches all its members. A thing is in at most ten "
            "groups.",
        ),
        things=(
            "Things and certificates",
            "CreateThing puts a device into the registry. Its key is made here and never leaves this machine: "
            "CreateCertificateFromCsr signs a request with it. AttachThingPrincipal ties certificate and thing, so "
            "that policies can say ${iot:Connection.Thing.ThingName}. 80 things a second at most: AWS allows 100.",
        ),
    ),
    "cleanup": _numbered(
        jobs=(
            "Jobs",
            "A job that is under way cannot be deleted: CancelJob ends it, then DeleteJob removes it with all its "
            "executions. The service does that by and by, at most ten jobs at a time.",
        ),
        commands=(
            "Commands",
            "DeleteCommand takes a command out of use at once. The service keeps one that was used lately for a while, "
            "as pending deletion, because a device may still answer an execution of it.",
        ),
        groups=(
            "Groups",
            "Dynamic groups are told from static ones by their query, and each has its own call (DeleteDynamicThing"
            "Group, DeleteThingGroup). Things are not touched by that. Groups with children go after them.",
        ),
        things=(
            "Things, certificates and shadows",
            "A thing is deleted only when no certificate is attached, and a certificate only when it is INACTIVE and "
            "without policies: detach, deactivate, delete. Shadows outlive their thing, so the classic one and "
            "$package are deleted as well. Detaching takes effect a moment later, so a refused call is made again.",
        ),
        packages=(
            "Packages",
            "A package is deleted when it has no version left, and a version when it is not the default one; so the "
            "default is unset first.",
        ),
        bucket=(
            "Bucket",
            "In a versioned bucket a deletion only adds a marker. Every version of every object, and every marker, is "
            "deleted, and then the bucket.",
        ),
        indexing=(
            "Fleet indexing",
            "UpdateIndexingConfiguration switches the index off, which ends what it costs. Dynamic groups and queries "
            "need it, so those went before. It stays on if it was on before `provision`.",
        ),
        policies=(
            "Policies and roles",
            "A policy is deleted when nothing is attached and only its default version is left; an IAM role when it "
            "has no policies.",
        ),
        thing_types=(
            "Thing types",
            "DeprecateThingType stops new things of a type; DeleteThingType works five minutes after that, and not "
            "sooner, so this step waits.",
        ),
    ),
    "jobs": _numbered(
        target=(
            "Targets",
            "A job aims at things and groups. SNAPSHOT: the members of this moment, and the job completes when all "
            "are done. CONTINUOUS: also things that enter a group later, until the job is cancelled.",
        ),
        document=(
            "Job document",
            "What the device gets. The service fills placeholders when the device fetches it: a presigned URL that is "
            "valid for an hour, and attributes of the package version. A device that comes late gets a fresh URL.",
        ),
        rollout=(
            "Rollout, abort and time-out",
            "The rollout rate limits how many devices are notified in a minute. Abort criteria cancel the job when "
            "too many of at least so many executions failed. The time-out ends an execution that stays IN_PROGRESS "
            "for too long as TIMED_OUT.",
        ),
        package=(
            "Package versions",
            "A job that names destination package versions tells the service what a device has after success: if the "
            "package configuration is on, the service itself writes that into the $package shadow.",
        ),
    ),
    "simulate": _numbered(
        pending=(
            "Pending executions",
            "GetPendingJobExecutions tells a device what is QUEUED and IN_PROGRESS. Each device takes the next with "
            "StartNextPendingJobExecution, which makes it IN_PROGRESS.",
        ),
        download=(
            "Download",
            "DescribeJobExecution gives the job document with a fresh presigned URL. The artifact is streamed from "
            "S3; no AWS credentials are needed for that, the URL is the right to read this object for a while.",
        ),
        report=(
            "Report",
            "UpdateJobExecution says SUCCEEDED or FAILED with details. Both are final. 150 executions a second at "
            "most: AWS allows 200.",
        ),
    ),
    "packages": _numbered(
        package=(
            "Package",
            "A package is a name in the Software Package Catalog; its versions carry the rest. Its default version "
            "is what jobs mean by $default.",
        ),
        version=(
            "Version",
            "CreatePackageVersion makes a DRAFT with attributes and the place of the artifact (bucket, key, version). "
            "UpdatePackageVersion with PUBLISH freezes them; DEPRECATE says that it is not for new jobs.",
        ),
        configuration=(
            "Package configuration",
            "When it is on, a successful job with package versions updates $package of its device. The service does "
            "that by a role that you let it pass: iot:GetThingShadow and iot:UpdateThingShadow.",
        ),
        versions_of=(
            "Versions of devices",
            "The reserved named shadow $package says what a device has: {package: {version, attributes}}. Fleet "
            "indexing knows it as shadow.name.$package.reported.<package>.version.",
        ),
    ),
    "revert": _numbered(
        find=(
            "Who has another version",
            "The fleet index is asked for things of the type whose $package names another version than the one "
            "wanted. The first ten and the count are shown before anything happens.",
        ),
        write=(
            "Write the shadow",
            "UpdateThingShadow writes the version into the reported state of $package. This says what the fleet has; "
            "it installs nothing. To install a version again, create a job with it.",
        ),
    ),
    "groups": _numbered(
        query=(
            "Query",
            "A fleet indexing query: terms with AND, OR, NOT, ranges and wildcards over attributes, thing type, "
            "shadows, $package and connectivity. SearchIndex shows who matches now; an empty match is refused, since "
            "it is nearly always a mistake in the query.",
        ),
        group=(
            "Dynamic group",
            "CreateDynamicThingGroup keeps the query. Membership follows the index by itself: nobody adds or removes "
            "things. It is BUILDING for a while, then ACTIVE. A CONTINUOUS job on it reaches every thing that enters.",
        ),
    ),
    "commands": _numbered(
        command=(
            "Command",
            "CreateCommand keeps a payload under a name, with parameters to fill in. It can be deprecated, and is "
            "deleted for good only after a while.",
        ),
        execution=(
            "Execution",
            "StartCommandExecution sends it to one device, over MQTT and at once; it does not wait in a queue as a "
            "job does. The device answers with a status; after the time-out (10 s if nothing else is said) it counts "
            "as TIMED_OUT, unless the device answers late.",
        ),
    ),
}
