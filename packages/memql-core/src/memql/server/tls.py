"""TLS of a node, all of it: listeners, dials, HTTP both ways (spec "Transport").

Certificates are read when a listener or a channel is made; new ones count from the next start.
"""

from __future__ import annotations

import grpc

from memql.config import Settings
from memql.config.tls import grpc_key_pair, http_client_context, http_server_context, read_file
from memql.errors import Code, MemqlError

__all__ = [
    "channel_credentials",
    "http_client_context",
    "http_server_context",
    "node_service_credentials",
    "server_credentials",
]


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the gRPC listener of clients uses; None for plaintext. With ``MEMQL_GRPC_MTLS`` they must show a certificate
    of the authorities in ``MEMQL_GRPC_TLS_CA_FILE``.

    :raises MemqlError: ``CONFIG_INVALID`` for files that are missing, unreadable, or keys that are open to others.
    """
    return _listening(settings, "MEMQL_GRPC_MTLS" if settings.grpc_mtls else "")


def node_service_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the listener of other nodes uses: the same certificate. With ``MEMQL_NODE_SERVICE_MTLS`` they must show one
    too, whether clients must or not.

    :raises MemqlError: as :func:`server_credentials`.
    """
    if settings.node_service_mtls is None:
        return server_credentials(settings)
    return _listening(settings, "MEMQL_NODE_SERVICE_MTLS" if settings.node_service_mtls else "")


def _listening(settings: Settings, mtls: str) -> grpc.ServerCredentials | None:
    """:param mtls: the setting that demands certificates; empty for none."""
    pair = grpc_key_pair(settings)
    if pair is None:
        if mtls:
            raise MemqlError(Code.CONFIG_INVALID, f"{mtls} needs MEMQL_GRPC_TLS_CERT_FILE and MEMQL_GRPC_TLS_KEY_FILE")
        return None
    authorities = _authorities(settings)
    if mtls and authorities is None:
        raise MemqlError(Code.CONFIG_INVALID, f"{mtls} needs MEMQL_GRPC_TLS_CA_FILE")
    return grpc.ssl_server_credentials(
        [(pair.key, pair.certificate)], root_certificates=authorities, require_client_auth=bool(mtls)
    )


def channel_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """What dials to other nodes use; None for plaintext. A node that has a certificate shows it, and checks the other
    side against ``MEMQL_GRPC_TLS_CA_FILE``, else the system's authorities. The server's name is the host dialled.

    :raises MemqlError: as :func:`server_credentials`.
    """
    pair = grpc_key_pair(settings)
    authorities = _authorities(settings)
    if pair is None and authorities is None:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=authorities,
        private_key=pair.key if pair else None,
        certificate_chain=pair.certificate if pair else None,
    )


def _authorities(settings: Settings) -> bytes | None:
    path = settings.grpc_tls_ca_file
    return None if path is None else read_file(path, "MEMQL_GRPC_TLS_CA_FILE")
