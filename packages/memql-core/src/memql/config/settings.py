"""Every setting of a node, declared once: type, default, environment variables and meaning (spec
"Environment").

Read a setting as an attribute; :func:`memql.config.load_settings` fills them. Variables named without
``MEMQL_`` are also read with it. The declarations stand by theme in :mod:`memql.config.groups`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PrivateAttr

from memql.config.groups.access import AccessSettings
from memql.config.groups.declaration import Group
from memql.config.groups.first_owner import FirstOwnerSettings
from memql.config.groups.issuer import IssuerSettings
from memql.config.groups.listeners import ListenerSettings
from memql.config.groups.mesh import MeshSettings
from memql.config.groups.models import ModelSettings
from memql.config.groups.node import NodeSettings
from memql.config.groups.process import ProcessSettings
from memql.config.groups.secrets import SecretSettings
from memql.config.groups.store import StoreSettings
from memql.config.value_types import Address

__all__ = ["DEFAULT_SOURCE", "Declaration", "Settings", "declarations"]

DEFAULT_SOURCE = "default"
_PREFIX = "MEMQL_"
_GROUPS: tuple[type[Group], ...] = (
    ProcessSettings,
    NodeSettings,
    ListenerSettings,
    StoreSettings,
    SecretSettings,
    AccessSettings,
    MeshSettings,
    ModelSettings,
    IssuerSettings,
    FirstOwnerSettings,
)


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


class Settings(
    ProcessSettings,
    NodeSettings,
    ListenerSettings,
    StoreSettings,
    SecretSettings,
    AccessSettings,
    MeshSettings,
    ModelSettings,
    IssuerSettings,
    FirstOwnerSettings,
):
    """What a node runs with. Immutable; ``model_copy(update=...)`` makes a variant (it keeps the sources)."""

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

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
            issues = self.node_type == "identity"
            needed.add("identity_base_url" if issues else "identity_verifier_base_url")
        if self.is_production:
            needed.add("database_dsn")
        if self.genesis_autoload:
            needed.add("master_key")
        return frozenset(needed)

    @property
    def listeners(self) -> tuple[Address, ...]:
        """Every address this node listens on."""
        more = (self.metrics_address, self.node_service_address)
        return (self.grpc_address, self.http_address, *(address for address in more if address is not None))

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
    """Every declared setting, theme by theme."""
    for group in _GROUPS:
        yield from _declared(group)


def _declared(group: type[Group]) -> Iterator[Declaration]:
    for name, info in group.model_fields.items():
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
