"""A certificate authority for one machine, and the certificates of its nodes (spec "Transport").

Both are made when they are missing and again before they end; the nodes find them as files.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from memql.errors import Code, MemqlError
from memql.mesh.cluster.files import make_private_directory, read_private, write_private
from memql.mesh.cluster.place import Place

__all__ = ["prepare_certificates"]

_AUTHORITY_LIFE: Final = timedelta(days=3650)
_NODE_LIFE: Final = timedelta(days=365)
_RENEW_BEFORE: Final = timedelta(days=30)
_CLOCKS_DIFFER: Final = timedelta(hours=1)
_NAMES: Final = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def prepare_certificates(place: Place, node_ids: Iterable[str]) -> None:
    """Have a certificate and a key for each node, signed by the authority of the place.

    :raises MemqlError: ``CONFIG_INVALID`` when a private key is open to others, or a file holds something else.
    """
    make_private_directory(place.tls)
    authority = _authority(place)
    for node_id in node_ids:
        known = _read(place.certificate(node_id), place.key(node_id))
        if known is None or not _is_current(known.certificate) or not _is_of(known.certificate, authority):
            made = _make(node_id, authority)
            _write(made, place.certificate(node_id), place.key(node_id))


def _authority(place: Place) -> _Pair:
    file = place.tls / "ca.key"
    known = _read(place.ca_file, file)
    if known is not None and _is_current(known.certificate):
        return known
    made = _make("memQL on this machine", None)
    _write(made, place.ca_file, file)
    return made


def _make(name: str, authority: _Pair | None) -> _Pair:
    """A certificate that its authority signs, or, without one, itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if authority is None else authority.key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + (_AUTHORITY_LIFE if authority is None else _NODE_LIFE))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    builder = _for_signing(builder) if authority is None else _for_a_node(builder)
    return _Pair(builder.sign(signer, hashes.SHA256()), key)


def _for_signing(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(_usage(signs_certificates=True), critical=True)


def _for_a_node(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """Both ends of a connection between nodes show one."""
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        builder.add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _is_current(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - _RENEW_BEFORE > datetime.now(UTC)


def _is_of(certificate: x509.Certificate, authority: _Pair) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _read(certificate_file: Path, key_file: Path) -> _Pair | None:
    """Both; None when one of them is missing."""
    key_text = read_private(key_file)
    if key_text is None or not certificate_file.exists():
        return None
    try:
        key = serialization.load_pem_private_key(key_text, None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (ValueError, TypeError) as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"{certificate_file} and {key_file} hold no certificate and key: {error}; remove them"
        ) from error
    return _Pair(certificate, key) if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _write(pair: _Pair, certificate_file: Path, key_file: Path) -> None:
    plain = serialization.NoEncryption()
    write_private(
        key_file, pair.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    write_private(certificate_file, pair.certificate.public_bytes(serialization.Encoding.PEM))
