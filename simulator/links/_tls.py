"""TLS contexts of the links: mutual when there is a certificate, always verifying the server and its name.

Rules: one context for each set of files, because reading them costs more than a connection; a file that
changed is read again. A file that cannot be used is a `TlsFileError`, which names it.
"""

import ssl
from functools import lru_cache

from simulator.links import TlsFiles

CONTEXTS_CACHED = 4096
HTTPS_PORT = 443
AWS_ALPN = "x-amzn-mqtt-ca"  # by which AWS IoT tells MQTT from HTTPS there


class TlsFileError(ValueError):
    """A certificate, key or CA file cannot be used."""


def tls_context(files: TlsFiles, port: int = 0) -> ssl.SSLContext:
    """A client context that verifies the server; cached until one of the files changes."""
    stamps = []
    for file in files:
        if file is not None:
            try:
                stamps.append(file.stat().st_mtime_ns)
            except OSError as error:
                raise TlsFileError(f"{file}: {(error.strerror or 'cannot be read').lower()}") from None
    return _tls_context(files, port == HTTPS_PORT, tuple(stamps))


@lru_cache(CONTEXTS_CACHED)
def _tls_context(files: TlsFiles, beside_https: bool, stamps: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if beside_https:
        context.set_alpn_protocols([AWS_ALPN])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    file = files.ca_file
    try:
        context.load_verify_locations(cafile=file)
        if files.cert_file is not None:
            file = files.cert_file
            context.load_cert_chain(files.cert_file, files.key_file)
    except (OSError, ssl.SSLError) as error:
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise TlsFileError(f"{file}: {words.lower().replace('_', ' ')}") from None
    return context
