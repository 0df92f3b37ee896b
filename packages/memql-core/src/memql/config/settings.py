"""Every setting of a node, declared once: type, default, environment variables and meaning (spec
"Environment").

Read a setting as an attribute; :func:`memql.config.load_settings` fills them. Variables named without
``MEMQL_`` are also read with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from memql.config.value_types import (
    Address,
    Flag,
    HomePath,
    Labels,
    ListenAddress,
    OptionalAddress,
    PathList,
    Seconds,
    TextList,
)

__all__ = ["DEFAULT_SOURCE", "Declaration", "Settings", "declarations"]

DEFAULT_SOURCE = "default"
_PREFIX = "MEMQL_"


@dataclass(frozen=True, slots=True)
class Declaration:
    """How one setting is declared. ``names`` are its environment variables, the preferred one first."""

    field: str
    names: tuple[str, ...]
    doc: str
    default: Any
    secret: bool = False

    @property
    def name(self) -> str:
        """The preferred variable name."""
        return self.names[0]

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name that is read, in order: those declared, then those without ``MEMQL_`` with it."""
        prefixed = (_PREFIX + name for name in self.names if not name.startswith(_PREFIX))
        return tuple(dict.fromkeys((*self.names, *prefixed)))


def _setting(*names: str, default: Any, doc: str, secret: bool = False, **constraints: Any) -> Any:
    return Field(
        default=default,
        description=doc,
        repr=not secret,
        json_schema_extra={"names": list(names), "secret": secret},
        **constraints,
    )


