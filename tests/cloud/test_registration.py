"""Registration by a template: the template itself, RegisterThing, and bulk registration from a file in S3."""

import json
import time
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from simulator.cloud.registration.template import Changes, Resource, Template, TemplateError, changes, policy_of
from tests.cloud.test_cloud_api import refused

Json = dict[str, Any]

TEMPLATE: Json = {
    "Parameters": {"Name": {"Type": "String"}, "Csr": {"Type": "String"}, "Serial": {"Type": "String", "Default": "0"}},
    "Resources": {
        "it": {
            "Type": "AWS::IoT::Thing",
            "Properties": {
                "ThingName": {"Ref": "Name"},
                "AttributePayload": {"serial": {"Ref": "Serial"}, "kind": "bulk"},
                "ThingGroups": ["bulk"],
            },
        },
        "key": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateSigningRequest": {"Ref": "Csr"}}},
        "may": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "bulk"}},
    },
}
THING_ONLY: Json = {**TEMPLATE, "Resources": {"it": TEMPLATE["Resources"]["it"]}}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ROLE = "arn:aws:iam::000000000000:role/{}"
ACCOUNT = "arn:aws:iot:us-east-1:000000000000:"


def csr() -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


# Templates


def test_a_plan_is_the_template_filled_in() -> None:
    plan = Template(json.dumps(TEMPLATE)).plan({"Name": "a", "Csr": "c", "Serial": "7"})
    assert plan.thing is not None
    assert plan.thing.properties == {
        "ThingName": "a", "AttributePayload": {"serial": "7", "kind": "bulk"}, "ThingGroups": ["bulk"],
    }  # fmt: skip
    assert plan.certificate is not None
    assert plan.certificate.properties == {"CertificateSigningRequest": "c"}
    assert [policy_of(policy.properties) for policy in plan.policies] == [("bulk", None)]
    default = Template(json.dumps(TEMPLATE)).plan({"Name": "a", "Csr": "c"})
    assert default.thing is not None
    assert default.thing.properties["AttributePayload"]["serial"] == "0"


FUNCTIONS: list[tuple[Any, Any]] = [
    ({"Fn::Join": ["-", ["a", {"Ref": "N"}]]}, "a-n"),
    ({"Fn::Select": ["1", ["a", "b"]]}, "b"),
    ({"Fn::Split": ["|", "a|b"]}, ["a", "b"]),
    ({"Fn::Select": [0, {"Fn::Split": ["-", "x-y"]}]}, "x"),
    ({"Fn::FindInMap": ["M", {"Ref": "N"}, "k"]}, "found"),
    ({"Fn::Sub": "${N}/${!N}"}, "n/${N}"),
    ({"Fn::Sub": ["${A}${N}", {"A": "1"}]}, "1n"),
]


@pytest.mark.parametrize(("function", "value"), FUNCTIONS, ids=[next(iter(f)) for f, _ in FUNCTIONS])
def test_functions(function: Any, value: Any) -> None:
    assert filled(function) == value


def filled(item: Any) -> Any:
    body = {
        "Parameters": {"N": {"Type": "String"}},
        "Mappings": {"M": {"n": {"k": "found"}}},
        "Resources": {
            "it": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "t", "AttributePayload": {"v": item}}}
        },
    }
    thing = Template(json.dumps(body)).plan({"N": "n"}).thing
    assert thing is not None
    return thing.properties["AttributePayload"]["v"]


