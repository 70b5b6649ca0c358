"""What the tests of several links run against, made once for each test module."""

from collections.abc import Iterator

import pytest

from tests.links.mqtt_peers import Broker, Certificates, make_certificates, mosquitto


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Broker]:
    with mosquitto(tmp_path_factory.mktemp("mosquitto"), certificates) as running:
        yield running
