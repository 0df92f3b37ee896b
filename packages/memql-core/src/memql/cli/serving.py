"""A node as this process: logging, where to find it, and what to try first."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from memql.cli.logs import configure_logging
from memql.cli.output import say
from memql.cli.running import announce
from memql.node import Node, run_node

if TYPE_CHECKING:
    from memql.config import Settings

__all__ = ["serve"]


async def serve(settings: Settings, laptop: bool, started: float) -> None:
    """Run a node until it is told to stop.

    :param laptop: play every installed role, and greet the person at the terminal once it listens.
    :param started: ``time.monotonic()`` of the moment the greeting counts from.
    :raises MemqlError: what keeps it from starting.
    """
    configure_logging(settings)
    with ExitStack() as stack:

        async def ready(node: Node) -> None:
            server = node.server
            if laptop:
                grpc, http = str(server.grpc_address), str(server.http_address)
                stack.enter_context(announce(settings.home, grpc=grpc, http=http, trees=settings.dsl_path))
                _greet(node, time.monotonic() - started)

        await run_node(settings, everything=laptop, ready=ready)


def _greet(node: Node, seconds: float) -> None:
    settings, server, catalog = node.settings, node.server, node.engine.catalog
    scheme = "https" if settings.http_tls_cert_file else "http"
    store = "given by DSN" if settings.database_dsn else str(settings.home / "postgres")
    trees = ", ".join(map(str, settings.dsl_path)) or "the packaged one"
    say(
        f"memQL is ready after {seconds:.1f} s\n"
        f"  gRPC       {server.grpc_address}\n"
        f"  HTTP       {scheme}://{server.http_address}  (/memql/query, /memql/ws, /readyz, /metrics)\n"
        f"  database   {store}\n"
        f"  tree       {trees}: {len(catalog.concepts)} concepts, {len(catalog.queries)} queries, "
        f"{len(catalog.mutations)} mutations, {len(catalog.automations)} automations\n"
        "try, in another terminal:\n"
        "  memql query 'concepts()'\n"
        "  memql subscribe\n"
        "Ctrl-C stops"
    )