@pytest.mark.parametrize(
    "wrong",
    [{"Ref": "X"}, {"Fn::Join": "x"}, {"Fn::Select": [5, ["a"]]}, {"Fn::FindInMap": ["M", "x", "k"]}, {"Fn::Nope": 1},
     {"Fn::Split": ["", "a"]}, {"Fn::Sub": "${X}"}],
)  # fmt: skip
def test_what_cannot_be_filled_in(wrong: Any) -> None:
    with pytest.raises(TemplateError):
        filled(wrong)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("not valid JSON", "{"),
        ("no Resources", "{}"),
        ("no Resources", '{"Resources": {}}'),
        ("has the type", '{"Resources": {"a": {"Type": "AWS::S3::Bucket"}}}'),
        ("more than one", '{"Resources": {"a": {"Type": "AWS::IoT::Thing"}, "b": {"Type": "AWS::IoT::Thing"}}}'),
        ("needs a AWS::IoT::Certificate", '{"Resources": {"a": {"Type": "AWS::IoT::Policy"}}}'),
        ("must be an object", '{"Resources": {"a": {"Type": "AWS::IoT::Thing", "Properties": []}}}'),
        ("needs a ThingName", '{"Resources": {"a": {"Type": "AWS::IoT::Thing"}}}'),
        ("needs a CertificateSigningRequest", '{"Resources": {"a": {"Type": "AWS::IoT::Certificate"}}}'),
    ],
)
def test_a_template_that_cannot_be(why: str, text: str) -> None:
    with pytest.raises(TemplateError, match=why):
        Template(text).plan({})


def thing(settings: Json, **properties: Any) -> Resource:
    return Resource("it", "AWS::IoT::Thing", {"ThingName": "t", **properties}, settings)


def test_a_thing_that_exists_stays_unless_the_template_says_so() -> None:
    have: tuple[Json, str, list[str]] = {"a": "1", "b": "2"}, "Pump", ["old"]
    assert changes(thing({}), *have) == Changes({}, [], [])
    same = thing({}, AttributePayload=have[0], ThingTypeName="Pump", ThingGroups=["old"])
    assert changes(same, *have) == Changes({}, [], [])
    other: Json = {"AttributePayload": {"b": "3"}, "ThingTypeName": "Fan", "ThingGroups": ["new"]}
    for key, value in other.items():
        with pytest.raises(TemplateError, match=key):
            changes(thing({}, **{key: value}), *have)
    kept = thing(dict.fromkeys(other, "DO_NOTHING"), **other)
    assert changes(kept, *have) == Changes({}, [], [])
    replaced = changes(thing(dict.fromkeys(other, "REPLACE"), **other), *have)
    update = {"attributePayload": {"attributes": {"b": "3"}}, "thingTypeName": "Fan"}
    assert replaced == Changes(update, ["new"], ["old"])
    merged = changes(thing({"AttributePayload": "MERGE"}, AttributePayload={"b": "3"}), *have)
    assert merged.update == {"attributePayload": {"attributes": {"a": "1", "b": "3"}}}


# Against the cloud


