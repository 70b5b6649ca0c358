"""Certificates that every broker must refuse: expired ones, and ones of an authority that nobody knows.

Both are made here, by an authority that is thrown away, and no service ever hears of them. All devices share one of a
kind. Key and certificate are one file, so that two processes that make it at once leave a pair that fits.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from simulator.ops.certificates import Identity

Wrong = Literal["expired", "unknown"]
_FOLDER = "forged"  # inside the folder of the identities
_LIFE = timedelta(days=30)


def identity(folder: Path, wrong: Wrong) -> Identity:
    """The file of such a certificate, made when there is none yet or when it has become another kind by age."""
    file = folder / _FOLDER / f"{wrong}.pem"
    if not file.exists() or (wrong == "unknown" and _age(file) > _LIFE / 2):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = file.with_name(f".{wrong}-{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(_made(wrong))
        unfinished.replace(file)
    return Identity(file, file)


def _age(file: Path) -> timedelta:
    return datetime.now(UTC) - datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _made(wrong: Wrong) -> bytes:
    """A key and its certificate in PEM."""
    begin = datetime.now(UTC) - (2 * _LIFE if wrong == "expired" else timedelta(hours=1))
    key, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(f"fleetsim {wrong}"))
        .issuer_name(_name("fleetsim nobody"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _LIFE)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret + certificate.public_bytes(pem)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
