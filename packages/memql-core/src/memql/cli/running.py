"""How commands find what runs on this machine, a node or a cluster: a small file in the home directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from memql.graph.processes import is_alive

__all__ = ["RunningNode", "announce", "find_running"]

_FILE = "node.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """What runs in this home: where it listens, which overlays it loaded, and what callers need.

    ``grpc`` are the addresses to connect to, with commas between them. ``nodes`` are the addresses of its nodes by
    their ids, where there are several. ``token_file`` holds the credential to show, ``ca_file`` the authorities to
    trust; empty where none is needed.
    """

    pid: int
    grpc: str
    http: str
    trees: tuple[str, ...] = ()
    nodes: Mapping[str, str] = field(default_factory=dict)
    token_file: str = ""
    ca_file: str = ""

    def address_of(self, server: str) -> str | None:
        """The address of one of its nodes, from the node's id or from ``host:port``; None for a stranger."""
        if server in self.nodes:
            return self.nodes[server]
        own = (*self.nodes.values(), *self.grpc.split(","))
        return next((address for address in own if _place(address) == _place(server)), None)


def _place(address: str) -> str:
    return address.rpartition("://")[2]


@contextmanager
def announce(
    home: Path,
    *,
    grpc: str,
    http: str,
    trees: Sequence[Path],
    nodes: Mapping[str, str] | None = None,
    token_file: Path | None = None,
    ca_file: Path | None = None,
) -> Iterator[None]:
    """Say in ``home`` that this process is what runs there, for the length of the block; see :class:`RunningNode`."""
    import msgspec

    node = RunningNode(
        pid=os.getpid(),
        grpc=grpc,
        http=http,
        trees=tuple(str(tree.absolute()) for tree in trees),
        nodes=dict(nodes or {}),
        token_file="" if token_file is None else str(token_file.absolute()),
        ca_file="" if ca_file is None else str(ca_file.absolute()),
    )
    path = home / _FILE
    home.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{node.pid}")
    draft.write_bytes(msgspec.json.encode(node))
    draft.replace(path)
    try:
        yield
    finally:
        current = find_running(home)
        if current is not None and current.pid == node.pid:
            with suppress(FileNotFoundError):
                path.unlink()


def find_running(home: Path) -> RunningNode | None:
    """What runs in ``home``, or None; a file left by a process that died does not count."""
    import msgspec

    try:
        node = msgspec.json.decode((home / _FILE).read_bytes(), type=RunningNode)
    except (OSError, msgspec.DecodeError):
        return None
    return node if is_alive(node.pid) else None