@pytest.fixture(scope="module")
def iot(cloud: Any) -> Any:
    iot = cloud.client("iot")
    allow = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    iot.create_policy(policyName="bulk", policyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    iot.create_thing_group(thingGroupName="bulk")
    return iot


@pytest.fixture(scope="module")
def s3(cloud: Any) -> Any:
    s3, iam = cloud.client("s3"), cloud.client("iam")
    s3.create_bucket(Bucket="bulk-input")
    rights = {"bulk": ["iot:*", "s3:GetObject"], "no-s3": ["iot:*"], "no-things": ["s3:GetObject"]}
    for name, actions in rights.items():
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        allow = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_role_policy(RoleName=name, PolicyName="needs", PolicyDocument=document)
    return s3


def ended(iot: Any, task: str) -> Any:
    deadline_s = time.monotonic() + 20.0
    while True:
        found = iot.describe_thing_registration_task(taskId=task)
        if found["status"] not in ("InProgress", "Cancelling"):
            return found
        assert time.monotonic() < deadline_s, found


def start(iot: Any, s3: Any, key: str, lines: list[Any], template: Json = TEMPLATE, role: str = "bulk") -> str:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    s3.put_object(Bucket="bulk-input", Key=key, Body=text.encode())
    return str(
        iot.start_thing_registration_task(
            templateBody=json.dumps(template), inputFileBucket="bulk-input", inputFileKey=key, roleArn=ROLE.format(role)
        )["taskId"]
    )


def report(cloud: Any, iot: Any, task: str, kind: str) -> list[Any]:
    links = iot.list_thing_registration_task_reports(taskId=task, reportType=kind)["resourceLinks"]
    texts = [requests.get(link, verify=cloud.ready["ca_file"], timeout=10) for link in links]
    assert [text.status_code for text in texts] == [200] * len(texts), texts[0].text
    return [json.loads(line) for text in texts for line in text.text.splitlines()]


def test_one_thing_is_registered(iot: Any) -> None:
    body = json.dumps(TEMPLATE)
    made = iot.register_thing(templateBody=body, parameters={"Name": "one", "Csr": csr(), "Serial": "5"})
    assert made["certificatePem"].startswith("-----BEGIN CERTIFICATE-----")
    arns = made["resourceArns"]
    assert (arns["it"], arns["may"]) == (f"{ACCOUNT}thing/one", f"{ACCOUNT}policy/bulk")
    found = iot.describe_thing(thingName="one")
    assert found["attributes"] == {"serial": "5", "kind": "bulk"}
    assert iot.list_thing_principals(thingName="one")["principals"] == [arns["key"]]
    assert [p["policyName"] for p in iot.list_attached_policies(target=arns["key"])["policies"]] == ["bulk"]
    certificate = iot.describe_certificate(certificateId=arns["key"].rpartition("/")[2])["certificateDescription"]
    assert (certificate["status"], certificate["certificatePem"]) == ("ACTIVE", made["certificatePem"])
    groups = iot.list_thing_groups_for_thing(thingName="one")["thingGroups"]
    assert [group["groupName"] for group in groups] == ["bulk"]
    # Again, with a certificate that is there and a policy by its document.
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]}
    again = {
        "Resources": {
            "it": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "one"}},
            "key": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": arns["key"].rpartition("/")[2]}},
            "may": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": document}},
        }
    }
    second = iot.register_thing(templateBody=json.dumps(again))
    assert second["resourceArns"]["key"] == arns["key"]
    assert len(iot.list_attached_policies(target=arns["key"])["policies"]) == 2
    assert iot.describe_thing(thingName="one")["attributes"] == {"serial": "5", "kind": "bulk"}


def test_what_cannot_be_registered_leaves_nothing(iot: Any) -> None:
    certificates = len(iot.list_certificates()["certificates"])
    body = json.dumps(TEMPLATE)
    assert refused(iot.register_thing, templateBody="{")[:2] == ("InvalidRequestException", 400)
    assert refused(iot.register_thing, templateBody=body, parameters={"Name": "x"})[0] == "InvalidRequestException"
    unknown = body.replace('["bulk"]', '["nowhere"]')
    for text, parameters in (
        (unknown, {"Name": "x", "Csr": csr()}),
        (body.replace('"PolicyName": "bulk"', '"PolicyName": "nope"'), {"Name": "x", "Csr": csr()}),
        (body, {"Name": "a/../b", "Csr": csr()}),
    ):
        answer = refused(iot.register_thing, templateBody=text, parameters=parameters)
        assert answer[:2] == ("ResourceRegistrationFailureException", 400)
    iot.create_thing(thingName="taken", attributePayload={"attributes": {"kind": "other"}})
    conflict = refused(iot.register_thing, templateBody=body, parameters={"Name": "taken", "Csr": csr()})
    assert conflict[:2] == ("ConflictingResourceUpdateException", 409)
    assert len(iot.list_certificates()["certificates"]) == certificates
    assert refused(iot.describe_thing, thingName="x")[1] == 404


