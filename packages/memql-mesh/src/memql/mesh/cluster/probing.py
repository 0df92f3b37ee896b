"""What a node says of itself over HTTP: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import anyio
import msgspec

from memql.errors import Code, MemqlError
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.plan import LOOPBACK
from memql.mesh.cluster.state import NodeState

__all__ = ["Prober", "Sight", "open_prober", "samples"]

_SECONDS: Final = 5.0
_STREAMS: Final = "memql_active_streams"
_LINKS: Final = "memql_mesh_links"
_LAG: Final = "memql_mesh_behind_seconds"
_LEADER: Final = "memql_cron_leader"
_GUARD: Final = "memql_automation_guard_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A node as it shows itself; empty where it does not answer.

    ``health`` is ``ok``, ``degraded`` or ``draining``; ``readiness`` is ``ready``, ``starting``, ``unready`` or
    ``draining``, with what is ``missing``. ``streams`` counts those of clients, ``links`` those to and from other
    nodes. ``lag`` is since how many seconds events may wait for it in the log; None for a node that is not in the mesh.
    ``runs`` counts the runs of automations that ended there, well or not.
    """

    health: str = ""
    readiness: str = ""
    missing: tuple[str, ...] = ()
    streams: int | None = None
    links: int | None = None
    lag: float | None = None
    runs: int | None = None
    leads: bool = False


class Prober:
    """Asks the nodes of one cluster. Open it with :func:`open_prober`."""

    def __init__(self, http: aiohttp.ClientSession, tls: ssl.SSLContext | None) -> None:
        self._http = http
        self._tls = tls

    async def is_ready(self, node: NodeState) -> bool:
        """Whether a node is ready to work."""
        status, _ = await self._get(node, "/readyz")
        return status == 200

    async def look(self, node: NodeState) -> Sight:
        """Everything that a node says of itself."""
        answers: dict[str, bytes] = {}

        async def ask(path: str) -> None:
            _, answers[path] = await self._get(node, path)

        async with anyio.create_task_group() as tasks:
            for path in ("/healthz", "/readyz", "/metrics"):
                tasks.start_soon(ask, path)
        return _sight(_members(answers["/healthz"]), _members(answers["/readyz"]), answers["/metrics"].decode())

    async def look_at_all(self, nodes: Sequence[NodeState]) -> list[Sight]:
        """All of them, at the same time."""
        sights = [Sight()] * len(nodes)

        async def look(number: int, node: NodeState) -> None:
            sights[number] = await self.look(node)

        async with anyio.create_task_group() as tasks:
            for number, node in enumerate(nodes):
                tasks.start_soon(look, number, node)
        return sights

    async def dialed(self, node: NodeState, kind: str) -> int:
        """To how many other nodes of a type it keeps a stream of its own."""
        _, body = await self._get(node, "/metrics")
        return int(sum(samples(body.decode(), _LINKS, f'side="dialed",type="{kind}"')))

    async def _get(self, node: NodeState, path: str) -> tuple[int, bytes]:
        """Status and body; 0 while it does not answer."""
        url = f"{'https' if self._tls else 'http'}://{LOOPBACK}:{node.http}{path}"
        try:
            async with self._http.get(url, ssl=self._tls or True) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, b""


@asynccontextmanager
async def open_prober(place: Place, *, tls: bool) -> AsyncIterator[Prober]:
    """Ask nodes while the block runs.

    :param tls: whether the nodes speak TLS, with certificates of the place's authority.
    :raises MemqlError: ``CONFIG_INVALID`` when that cannot be read.
    """
    context = _context(place) if tls else None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http:
        yield Prober(http, context)


def _context(place: Place) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=place.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise MemqlError(Code.CONFIG_INVALID, f"{place.ca_file} holds no certificates: {error}") from error


def _members(body: bytes) -> dict[str, Any]:
    try:
        members = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError:
        return {}
    return members if isinstance(members, dict) else {}


def _sight(health: dict[str, Any], readiness: dict[str, Any], metrics: str) -> Sight:
    if not health:
        return Sight()
    lags = list(samples(metrics, _LAG))
    return Sight(
        health=str(health.get("status", "")),
        readiness=str(readiness.get("status", "")),
        missing=tuple(map(str, readiness.get("missing", ()))),
        streams=int(sum(samples(metrics, _STREAMS))),
        links=int(sum(samples(metrics, _LINKS))) if lags else None,
        lag=max(lags) if lags else None,
        runs=int(sum(samples(metrics, _GUARD, 'outcome="runs_'))),
        leads=any(samples(metrics, _LEADER)),
    )


def samples(text: str, name: str, labels: str = "") -> Iterator[float]:
    """The values of a metric in the text form of Prometheus, of those that have these labels."""
    for line in text.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")) and labels in line:
            yield float(line.rpartition(" ")[2])
