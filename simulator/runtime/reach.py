"""Is somebody there? Asked once before a load, so that a wrong address or certificate is one clear line.

Only of a target that is not ours: the sandbox has said that it is ready.
"""

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from simulator.errors import BackendUnavailable
from simulator.profiles import Profile
from simulator.targets import Addresses

CONNECT_S = 5.0


def check(addresses: Addresses, profiles: Mapping[str, Profile]) -> None:
    """BackendUnavailable, when a device of these profiles could not even begin to connect."""
    if addresses.kind == "sandbox":
        return
    used = {profile.channel for profile in profiles.values()}
    if "mqtt" in used:
        tls = addresses.ca_file if addresses.mqtt_tls else None
        _meet("broker", addresses.mqtt_host, addresses.mqtt_port, tls, secure=addresses.mqtt_tls)
    if "tcp" in used and addresses.tcp_host and addresses.tcp_port:
        _meet("TCP gateway", addresses.tcp_host, addresses.tcp_port)
    if "rest" in used and addresses.rest_url:
        parts = urlsplit(addresses.rest_url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        _meet("REST gateway", parts.hostname or "", port, addresses.ca_file, secure=secure)


def _meet(what: str, host: str, port: int, ca_file: str | None = None, *, secure: bool = False) -> None:
    where = f"the {what} at {host}:{port}"
    try:
        with socket.create_connection((host, port), CONNECT_S) as connection:
            if secure:
                context = ssl.create_default_context(cafile=ca_file)
                with context.wrap_socket(connection, server_hostname=host):
                    pass
    except ssl.SSLCertVerificationError as error:
        trusted = f"'{ca_file}'" if ca_file else "the system's authorities"
        raise BackendUnavailable(
            f"{where} shows a certificate that {trusted} do not vouch for: {error.verify_message}"
        ) from None
    except ssl.SSLError as error:
        if "ALERT" in str(error):
            return  # It wants a certificate of ours, which devices have.
        raise BackendUnavailable(f"{where} speaks no TLS: {error.reason or error}") from None
    except OSError as error:
        raise BackendUnavailable(f"{where} cannot be reached: {error.strerror or error}") from None
