"""The files of TLS that settings name, as bytes and contexts (spec "Transport").

``memql.server.tls`` adds what gRPC takes.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from memql.config.settings import Settings
from memql.errors import Code, MemqlError

__all__ = [
    "KeyPair",
    "grpc_key_pair",
    "http_client_context",
    "http_server_context",
    "read_file",
    "read_private_file",
]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and its private key, both PEM, read and checked."""

    certificate_file: Path
    key_file: Path
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)


def read_file(path: Path, variable: str) -> bytes:
    """The content of a file that a setting names.

    :raises MemqlError: ``CONFIG_INVALID`` naming the variable when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"{variable}: {path} cannot be read: {error.strerror or 'unknown reason'}"
        ) from error


def read_private_file(path: Path, variable: str) -> bytes:
    """The same for a private key, which only its owner may be able to read.

    :raises MemqlError: ``CONFIG_INVALID`` when group or others have any right to it.
    """
    content = read_file(path, variable)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"{variable}: the private key {path} is open to group or others (mode {mode:04o}); chmod 600 it",
        )
    return content


def _key_pair(certificate: Path | None, key: Path | None, prefix: str) -> KeyPair | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise MemqlError(Code.CONFIG_INVALID, f"{prefix}_CERT_FILE and {prefix}_KEY_FILE must be given together")
    return KeyPair(
        certificate,
        key,
        read_file(certificate, f"{prefix}_CERT_FILE"),
        read_private_file(key, f"{prefix}_KEY_FILE"),
    )


def grpc_key_pair(settings: Settings) -> KeyPair | None:
    """What gRPC listeners and dials show; None for plaintext.

    :raises MemqlError: ``CONFIG_INVALID`` for a file without its counterpart, unreadable, or open to others.
    """
    return _key_pair(settings.grpc_tls_cert_file, settings.grpc_tls_key_file, "MEMQL_GRPC_TLS")


def http_server_context(settings: Settings) -> ssl.SSLContext | None:
    """How the HTTP listener speaks TLS; None for plaintext.

    :raises MemqlError: ``CONFIG_INVALID`` as :func:`grpc_key_pair`, or when certificate and key do not fit.
    """
    pair = _key_pair(settings.http_tls_cert_file, settings.http_tls_key_file, "MEMQL_HTTP_TLS")
    if pair is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(pair.certificate_file, pair.key_file)
    except ssl.SSLError as error:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"MEMQL_HTTP_TLS_CERT_FILE and MEMQL_HTTP_TLS_KEY_FILE: {pair.certificate_file} and {pair.key_file} are "
            f"no pair of certificate and key ({error.reason or error})",
        ) from error
    return context


def http_client_context(settings: Settings) -> ssl.SSLContext:
    """How HTTPS servers of the cluster are checked: the system's authorities and those of the settings.

    :raises MemqlError: ``CONFIG_INVALID`` for an authorities file that is unreadable or no PEM.
    """
    context = ssl.create_default_context()
    for path, variable in _authorities(settings):
        text = read_file(path, variable).decode("ascii", "replace")
        try:
            context.load_verify_locations(cadata=text)
        except ssl.SSLError as error:
            raise MemqlError(Code.CONFIG_INVALID, f"{variable}: {path} holds no certificates (PEM)") from error
    return context


def _authorities(settings: Settings) -> Iterable[tuple[Path, str]]:
    named = (
        (settings.http_tls_ca_file, "MEMQL_HTTP_TLS_CA_FILE"),
        (settings.identity_verifier_ca_file, "IDENTITY_VERIFIER_CA_FILE"),
    )
    return ((path, variable) for path, variable in named if path is not None)
