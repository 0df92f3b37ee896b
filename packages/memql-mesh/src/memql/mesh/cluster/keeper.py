"""Keeps one node running: a process of its own, started again whenever it ends.

One that ended in good order starts again at once. One that was killed or failed waits a second, then twice as long
each time, up to half a minute; a process that was ready for a while starts the waits over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

from memql.mesh.cluster.journal import Journal, Level
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.processes import identify
from memql.mesh.cluster.state import NodePhase, NodeState

__all__ = ["Ending", "Keeper", "Waits"]

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 30.0
_STABLE_AFTER: Final = 20.0
_KILL_SECONDS: Final = 10.0
_LAST_LINES: Final = 5
_LARGEST_LOG: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended; ``code`` is negative for a signal. ``ready`` tells whether it had been ready, and for how
    many seconds."""

    code: int
    ready: float | None

    @property
    def in_good_order(self) -> bool:
        """Whether it did what it was asked to."""
        return self.code == 0 and self.ready is not None

    def __str__(self) -> str:
        if self.code < 0:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(-self.code).name}"
        return "ended" if self.code == 0 else f"failed with exit code {self.code}"


class Waits:
    """How long to wait before the next start."""

    def __init__(self) -> None:
        self._next = _FIRST_WAIT

    def after(self, ending: Ending) -> float:
        """Seconds to wait after a process ended so."""
        if ending.ready is not None and ending.ready >= _STABLE_AFTER:
            self._next = _FIRST_WAIT
        if ending.in_good_order:
            return 0.0
        wait, self._next = self._next, min(self._next * 2, _LONGEST_WAIT)
        return wait


class Keeper:
    """See the module.

    :param state: what is said about the node; kept true here.
    :param environment: the whole environment of its process.
    :param patience: seconds that the process has to end when it is stopped.
    :param changed: called when ``state`` has changed.
    :param ended: called with how a process ended that was not to; what it raises ends the keeping.
    """

    def __init__(
        self,
        state: NodeState,
        environment: Mapping[str, str],
        place: Place,
        journal: Journal,
        *,
        patience: float,
        changed: Callable[[], None],
        ended: Callable[[NodeState, Ending], None],
    ) -> None:
        self.state = state
        self._environment = environment
        self._place = place
        self._journal = journal
        self._patience = patience
        self._changed = changed
        self._ended = ended
        self._process: Process | None = None
        self._ready_since: float | None = None
        self._was_ready = anyio.Event()
        self._stopping = False
        self._waits = Waits()
        self._log_begins = 0

    async def run(self) -> None:
        """Start the node's process again and again, until :meth:`stop` or cancelled.

        :raises MemqlError: what ``ended`` raises.
        """
        while not self._stopping:
            ending = await self._live()
            if not self._stopping:
                await self._again(ending)

    def seen(self, *, ready: bool) -> None:
        """The node was asked whether it is ready."""
        if self._process is None or self._stopping:
            return
        if ready and self._ready_since is None:
            self._ready_since = time.monotonic()
            self._was_ready.set()
            self._tell(f"is ready after {time.time() - self.state.started_at:.1f} s")
        phase = self.state.phase
        self.state.phase = "ready" if ready else "starting" if self._ready_since is None else "unready"
        if self.state.phase != phase:
            self._changed()

    async def wait_ready(self) -> None:
        """Return when the node has been ready once."""
        await self._was_ready.wait()

    async def stop(self) -> None:
        """Have the process end, by force when it takes too long; none is started any more."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            self._say("stopping")
            with suppress(ProcessLookupError):
                process.terminate()
            await self._wait_ended(process)
        self.state.process = None
        self._say("stopped")

    async def _wait_ended(self, process: Process) -> None:
        with anyio.move_on_after(self._patience) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            self._tell(f"has not ended within {self._patience:g} s and is killed", level="warning")
            self.kill()
            with anyio.move_on_after(_KILL_SECONDS):
                await process.wait()

    def last_words(self) -> str:
        """What the last process said at its end: its error if it told one, else its last lines."""
        try:
            with self._place.log(self.state.id).open("rb") as log:
                log.seek(self._log_begins)
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        told = [number for number, line in enumerate(lines) if line.startswith("error ")]
        return "\n".join(lines[told[-1] :] if told else lines[-_LAST_LINES:])

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _live(self) -> Ending:
        """One process, from its start to its end."""
        try:
            process = await self._start()
        except OSError as error:
            self._tell(f"cannot be started: {error}", level="error")
            return Ending(1, None)
        code = await process.wait()
        self._process = None
        ready, self._ready_since = self._ready_since, None
        return Ending(code, None if ready is None else time.monotonic() - ready)

    async def _start(self) -> Process:
        # A process that was started must be known, or nobody would end it.
        with anyio.CancelScope(shield=True):
            process = self._process = await self._spawn()
        self.state.process = identify(process.pid)
        self.state.started_at = time.time()
        self.state.next_start = 0.0
        self._say("starting")
        return process

    async def _spawn(self) -> Process:
        log = self._place.log(self.state.id)
        _make_room(log)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log_begins = os.fstat(descriptor).st_size
        try:
            return await anyio.open_process(
                [sys.executable, "-m", "memql", "run"],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=self._environment,
                # Where no .env lies that would override what the supervisor decides.
                cwd=self._place.directory,
                # Ctrl-C is for the supervisor, which stops the nodes in order.
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    async def _again(self, ending: Ending) -> None:
        self.state.process = None
        self.state.ending = str(ending)
        self._ended(self.state, ending)
        wait = self._waits.after(ending)
        self.state.restarts += 1
        self.state.next_start = time.time() + wait
        soon = f"starts again in {wait:g} s" if wait else "starts again"
        self._tell(f"{ending}; {soon}", level="info" if ending.in_good_order else "warning")
        self._say("waiting")
        await anyio.sleep(wait)

    def _say(self, phase: NodePhase) -> None:
        self.state.phase = phase
        self._changed()

    def _tell(self, text: str, *, level: Level = "info") -> None:
        self._journal.tell(text, level=level, node=self.state.id)


def _make_room(log: Path) -> None:
    """Begin a new log when the old one has grown large; one generation stays."""
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_name(f"{log.name}.1"))
