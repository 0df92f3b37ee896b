"""``/livez``, ``/healthz``, ``/readyz`` (spec "Health, readiness, drain")."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version

from aiohttp import web

from memql.errors import Code, MemqlError
from memql.graph.migrator import packaged_head
from memql.server.http_common import json_response
from memql.server.ports import NodeIdentity
from memql.server.sessions import Sessions

__all__ = ["Health"]

_READY_CACHE_SECONDS = 1.0

Check = Callable[[], Awaitable[Sequence[tuple[str, bool]]]]


class Health:
    """What the node says about itself.

    ``components`` are the node's parts and whether they run; ``checks`` gives readiness checks by name and outcome.
    """

    def __init__(self, identity: NodeIdentity, sessions: Sessions, checks: Check) -> None:
        self.components: dict[str, bool] = {}
        self.grpc_address = ""
        self.started = False
        self._version = version("memql-core")
        self._identity = identity
        self._sessions = sessions
        self._checks = checks
        self._looked: tuple[float, list[dict[str, object]]] | None = None

    @property
    def status(self) -> str:
        """``ok``, ``degraded`` when a component does not run, ``draining`` before either."""
        if self._sessions.draining:
            return "draining"
        return "ok" if all(self.components.values()) else "degraded"

    async def livez(self, request: web.Request) -> web.Response:
        """The process loop is alive; nothing else."""
        return json_response({"status": "alive"})

    async def healthz(self, request: web.Request) -> web.Response:
        """Whether to route here: 503 while draining or when a component is down."""
        body = {
            "status": self.status,
            "nodeId": self._identity.id,
            "nodeType": self._identity.type,
            "flavor": self._identity.flavor,
            "grpcAddress": self.grpc_address,
            "activeStreams": len(self._sessions),
            "dependencies": [{"component": name, "running": up} for name, up in self.components.items()],
            "version": self._version,
        }
        return json_response(body, 200 if self.status == "ok" else 503)

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether the node is able to work: its lifecycle, then tables and schema, looked up at most every second.

        What fails has a code, and what is missing is named: never a driver's text, which names hosts and users.
        """
        now = time.monotonic()
        if self._looked is None or self._looked[0] < now - _READY_CACHE_SECONDS:
            self._looked = (now, await self._look())
        draining = self._sessions.draining
        own = _check("lifecycle", None if self.started and not draining else Code.UNAVAILABLE)
        checks = [own, *self._looked[1]]
        missing = [check["name"] for check in checks if not check["ready"]]
        status = "draining" if draining else "not_ready" if missing else "ready"
        body: dict[str, object] = {"status": status, "schemaVersion": packaged_head(), "checks": checks}
        if missing:
            body["missing"] = missing
        return json_response(body, 503 if missing else 200)

    async def _look(self) -> list[dict[str, object]]:
        try:
            checks = await self._checks()
        except MemqlError as error:
            return [_check("database", error.code)]
        return [_check(name, None if ready else Code.FAILED_PRECONDITION) for name, ready in checks]


def _check(name: str, failure: Code | None) -> dict[str, object]:
    return {"name": name, "ready": True} if failure is None else {"name": name, "ready": False, "code": failure.value}
