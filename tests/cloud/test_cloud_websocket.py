"""MQTT over WebSocket at the cloud: let in by a signature, refused without one that holds."""

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore import auth

from simulator.links import Endpoint, TlsFiles
from simulator.links.mqtt import Mqtt
from simulator.messages import Publish
from simulator.ops.signing import websocket_url
from simulator.targets import Addresses
from tests.links.mqtt_peers import Recorder, run, to_end


@pytest.fixture
def addresses(cloud: Any) -> Addresses:
    ready = cloud.ready
    return Addresses(
        "sandbox", "sandbox", ready["region"], ready["mqtt_host"], ready["mqtt_port"], ready["endpoint_url"],
        ready["ca_file"], "AKIATESTTESTTESTTEST", "the-secret-of-the-tests",
    )  # fmt: skip


def connect(addresses: Addresses, url: Callable[[], str], name: str) -> tuple[Mqtt, Recorder]:
    port = int(addresses.websocket_url.rsplit(":", 1)[1].split("/")[0])
    assert addresses.ca_file
    heard = Recorder()
    endpoint = Endpoint("localhost", port, name, TlsFiles(Path(addresses.ca_file)), websocket=url, backoff_first_s=0.05)
    link = Mqtt(endpoint, heard, asyncio.get_running_loop())
    to_end.append(link)
    return link, heard


@pytest.mark.parametrize("token", [None, "a/session+token=="])
def test_the_url_of_a_real_account(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    at = Addresses("aws", "aws", "us-east-1", "x.iot.us-east-1.amazonaws.com", 8883)
    url = websocket_url(at)()
    assert url.startswith("wss://x.iot.us-east-1.amazonaws.com:443/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "%2Fus-east-1%2Fiotdevicegateway%2Faws4_request&" in url
    assert "&X-Amz-SignedHeaders=host&X-Amz-Signature=" in url
    # The device gateway wants the token behind the signature, which is not over it.
    said = url.partition("&X-Amz-Signature=")[2].partition("&")[2]
    assert said == ("X-Amz-Security-Token=a%2Fsession%2Btoken%3D%3D" if token else "")


def test_signed_is_let_in(cloud: Any, addresses: Addresses) -> None:
    cloud.client("iot").create_thing(thingName="ws-device")
    urls: list[str] = []
    sign = websocket_url(addresses)

    def url() -> str:
        urls.append(sign())
        return urls[-1]

    async def test() -> None:
        link, heard = connect(addresses, url, "ws-device")
        link.subscribe(("$aws/things/ws-device/shadow/get/#",))
        link.open()
        await heard.line("connected")
        link.send(Publish("shadow", "$aws/things/ws-device/shadow/get", b""))
        await heard.line("received $aws/things/ws-device/shadow/get/rejected")
        assert b"404" in heard.messages[0][1]
        await heard.line("acknowledged 0x00")
        link.send(Publish("k", "any", b"", 2))
        await heard.line("acknowledged 0x9B")
        link.sever()
        await heard.line("disconnected severed")
        link.open()
        await heard.line("connected", 2)
        assert len(urls) == 2  # signed anew
        link.close()
        await heard.line("disconnected closed")

    run(test)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda url: url[:-4] + "0000",
        lambda url: url.replace("/mqtt?", "/mqtt?x=y&"),
        lambda url: url.split("?")[0],
    ],
    ids=["wrong", "of something else", "absent"],
)
def test_a_signature_that_does_not_hold_is_refused(addresses: Addresses, spoil: Callable[[str], str]) -> None:
    sign = websocket_url(addresses)

    async def test() -> None:
        link, heard = connect(addresses, lambda: spoil(sign()), "ws-intruder")
        link.open()
        await heard.line("disconnected WebSocket refused: HTTP 403 Forbidden")
        link.close()

    run(test)


def test_an_expired_signature_is_refused(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: long_ago)
    url = websocket_url(addresses)()

    async def test() -> None:
        link, heard = connect(addresses, lambda: url, "ws-late")
        link.open()
        await heard.line("disconnected WebSocket refused: HTTP 403 Forbidden")
        link.close()

    run(test)
