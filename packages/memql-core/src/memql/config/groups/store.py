"""Settings of the database and of the tree."""

from __future__ import annotations

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import Flag, PathList, Seconds

__all__ = ["StoreSettings"]


class StoreSettings(Group):
    """Database and tree."""

    # --- database ---
    database_dsn: str = setting(
        "MEMQL_DATABASE_DSN",
        "MEMORY_NODES_DATABASE_DSN",
        default="",
        doc="PostgreSQL to use; an embedded server in the home directory unless set",
        secret=True,
    )
    database_direct_dsn: str = setting(
        "MEMORY_NODES_DATABASE_DIRECT_DSN",
        default="",
        doc="the same database past any transaction pooler, for locks and LISTEN; the DSN unless set",
        secret=True,
    )
    database_max_connections: int = setting(
        "MEMORY_NODES_DATABASE_MAX_OPEN_CONNS",
        default=16,
        doc="pooled connections of this node; locks and notifications take a few more",
        ge=2,
    )
    database_patience: Seconds = setting(
        "MEMQL_DATABASE_PATIENCE",
        default="60s",
        doc="how long a node that starts waits for a database that is away before it gives up; 0 for not at all",
        ge=0,
    )
    migrate_on_start: Flag = setting(
        "MEMORY_NODES_DATABASE_MIGRATE_ON_START",
        default=True,
        doc="whether this node brings the schema up to date when it starts",
    )
    auto_migrate: Flag = setting(
        "MEMORY_NODES_DATABASE_AUTO_MIGRATE",
        default=True,
        doc="second key of migrate on start: both must be true",
    )

    # --- tree ---
    dsl_path: PathList = setting(
        "MEMQL_DSL_PATH",
        default="",
        doc="directories laid over the packaged .memql tree, left to right, separated by colons",
    )
