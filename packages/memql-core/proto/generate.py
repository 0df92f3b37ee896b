"""Generate the message classes of ``memql.wire`` from the ``.proto`` files: ``make proto``.

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

SOURCES = Path(__file__).resolve().parent
TARGET = SOURCES.parent / "src" / "memql" / "wire" / "_proto"
DIGEST = "sources.sha256"


def digest(sources: Path = SOURCES) -> str:
    """The SHA-256 over every ``.proto`` file, by path; committed next to what was generated from them."""
    total = hashlib.sha256()
    for path in sorted(sources.rglob("*.proto")):
        total.update(path.relative_to(sources).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def generate(target: Path) -> None:
    """Write the package to ``target``, which must not exist yet."""
    target.mkdir(parents=True)
    files = [str(path) for path in sorted(SOURCES.rglob("*.proto"))]
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={SOURCES}"),
        f"--python_betterproto2_out={target}",
        "--python_betterproto2_opt=server_generation=none,client_generation=none",
        *files,
    ]
    # The plugin is an executable beside this interpreter; protoc looks it up on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})  # noqa: S603
    (target / "py.typed").unlink(missing_ok=True)
    (target / DIGEST).write_text(digest() + "\n")


def main() -> None:
    """Regenerate in place."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "_proto"
        generate(fresh)
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(fresh, TARGET)


if __name__ == "__main__":
    main()
