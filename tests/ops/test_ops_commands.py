"""Commands by our operations and by the command line, to a device that answers, at the real cloud process."""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from simulator.errors import UsageError
from simulator.ops import commands
from simulator.ops.aws import Aws
from tests.cloud.conftest import Cloud, Identity
from tests.ops.conftest import Ended

Fleetsim = Callable[..., Ended]
FAN = commands.parameter("speed:INTEGER=3")


@pytest.fixture(scope="module")
def lamp(cloud: Cloud, aws: Aws, identity: Callable[..., Identity]) -> Iterator[str]:
    """A device that answers every command: FAILED when it is told to fail, else SUCCEEDED with what it got."""
    me = identity("lamp")
    listening = threading.Event()

    def answer(client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        *start, kind, form = message.topic.split("/")
        if kind != "request":
            return  # the cloud's word on our answer comes without a subscription
        said = json.loads(message.payload)
        fails = "fail" in said
        report: dict[str, Any] = {
            "status": "FAILED" if fails else "SUCCEEDED",
            "result": {"got": {"s": json.dumps(said)}},
        }
        if fails:
            report["statusReason"] = {"reasonCode": "NO_BULB", "reasonDescription": "there is no bulb"}
        client.publish("/".join([*start, "response", form]), json.dumps(report), qos=1)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="lamp")
    at = cloud.ready
    context = ssl.create_default_context(cafile=at["ca_file"])
    context.load_cert_chain(me.cert_file, me.key_file)
    client.tls_set_context(context)
    client.on_message = answer
    client.on_subscribe = lambda *_: listening.set()
    client.on_connect = lambda c, *_: c.subscribe("$aws/commands/things/lamp/executions/+/request/json", qos=1)
    aws.iot.create_policy_version(
        policyName="policy-lamp", setAsDefault=True,
        policyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
        ),
    )  # fmt: skip
    client.connect(at["mqtt_host"], int(at["mqtt_port"]))
    client.loop_start()
    assert listening.wait(10)
    yield "lamp"
    client.disconnect()
    client.loop_stop()


def send(aws: Aws, command_id: str, *given: str, timeout_s: int = 10) -> dict[str, Any]:
    command = commands.show(aws, command_id)
    started = commands.send(
        aws, command, commands.targets(aws, ["lamp"]), commands.values(command, given), timeout_s
    )  # fmt: skip
    return commands.wait(aws, started, 20)[0]


def test_a_device_is_told_and_answers(aws: Aws, lamp: str) -> None:
    commands.create(aws, "on", b'{"on": true}', description="light", display_name="Light on")
    done = send(aws, "on")
    assert done["status"] == "SUCCEEDED"
    assert json.loads(done["result"]["got"]["S"]) == {"on": True}
    commands.create(aws, "fail", b'{"fail": true}')
    failed = send(aws, "fail")
    assert (failed["status"], failed["statusReason"]["reasonCode"]) == ("FAILED", "NO_BULB")
    assert [one["executionId"] for one in commands.executions(aws, "fail")] == [failed["executionId"]]
    of_lamp = commands.executions(aws, target_arn=failed["targetArn"])
    assert {one["status"] for one in of_lamp} == {"SUCCEEDED", "FAILED"}
    assert len(commands.executions(aws, "on", failed["targetArn"])) == 1
    assert commands.executions(aws, "on", status="FAILED") == []
    commands.delete_execution(aws, failed["executionId"], failed["targetArn"])
    assert commands.executions(aws, "fail") == []


def test_a_template_is_filled_in(aws: Aws, lamp: str) -> None:
    template = '{"fan": "${aws:iot:commandexecution::parameter:speed}"}'
    commands.create(aws, "fan", template=template, parameters=[FAN])
    assert json.loads(send(aws, "fan", "speed=7")["result"]["got"]["S"])["fan"] in (7, "7")
    assert json.loads(send(aws, "fan")["result"]["got"]["S"])["fan"] in (3, "3")
    command = commands.show(aws, "fan")
    with pytest.raises(UsageError, match=r"command 'fan' has no parameter 'sped' \(did you mean 'speed'\?\)"):
        commands.values(command, ["sped=1"])
    with pytest.raises(UsageError, match="parameter 'speed': 'fast' is not a value of type INTEGER"):
        commands.values(command, ["speed=fast"])
    with pytest.raises(UsageError, match="expected name=value"):
        commands.values(command, ["speed"])


