"""Who is at the other end in `load_bench`: a mosquitto, a backend's gateways, an image in the cloud's S3.

Everything listens on loopback, on ports of its own, with its files in a temporary folder, and ends with the context.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from simulator.profiles import profile
from simulator.runtime.setup import known_products
from tests.cloud.conftest import start, stop
from tests.links.mqtt_peers import free_port, make_certificates

RULES = [{"ruleId": "hot", "productId": "*", "condition": "metrics.tempC > 1000"}]


class Broker(NamedTuple):
    """A mosquitto."""

    port: int
    tls_port: int
    ca_file: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def mosquitto(folder: Path) -> Iterator[Broker]:
    """A broker, over plain TCP and over TLS."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    folder.mkdir(parents=True, exist_ok=True)
    made = make_certificates(folder)
    port, tls_port = free_port(), free_port()
    (folder / "mosquitto.conf").write_text(
        "per_listener_settings false\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        f"log_type none\nset_tcp_nodelay true\nlistener {port} 127.0.0.1\nlistener {tls_port} 127.0.0.1\n"
        f"cafile {made.ca_file}\ncertfile {made.server_cert_file}\nkeyfile {made.server_key_file}\nuser root\n"
    )
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise SystemExit("mosquitto did not start")
        yield Broker(port, tls_port, str(made.ca_file), process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def backend(folder: Path, broker: Broker) -> Iterator[dict[str, Any]]:
    """The sandbox's backend with its gateways: its ready line."""
    folder.mkdir(parents=True, exist_ok=True)
    products = known_products({"machine-a": profile("machine-a").over("tcp", "machine-a")})
    config = {
        "state_dir": str(folder), "mqtt": {"host": "127.0.0.1", "port": broker.port, "client_id": "backend"},
        "products": products, "rules": RULES, "tcp": {"connections_max": 20_000}, "rest_client_requests_s": 1e6,
        "rest_requests_s": 1e6,
    }  # fmt: skip
    (folder / "backend.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator.backend", "--config", str(folder / "backend.json")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the backend did not start")
        yield json.loads(line)
    finally:
        process.communicate()


@contextmanager
def image(folder: Path, size: int) -> Iterator[tuple[str, str]]:
    """The sandbox's cloud with an image of so many bytes in its S3: a presigned URL, and whose certificate to trust."""
    folder.mkdir(parents=True, exist_ok=True)
    cloud = start(folder)
    try:
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket="images")
        s3.put_object(Bucket="images", Key="image.bin", Body=bytes(size))
        where = {"Bucket": "images", "Key": "image.bin"}
        yield s3.generate_presigned_url("get_object", Params=where, ExpiresIn=3600), cloud.ready["ca_file"]
    finally:
        stop(cloud.process)