def test_a_file_is_registered_and_what_fails_is_reported(cloud: Any, iot: Any, s3: Any) -> None:
    lines: list[Any] = [{"Name": f"bulk-{n}", "Csr": csr(), "Serial": str(n)} for n in range(3)]
    lines[1:1] = ["{broken", "", {"Name": "bulk-x", "Csr": "no csr"}, {"Csr": "c"}]
    task = start(iot, s3, "mixed.json", lines)
    found = ended(iot, task)
    assert (found["status"], found["successCount"], found["failureCount"]) == ("Completed", 3, 3)
    assert (found["percentageProgress"], found["inputFileKey"]) == (100, "mixed.json")
    assert json.loads(found["templateBody"]) == TEMPLATE
    results, errors = report(cloud, iot, task, "RESULTS"), report(cloud, iot, task, "ERRORS")
    assert [line["lineNumber"] for line in results] == [1, 6, 7]
    assert [line["lineNumber"] for line in errors] == [2, 4, 5]
    assert results[0]["response"]["ResourceArns"]["it"] == f"{ACCOUNT}thing/bulk-0"
    assert "CSR" in errors[1]["response"]["errorMessage"]
    assert iot.describe_thing(thingName="bulk-2")["attributes"]["serial"] == "2"
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bulk-input"]
    link = iot.list_thing_registration_task_reports(taskId=task, reportType="RESULTS")["resourceLinks"][0]
    forged = link[:-1] + ("0" if link[-1] != "0" else "1")
    assert requests.get(forged, verify=cloud.ready["ca_file"], timeout=10).status_code == 403
    bare = requests.get(link.partition("?")[0], verify=cloud.ready["ca_file"], timeout=10)
    assert bare.status_code == 403
    assert task in iot.list_thing_registration_tasks(status="Completed")["taskIds"]
    assert iot.list_thing_registration_tasks(status="Failed")["taskIds"] == []


def test_many_things_one_task_at_a_time_and_stopped(iot: Any, s3: Any) -> None:
    lines = [{"Name": f"many-{n}"} for n in range(20_000)]
    task = start(iot, s3, "many.json", lines, THING_ONLY)
    second = refused(
        iot.start_thing_registration_task, templateBody=json.dumps(THING_ONLY), inputFileBucket="bulk-input",
        inputFileKey="many.json", roleArn=ROLE.format("bulk"),
    )  # fmt: skip
    assert second[:2] == ("InvalidRequestException", 400)
    assert "one at a time" in second[2]
    iot.stop_thing_registration_task(taskId=task)
    found = ended(iot, task)
    assert found["status"] == "Cancelled"
    assert found["successCount"] < 20_000


@pytest.mark.parametrize(("role", "status", "failures"), [("no-s3", "Failed", 0), ("no-things", "Completed", 1)])
def test_the_role_must_be_allowed(cloud: Any, iot: Any, s3: Any, role: str, status: str, failures: int) -> None:
    task = start(iot, s3, f"{role}.json", [{"Name": f"thing-{role}"}], THING_ONLY, role)
    found = ended(iot, task)
    assert (found["status"], found["successCount"], found["failureCount"]) == (status, 0, failures)
    assert [e["lineNumber"] for e in report(cloud, iot, task, "ERRORS")] == [1] * failures
    assert refused(iot.describe_thing, thingName=f"thing-{role}")[1] == 404


def test_a_file_or_a_task_that_is_not_there(iot: Any, s3: Any) -> None:
    body = json.dumps(THING_ONLY)
    given = {"inputFileBucket": "bulk-input", "inputFileKey": "nothing", "roleArn": ROLE.format("bulk")}
    found = ended(iot, iot.start_thing_registration_task(templateBody=body, **given)["taskId"])
    assert (found["status"], found["message"]) == ("Failed", "There is no s3://bulk-input/nothing")
    wrong = refused(iot.start_thing_registration_task, templateBody="{", **given)
    assert wrong[:2] == ("InvalidRequestException", 400)
    for call in (iot.describe_thing_registration_task, iot.stop_thing_registration_task):
        assert refused(call, taskId="none")[:2] == ("ResourceNotFoundException", 404)
    reports = refused(iot.list_thing_registration_task_reports, taskId="none", reportType="ERRORS")
    assert reports[:2] == ("InvalidRequestException", 400)
