"""The options of commands that talk to a running node, and the connection they open."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from memql.client import Client

__all__ = ["ServerOption", "TimeoutOption", "TokenOption", "open_client", "server_address"]

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        envvar="MEMQL_SERVER",
        help="Address of the node: host:port, grpc(s)://, ws(s)://. The one running here unless given.",
        show_default=False,
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option("--token", envvar="MEMQL_TOKEN", help="Credential to show.", show_default=False),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.")]


def server_address(server: str | None) -> str:
    """The address to use: the one given, else the node of this home, else the default port on loopback."""
    if server:
        return server
    from memql.cli.running import find_running
    from memql.config import load_settings

    settings = load_settings()
    running = find_running(settings.home)
    if running is not None:
        return running.grpc
    return f"127.0.0.1:{settings.grpc_address.port}"


@asynccontextmanager
async def open_client(server: str | None, token: str | None, timeout: float) -> AsyncIterator[Client]:
    """Connect as the options say.

    :raises MemqlError: as :func:`memql.client.connect`.
    """
    # What gRPC itself logs about a refused connection is in our own error already.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from memql.client import connect

    async with connect(server_address(server), token, timeout=timeout) as client:
        yield client
