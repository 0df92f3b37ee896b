"""From what was wished for on the command line to what is to run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from memql.cli.boot import boot_layers
from memql.cli.running import find_running
from memql.config import Settings, load_settings
from memql.errors import Code, MemqlError
from memql.mesh.cluster.environment import merged
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.plan import Plan, choose_roles, make_plan, parse_replicas
from memql.mesh.cluster.ports import FreePorts, SeedPorts
from memql.node.roles import installed_roles, load_role

__all__ = ["Blueprint", "Wishes", "draw"]

_MOST_NODES: Final = 16
"""What the connections of an embedded database suffice for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The options of ``memql cluster up``."""

    home: Path | None = None
    trees: tuple[Path, ...] = ()
    replicas: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    tls: bool = False
    port_offset: int = 0
    free_ports: bool = False

    def arguments(self) -> list[str]:
        """The same options again, for another process."""
        listed = {"--tree": self.trees, "--replicas": self.replicas, "--only": self.only}
        found = [text for option, values in listed.items() for value in values for text in (option, str(value))]
        if self.home is not None:
            found += ["--home", str(self.home.absolute())]
        found += [option for option, on in (("--tls", self.tls), ("--free-ports", self.free_ports)) if on]
        return [*found, f"--port-offset={self.port_offset}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """What is to run, and with what.

    :param given: the environment that the nodes' own are made from.
    :param dsn: the database to use; the embedded one of the home unless given.
    """

    place: Place
    plan: Plan
    given: Mapping[str, str]
    trees: tuple[Path, ...] = ()
    dsn: str = ""
    direct_dsn: str = ""


def draw(wishes: Wishes, environ: Mapping[str, str] = os.environ) -> Blueprint:
    """What these wishes come to here and now; nothing is written or started.

    :raises MemqlError: ``INVALID_ARGUMENT`` or ``CONFIG_INVALID`` for what cannot run, ``FAILED_PRECONDITION`` when
        ``memql up`` runs in the home.
    """
    around = {**environ, "MEMQL_ENVIRONMENT": "development"}
    if wishes.home is not None:
        around["MEMQL_HOME"] = str(wishes.home.absolute())
    given = merged(boot_layers(around, Path.cwd()))
    settings = load_settings(given)
    place = Place(settings.home.absolute())
    _require_alone(place)
    plan = _plan(wishes)
    if not settings.database_dsn and len(plan.nodes) > _MOST_NODES:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"{len(plan.nodes)} nodes are more than the embedded database has connections for ({_MOST_NODES}); set "
            "MEMQL_DATABASE_DSN to a server of your own, or start fewer",
        )
    return Blueprint(
        place=place,
        plan=plan,
        given=given,
        trees=wishes.trees or _trees(settings),
        dsn=settings.database_dsn,
        direct_dsn=settings.database_direct_dsn,
    )


def _trees(settings: Settings) -> tuple[Path, ...]:
    return tuple(path.absolute() for path in settings.dsl_path)


def _require_alone(place: Place) -> None:
    running = find_running(place.home)
    if running is not None and not running.nodes:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"memql up (process {running.pid}) runs in {place.home}; stop it first, or give the cluster another --home",
        )


def _plan(wishes: Wishes) -> Plan:
    if wishes.free_ports and wishes.port_offset:
        raise MemqlError(Code.INVALID_ARGUMENT, "--free-ports takes any port: --port-offset has nothing to add to")
    installed = installed_roles()
    roles = choose_roles(installed, wishes.only)
    replicas = parse_replicas(wishes.replicas, roles)
    if wishes.free_ports:
        return make_plan(replicas, FreePorts(), tls=wishes.tls)
    service_ports = {role: load_role(installed[role]).port for role in roles}
    return make_plan(replicas, SeedPorts(service_ports, wishes.port_offset), tls=wishes.tls)
