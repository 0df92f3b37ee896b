"""Settings of where a node listens, and of what it takes."""

from __future__ import annotations

from pathlib import Path

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import Flag, ListenAddress, OptionalAddress, TextList

__all__ = ["ListenerSettings"]


class ListenerSettings(Group):
    """Addresses, TLS, limits."""

    # --- listeners ---
    grpc_address: ListenAddress = setting(
        "MEMQL_GRPC_ADDRESS", default=":50051", doc="where MemqlService listens (gRPC)"
    )
    http_address: ListenAddress = setting("SERVER_ADDRESS", default=":8085", doc="where HTTP and WebSocket listen")
    metrics_address: OptionalAddress = setting(
        "MEMQL_METRICS_ADDRESS", default=None, doc="where /metrics listens; with HTTP unless set"
    )
    http_public_path: str = setting("SERVER_PUBLIC_PATH", default="/", doc="path prefix of the HTTP routes")
    http_allowed_origins: TextList = setting(
        "SERVER_ALLOWED_ORIGINS",
        default="",
        doc="origins that browsers may call HTTP from; any in development, none else",
    )
    grpc_tls_cert_file: Path | None = setting(
        "MEMQL_GRPC_TLS_CERT_FILE", default=None, doc="certificate chain (PEM) of the gRPC listener"
    )
    grpc_tls_key_file: Path | None = setting(
        "MEMQL_GRPC_TLS_KEY_FILE", default=None, doc="private key (PEM) of the gRPC listener"
    )
    grpc_tls_ca_file: Path | None = setting(
        "MEMQL_GRPC_TLS_CA_FILE",
        default=None,
        doc="certificate authorities (PEM) that peers are checked with",
    )
    grpc_mtls: Flag = setting("MEMQL_GRPC_MTLS", default=False, doc="whether clients must show a certificate")
    node_service_mtls: Flag | None = setting(
        "MEMQL_NODE_SERVICE_MTLS",
        default=None,
        doc="whether other nodes must show a certificate; as MEMQL_GRPC_MTLS unless set",
    )
    http_tls_cert_file: Path | None = setting(
        "MEMQL_HTTP_TLS_CERT_FILE", default=None, doc="certificate chain (PEM) of the HTTP listener"
    )
    http_tls_key_file: Path | None = setting(
        "MEMQL_HTTP_TLS_KEY_FILE", default=None, doc="private key (PEM) of the HTTP listener"
    )
    http_tls_ca_file: Path | None = setting(
        "MEMQL_HTTP_TLS_CA_FILE",
        default=None,
        doc="further certificate authorities (PEM) that HTTP servers are checked with",
    )

    # --- limits of streams and sockets ---
    stream_max_inflight: int = setting(
        "MEMQL_STREAM_MAX_INFLIGHT", default=64, doc="unfinished requests per stream", ge=1
    )
    query_max_results: int = setting(
        "MEMQL_QUERY_MAX_RESULTS", default=10_000, doc="default and largest number of rows of a page", ge=1
    )
    max_unguarded_runs: int = setting(
        "MEMQL_MAX_UNGUARDED_AUTOMATION_EXECUTIONS_PER_WINDOW",
        default=50,
        doc="event-triggered runs that may go ahead per window while the database cannot be reached",
        ge=0,
    )
    unguarded_window: float = setting(
        "MEMQL_UNGUARDED_AUTOMATION_WINDOW_SECONDS", default=60.0, doc="seconds of that window", gt=0
    )
    ws_origin_patterns: TextList = setting(
        "MEMQL_WEBSOCKET_ORIGIN_PATTERNS",
        "MEMQL_WS_ORIGIN_PATTERNS",
        default="",
        doc="globs on scheme://host[:port] that may open a WebSocket; same origin and localhost unless set",
    )
    ws_max_concurrent_requests: int = setting(
        "MEMQL_WS_MAX_CONCURRENT_REQUESTS", default=4, doc="queries running at once per WebSocket", ge=1
    )
    ws_max_pending: int = setting("MEMQL_WS_MAX_PENDING", default=64, doc="queries queued per WebSocket", ge=0)
    ws_max_message_bytes: int = setting(
        "MEMQL_WS_MAX_MESSAGE_BYTES", default=5 * 1024 * 1024, doc="bytes of an inbound frame", ge=1024
    )
    ws_dial_timeout_ms: int = setting(
        "MEMQL_WS_DIAL_TIMEOUT_MS", default=5_000, doc="milliseconds to open a bridged session", ge=1
    )
    ws_write_timeout_ms: int = setting(
        "MEMQL_WS_WRITE_TIMEOUT_MS", default=10_000, doc="milliseconds to write one frame", ge=1
    )
    ws_ping_interval_ms: int = setting(
        "MEMQL_WS_PING_INTERVAL_MS", default=30_000, doc="milliseconds between pings", ge=100
    )
    ws_allow_query_token: Flag | None = setting(
        "MEMQL_WS_ALLOW_QUERY_TOKEN",
        default=None,
        doc="whether a WebSocket credential may stand in the URL; not in production unless set",
    )
