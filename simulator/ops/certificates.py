"""Device identities: a key made here, a certificate signed by the service, both as PEM files.

An elliptic-curve key made locally and CreateCertificateFromCsr is quick, and the private key never travels;
CreateKeysAndCertificate would cost the service an RSA key each.

Rules: the key is written before the service is asked, the certificate after everything else, so the files of a run
that was killed say what it left in the account: a key without a certificate is one that may have been signed
(`begun` finds it, and `create` takes it), and a certificate's file means that it has its policy and its thing.
"""

import hashlib
import os
import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from simulator.ops import mark
from simulator.ops.answers import MISSING, at_once, pages
from simulator.ops.aws import Aws, code
from simulator.ops.patience import patiently

SHARED = "fleetsim-shared"  # the name of the one certificate that all devices have, if they have one
SKEW = timedelta(hours=1)  # between our clock and the service's
_NAME_MAX = 64  # of a common name, by X.520


class Identity(NamedTuple):
    """Where a client's certificate and key are."""

    cert_file: Path
    key_file: Path


def identity(folder: Path, name: str) -> Identity:
    """The files of a name, whether they exist or not; those of the shared certificate when only that is there."""
    own = Identity(folder / f"{name}.cert.pem", folder / f"{name}.key.pem")
    if not own.cert_file.exists():
        shared = _files(folder, SHARED)
        if shared.cert_file.exists():
            return shared
    return own


def _files(folder: Path, name: str) -> Identity:
    return Identity(folder / f"{name}.cert.pem", folder / f"{name}.key.pem")


def create(
    aws: Aws, folder: Path, name: str, policy: str, thing: str | None = None, begun: Mapping[bytes, str] | None = None
) -> Identity:
    """A certificate for `name` with a policy, attached to a thing if there is one. The one in its file, if it has one.

    `begun` is what the function of that name has found.
    """
    files = _files(folder, name)
    pem = files.cert_file.read_text() if files.cert_file.exists() else _signed(aws, files, name, begun or {})
    arn = arn_of(aws, id_of(pem))
    aws.iot.attach_policy(policyName=policy, target=arn)
    if thing:
        aws.iot.attach_thing_principal(thingName=thing, principal=arn)
    _write(files.cert_file, pem.encode())  # Last: its presence says that all is done.
    return files


def _signed(aws: Aws, files: Identity, name: str, begun: Mapping[bytes, str]) -> str:
    """The certificate that the service signs, or has signed, for the key of these files."""
    key = _key(files)
    certificate = begun.get(_public(key.public_key()))
    if certificate is None:
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, mark.ORGANIZATION),
                x509.NameAttribute(NameOID.COMMON_NAME, name[:_NAME_MAX]),
            ]
        )
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        request = csr.public_bytes(serialization.Encoding.PEM).decode()
        made = aws.iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
        return str(made["certificatePem"])
    return str(aws.iot.describe_certificate(certificateId=certificate)["certificateDescription"]["certificatePem"])


def forget(folder: Path, name: str) -> None:
    """Remove the files of a certificate that the service no longer has."""
    files = _files(folder, name)
    files.cert_file.unlink(missing_ok=True)
    files.key_file.unlink(missing_ok=True)


def local(folder: Path, name: str) -> str | None:
    """The id of the certificate in a name's own file, or None."""
    try:
        return id_of(_files(folder, name).cert_file.read_text())
    except (OSError, ValueError):
        return None