def test_texts_become_values_of_their_type() -> None:
    assert commands.parameter("a") == {"name": "a", "type": "STRING"}
    assert commands.parameter("a:boolean=TRUE") == {"name": "a", "type": "BOOLEAN", "defaultValue": {"B": True}}
    assert commands.value("x", "DOUBLE", "1.5") == {"D": 1.5}
    assert commands.value("x", "UNSIGNEDLONG", "7") == {"UL": "7"}
    assert commands.value("x", "BINARY", "aGk=") == {"BIN": b"hi"}
    assert commands.value("x", "LONG", "-7") == {"L": -7}
    for kind, text in [("BOOLEAN", "1"), ("UNSIGNEDLONG", "-1"), ("BINARY", "?"), ("STRING", ""), ("LONG", "1.0")]:
        with pytest.raises(UsageError, match=f"not a value of type {kind}"):
            commands.value("x", kind, text)
    with pytest.raises(UsageError, match=r"expected name, name:TYPE .*did you mean 'INTEGER'"):
        commands.parameter("a:INTEGR")
    needy = {"commandId": "c", "mandatoryParameters": [commands.parameter("a")]}
    with pytest.raises(UsageError, match="needs a value: --param a=…"):
        commands.values(needy, [])


def test_mistakes_say_the_way_out(aws: Aws, lamp: str) -> None:
    commands.create(aws, "known", b"{}")
    with pytest.raises(UsageError, match="command 'known' is there already"):
        commands.create(aws, "known", b"{}")
    with pytest.raises(UsageError, match=r"no command 'knowm' \(did you mean 'known'\?\)"):
        commands.show(aws, "knowm")
    with pytest.raises(UsageError, match=r"no command 'knowm' \(did you mean"):
        commands.delete(aws, "knowm")
    with pytest.raises(UsageError, match="a payload or a template"):
        commands.create(aws, "x")
    with pytest.raises(UsageError, match="names parameter 'speed', which is not declared"):
        commands.create(aws, "x", template="${aws:iot:commandexecution::parameter:speed}")
    with pytest.raises(UsageError, match="no thing 'lamb'"):
        commands.targets(aws, ["lamb"])
    with pytest.raises(UsageError, match="executions of what"):
        commands.executions(aws)
    with pytest.raises(UsageError, match="1 to 43200"):
        send(aws, "known", timeout_s=0)
    with pytest.raises(UsageError, match="no execution 'e-1'"):
        commands.execution(aws, "e-1", commands.targets(aws, ["lamp"])[0])


def test_the_commands_of_commands(aws: Aws, lamp: str, fleetsim: Fleetsim) -> None:
    made = fleetsim("commands", "create", "blink", "--payload", '{"blink": 3}', "--display-name", "Blink")
    assert made.out == "command blink is created\n"
    listed = fleetsim("commands", "list", "--json").json["commands"]
    assert "blink" in [one["commandId"] for one in listed]
    assert 'content: {"blink": 3}' in fleetsim("commands", "show", "blink").out
    sent = fleetsim("commands", "send", "blink", "--thing", "lamp", "--json")
    assert (sent.code, sent.json["executions"][0]["status"]) == (0, "SUCCEEDED")
    aws.iot.create_thing_group(thingGroupName="Lamps")
    aws.iot.add_thing_to_thing_group(thingName="lamp", thingGroupName="Lamps")
    fleetsim("commands", "create", "break", "--payload", '{"fail": 1}')
    failed = fleetsim("commands", "send", "break", "--group", "Lamps", "--thing", "lamp")
    assert failed.code == 1
    assert "NO_BULB there is no bulb" in failed.out
    assert failed.out.endswith("1 execution: 1 FAILED\n")
    started = fleetsim("commands", "send", "blink", "--client", "nobody", "--no-wait", "--json").json["executions"][0]
    assert set(started) == {"targetArn", "executionId"}
    of_blink = fleetsim("commands", "executions", "blink").out.splitlines()
    assert re.fullmatch(r"2 executions: 1 (CREATED, 1 SUCCEEDED|SUCCEEDED, 1 CREATED)", of_blink[-1])
    execution = sent.json["executions"][0]["executionId"]
    one = fleetsim("commands", "executions", "--thing", "lamp", "--execution", execution, "--json").json
    assert one["status"] == "SUCCEEDED"
    assert "a command for whom" in fleetsim("commands", "send", "blink").err
    assert "nobody can be asked" in fleetsim("commands", "delete", "blink").err
    gone = fleetsim("commands", "delete", execution, "--thing", "lamp", "--yes")
    assert gone.out == f"execution {execution}: deleted\n"
    assert fleetsim("commands", "delete", "blink", "break", "--yes").out.startswith("command blink: ")
    again = fleetsim("commands", "create", "blink", "--payload", "{}")
    assert again.err.endswith("command 'blink' is being deleted, which takes the service hours; give another id\n")
