"""Generate message classes from the ``.proto`` files of the distributions that have some: ``make proto``.

Needs ``grpcio-tools`` and ``betterproto2-compiler``, which no installed node needs; ``make proto`` runs this in an
environment of its own. Only message types are generated: the handlers are thin ``grpc.aio`` ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PACKAGES = Path(__file__).resolve().parents[2]
DIGEST = "sources.sha256"


class Protocol(NamedTuple):
    """Where the ``.proto`` files of a distribution are, and the package that is generated from them."""

    sources: Path
    target: Path


CLIENT = Protocol(PACKAGES / "memql-core/proto", PACKAGES / "memql-core/src/memql/wire/_proto")
NODE = Protocol(PACKAGES / "memql-mesh/proto", PACKAGES / "memql-mesh/src/memql/mesh/wire/_proto")


def digest(sources: Path) -> str:
    """The SHA-256 over every ``.proto`` file, by path; committed next to what was generated from them."""
    total = hashlib.sha256()
    for path in sorted(sources.rglob("*.proto")):
        total.update(path.relative_to(sources).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def generate(protocol: Protocol, target: Path) -> None:
    """Write the package to ``target``, which must not exist yet."""
    target.mkdir(parents=True)
    files = [str(path) for path in sorted(protocol.sources.rglob("*.proto"))]
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protocol.sources}"),
        f"--python_betterproto2_out={target}",
        "--python_betterproto2_opt=server_generation=none,client_generation=none",
        *files,
    ]
    # The plugin is an executable beside this interpreter; protoc looks it up on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})  # noqa: S603
    (target / "py.typed").unlink(missing_ok=True)
    (target / DIGEST).write_text(digest(protocol.sources) + "\n")


def main() -> None:
    """Regenerate in place."""
    for protocol in (CLIENT, NODE):
        with tempfile.TemporaryDirectory() as scratch:
            fresh = Path(scratch) / "_proto"
            generate(protocol, fresh)
            shutil.rmtree(protocol.target, ignore_errors=True)
            shutil.copytree(fresh, protocol.target)


if __name__ == "__main__":
    main()
