"""How commands find the node that runs on this machine: a small file in the home directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from memql.graph.processes import is_alive

__all__ = ["RunningNode", "announce", "find_running"]

_FILE = "node.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """A node of this home: where it listens and which overlays it loaded."""

    pid: int
    grpc: str
    http: str
    trees: tuple[str, ...] = ()


@contextmanager
def announce(home: Path, *, grpc: str, http: str, trees: Sequence[Path]) -> Iterator[None]:
    """Say in ``home`` that this process is its node, for the length of the block."""
    import msgspec

    node = RunningNode(pid=os.getpid(), grpc=grpc, http=http, trees=tuple(str(tree.absolute()) for tree in trees))
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
    """The node that runs in ``home``, or None; a file left by a process that died does not count."""
    import msgspec

    try:
        node = msgspec.json.decode((home / _FILE).read_bytes(), type=RunningNode)
    except (OSError, msgspec.DecodeError):
        return None
    return node if is_alive(node.pid) else None
