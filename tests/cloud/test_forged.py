"""Forged certificates at the real cloud: refused, and no service has heard of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from simulator.links import Endpoint, TlsFiles
from simulator.links.mqtt import Mqtt
from simulator.ops import forged
from tests.links.mqtt_peers import make_link, run


@pytest.mark.parametrize("wrong", ["expired", "unknown"])
def test_a_forged_certificate_is_refused(cloud: Any, identity: Any, tmp_path: Path, wrong: Any) -> None:
    device, ready = identity(f"forged-{wrong}"), cloud.ready

    async def connect(files: tuple[Path, Path], line: str) -> list[str]:
        tls = TlsFiles(Path(ready["ca_file"]), *files)
        at = Endpoint(ready["mqtt_host"], ready["mqtt_port"], device.name, tls, backoff_first_s=0.02)
        link, heard = make_link(Mqtt, at)
        link.open()
        await heard.line(line, 1 if line == "connected" else 2)
        link.close()
        await asyncio.sleep(0)
        return heard.log

    async def story() -> None:
        log = await connect(forged.identity(tmp_path, wrong), "disconnected")
        assert not [line for line in log if line.startswith("connected")]
        await connect((Path(device.cert_file), Path(device.key_file)), "connected")

    run(story)
    assert len(cloud.client("iot").list_certificates()["certificates"]) <= 2