def id_of(pem: str) -> str:
    """What the service calls a certificate: the SHA-256 of its bytes. ValueError when it is none."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def arn_of(aws: Aws, certificate: str) -> str:
    """The ARN of a certificate by its id."""
    return mark.arn(aws, f"cert/{certificate}")


class Listed(NamedTuple):
    """A certificate as the service lists it."""

    id: str
    active: bool
    created: datetime


def listed(aws: Aws) -> list[Listed]:
    """Every certificate of the account."""
    found = pages(aws.iot, "list_certificates", "certificates")
    return [Listed(str(one["certificateId"]), one["status"] == "ACTIVE", one["creationDate"]) for one in found]


def begun(
    aws: Aws, folder: Path, names: Iterable[str], there: Iterable[Listed], known: Collection[str]
) -> dict[bytes, str]:
    """Public key → id of the certificates that the service has signed for keys whose certificate is in no file.

    Those were made by a run that was killed; they are among `there`, and `known` are others, which need no look.
    """
    open_keys = [
        files.key_file for name in names if (files := _files(folder, name)).key_file.exists()
        and not files.cert_file.exists()
    ]  # fmt: skip
    if not open_keys:
        return {}
    since = datetime.fromtimestamp(min(file.stat().st_mtime for file in open_keys), UTC) - SKEW
    wanted = {_public(_load(file).public_key()) for file in open_keys}
    ids = [one.id for one in there if one.active and one.created >= since and one.id not in known]
    found = zip(at_once(lambda one: _described(aws, one), ids), ids, strict=True)
    return {public: one for cert, one in found if cert and (public := _public(cert.public_key())) in wanted}


def marked(aws: Aws, since: datetime | None, known: Collection[str]) -> list[str]:
    """Ids of certificates with our mark in the subject, made since then; `known` need no look."""
    ids = [one.id for one in listed(aws) if one.id not in known and (since is None or one.created >= since - SKEW)]
    found = zip(at_once(lambda one: _described(aws, one), ids), ids, strict=True)
    return [one for cert, one in found if cert and _organization(cert) == mark.ORGANIZATION]


def _described(aws: Aws, certificate: str) -> x509.Certificate | None:
    try:
        pem = aws.iot.describe_certificate(certificateId=certificate)["certificateDescription"]["certificatePem"]
        return x509.load_pem_x509_certificate(pem.encode())
    except ClientError as error:
        if code(error) in MISSING:
            return None
        raise
    except ValueError:
        return None  # somebody else's, and nothing we could have made


def _organization(cert: x509.Certificate) -> str:
    names = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else ""


def deactivate(aws: Aws, certificate: str) -> None:
    """From now on nobody connects with it."""
    _unless_gone(lambda: aws.iot.update_certificate(certificateId=certificate, newStatus="INACTIVE"))


def detach(aws: Aws, thing: str, arn: str) -> None:
    """A thing without this certificate. The service may take a moment to do it."""
    _unless_gone(lambda: aws.iot.detach_thing_principal(thingName=thing, principal=arn))


def remove(aws: Aws, certificate: str) -> None:
    """Delete an inactive certificate with its policies, once it is detached from all things."""

    def delete() -> None:
        aws.iot.delete_certificate(certificateId=certificate, forceDelete=True)

    _unless_gone(lambda: patiently(delete, "DeleteConflictException"))


def discard(aws: Aws, certificate: str) -> None:
    """Switch a certificate off, take it from all things that have it, and delete it."""
    arn = arn_of(aws, certificate)

    def do() -> None:
        aws.iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
        for thing in list(pages(aws.iot, "list_principal_things", "things", principal=arn)):
            detach(aws, thing, arn)
        remove(aws, certificate)

    _unless_gone(do)


def retire(aws: Aws, thing: str, arn: str, *, ours: bool) -> None:
    """Take a certificate off a thing; delete it when it is ours and no thing has it any more."""
    detach(aws, thing, arn)
    if ours and not any(pages(aws.iot, "list_principal_things", "things", principal=arn)):
        certificate = arn.rsplit("/", 1)[-1]
        deactivate(aws, certificate)
        remove(aws, certificate)


def _unless_gone(do: Callable[[], object]) -> None:
    try:
        do()
    except ClientError as error:
        if code(error) not in MISSING:
            raise


def _key(files: Identity) -> ec.EllipticCurvePrivateKey:
    """The key of a name: the one of an earlier run, or a new one, written."""
    if files.key_file.exists():
        return _load(files.key_file)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(files.key_file, pem)
    return key


def _load(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), file
    return key


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all, for its owner only."""
    written = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
    written.replace(file)
