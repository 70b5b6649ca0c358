"""Packages in jobs at a real cloud: documents over MQTT and HTTPS, presigned URLs, `$default`, `$package`."""

import json
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from tests.cloud import test_cloud_devices as devices
from tests.cloud.test_cloud_devices import ROLE, TRUST, WAIT_S

connect = devices.connect

ARN = "arn:aws:iot:us-east-1:000000000000:"
PRESIGNED = {"roleArn": ROLE.format("jobs"), "expiresInSec": 600}
OLD, NEW = b"firmware 1.1.0" * 1000, b"firmware 2.0.0" * 1000
FIRST = ARN + "package/Sedan/version/1.1.0"


def package(inner: str) -> str:
    return "${aws:iot:package:" + inner + "}"


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    """Package Sedan: 1.1.0 (default) and 2.0.0 under one key of a versioned bucket, 3.0.0 a draft."""
    iam, s3, client = cloud.client("iam"), cloud.client("s3"), cloud.client("iot")
    every_object = {"Effect": "Allow", "Action": ["s3:GetObject*", "s3:PutObject"], "Resource": "arn:aws:s3:::images/*"}
    for name in ("jobs", "packages"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        document = json.dumps({"Version": "2012-10-17", "Statement": [every_object]})
        iam.put_role_policy(RoleName=name, PolicyName="needs", PolicyDocument=document)
    s3.create_bucket(Bucket="images")
    s3.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})
    client.create_package(packageName="Sedan")
    for name, content in (("1.1.0", OLD), ("2.0.0", NEW), ("3.0.0", b"")):
        version = s3.put_object(Bucket="images", Key="Sedan/a b+ü.bin", Body=content)["VersionId"]
        client.create_package_version(
            packageName="Sedan",
            versionName=name,
            attributes={"size": str(len(content)), "note": 'a "quoted" one'},
            artifact={"s3Location": {"bucket": "images", "key": "Sedan/a b+ü.bin", "version": version}},
        )
        if name != "3.0.0":
            client.update_package_version(packageName="Sedan", versionName=name, action="PUBLISH")
    client.update_package(packageName="Sedan", defaultVersionName="1.1.0")
    client.update_package_configuration(versionUpdateByJobsConfig={"enabled": True, "roleArn": ROLE.format("packages")})
    return client


def create(iot: Any, job_id: str, thing: str, document: Any, *destinations: str, **more: Any) -> Any:
    if document is not None:
        more["document"] = json.dumps(document)
    if destinations:
        more["destinationPackageVersions"] = list(destinations)
    return iot.create_job(jobId=job_id, targets=[f"{ARN}thing/{thing}"], **more)


def refusal(call: Any, *args: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*args, **arguments)
    error = caught.value.response["Error"]
    return str(error["Code"]), str(error["Message"])


def shadow_of(cloud: Any, thing: str) -> dict[str, Any]:
    stored = cloud.client("iot-data").get_thing_shadow(thingName=thing, shadowName="$package")
    state: dict[str, Any] = json.load(stored["payload"])["state"]
    return state


