"""What becomes of an open stream when its principal changes, without a database: one session and its keeper."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from server_system import FakeEngine

from memql.auth import machine, person
from memql.auth.surfaces import AFTER_EXPIRY, FRAMES, CredentialKind
from memql.errors import Code, MemqlError
from memql.server.codec import ProtobufCodec
from memql.server.handlers import core_routes
from memql.server.keeper import Keeper
from memql.server.ports import Principal, Services
from memql.server.session import Session
from memql.wire.frames import Frame, QueryRequest, decode_server, encode_client
from memql.wire.messages import QueryErrorMsg
from memql.wire.payloads import CLIENT

pytestmark = pytest.mark.anyio
ADMIN = Principal(actor=person("v1:identity:user:ada", role="admin"), credential_class=CredentialKind.USER)
READER = replace(ADMIN, actor=person("v1:identity:user:ada", role="reader"))


class Stream:
    """A session with its keeper; ``ended`` is why it was ended."""

    def __init__(self, services: Services, principal: Principal) -> None:
        self.frames: list[Frame] = []
        self.ended: list[tuple[str, Code]] = []
        self.session = Session(
            services=services, routes=core_routes(), principal=principal, codec=ProtobufCodec(), write=self._write
        )
        self.keeper = Keeper(self.session, self._end, None)

    async def _write(self, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self.frames.append(decode_server(data))

    def _end(self, reason: str, ending: MemqlError) -> None:
        self.ended.append((reason, ending.code))

    def query(self, request_id: str, text: str) -> None:
        body = QueryRequest(request_id, text).encode()
        self.session.receive(encode_client(request_id, CLIENT.by_name["execute_query"].number, body))

    def errors(self) -> list[str]:
        found = []
        for frame in self.frames:
            message = frame.message() if frame.name == "query_error" else None
            if isinstance(message, QueryErrorMsg) and message.error is not None:
                found.append(message.error.code)
        return found

    def may_send(self, name: str) -> bool:
        return self.session.screen is None or self.session.screen(name) is None


@asynccontextmanager
async def stream_of(services: Services, principal: Principal) -> AsyncIterator[Stream]:
    stream = Stream(services, principal)
    async with stream.session:
        with stream.keeper:
            yield stream


async def test_a_lower_role_ends_the_requests_that_the_higher_one_began(services: Services, engine: FakeEngine) -> None:
    async with stream_of(services, ADMIN) as stream:
        stream.query("q1", "wait")
        await engine.waiting.wait()
        stream.keeper.adopt(READER)
        await stream.session.wait_idle()
        assert stream.errors() == ["PermissionDenied"]
        assert stream.session.principal.actor.role == "reader"
    assert engine.stopped == 1


async def test_the_same_or_a_higher_role_lets_them_go_on(services: Services, engine: FakeEngine) -> None:
    async with stream_of(services, READER) as stream:
        stream.query("q1", "wait")
        await engine.waiting.wait()
        stream.keeper.adopt(ADMIN)
        stream.keeper.adopt(ADMIN)
        engine.release.set()
        await stream.session.wait_idle()
        assert stream.errors() == []
        assert [frame.name for frame in stream.frames] == ["query_result"]


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_pinned_credential_sends_its_frames_only(services: Services, kind: CredentialKind) -> None:
    pinned = Principal(actor=machine(kind.value, "x", "k1"), credential_class=kind)
    async with stream_of(services, pinned) as stream:
        allowed = {name for name in CLIENT.by_name if stream.may_send(name)}
        assert allowed == FRAMES[kind] & set(CLIENT.by_name)
        assert not stream.may_send("")


async def test_an_expired_credential_sends_control_frames_and_then_nothing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memql.server.keeper.GRACE_SECONDS", 0.05)
    expired = replace(ADMIN, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    async with stream_of(services, expired) as stream:
        with anyio.fail_after(10):
            while not stream.ended:  # noqa: ASYNC110  a timer of the keeper
                await anyio.sleep(0.005)
        assert {name for name in CLIENT.by_name if stream.may_send(name)} == AFTER_EXPIRY
        assert stream.ended == [("expired", Code.UNAUTHENTICATED)]


async def test_a_fresh_credential_takes_the_place_of_the_expired_one(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memql.server.keeper.GRACE_SECONDS", 0.05)
    async with stream_of(services, replace(ADMIN, expires_at=datetime.now(UTC))) as stream:
        with anyio.fail_after(10):
            while stream.may_send("execute_query"):  # noqa: ASYNC110  a timer of the keeper
                await anyio.sleep(0.001)
        stream.keeper.adopt(replace(ADMIN, expires_at=datetime.now(UTC) + timedelta(hours=1)))
        assert stream.may_send("execute_query")
        # Long past the grace of the old one.
        await anyio.sleep(0.1)
        assert not stream.ended


async def test_leaving_forgets_the_timers(services: Services) -> None:
    async with stream_of(services, replace(ADMIN, expires_at=datetime.now(UTC) + timedelta(seconds=0.05))) as stream:
        pass
    await anyio.sleep(0.1)
    assert stream.may_send("execute_query")
    assert not stream.ended
