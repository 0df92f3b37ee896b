"""What each node of the cluster is told: its whole environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from memql.config import Layer
from memql.config.groups.access import AccessSettings
from memql.config.groups.declaration import Group
from memql.config.groups.first_owner import FirstOwnerSettings
from memql.config.groups.issuer import IssuerSettings
from memql.config.groups.node import NodeSettings
from memql.config.settings import declarations
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.plan import IDENTITY, LOOPBACK, NodePlan, Plan
from memql.mesh.cluster.secrets import ClusterSecrets

__all__ = ["Environments", "merged"]

_ISSUING: Final[tuple[type[Group], ...]] = (IssuerSettings, FirstOwnerSettings)
_DECIDED_GROUPS: Final[tuple[type[Group], ...]] = (NodeSettings, AccessSettings)
_DECIDED: Final = frozenset(
    {
        "auto_migrate",
        "database_direct_dsn",
        "database_dsn",
        "dsl_path",
        "environment",
        "genesis_autoload",
        "genesis_b64",
        "genesis_path",
        "grpc_address",
        "grpc_mtls",
        "grpc_tls_ca_file",
        "grpc_tls_cert_file",
        "grpc_tls_key_file",
        "home",
        "http_address",
        "http_tls_ca_file",
        "http_tls_cert_file",
        "http_tls_key_file",
        "identity_allow_insecure_bootstrap",
        "identity_base_url",
        "identity_node_bootstrap_tokens",
        "log_format",
        "mesh_spawner",
        "metrics_address",
        "migrate_on_start",
        "node_bootstrap_token",
        "node_service_address",
        "node_service_mtls",
        "node_token",
        "parent_address",
        "worker_peers",
    }
)
"""Fields that the supervisor decides, whatever stands in the environment that it was started from."""

_FOR_CLIENTS: Final = ("MEMQL_SERVER", "MEMQL_TOKEN")
_DEFAULTS: Final[Mapping[str, str]] = {
    # Room for a dozen nodes in a database that has a laptop's 200 connections.
    "MEMORY_NODES_DATABASE_MAX_OPEN_CONNS": "6",
    "MEMQL_SHUTDOWN_BUDGET": "10s",
}
_FIRST_OWNER: Final[Mapping[str, str]] = {
    "IDENTITY_BOOTSTRAP_DOMAIN": "localhost",
    "IDENTITY_BOOTSTRAP_OWNER_FIRST_NAME": "Local",
    "IDENTITY_BOOTSTRAP_OWNER_LAST_NAME": "Owner",
    "IDENTITY_BOOTSTRAP_REGISTRATION_MODE": "waitlist",
}


def merged(layers: Sequence[Layer]) -> dict[str, str]:
    """One environment of several layers, the strongest first."""
    return {name: value for layer in reversed(layers) for name, value in layer.values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environments:
    """Gives each node its environment.

    :param given: what stands around the supervisor; settings of models, logs and limits are passed on.
    :param dsn: the database. ``direct_dsn`` is the same past any transaction pooler.
    """

    plan: Plan
    place: Place
    given: Mapping[str, str]
    secrets: ClusterSecrets
    dsn: str
    direct_dsn: str = ""
    trees: tuple[Path, ...] = ()

    @property
    def owner_email(self) -> str:
        """Who owns the cluster."""
        return self.given.get("IDENTITY_BOOTSTRAP_OWNER_EMAIL") or self.secrets.owner_email

    @property
    def issuer(self) -> str:
        """In whose name every identity node issues."""
        return self.plan.http_url(self.plan.of(IDENTITY)[0])

    def of(self, node: NodePlan) -> dict[str, str]:
        """The environment of a node."""
        own = self._issuing() if node.role == IDENTITY else self._joining(node)
        passed_on = self._passed_on(_DECIDED_GROUPS if node.role == IDENTITY else (*_DECIDED_GROUPS, *_ISSUING))
        return {**_DEFAULTS, **passed_on, **self._common(node), **self._tls(node), **own}

    def _passed_on(self, groups: Iterable[type[Group]]) -> dict[str, str]:
        decided = _DECIDED.union(*(group.model_fields for group in groups))
        names = {name for one in declarations() if one.field in decided for name in one.all_names}
        return {name: value for name, value in self.given.items() if name not in names and name not in _FOR_CLIENTS}

    def _common(self, node: NodePlan) -> dict[str, str]:
        first = node == self.plan.nodes[0]
        return {
            "MEMQL_ENVIRONMENT": "development",
            "MEMQL_HOME": str(self.place.home),
            "MEMQL_LOG_FORMAT": "json",
            "MEMQL_DATABASE_DSN": self.dsn,
            "MEMORY_NODES_DATABASE_DIRECT_DSN": self.direct_dsn,
            # One node brings the schema up to date, before the others start.
            "MEMORY_NODES_DATABASE_MIGRATE_ON_START": str(first).lower(),
            "MEMQL_DSL_PATH": ":".join(map(str, self.trees)),
            "MEMQL_MASTER_KEY": self.given.get("MEMQL_MASTER_KEY") or self.secrets.master_key,
            "MEMQL_NODE_TYPE": node.role,
            "MEMQL_NODE_ID": node.id,
            "MEMQL_GRPC_ADDRESS": f"{LOOPBACK}:{node.grpc}",
            "SERVER_ADDRESS": f"{LOOPBACK}:{node.http}",
            # Clients of a hub get a moment to go on at another one; nobody else has to leave first.
            "MEMQL_SHUTDOWN_DRAIN_DELAY": "1s" if node in self.plan.entries else "0s",
        }

    def _tls(self, node: NodePlan) -> dict[str, str]:
        if not self.plan.tls:
            return {}
        certificate, key = str(self.place.certificate(node.id)), str(self.place.key(node.id))
        return {
            "MEMQL_GRPC_TLS_CERT_FILE": certificate,
            "MEMQL_GRPC_TLS_KEY_FILE": key,
            "MEMQL_GRPC_TLS_CA_FILE": str(self.place.ca_file),
            # Nodes show each other certificates; users have a credential of their own.
            "MEMQL_NODE_SERVICE_MTLS": "true",
            "MEMQL_HTTP_TLS_CERT_FILE": certificate,
            "MEMQL_HTTP_TLS_KEY_FILE": key,
            "MEMQL_HTTP_TLS_CA_FILE": str(self.place.ca_file),
        }

    def _joining(self, node: NodePlan) -> dict[str, str]:
        """What a node of the mesh gets its credential with; the identity nodes share the work."""
        issuers = self.plan.of(IDENTITY)
        asked = issuers[(node.number - 1) % len(issuers)]
        return {
            "MEMQL_NODE_SERVICE_ADDRESS": f"{LOOPBACK}:{node.service}",
            "MEMQL_NODE_ADDRESS": f"{LOOPBACK}:{node.service}",
            "MEMQL_NODE_BOOTSTRAP_TOKEN": self.secrets.bootstrap[node.role],
            "IDENTITY_VERIFIER_BASE_URL": self.plan.http_url(asked),
            "IDENTITY_VERIFIER_EXPECTED_ISSUER": self.issuer,
        }

    def _issuing(self) -> dict[str, str]:
        owner = {name: self.given.get(name) or value for name, value in _FIRST_OWNER.items()}
        roles = {node.role for node in self.plan.nodes} - {IDENTITY}
        bootstrap = {role: self.secrets.bootstrap[role] for role in sorted(roles)}
        return {
            **owner,
            **self._signing_key(),
            "IDENTITY_BOOTSTRAP_OWNER_EMAIL": self.owner_email,
            "IDENTITY_BASE_URL": self.issuer,
            "IDENTITY_NODE_BOOTSTRAP_TOKENS": msgspec.json.encode(bootstrap).decode(),
            "MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP": str(not self.plan.tls).lower(),
        }

    def _signing_key(self) -> dict[str, str]:
        if self.given.get("IDENTITY_SIGNING_KEY_B64"):
            return {}
        return {
            "IDENTITY_SIGNING_KEY_B64": self.secrets.signing_seed,
            "IDENTITY_SIGNING_KEY_CREATED_AT": self.secrets.signing_seed_created_at,
        }