def test_a_device_gets_attributes_and_a_fresh_url_each_time(connect: Any, identity: Any, cloud: Any, iot: Any) -> None:
    device, jobs = identity("fresh"), cloud.client("iot-jobs-data")
    topic = f"$aws/things/{device.name}/jobs"

    def get(url: str, **headers: str) -> requests.Response:
        return requests.get(url, headers=headers, verify=cloud.ready["ca_file"], timeout=WAIT_S)

    document = {
        "operation": "ota",
        "size": package("Sedan:version:1.1.0:attributes:size"),
        "all": package(":version::attributes"),
        "url": package("Sedan:version:1.1.0:artifact:s3-presigned-url"),
        "other": package("Sedan:version:1.1.0:artifact-location:s3-presigned-url"),
    }
    with connect(device) as heard:
        heard.subscribe(f"{topic}/notify-next", f"{topic}/+/get/+", f"{topic}/+/update/+")
        create(iot, "fresh", device.name, document, FIRST, presignedUrlConfig=PRESIGNED)
        told = heard.until("/notify-next")["execution"]["jobDocument"]
        assert told["operation"] == "ota"
        assert (told["size"], told["all"]) == ("14000", {"size": "14000", "note": 'a "quoted" one'})
        assert told["url"].startswith(cloud.ready["endpoint_url"] + "/images/Sedan/a%20b%2B%C3%BC.bin?")
        assert "X-Amz-Expires=600" in told["url"]
        assert get(told["url"]).content == OLD  # and not what has the key by now
        part = get(told["other"], Range="bytes=13990-")
        assert (part.status_code, part.content) == (206, OLD[-10:])
        assert get(told["url"].replace("versionId=", "versionId=x")).status_code == 403

        heard.publish(f"{topic}/fresh/get", {})
        described = heard.until("/fresh/get/accepted")["execution"]["jobDocument"]
        assert get(described["url"]).content == OLD
        heard.publish(f"{topic}/fresh/update", {"status": "IN_PROGRESS", "includeJobDocument": True})
        assert get(heard.until("/update/accepted")["jobDocument"]["url"]).content == OLD
        over_https = jobs.describe_job_execution(jobId="fresh", thingName=device.name)["execution"]["jobDocument"]
        assert get(json.loads(over_https)["url"]).content == OLD
        assert json.loads(over_https)["all"] == told["all"]
        next_one = jobs.start_next_pending_job_execution(thingName=device.name)["execution"]["jobDocument"]
        assert get(json.loads(next_one)["url"]).content == OLD

    shown = json.loads(iot.get_job_document(jobId="fresh")["document"])
    assert (shown["size"], shown["url"]) == ("14000", document["url"])
    raw = iot.get_job_document(jobId="fresh", beforeSubstitution=True)["document"]
    assert json.loads(raw) == document


def test_default_is_what_it_was_when_the_job_was_created(identity: Any, cloud: Any, iot: Any) -> None:
    device, jobs = identity("default"), cloud.client("iot-jobs-data")
    default = ARN + "package/Sedan/version/$default"
    document = {
        "url": package("Sedan:version:$default:artifact:s3-presigned-url"),
        "size": package("Sedan:version:$default:attributes:size"),
    }
    create(iot, "default", device.name, document, default, presignedUrlConfig=PRESIGNED)
    iot.update_package(packageName="Sedan", defaultVersionName="2.0.0")
    try:
        assert iot.describe_job(jobId="default")["job"]["destinationPackageVersions"] == [FIRST]
        before = iot.describe_job(jobId="default", beforeSubstitution=True)["job"]
        assert before["destinationPackageVersions"] == [default]
        execution = jobs.start_next_pending_job_execution(thingName=device.name)["execution"]
        url = json.loads(execution["jobDocument"])["url"]
        assert requests.get(url, verify=cloud.ready["ca_file"], timeout=WAIT_S).content == OLD
        jobs.update_job_execution(jobId="default", thingName=device.name, status="SUCCEEDED")
        assert shadow_of(cloud, device.name)["reported"] == {"Sedan": {"version": "1.1.0", "attributes": {}}}
        uninstall = ARN + "package/Sedan/version/$null"
        create(iot, "uninstall", device.name, {"operation": "remove"}, uninstall)
        assert iot.describe_job(jobId="uninstall")["job"]["destinationPackageVersions"] == [uninstall]
        jobs.update_job_execution(jobId="uninstall", thingName=device.name, status="SUCCEEDED")
        assert shadow_of(cloud, device.name).get("reported", {}) == {}
    finally:
        iot.update_package(packageName="Sedan", defaultVersionName="1.1.0")


