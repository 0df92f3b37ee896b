"""Which process is meant: a process id is used again, together with the moment of its start it is not."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["ProcessId", "identify"]

_PROC: Final = Path("/proc")
_STATE, _STARTED = 0, 19
"""Where they stand in ``/proc/<pid>/stat``, counted from behind the name."""
_ASK_SECONDS: Final = 10


class ProcessId(msgspec.Struct, frozen=True):
    """A process of this machine; ``started`` is a text that differs between two of the same ``pid``."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return identify(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it is gone."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def identify(pid: int) -> ProcessId | None:
    """The process that has this id now; None when there is none, or only what is left of one that has ended."""
    started = _from_proc(pid) if _PROC.joinpath("self/stat").exists() else _from_ps(pid)
    return ProcessId(pid, started) if started else None


def _from_proc(pid: int) -> str:
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[_STATE] in "ZX" else f"{_boot()}:{fields[_STARTED]}"


def _boot() -> str:
    """The moment of the start is counted from the machine's own, so that one belongs to it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _from_ps(pid: int) -> str:
    shown = subprocess.run(  # noqa: S603  a number is all that is put in
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=_ASK_SECONDS,
        check=False,
        env={"LC_ALL": "C"},
    )
    state, _, started = shown.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
