"""Device identities: a key made here, a certificate signed by the service, both as PEM files.

An elliptic-curve key made locally and CreateCertificateFromCsr is quick, and the private key never travels;
CreateKeysAndCertificate would cost the service an RSA key each.
"""

from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from simulator.ops.aws import Aws


class Identity(NamedTuple):
    """Where a client's certificate and key are."""

    cert_file: Path
    key_file: Path


def identity(folder: Path, name: str) -> Identity:
    """The files of a name, whether they exist or not."""
    return Identity(folder / f"{name}.cert.pem", folder / f"{name}.key.pem")


def create(aws: Aws, folder: Path, name: str, policy: str, thing: str | None = None) -> Identity:
    """A certificate for `name` with a policy, attached to a thing if there is one. Again: does what is left."""
    files = identity(folder, name)
    if not files.cert_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        made = aws.iot.create_certificate_from_csr(
            certificateSigningRequest=csr.public_bytes(serialization.Encoding.PEM).decode(), setAsActive=True
        )
        aws.iot.attach_policy(policyName=policy, target=made["certificateArn"])
        if thing:
            aws.iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
        files.key_file.touch(mode=0o600)
        files.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files.cert_file.write_text(made["certificatePem"])  # Last: its presence says that all is done.
    return files