class Settings(BaseModel):
    """What a node runs with. Immutable; ``model_copy(update=...)`` makes a variant (it keeps the sources)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        str_strip_whitespace=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    # --- where this process stands ---
    environment: str = _setting(
        "MEMQL_ENVIRONMENT",
        default="development",
        doc="label of the deployment; production tightens defaults, development opens doors only when set",
        min_length=1,
    )
    region: str = _setting("MEMQL_REGION", default="local", doc="label of the region")
    home: HomePath = _setting(
        "MEMQL_HOME",
        default="~/.memql",
        doc="directory of the embedded database, keys and checkpoints",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "MEMQL_LOG_LEVEL", default="info", doc="lowest level that is logged: debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "console"] = _setting(
        "MEMQL_LOG_FORMAT", default="auto", doc="json, console, or auto: console on a terminal, else json"
    )

    # --- node ---
    node_type: str | None = _setting(
        "MEMQL_NODE_TYPE",
        default=None,
        doc="role to run where several are installed; the only installed role wins over it",
    )
    node_id: str | None = _setting("MEMQL_NODE_ID", default=None, doc="identity of the node; the host name unless set")
    node_address: str | None = _setting("MEMQL_NODE_ADDRESS", default=None, doc="address that other nodes are told")
    node_labels: Labels = _setting("MEMQL_NODE_LABELS", default="", doc="labels of the node, k=v,k=v")
    node_flavor: str = _setting("MEMQL_NODE_FLAVOR", default="", doc="sub-type of the role")

    # --- listeners ---
    grpc_address: ListenAddress = _setting(
        "MEMQL_GRPC_ADDRESS", default=":50051", doc="where MemqlService listens (gRPC)"
    )
    http_address: ListenAddress = _setting("SERVER_ADDRESS", default=":8085", doc="where HTTP and WebSocket listen")
    metrics_address: OptionalAddress = _setting(
        "MEMQL_METRICS_ADDRESS", default=None, doc="where /metrics listens; with HTTP unless set"
    )
    http_public_path: str = _setting("SERVER_PUBLIC_PATH", default="/", doc="path prefix of the HTTP routes")
    http_allowed_origins: TextList = _setting(
        "SERVER_ALLOWED_ORIGINS",
        default="",
        doc="origins that browsers may call HTTP from; any in development, none else",
    )
    grpc_tls_cert_file: Path | None = _setting(
        "MEMQL_GRPC_TLS_CERT_FILE", default=None, doc="certificate chain (PEM) of the gRPC listener"
    )
    grpc_tls_key_file: Path | None = _setting(
        "MEMQL_GRPC_TLS_KEY_FILE", default=None, doc="private key (PEM) of the gRPC listener"
    )
    grpc_tls_ca_file: Path | None = _setting(
        "MEMQL_GRPC_TLS_CA_FILE",
        default=None,
        doc="certificate authorities (PEM) that peers are checked with",
    )
    grpc_mtls: Flag = _setting("MEMQL_GRPC_MTLS", default=False, doc="whether clients must show a certificate")

    # --- limits of streams and sockets ---
    stream_max_inflight: int = _setting(
        "MEMQL_STREAM_MAX_INFLIGHT", default=64, doc="unfinished requests per stream", ge=1
    )
    query_max_results: int = _setting(
        "MEMQL_QUERY_MAX_RESULTS", default=10_000, doc="default and largest number of rows of a page", ge=1
    )
    max_unguarded_runs: int = _setting(
        "MEMQL_MAX_UNGUARDED_AUTOMATION_EXECUTIONS_PER_WINDOW",
        default=50,
        doc="event-triggered runs that may go ahead per window while the database cannot be reached",
        ge=0,
    )
    unguarded_window: float = _setting(
        "MEMQL_UNGUARDED_AUTOMATION_WINDOW_SECONDS", default=60.0, doc="seconds of that window", gt=0
    )
    ws_origin_patterns: TextList = _setting(
        "MEMQL_WEBSOCKET_ORIGIN_PATTERNS",
        "MEMQL_WS_ORIGIN_PATTERNS",
        default="",
        doc="globs on scheme://host[:port] that may open a WebSocket; same origin and localhost unless set",
    )
    ws_max_concurrent_requests: int = _setting(
        "MEMQL_WS_MAX_CONCURRENT_REQUESTS", default=4, doc="queries running at once per WebSocket", ge=1
    )
    ws_max_pending: int = _setting("MEMQL_WS_MAX_PENDING", default=64, doc="queries queued per WebSocket", ge=0)
    ws_max_message_bytes: int = _setting(
        "MEMQL_WS_MAX_MESSAGE_BYTES", default=5 * 1024 * 1024, doc="bytes of an inbound frame", ge=1024
    )
    ws_dial_timeout_ms: int = _setting(
        "MEMQL_WS_DIAL_TIMEOUT_MS", default=5_000, doc="milliseconds to open a bridged session", ge=1
    )
    ws_write_timeout_ms: int = _setting(
        "MEMQL_WS_WRITE_TIMEOUT_MS", default=10_000, doc="milliseconds to write one frame", ge=1
    )
    ws_ping_interval_ms: int = _setting(
        "MEMQL_WS_PING_INTERVAL_MS", default=30_000, doc="milliseconds between pings", ge=100
    )
    ws_allow_query_token: Flag | None = _setting(
        "MEMQL_WS_ALLOW_QUERY_TOKEN",
        default=None,
        doc="whether a WebSocket credential may stand in the URL; not in production unless set",
    )

    # --- database ---
    database_dsn: str = _setting(
        "MEMQL_DATABASE_DSN",
        "MEMORY_NODES_DATABASE_DSN",
        default="",
        doc="PostgreSQL to use; an embedded server in the home directory unless set",
        secret=True,
    )
    database_direct_dsn: str = _setting(
        "MEMORY_NODES_DATABASE_DIRECT_DSN",
        default="",
        doc="the same database past any transaction pooler, for locks and LISTEN; the DSN unless set",
        secret=True,
    )
    migrate_on_start: Flag = _setting(
        "MEMORY_NODES_DATABASE_MIGRATE_ON_START",
        default=True,
        doc="whether this node brings the schema up to date when it starts",
    )
    auto_migrate: Flag = _setting(
        "MEMORY_NODES_DATABASE_AUTO_MIGRATE",
        default=True,
        doc="second key of migrate on start: both must be true",
    )

    # --- tree ---
    dsl_path: PathList = _setting(
        "MEMQL_DSL_PATH",
        default="",
        doc="directories laid over the packaged .memql tree, left to right, separated by colons",
    )

    # --- secrets ---
    master_key: str = _setting(
        "MEMQL_MASTER_KEY",
        default="",
        doc="64 hex digits that seal stored secrets and the genesis envelope",
        secret=True,
        pattern=r"^([0-9A-Fa-f]{64})?$",
    )
    operator_token: str = _setting(
        "MEMQL_OPERATOR_TOKEN",
        default="",
        doc="credential of the Operator scheme; off unless set",
        secret=True,
    )
    genesis_autoload: Flag = _setting(
        "MEMQL_GENESIS_AUTOLOAD", default=False, doc="whether the genesis envelope is opened at start"
    )
    genesis_b64: str = _setting("MEMQL_GENESIS_B64", default="", doc="the genesis envelope, base64", secret=True)
    genesis_path: Path | None = _setting(
        "MEMQL_GENESIS_PATH",
        default=None,
        doc="file of the genesis envelope; genesis.znas in ~/.memql unless set",
    )

    # --- who may call ---
    identity_enabled: Flag = _setting("IDENTITY_ENABLED", default=True, doc="whether callers must show a credential")
    allow_no_auth: Flag = _setting(
        "MEMQL_ALLOW_NO_AUTH", default=False, doc="whether a node without identity may leave loopback"
    )
    identity_verifier_base_url: str = _setting(
        "IDENTITY_VERIFIER_BASE_URL", default="", doc="base URL of the identity service whose tokens count"
    )

    # --- stopping ---
    shutdown_drain_delay: Seconds = _setting(
        "MEMQL_SHUTDOWN_DRAIN_DELAY",
        default="5s",
        doc="how long a stopping node still takes new streams",
        ge=0,
    )
    shutdown_budget: Seconds = _setting(
        "MEMQL_SHUTDOWN_BUDGET", default="30s", doc="how long running requests have to end", ge=0
    )

    @property
    def is_production(self) -> bool:
        """Whether defaults are the tight ones."""
        return self.environment == "production"

    @property
    def explicit_development(self) -> bool:
        """Whether ``MEMQL_ENVIRONMENT=development`` was asked for, not merely defaulted to."""
        return self.environment == "development" and self.source_of("environment") != DEFAULT_SOURCE

    @property
    def query_token_allowed(self) -> bool:
        """Whether a WebSocket credential may stand in the URL."""
        return not self.is_production if self.ws_allow_query_token is None else self.ws_allow_query_token

    @property
    def migrates_on_start(self) -> bool:
        """Whether this node migrates the schema when it starts."""
        return self.migrate_on_start and self.auto_migrate

    @property
    def direct_dsn(self) -> str:
        """The DSN for session locks and LISTEN."""
        return self.database_direct_dsn or self.database_dsn

    @property
    def required_fields(self) -> frozenset[str]:
        """The settings that a node with the others as they are cannot do without."""
        needed = set()
        if self.identity_enabled and not self.explicit_development:
            needed.add("identity_verifier_base_url")
        if self.is_production:
            needed.add("database_dsn")
        if self.genesis_autoload:
            needed.add("master_key")
        return frozenset(needed)

    @property
    def listeners(self) -> tuple[Address, ...]:
        """Every address this node listens on."""
        more = () if self.metrics_address is None else (self.metrics_address,)
        return (self.grpc_address, self.http_address, *more)

    def source_of(self, field: str) -> str:
        """Where a value came from: ``process``, ``genesis:b64``, ``genesis:path``, ``dotenv`` or ``default``.

        :param field: an attribute name.
        """
        return self._sources.get(field, DEFAULT_SOURCE)

    def with_sources(self, sources: Mapping[str, str]) -> Settings:
        """This, with its provenance recorded; the loader's last step."""
        recorded = self.model_copy()
        recorded._sources = dict(sources)
        return recorded


def declarations() -> Iterator[Declaration]:
    """Every declared setting, in declaration order."""
    for name, info in Settings.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        names = extra["names"]
        assert isinstance(names, list)
        yield Declaration(
            field=name,
            names=tuple(str(item) for item in names),
            doc=info.description or "",
            default=info.default,
            secret=bool(extra["secret"]),
        )
