"""Device management by boto3 alone, step by step: what a customer would write. No code of ours.

Rules: what is said here is said to AWS in the same words; only addresses differ. Each step looks at what it made.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cloud.conftest import DEVICE_POLICY, Cloud
from tests.e2e.plain_device import PlainDevice

COUNT = 50
COUNTRIES = ("US", "CA", "DE", "FR", "KR")
TYPE = "SedanVehicle"
BUCKET = "device-management-walk"
ARN = "arn:aws:iot:us-east-1:000000000000:"
VERSION = f"shadow.name.$package.reported.{TYPE}.version"
INDEXING: dict[str, Any] = {
    "thingIndexingMode": "REGISTRY_AND_SHADOW",
    "thingConnectivityIndexingMode": "STATUS",
    "namedShadowIndexingMode": "ON",
    "filter": {"namedShadowNames": ["$package"]},
    "customFields": [  # what is aggregated
        {"name": "shadow.reported.batteryStatus", "type": "Number"},
        {"name": "attributes.country", "type": "String"},
    ],
}
FIRMWARE = {"1.0.0": b"firmware 1.0.0 " * 3000, "1.1.0": b"firmware 1.1.0 " * 4000}
_COMMANDS = "$aws/commands/things/${iot:Connection.Thing.ThingName}/*"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        *DEVICE_POLICY["Statement"],
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": f"arn:aws:iot:*:*:topic/{_COMMANDS}"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": f"arn:aws:iot:*:*:topicfilter/{_COMMANDS}"},
    ],
}


def eventually(found: Callable[[], Any], expected: Any) -> None:
    """Waits until something is as expected: AWS promises no more than that for indexes and groups."""
    deadline_s = time.monotonic() + 30
    while (value := found()) != expected:
        assert time.monotonic() < deadline_s, f"{value} is still not {expected}"
        time.sleep(0.02)


def name_of(number: int) -> str:
    return f"Vehicle-VIN-{number:03}"


def battery_of(number: int) -> int:
    """Vehicles 0 … 49 have 1 … 99 %, in steps of 2."""
    return 2 * number + 1


class Walk:
    """The clients, and what each step leaves to the next."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud, self.folder = cloud, folder
        self.iot, self.s3, self.iam, self.shadows = (cloud.client(name) for name in ("iot", "s3", "iam", "iot-data"))
        address = self.iot.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"]
        self.jobs = cloud.client("iot-jobs-data", endpoint_url=f"https://{address}")
        self.certificates: dict[str, str] = {}  # thing → ARN
        self.roles: dict[str, str] = {}
        self.devices: list[PlainDevice] = []

    def search(self, query: str) -> list[str]:
        page = self.iot.search_index(queryString=query, maxResults=20)
        found = [thing["thingName"] for thing in page["things"]]
        while "nextToken" in page:
            page = self.iot.search_index(queryString=query, maxResults=20, nextToken=page["nextToken"])
            found += [thing["thingName"] for thing in page["things"]]
        return sorted(found)

    def all_of(self, operation: str, **parameters: Any) -> list[Any]:
        pages = self.iot.get_paginator(operation)
        return [item for page in pages.paginate(**parameters) for item in page[pages.result_keys[0].expression]]

    def executions(self, job_id: str) -> dict[str, str]:
        """Thing → status."""
        found = self.all_of("list_job_executions_for_job", jobId=job_id)
        return {one["thingArn"].rpartition("/")[2]: one["jobExecutionSummary"]["status"] for one in found}

    def device(self, name: str) -> PlainDevice:
        ready, files = self.cloud.ready, (self.folder / f"{name}.pem", self.folder / f"{name}.key")
        made = PlainDevice(name, *files, ready["mqtt_host"], ready["mqtt_port"], ready["ca_file"])
        self.devices.append(made)
        return made

    # Steps

    def provision(self) -> None:
        properties = {"searchableAttributes": ["customerId", "country", "manufacturingDate"]}
        self.iot.create_thing_type(thingTypeName=TYPE, thingTypeProperties=properties)
        self.iot.create_policy(policyName="vehicle", policyDocument=json.dumps(POLICY))
        for country in COUNTRIES:
            self.iot.create_thing_group(thingGroupName=f"{country}Fleet")
        for number in range(COUNT):
            self._provision_one(number)

    def _provision_one(self, number: int) -> None:
        name, country = name_of(number), COUNTRIES[number % len(COUNTRIES)]
        attributes = {"customerId": f"c-{number}", "country": country, "manufacturingDate": "2026-01-15"}
        self.iot.create_thing(thingName=name, thingTypeName=TYPE, attributePayload={"attributes": attributes})
        self.iot.add_thing_to_thing_group(thingGroupName=f"{country}Fleet", thingName=name)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        made = self.iot.create_certificate_from_csr(
            certificateSigningRequest=csr.public_bytes(serialization.Encoding.PEM).decode(), setAsActive=True
        )
        self.iot.attach_policy(policyName="vehicle", target=made["certificateArn"])
        self.iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
        self.certificates[name] = made["certificateArn"]
        (self.folder / f"{name}.pem").write_text(made["certificatePem"])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{name}.key").write_bytes(private)
        reported = {"batteryStatus": battery_of(number)}
        self._report(name, reported)
        self._report(name, {TYPE: {"version": "1.0.0", "attributes": {}}}, shadowName="$package")

    def _report(self, name: str, reported: dict[str, Any], **shadow: str) -> None:
        payload = json.dumps({"state": {"reported": reported}})
        self.shadows.update_thing_shadow(thingName=name, payload=payload, **shadow)

    def index(self) -> None:
        self.iot.update_indexing_configuration(thingIndexingConfiguration=INDEXING)
        eventually(lambda: self.iot.describe_index(indexName="AWS_Things")["indexStatus"], "ACTIVE")
        eventually(lambda: len(self.search(f"{VERSION}:1.0.0")), COUNT)

    def query(self) -> None:
        """What AWS's sample asks."""
        everyone = [name_of(number) for number in range(COUNT)]
        outdated = f"thingTypeName:{TYPE} AND {VERSION}:* AND NOT {VERSION}:"
        assert self.search(outdated + "1.1.0") == everyone
        assert self.search(outdated + "1.0.0") == []
        assert self.search("attributes.country:(US OR CA)") == [name for name in everyone if int(name[-3:]) % 5 < 2]
        assert self.search("shadow.reported.batteryStatus:[50 TO *]") == everyone[25:]
        assert self.search("shadow.reported.batteryStatus:[* TO 20]") == everyone[:10]
        assert self.search(f"{VERSION.replace('$', chr(92) + '$')}:(1.0.0 OR 1.1.0)") == everyone
        assert self.search("thingGroupNames:KRFleet AND connectivity.connected:false") == everyone[4::5]
        hit = self.iot.search_index(queryString=f"thingName:{everyone[7]}")["things"][0]
        shadow = json.loads(hit["shadow"])
        assert (hit["thingTypeName"], hit["attributes"]["country"]) == (TYPE, "DE")
        assert shadow["reported"] == {"batteryStatus": 15}
        assert shadow["name"]["$package"]["reported"][TYPE]["version"] == "1.0.0"
        with pytest.raises(ClientError) as caught:
            self.iot.search_index(queryString="attributes.country:(US")
        assert caught.value.response["Error"]["Code"] == "InvalidQueryException"

    def count(self) -> None:
        field = "shadow.reported.batteryStatus"
        found = self.iot.get_statistics(queryString="thingName:*", aggregationField=field)["statistics"]
        assert (found["count"], found["average"], found["minimum"], found["maximum"]) == (COUNT, 50, 1, 99)
        assert found["variance"] == pytest.approx(833)
        found = self.iot.get_percentiles(queryString="thingName:*", aggregationField=field, percents=[50])
        assert found["percentiles"][0]["value"] == pytest.approx(50, abs=1)
        country = {"queryString": "thingName:*", "aggregationField": "attributes.country"}
        assert self.iot.get_cardinality(**country)["cardinality"] == len(COUNTRIES)
        buckets = self.iot.get_buckets_aggregation(
            **country, bucketsAggregationType={"termsAggregation": {"maxBuckets": 10}}
        )
        assert buckets["totalCount"] == COUNT
        assert {one["keyValue"].upper(): one["count"] for one in buckets["buckets"]} == dict.fromkeys(COUNTRIES, 10)

    def group(self) -> list[str]:
        """The dynamic group of charged vehicles in North America; its members."""
        query = f"thingTypeName:{TYPE} AND attributes.country:(US OR CA) AND shadow.reported.batteryStatus:[50 TO *]"
        members = self.search(query)
        self.iot.create_dynamic_thing_group(thingGroupName="Charged", queryString=query)
        eventually(lambda: self.iot.describe_thing_group(thingGroupName="Charged")["status"], "ACTIVE")
        eventually(self.members, members)
        return members

    def members(self) -> list[str]:
        return sorted(self.all_of("list_things_in_thing_group", thingGroupName="Charged"))

    def publish(self) -> None:
        """A package with two published versions, their artifacts in a versioned bucket, and who may read them."""
        trust = {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
        objects = {"Effect": "Allow", "Action": ["s3:GetObject*"], "Resource": f"arn:aws:s3:::{BUCKET}/*"}
        shadow = {"Effect": "Allow", "Action": ["iot:*ThingShadow"], "Resource": f"{ARN}thing/*/$package"}
        for name, statement in (("jobs", objects), ("packages", shadow)):
            document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
            role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
            document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            self.iam.put_role_policy(RoleName=name, PolicyName="needs", PolicyDocument=document)
            self.roles[name] = role["Arn"]
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.iot.create_package(packageName=TYPE, tags={"walk": "yes"})
        for version, content in FIRMWARE.items():
            put = self.s3.put_object(Bucket=BUCKET, Key=f"{TYPE}.bin", Body=content)
            self.iot.create_package_version(
                packageName=TYPE,
                versionName=version,
                attributes={"sha256": hashlib.sha256(content).hexdigest(), "size": str(len(content))},
                artifact={"s3Location": {"bucket": BUCKET, "key": f"{TYPE}.bin", "version": put["VersionId"]}},
            )
            self.iot.update_package_version(packageName=TYPE, versionName=version, action="PUBLISH")
        self.iot.update_package(packageName=TYPE, defaultVersionName="1.0.0")
        switch = {"enabled": True, "roleArn": self.roles["packages"]}
        self.iot.update_package_configuration(versionUpdateByJobsConfig=switch)

    def create_job(self, job_id: str, version: str, **more: Any) -> None:
        package = "${aws:iot:package:" + f"{TYPE}:version:{version}:"
        document = {
            "operation": "install",
            "package": package + "attributes}",
            "url": package + "artifact:s3-presigned-url}",
        }
        self.iot.create_job(
            jobId=job_id,
            targets=[f"{ARN}thinggroup/Charged"],
            document=json.dumps(document),
            destinationPackageVersions=[f"{ARN}package/{TYPE}/version/{version}"],
            presignedUrlConfig={"roleArn": self.roles["jobs"], "expiresInSec": 3600},
            **more,
        )

    def finish(self, job_id: str, name: str, status: str = "SUCCEEDED") -> None:
        """As AWS's sample does it: by the jobs data plane, from QUEUED to the end."""
        execution = self.jobs.describe_job_execution(jobId=job_id, thingName=name, includeJobDocument=True)["execution"]
        assert json.loads(execution["jobDocument"])["url"].startswith("https://")
        self.jobs.update_job_execution(jobId=job_id, thingName=name, status=status, statusDetails={"by": "boto3"})

    def processed(self, job_id: str) -> dict[str, int]:
        """The counts of a job that are not 0, and no more than what is after `numberOf`."""
        details = self.iot.describe_job(jobId=job_id)["job"]["jobProcessDetails"]
        return {key[8:-6]: count for key, count in details.items() if key.startswith("numberOf") and count}

    def clean_up(self) -> None:
        """Everything goes, in the order that the service asks for."""
        for job in self.all_of("list_jobs"):
            if job["status"] == "IN_PROGRESS":
                self.iot.cancel_job(jobId=job["jobId"], force=True)
            self.iot.delete_job(jobId=job["jobId"], force=True)
        eventually(lambda: self.iot.list_jobs()["jobs"], [])
        for command in self.all_of("list_commands"):
            self.iot.delete_command(commandId=command["commandId"])
        self.iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": False})
        self.iot.update_package(packageName=TYPE, unsetDefaultVersion=True)
        for version in FIRMWARE:
            self.iot.delete_package_version(packageName=TYPE, versionName=version)
        self.iot.delete_package(packageName=TYPE)
        self.iot.delete_dynamic_thing_group(thingGroupName="Charged")
        self.iot.deprecate_thing_type(thingTypeName=TYPE)
        for name, arn in self.certificates.items():
            self._delete_one(name, arn)
        for country in COUNTRIES:
            self.iot.delete_thing_group(thingGroupName=f"{country}Fleet")
        self.iot.delete_policy(policyName="vehicle")
        self.iot.delete_thing_type(thingTypeName=TYPE)
        off = {"thingIndexingMode": "OFF"}
        self.iot.update_indexing_configuration(thingIndexingConfiguration=off)
        stored = self.s3.list_object_versions(Bucket=BUCKET)["Versions"]
        objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in stored]
        self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
        self.s3.delete_bucket(Bucket=BUCKET)
        for name in self.roles:
            self.iam.delete_role_policy(RoleName=name, PolicyName="needs")
            self.iam.delete_role(RoleName=name)

    def _delete_one(self, name: str, arn: str) -> None:
        for shadow in self.shadows.list_named_shadows_for_thing(thingName=name)["results"]:
            self.shadows.delete_thing_shadow(thingName=name, shadowName=shadow)
        self.shadows.delete_thing_shadow(thingName=name)
        with pytest.raises(ClientError, match="still attached"):
            self.iot.delete_thing(thingName=name)
        self.iot.detach_thing_principal(thingName=name, principal=arn)
        eventually(lambda: self.iot.list_thing_principals(thingName=name)["principals"], [])
        self.iot.delete_thing(thingName=name)
        self.iot.detach_policy(policyName="vehicle", target=arn)
        certificate = arn.rpartition("/")[2]
        self.iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
        self.iot.delete_certificate(certificateId=certificate)

    def left(self) -> dict[str, Any]:
        """What there is, by the operation that lists it; nothing, after a clean-up."""
        listed = (
            "list_things", "list_thing_types", "list_thing_groups", "list_certificates", "list_policies", "list_jobs",
            "list_packages", "list_commands",
        )  # fmt: skip
        found = {operation: self.all_of(operation) for operation in listed}
        found["s3"] = self.s3.list_buckets()["Buckets"]
        found["iam"] = self.iam.list_roles()["Roles"]
        found["shadows"] = [
            name_of(number)
            for number in range(COUNT)
            if self.shadows.list_named_shadows_for_thing(thingName=name_of(number))["results"]
        ]
        with pytest.raises(ClientError, match="No shadow exists"):
            self.shadows.get_thing_shadow(thingName=name_of(0))
        return {operation: items for operation, items in found.items() if items}
