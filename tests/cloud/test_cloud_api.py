"""The cloud over HTTPS, by boto3: credentials, packages, S3, what is missing."""

import contextlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

HEX = "0" * 64


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    return cloud.client("iot")


def refused(call: Any, **arguments: Any) -> tuple[str, int, str]:
    """Code, HTTP status and message of the error that a call gives."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer: Any = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_the_whole_life_of_a_package(iot: Any) -> None:
    created = iot.create_package(packageName="life", description="firmware")
    assert created["packageArn"] == "arn:aws:iot:us-east-1:000000000000:package/life"
    artifact = {"s3Location": {"bucket": "firmware", "key": "life/1.0.0", "version": "v1"}}
    made = iot.create_package_version(
        packageName="life", versionName="1.0.0", attributes={"sha256": HEX}, artifact=artifact, recipe="r"
    )
    assert (made["status"], made["attributes"]) == ("DRAFT", {"sha256": HEX})

    draft = refused(iot.update_package, packageName="life", defaultVersionName="1.0.0")
    assert draft[:2] == ("ConflictException", 409)
    iot.update_package_version(packageName="life", versionName="1.0.0", action="PUBLISH")
    iot.update_package(packageName="life", defaultVersionName="1.0.0")
    version = iot.get_package_version(packageName="life", versionName="1.0.0")
    assert (version["status"], version["artifact"], version["recipe"]) == ("PUBLISHED", artifact, "r")
    assert version["creationDate"].year >= 2025
    assert iot.get_package(packageName="life")["defaultVersionName"] == "1.0.0"
    frozen = refused(iot.update_package_version, packageName="life", versionName="1.0.0", attributes={"a": "b"})
    assert frozen[:2] == ("ConflictException", 409)

    assert refused(iot.delete_package, packageName="life")[0] == "ValidationException"
    assert refused(iot.delete_package_version, packageName="life", versionName="1.0.0")[0] == "ValidationException"
    iot.update_package(packageName="life", unsetDefaultVersion=True)
    iot.delete_package_version(packageName="life", versionName="1.0.0")
    iot.delete_package(packageName="life")
    assert refused(iot.get_package, packageName="life")[:2] == ("ResourceNotFoundException", 404)


def test_packages_and_versions_are_listed_by_pages(iot: Any) -> None:
    iot.create_package(packageName="paged")
    for minor in range(5):
        iot.create_package_version(packageName="paged", versionName=f"1.{minor}.0")
    pages = iot.get_paginator("list_package_versions").paginate(packageName="paged", PaginationConfig={"PageSize": 2})
    sizes = [len(page["packageVersionSummaries"]) for page in pages]
    assert sizes == [2, 2, 1]
    iot.update_package_version(packageName="paged", versionName="1.3.0", action="PUBLISH")
    published = iot.list_package_versions(packageName="paged", status="PUBLISHED")["packageVersionSummaries"]
    assert [summary["versionName"] for summary in published] == ["1.3.0"]
    assert "paged" in [p["packageName"] for p in iot.list_packages()["packageSummaries"]]


def test_the_errors_of_the_catalog(iot: Any) -> None:
    iot.create_package(packageName="twice", clientToken="t" * 36)
    iot.create_package(packageName="twice", clientToken="t" * 36)  # the same request again is no conflict
    assert refused(iot.create_package, packageName="twice")[:2] == ("ConflictException", 409)
    assert refused(iot.create_package, packageName="other", clientToken="t" * 36)[0] == "ConflictException"
    code, status, message = refused(iot.create_package, packageName="no blanks")
    assert (code, status) == ("ValidationException", 400)
    assert "Value 'no blanks' at 'packageName' failed to satisfy constraint: Member must satisfy regular" in message
    assert refused(iot.get_package_version, packageName="twice", versionName="9")[1] == 404
    big = {f"key{n}": "x" * 1000 for n in range(4)}
    assert refused(iot.create_package_version, packageName="twice", versionName="1", attributes=big)[1] == 400


def test_the_configuration_is_off_until_it_is_switched_on(cloud: Any, iot: Any) -> None:
    assert iot.get_package_configuration()["versionUpdateByJobsConfig"] == {"enabled": False}
    needs_role = refused(iot.update_package_configuration, versionUpdateByJobsConfig={"enabled": True})
    assert needs_role[0] == "ValidationException"
    role = "arn:aws:iam::000000000000:role/IoTPackageConfigRole"
    iot.update_package_configuration(versionUpdateByJobsConfig={"enabled": True, "roleArn": role})
    config = iot.get_package_configuration()["versionUpdateByJobsConfig"]
    assert config == {"enabled": True, "roleArn": role}


def test_a_job_names_only_published_versions(iot: Any) -> None:
    iot.create_thing(thingName="job-thing")
    iot.create_package(packageName="jobbed")
    arn = iot.create_package_version(packageName="jobbed", versionName="1")["packageVersionArn"]
    target = "arn:aws:iot:us-east-1:000000000000:thing/job-thing"

    def create(job_id: str, *destinations: str, document: str = "{}") -> Any:
        return iot.create_job(
            jobId=job_id, targets=[target], document=document, destinationPackageVersions=list(destinations)
        )

    def refusal(*destinations: str) -> tuple[str, int, str]:
        return refused(lambda: create("j1", *destinations))

    code, status, message = refusal(arn)
    assert (code, status) == ("InvalidRequestException", 400)
    assert "DRAFT" in message
    assert refusal(arn.replace("jobbed", "unknown"))[:2] == ("ResourceNotFoundException", 404)
    assert refusal(arn + "0")[:2] == ("ResourceNotFoundException", 404)
    assert refusal("arn:aws:iot:us-east-1:1:thing/x")[:2] == ("InvalidRequestException", 400)
    iot.update_package_version(packageName="jobbed", versionName="1", action="PUBLISH")
    create("j1", arn)
    assert iot.describe_job(jobId="j1")["job"]["destinationPackageVersions"] == [arn]


def test_credentials_are_checked_everywhere(cloud: Any) -> None:
    calls: list[tuple[str, Callable[[Any], object]]] = [
        ("iot", lambda client: client.list_things()),
        ("iot", lambda client: client.list_packages()),
        (
            "iot",
            lambda client: client.create_job(jobId="x", targets=["arn:aws:iot:a:b:thing/c"], document="{}"),
        ),
        ("iot-data", lambda client: client.get_thing_shadow(thingName="x")),
        ("iot-jobs-data", lambda client: client.get_pending_job_executions(thingName="x")),
        ("s3", lambda client: client.list_buckets()),
        ("sts", lambda client: client.get_caller_identity()),
    ]
    for service, call in calls:
        for wrong in (
            {"secret": "wrong"},
            {"key_id": "test"},
            {"key_id": "123456789012"},
            {"key_id": "AKIAUNKNOWN"},
        ):
            with pytest.raises(ClientError) as caught:
                call(cloud.client(service, **wrong))
            answer: Any = caught.value.response
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403, (service, wrong, answer)
    wrong_secret = cloud.client("iot", secret="wrong")
    assert refused(wrong_secret.list_packages)[0] == refused(wrong_secret.list_things)[0]


def test_iam_policies_hold_for_packages(cloud: Any, iot: Any) -> None:
    iot.create_package(packageName="allowed")
    iot.create_package(packageName="forbidden")
    iam = cloud.client("iam")
    iam.create_user(UserName="reader")
    arn = "arn:aws:iot:us-east-1:000000000000:package/allowed"
    allow = {"Effect": "Allow", "Action": "iot:GetPackage", "Resource": arn}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="reader", PolicyName="one", PolicyDocument=document)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = cloud.client("iot", key_id=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert reader.get_package(packageName="allowed")["packageArn"] == arn
    assert refused(reader.get_package, packageName="forbidden")[:2] == ("AccessDeniedException", 403)
    assert refused(reader.list_packages)[1] == 403
    assert refused(reader.delete_package, packageName="allowed")[1] == 403


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
@pytest.mark.parametrize("path", ["/packages", "/things", "/some-bucket/key"])
def test_an_unsigned_request_is_refused(cloud: Any, path: str, headers: dict[str, str]) -> None:
    ready = cloud.ready
    answer = requests.get(ready["endpoint_url"] + path, headers=headers, verify=ready["ca_file"], timeout=10)
    assert answer.status_code == 403, answer.text


def test_an_unsigned_websocket_is_refused(cloud: Any) -> None:
    ready = cloud.ready
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    url = ready["endpoint_url"] + "/mqtt"
    assert requests.get(url, headers=upgrade, verify=ready["ca_file"], timeout=10).status_code == 403


def test_the_administration_of_ministack_is_closed(cloud: Any) -> None:
    ready = cloud.ready
    url = ready["endpoint_url"] + "/_ministack/reset"
    assert requests.post(url, verify=ready["ca_file"], timeout=10).status_code == 404


def test_the_address_of_describe_endpoint_serves_the_data_planes(cloud: Any, iot: Any) -> None:
    iot.create_thing(thingName="addressed")
    address = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    data = cloud.client("iot-data", endpoint_url=f"https://{address}")
    data.update_thing_shadow(thingName="addressed", payload=b'{"state":{"reported":{"a":1}}}')
    assert b'"a"' in data.get_thing_shadow(thingName="addressed")["payload"].read()
    jobs = cloud.client("iot-jobs-data", endpoint_url=f"https://{address}")
    assert jobs.get_pending_job_executions(thingName="addressed")["queuedJobs"] == []


def test_what_is_missing_is_named(iot: Any) -> None:
    code, status, message = refused(iot.create_billing_group, billingGroupName="b")
    assert (code, status) == ("NotImplementedException", 501)
    assert "CreateBillingGroup" in message


def test_s3_serves_artifacts_by_presigned_url(cloud: Any) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="firmware")
    s3.put_bucket_versioning(Bucket="firmware", VersioningConfiguration={"Status": "Enabled"})
    body = bytes(range(256)) * 40
    version = s3.put_object(Bucket="firmware", Key="a/b.bin", Body=body)["VersionId"]
    s3.put_object(Bucket="firmware", Key="a/b.bin", Body=b"newer")
    assert s3.get_object(Bucket="firmware", Key="a/b.bin", VersionId=version)["Body"].read() == body

    def get(url: str, **headers: str) -> requests.Response:
        return requests.get(url, headers=headers, verify=cloud.ready["ca_file"], timeout=10)

    parameters = {"Bucket": "firmware", "Key": "a/b.bin", "VersionId": version}
    url = s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=60)
    assert get(url).content == body
    part = get(url, Range="bytes=1000-1999")
    assert (part.status_code, part.content) == (206, body[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(body)}"
    rest = get(url, Range=f"bytes={len(body) - 10}-")
    assert (rest.status_code, rest.content) == (206, body[-10:])
    assert get(url, Range=f"bytes={len(body)}-").status_code == 416
    assert get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403

    expired = get(re.sub(r"X-Amz-Date=\d{8}", "X-Amz-Date=20200101", url))
    assert expired.status_code == 403
    assert "Request has expired" in expired.text
    assert "<Code>AccessDenied</Code>" in expired.text


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_only_the_two_ports_are_open_and_only_on_loopback(cloud: Any) -> None:
    https_port = int(cloud.ready["endpoint_url"].rpartition(":")[2])
    expected = {("127.0.0.1", https_port), ("127.0.0.1", cloud.ready["mqtt_port"])}
    # /proc is read piece by piece while connections come and go, so a line may be missed; a wrong one stays.
    deadline_s = time.monotonic() + 5.0
    while (found := listening_sockets(cloud.process.pid)) != expected and time.monotonic() < deadline_s:
        pass
    assert found == expected


def listening_sockets(pid: int) -> set[tuple[str, int]]:
    """Address and port of every listening TCP socket of a process; any UDP socket counts as port 0."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(descriptor.stat().st_ino)
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if int(columns[9]) not in inodes or (table.startswith("tcp") and columns[3] != "0A"):
                continue
            address, port = columns[1].split(":")
            known = {"0100007F": "127.0.0.1"}.get(address, address)
            found.add((known, int(port, 16) if table.startswith("tcp") else 0))
    return found
