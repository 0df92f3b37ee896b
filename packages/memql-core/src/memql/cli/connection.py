"""The options of commands that talk to a running node, and the connection they open."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.cli.running import RunningNode
    from memql.client import Client

__all__ = ["Server", "ServerOption", "TimeoutOption", "TokenOption", "find_server", "open_client"]

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        envvar="MEMQL_SERVER",
        help="Address of the node: host:port, grpc(s)://, ws(s)://, or the id of a node of the cluster running here. "
        "What runs here unless given.",
        show_default=False,
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="MEMQL_TOKEN",
        help="Credential to show; for what runs here, the one it left for its owner.",
        show_default=False,
    ),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect, with what."""

    address: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


def find_server(server: str | None, token: str | None) -> Server:
    """What the options mean: the address given, else what runs in this home, else the default port on loopback. What
    runs in this home says which credential and which authorities go with its addresses.

    :raises MemqlError: ``CONFIG_INVALID`` when the file of that credential cannot be read.
    """
    from memql.cli.running import find_running
    from memql.config import load_settings

    settings = load_settings()
    running = find_running(settings.home)
    if running is None:
        return Server(address=server or f"127.0.0.1:{settings.grpc_address.port}", token=token)
    address = running.address_of(server) if server else running.grpc
    if address is None:
        return Server(address=server or "", token=token)
    ca_file = Path(running.ca_file) if running.ca_file else None
    return Server(address=address, token=token or _token_of(running), ca_file=ca_file)


def _token_of(running: RunningNode) -> str | None:
    if not running.token_file:
        return None
    try:
        return Path(running.token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.CONFIG_INVALID, f"the credential of what runs here cannot be read: {error}") from error


@asynccontextmanager
async def open_client(server: str | None, token: str | None, timeout: float) -> AsyncIterator[Client]:
    """Connect as the options say.

    :raises MemqlError: as :func:`find_server` and :func:`memql.client.connect`.
    """
    # What gRPC itself logs about a refused connection is in our own error already.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from memql.client import connect

    found = find_server(server, token)
    async with connect(found.address, found.token, ca_file=found.ca_file, timeout=timeout) as client:
        yield client
