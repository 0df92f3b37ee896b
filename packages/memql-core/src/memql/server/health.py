"""``/livez``, ``/healthz``, ``/readyz`` (spec "Health, readiness, drain")."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from memql.errors import MemqlError
from memql.server.http_common import json_response
from memql.server.ports import NodeIdentity
from memql.server.sessions import Sessions

__all__ = ["Health"]

_READY_CACHE_SECONDS = 2.0

Check = Callable[[], Awaitable[Sequence[tuple[str, bool]]]]


class Health:
    """What the node says about itself.

    ``components`` are the node's parts and whether they run; ``checks`` gives readiness checks by name and outcome.
    """

    def __init__(self, identity: NodeIdentity, sessions: Sessions, checks: Check) -> None:
        self.components: dict[str, bool] = {}
        self.grpc_address = ""
        self.started = False
        self._identity = identity
        self._sessions = sessions
        self._checks = checks
        self._ready: tuple[float, int, Mapping[str, object]] | None = None

    @property
    def status(self) -> str:
        """``ok``, ``degraded`` when a component does not run, ``draining`` before either."""
        if self._sessions.draining:
            return "draining"
        return "ok" if all(self.components.values()) else "degraded"

    async def livez(self, request: web.Request) -> web.Response:
        """The process loop is alive; nothing else."""
        return json_response({"status": "ok"})

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
        }
        return json_response(body, 200 if self.status == "ok" else 503)

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether the node is able to work: tables, schema version; looked up at most every 2 s."""
        now = time.monotonic()
        if self._ready is None or self._ready[0] < now - _READY_CACHE_SECONDS:
            self._ready = (now, *await self._look())
        _, status, body = self._ready
        if self._sessions.draining or not self.started:
            return json_response({**body, "status": "draining" if self._sessions.draining else "starting"}, 503)
        return json_response(body, status)

    async def _look(self) -> tuple[int, Mapping[str, object]]:
        try:
            checks = await self._checks()
        except MemqlError as error:
            # The code only: driver texts name hosts and users.
            return 503, {"status": "unready", "checks": [], "code": error.code.value, "missing": ["database"]}
        shown = [{"name": name, "ready": ready} for name, ready in checks]
        missing = [name for name, ready in checks if not ready]
        if missing:
            return 503, {"status": "unready", "checks": shown, "missing": missing}
        return 200, {"status": "ready", "checks": shown}
