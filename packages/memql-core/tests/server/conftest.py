"""The parts of a running server, and a stream to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from server_system import FakeEngine, LocalAuthenticator, Node, Serve, Wire

from memql.config import Settings
from memql.events import Bus
from memql.server.handlers import core_routes
from memql.server.health import Health
from memql.server.limits import Limits
from memql.server.ports import Authenticator, NodeIdentity, Services
from memql.server.server import open_server
from memql.server.sessions import Sessions


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def services(engine: FakeEngine) -> Services:
    return Services(identity=NodeIdentity(id="node-1", type="bff"), engine=engine, bus=Bus(), version="0.1.0")


@pytest.fixture
def serve(engine: FakeEngine, services: Services) -> Serve:
    @asynccontextmanager
    async def open_node(
        limits: Limits | None = None, authenticator: Authenticator | None = None, **given: Any
    ) -> AsyncIterator[Node]:
        members = {"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0", **given}
        settings = Settings.model_validate(members)
        sessions = Sessions()

        async def checks() -> Sequence[tuple[str, bool]]:
            if engine.unreachable is not None:
                raise engine.unreachable
            return engine.checks

        health = Health(services.identity, sessions, checks)
        health.started = True
        async with open_server(
            settings,
            services,
            authenticator=authenticator or LocalAuthenticator(),
            routes=core_routes(),
            sessions=sessions,
            health=health,
            limits=limits,
        ) as server:
            yield Node(services, server, engine)

    return open_node


@pytest.fixture
async def node(serve: Serve) -> AsyncIterator[Node]:
    async with serve() as running:
        yield running


@pytest.fixture
async def wire(node: Node) -> AsyncIterator[Wire]:
    async with node.connect() as connected:
        yield connected