def test_what_create_job_refuses_and_why(identity: Any, iot: Any) -> None:
    thing = identity("refused").name

    def refused(document: Any, *destinations: str, **more: Any) -> tuple[str, str]:
        return refusal(create, iot, "never", thing, document, *destinations, **more)

    artifact = {"url": package("Sedan:version:1.1.0:artifact:s3-presigned-url")}
    for code, words, answer in (
        ("InvalidRequestException", "DRAFT", refused({}, ARN + "package/Sedan/version/3.0.0")),
        ("InvalidRequestException", "role ARN", refused(artifact, FIRST)),
        ("InvalidRequestException", "role ARN", refused(artifact, FIRST, presignedUrlConfig={"expiresInSec": 60})),
        ("InvalidRequestException", "destinationPackageVersions", refused(artifact, presignedUrlConfig=PRESIGNED)),
        ("InvalidRequestException", "$default", refused({"a": package("Sedan:version:$default:attributes")}, FIRST)),
        ("InvalidRequestException", "$null", refused({"a": package("Sedan:version:$null:attributes")}, FIRST)),
        ("ResourceNotFoundException", "4.0.0", refused({}, ARN + "package/Sedan/version/4.0.0")),
    ):
        assert answer[0] == code, answer
        assert words in answer[1]
    assert refusal(iot.describe_job, jobId="never")[0] == "ResourceNotFoundException"
    template = {"jobTemplateId": "never", "description": "d", "document": json.dumps(artifact)}
    assert "role ARN" in refusal(iot.create_job_template, **template)[1]


def test_a_document_from_s3_and_one_from_a_template(identity: Any, cloud: Any, iot: Any) -> None:
    thing, jobs = identity("sourced").name, cloud.client("iot-jobs-data")
    document = json.dumps({"size": package(":version::attributes:size")})
    cloud.client("s3").put_object(Bucket="images", Key="job.json", Body=document.encode())
    source = "https://s3.us-east-1.amazonaws.com/images/job.json"
    assert refusal(create, iot, "sourced", thing, None, documentSource=source)[0] == "InvalidRequestException"
    create(iot, "sourced", thing, None, FIRST, documentSource=source)
    assert json.loads(iot.get_job_document(jobId="sourced")["document"]) == {"size": "14000"}
    template = iot.create_job_template(
        jobTemplateId="sized", description="d", document=document, destinationPackageVersions=[FIRST]
    )
    create(iot, "templated", thing, None, jobTemplateArn=template["jobTemplateArn"])
    assert iot.describe_job(jobId="templated")["job"]["destinationPackageVersions"] == [FIRST]
    execution = jobs.describe_job_execution(jobId="templated", thingName=thing)["execution"]
    assert json.loads(execution["jobDocument"]) == {"size": "14000"}
    jobs.update_job_execution(jobId="templated", thingName=thing, status="SUCCEEDED")
    assert shadow_of(cloud, thing)["reported"]["Sedan"]["version"] == "1.1.0"


def test_urls_of_object_versions_and_of_uploads(identity: Any, cloud: Any, iot: Any) -> None:
    thing, jobs, s3 = identity("uploads").name, cloud.client("iot-jobs-data"), cloud.client("s3")
    host = "https://s3.us-east-1.amazonaws.com/images"
    old = s3.put_object(Bucket="images", Key="v2.bin", Body=b"old")["VersionId"]
    s3.put_object(Bucket="images", Key="v2.bin", Body=b"new")
    document = {
        "now": "${aws:iot:s3-presigned-url:" + f"{host}/v2.bin" + "}",
        "then": "${aws:iot:s3-presigned-url-v2:" + f"{host}/v2.bin%3FversionId%3D{old}" + "}",
        "log": "${aws:iot:s3-presigned-url-upload:" + host + "/logs/${thingName}/${jobId}/${executionNumber}.txt}",
        "auto": "${aws:iot:s3-presigned-url-upload:" + host + "}",
    }
    upload_only = {"log": document["log"]}
    assert "role ARN" in refusal(create, iot, "uploads", thing, upload_only)[1]
    create(iot, "uploads", thing, document, presignedUrlConfig=PRESIGNED)
    execution = jobs.start_next_pending_job_execution(thingName=thing)["execution"]
    urls = json.loads(execution["jobDocument"])
    verify = cloud.ready["ca_file"]
    assert requests.get(urls["now"], verify=verify, timeout=WAIT_S).content == b"new"
    assert requests.get(urls["then"], verify=verify, timeout=WAIT_S).content == b"old"
    assert requests.put(urls["log"], data=b"all well", verify=verify, timeout=WAIT_S).status_code == 200
    assert requests.put(urls["auto"], data=b"too", verify=verify, timeout=WAIT_S).status_code == 200
    assert requests.get(urls["log"], verify=verify, timeout=WAIT_S).status_code == 403  # bound to its method
    stored = s3.get_object(Bucket="images", Key=f"logs/{thing}/uploads/{execution['executionNumber']}.txt")
    assert stored["Body"].read() == b"all well"
    assert iot.get_job_document(jobId="uploads")["document"] == json.dumps(document)


@pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])
def test_a_device_writes_only_versions_and_attributes(connect: Any, identity: Any, cloud: Any, version: int) -> None:
    device, data = identity(f"writes-{version}"), cloud.client("iot-data")
    topic = f"$aws/things/{device.name}/shadow/name/$package"
    with connect(device, version) as heard:
        heard.subscribe(f"{topic}/update/accepted", f"{topic}/update/rejected")

        def write(entry: Any) -> tuple[str, Any]:
            heard.publish(f"{topic}/update", {"state": {"reported": {"Sedan": entry}}, "clientToken": "c"})
            where, payload = heard.next()
            assert payload["clientToken"] == "c"
            return where.rpartition("/")[2], payload.get("code")

        assert write({"version": "1.1.0", "attributes": {"slot": 2}}) == ("accepted", None)
        assert write({"version": "1.1.0", "hash": "x"}) == ("rejected", 400)
        assert write("1.1.0") == ("rejected", 400)
        assert write({"version": 1}) == ("rejected", 400)
    wrong = json.dumps({"state": {"reported": {"Sedan": {"hash": "x"}}}})
    code, message = refusal(data.update_thing_shadow, thingName=device.name, shadowName="$package", payload=wrong)
    assert code == "InvalidRequestException"
    assert "'hash' of 'Sedan'" in message
    data.update_thing_shadow(thingName=device.name, shadowName="other", payload=wrong)
    assert shadow_of(cloud, device.name)["reported"] == {"Sedan": {"version": "1.1.0", "attributes": {"slot": 2}}}


def test_a_role_that_may_not_read_gives_urls_that_do_not_open(identity: Any, cloud: Any, iot: Any) -> None:
    thing, jobs, iam = identity("forbidden").name, cloud.client("iot-jobs-data"), cloud.client("iam")
    iam.create_role(RoleName="blind", AssumeRolePolicyDocument=json.dumps(TRUST))
    document = {"url": package(":version::artifact:s3-presigned-url")}

    def url(job_id: str, role: str) -> str:
        create(iot, job_id, thing, document, FIRST, presignedUrlConfig={"roleArn": ROLE.format(role)})
        execution = jobs.describe_job_execution(jobId=job_id, thingName=thing)["execution"]
        return str(json.loads(execution["jobDocument"])["url"])

    assert requests.get(url("blind", "blind"), verify=cloud.ready["ca_file"], timeout=WAIT_S).status_code == 403
    assert url("nobody", "nobody") == package("Sedan:version:1.1.0:artifact:s3-presigned-url")


def test_policies_hold_for_the_document_of_a_job(identity: Any, cloud: Any, iot: Any) -> None:
    create(iot, "secret", identity("secret").name, {"a": package(":version::attributes")}, FIRST)
    iam = cloud.client("iam")
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    stranger = cloud.client("iot", key_id=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert refusal(stranger.get_job_document, jobId="secret")[0] == "AccessDeniedException"
    assert refusal(stranger.describe_job, jobId="secret")[0] == "AccessDeniedException"
    assert refusal(iot.get_job_document, jobId="unknown")[0] == "ResourceNotFoundException"
