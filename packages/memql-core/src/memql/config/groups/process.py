"""Settings of where a process stands, and of how it stops."""

from __future__ import annotations

from typing import Literal

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import HomePath, Seconds

__all__ = ["ProcessSettings"]


class ProcessSettings(Group):
    """Environment, home, logging, stopping."""

    # --- where this process stands ---
    environment: str = setting(
        "MEMQL_ENVIRONMENT",
        default="development",
        doc="label of the deployment; production tightens defaults, development opens doors only when set",
        min_length=1,
    )
    region: str = setting("MEMQL_REGION", default="local", doc="label of the region")
    home: HomePath = setting(
        "MEMQL_HOME",
        default="~/.memql",
        doc="directory of the embedded database, keys and checkpoints",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "MEMQL_LOG_LEVEL", default="info", doc="lowest level that is logged: debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "console"] = setting(
        "MEMQL_LOG_FORMAT", default="auto", doc="json, console, or auto: console on a terminal, else json"
    )

    # --- stopping ---
    shutdown_drain_delay: Seconds = setting(
        "MEMQL_SHUTDOWN_DRAIN_DELAY",
        default="5s",
        doc="how long a stopping node still takes new streams",
        ge=0,
    )
    shutdown_budget: Seconds = setting(
        "MEMQL_SHUTDOWN_BUDGET", default="30s", doc="how long running requests have to end", ge=0
    )
