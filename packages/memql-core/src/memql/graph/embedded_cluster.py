"""Creating, starting, sharing and stopping the embedded server of a home; blocking, for use in a thread.

Every user of a home holds a shared lock on ``<home>/postgres.users`` for as long as it lives; the operating system
drops the lock when a process dies, however it dies. Whoever leaves and can lock that file exclusively was the last,
and stops the server. Starting and stopping happen under an exclusive lock on ``<home>/postgres.lock``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

from memql.errors import Code, MemqlError
from memql.graph.embedded import EmbeddedServer
from memql.graph.embedded_account import Account, binaries, server_account
from memql.graph.processes import is_alive

__all__ = ["Cluster"]

_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 100
"""Bytes of a socket's path that every system takes (104 with the terminator is the smallest limit)."""
_POLL = 0.005
_STOP_TIMEOUT = 30.0
_LARGEST_LOG = 16 * 1024 * 1024

_SETTINGS = {
    # Durability as on a server: an acknowledged write survives the loss of every process.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Latency on a laptop: no TCP, no compilation of short queries, plans for a solid-state disk.
    "listen_addresses": "",
    "jit": "off",
    "random_page_cost": "1.1",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "io_method": "sync",
    "checkpoint_timeout": "15min",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "unix_socket_permissions": "0700",
    "port": str(_PORT),
}


class Cluster:
    """One process's use of the server of a home; blocking, so that :func:`embedded_server` runs it in a thread."""

    def __init__(self, home: Path) -> None:
        self._home = home.expanduser().absolute()
        self._data = self._home / "postgres"
        self._users: IO[bytes] | None = None

    def enter(self, timeout: float) -> EmbeddedServer:
        """Start or join the server; see :func:`embedded_server`."""
        deadline = time.monotonic() + timeout
        account = server_account(self._data)
        self._home.mkdir(parents=True, exist_ok=True)
        with self._exclusive(deadline):
            self._users = (self._home / "postgres.users").open("ab")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._initialise(account)
                return self._running() or self._start(account, deadline)
            except BaseException:
                self._release()
                raise

    def leave(self) -> bool:
        """Give up the server, and stop it when nobody else uses it; whether this was the last user."""
        with self._exclusive(time.monotonic() + _STOP_TIMEOUT):
            last = self._release()
            if last and (server := self._answering()):
                self._stop(server)
            return last

    def _release(self) -> bool:
        """Drop this user's lock; whether it was the last."""
        users, self._users = self._users, None
        if users is None:
            return False
        with users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    @contextmanager
    def _exclusive(self, deadline: float) -> Iterator[None]:
        path = self._home / "postgres.lock"
        with path.open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        message = f"another process has held {path} for too long; is a start or stop stuck?"
                        raise MemqlError(Code.UNAVAILABLE, message) from None
                    time.sleep(_POLL)
            yield

    def _initialise(self, account: Account) -> None:
        version_file = self._data / "PG_VERSION"
        if version_file.exists():
            _refuse_other_major(self._data, version_file.read_text().strip())
            return
        # Created beside its place and renamed: an interrupted start leaves nothing that looks finished.
        partial = self._home / "postgres.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        account.own(partial)
        options = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--pgdata={partial}"]
        done = account.run([str(binaries() / "initdb"), *options])
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            text = done.stderr.strip()[-500:]
            raise MemqlError(Code.UNAVAILABLE, f"PostgreSQL could not create its data directory {self._data}: {text}")
        partial.rename(self._data)

    def _running(self) -> EmbeddedServer | None:
        """The server, if it accepts queries."""
        lines = _pid_file(self._data)
        return self._answering() if len(lines) > 7 and lines[7].startswith("ready") else None

    def _answering(self) -> EmbeddedServer | None:
        """The server, if there is one: it may still be recovering from a crash."""
        lines = _pid_file(self._data)
        if len(lines) < 5 or not _accepts(Path(lines[4])):
            return None
        return EmbeddedServer(self._data, Path(lines[4]), int(lines[0]))

    def _start(self, account: Account, deadline: float) -> EmbeddedServer:
        started = self._answering()  # by somebody who died before it was ready
        if started and (server := self._await_ready(started.pid, deadline)):
            return server
        directory = self._socket_directory(account)
        self._discard_stale_pid_files(directory)
        log = self._home / "postgres.log"
        if log.exists() and log.stat().st_size > _LARGEST_LOG:
            log.rename(log.with_suffix(".log.1"))
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = [str(binaries() / "postgres"), "-D", str(self._data), "-k", str(directory), *settings]
        while True:
            pid = account.spawn(command, log)
            if server := self._await_ready(pid, deadline):
                return server
            # The backends of a killed server may need a moment to notice; until then the data is locked.
            if time.monotonic() > deadline or "still in use" not in _tail(log):
                message = f"the embedded PostgreSQL of {self._home} did not start; the end of {log}:\n{_tail(log)}"
                raise MemqlError(Code.UNAVAILABLE, message)
            time.sleep(0.1)

    def _await_ready(self, pid: int, deadline: float) -> EmbeddedServer | None:
        while time.monotonic() < deadline:
            if server := self._running():
                return server
            if not is_alive(pid):
                return None
            time.sleep(_POLL)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
        return None

    def _stop(self, server: EmbeddedServer) -> None:
        for how, patience in ((signal.SIGINT, _STOP_TIMEOUT), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.kill(server.pid, how)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if not _pid_file(self._data) or not is_alive(server.pid):
                    return
                time.sleep(_POLL)
        raise MemqlError(Code.UNAVAILABLE, f"the embedded PostgreSQL (pid {server.pid}) does not stop")

    def _socket_directory(self, account: Account) -> Path:
        """The data directory, or a private one in the temporary directory when that path is too long for a socket."""
        if len(os.fsencode(self._data / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH:
            return self._data
        name = sha256(os.fsencode(self._data)).hexdigest()[:12]
        directory = Path(tempfile.gettempdir()) / f"memql-{account.uid}-{name}"
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            account.own(directory)
        status = directory.lstat()
        if directory.is_symlink() or status.st_uid != account.uid or status.st_mode & 0o077:
            message = f"{directory} is not a private directory of user id {account.uid}; remove it"
            raise MemqlError(Code.FAILED_PRECONDITION, message)
        return directory

    def _discard_stale_pid_files(self, directory: Path) -> None:
        """Remove the pid files of a server that is gone but whose pid lives on in another process.

        PostgreSQL itself sees to the case of a pid that no longer exists. Here nobody answers on the socket
        and the start lock is ours, so the process of that pid is no server of this directory.
        """
        if not self._answering():
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            (directory / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)


def _refuse_other_major(data: Path, found: str) -> None:
    expected = subprocess.run(  # noqa: S603 - our own binary
        [str(binaries() / "postgres"), "--version"], capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()[2]
    if found != expected.partition(".")[0]:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"{data} was created by PostgreSQL {found}, and {expected} is installed; dump it with the old version "
            "and restore it, or use another home",
        )


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _accepts(directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(directory / _SOCKET_NAME))
        except OSError:
            return False
        return True


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-1500:]
    except FileNotFoundError:
        return "(empty)"
