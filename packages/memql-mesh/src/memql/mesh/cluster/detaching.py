"""``memql cluster up --detach``: the supervisor in a process of its own, watched until the cluster is up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import BinaryIO, Final

from memql.cli.output import say
from memql.mesh.cluster.blueprint import Wishes, draw
from memql.mesh.cluster.files import make_private_directory
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.state import Phase, read_state, sole_supervisor

__all__ = ["detach_cluster"]

_LOOK_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 30.0


def detach_cluster(wishes: Wishes, timeout: float) -> int:
    """Start a cluster in the background and wait until it is up; the exit code.

    Nodes that are not ready when the time is over are told of, and go on trying.

    :param timeout: seconds to wait.
    :raises MemqlError: what keeps it from starting.
    """
    place = draw(wishes).place
    with sole_supervisor(place):
        # Only to know, before a process is started, that nobody else is.
        pass
    supervisor, output = _start(wishes, place, timeout)
    with output:
        phase = _wait(supervisor, place, output, timeout)
    if phase == "running":
        return 0
    if phase is None:
        return supervisor.wait() or 1
    say("the supervisor goes on: memql cluster status and memql cluster logs show more, memql cluster down stops it")
    return 1


def _wait(supervisor: subprocess.Popen[bytes], place: Place, output: BinaryIO, timeout: float) -> Phase | None:
    """Relay what the supervisor says until the cluster is up or late; None when the supervisor has ended."""
    # It tells by itself when the time is over, in more words; this is for one that does not.
    deadline = time.monotonic() + timeout + _GRACE_SECONDS
    phase: Phase = "starting"
    while phase not in {"running", "late"} and time.monotonic() < deadline:
        ended = supervisor.poll() is not None
        phase = _phase(place, supervisor.pid)
        _relay(output)
        if ended:
            return None
        time.sleep(_LOOK_SECONDS)
    return phase


def _start(wishes: Wishes, place: Place, timeout: float) -> tuple[subprocess.Popen[bytes], BinaryIO]:
    """The supervisor, and what it says from its beginning."""
    make_private_directory(place.directory)
    descriptor = os.open(place.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        command = [sys.executable, "-m", "memql", "cluster", "up", *wishes.arguments(), f"--timeout={timeout}"]
        supervisor = subprocess.Popen(  # noqa: S603  this program again
            command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, start_new_session=True
        )
    finally:
        os.close(descriptor)
    return supervisor, place.output.open("rb")


def _relay(output: BinaryIO) -> None:
    text = output.read().decode(errors="replace")
    sys.stderr.write(text)
    sys.stderr.flush()


def _phase(place: Place, supervisor: int) -> Phase:
    state = read_state(place)
    return state.phase if state is not None and state.supervisor.pid == supervisor else "starting"
