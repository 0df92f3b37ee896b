"""The audit trail: events commit with their change, attempts are tried again, and nobody below the owner reads it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY

from memql.auth import Actor, local_owner, system
from memql.engine.assembly import build_engine
from memql.engine.audit_trail import AUDIT_EVENT, AuditEvent, append_audit, record_attempt
from memql.engine.context import RequestContext
from memql.engine.engine import Engine
from memql.engine.write import GraphWriter
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.graph.database import Database
from memql.lang.loader import load_tree, read_sources

pytestmark = pytest.mark.anyio
ADA = Actor(user_id="v1:identity:user:ada", role="admin", primary_email="ada@x.org", identity_id="k1")
EVENT = AuditEvent(category="admin", action="role_changed", actor=ADA, target_type="user", target_id="bob")


@pytest.fixture
def published() -> list[Event]:
    return []


@pytest.fixture
def engine(database: Database, published: list[Event]) -> Engine:
    return build_engine(database, load_tree(read_sources(())).require(), publish=published.append)


async def trail(engine: Engine, actor: Actor | None = None) -> list[dict[str, Any]]:
    found = await engine.execute(f"concept=={AUDIT_EVENT}", actor=actor or local_owner())
    return [node["payload"] for node in found.decoded_nodes()]


async def test_an_event_says_who_did_what_to_whom(engine: Engine) -> None:
    await append_audit(engine.writer, EVENT)
    (payload,) = await trail(engine)
    assert (payload["actorUserId"], payload["actorEmail"], payload["actorRole"]) == (ADA.user_id, "ada@x.org", "admin")
    assert (payload["action"], payload["targetType"], payload["targetId"]) == ("role_changed", "user", "bob")
    assert (payload["outcome"], payload["occurredAt"][-1]) == ("success", "Z")


async def test_there_is_no_change_without_its_event_and_no_event_without_its_change(
    engine: Engine, published: list[Event]
) -> None:
    ctx = RequestContext(actor=system("system:test"))
    person = {"displayName": "Bob", "primaryEmail": "bob@x.org"}

    async def work(within: RequestContext) -> None:
        await engine.writer.insert("v1:identity:user", person, within, id="bob")
        await append_audit(engine.writer, EVENT, within)
        assert not published

    async def half(within: RequestContext) -> None:
        await append_audit(engine.writer, EVENT, within)
        raise MemqlError(Code.CONFLICT, "the change fails")

    with pytest.raises(MemqlError):
        await engine.writer.transaction(half, ctx)
    assert not await trail(engine)
    assert not published
    await engine.writer.transaction(work, ctx)
    assert len(await trail(engine)) == 1
    assert [event.payload["concept"] for event in published] == ["v1:identity:user", AUDIT_EVENT]


async def test_events_cannot_be_changed_afterwards(engine: Engine) -> None:
    await append_audit(engine.writer, EVENT)
    (row,) = (await engine.execute(f"concept=={AUDIT_EVENT}", actor=local_owner())).root_ids
    with pytest.raises(MemqlError, match="immutable"):
        await engine.execute(f'update("{AUDIT_EVENT}", id="{row}", payload={{action: "other"}})', actor=local_owner())


async def test_only_the_owner_reads_the_trail(engine: Engine) -> None:
    await append_audit(engine.writer, EVENT)
    assert not await trail(engine, ADA)


async def test_an_attempt_is_recorded_once_the_database_is_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [1, 2]
    insert = GraphWriter.insert

    async def flaky(self: GraphWriter, *args: Any, **options: Any) -> Any:
        if failures:
            failures.pop()
            raise MemqlError(Code.UNAVAILABLE, "away")
        return await insert(self, *args, **options)

    monkeypatch.setattr(GraphWriter, "insert", flaky)
    await record_attempt(engine.writer, EVENT)
    assert len(await trail(engine)) == 1


async def test_an_attempt_that_cannot_be_recorded_is_counted_and_logged_as_an_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*args: Any, **options: Any) -> Any:
        raise MemqlError(Code.UNAVAILABLE, "away")

    monkeypatch.setattr(GraphWriter, "insert", away)
    before = REGISTRY.get_sample_value("memql_audit_write_failures_total") or 0.0
    with caplog.at_level(logging.ERROR):
        await record_attempt(engine.writer, EVENT)
    assert REGISTRY.get_sample_value("memql_audit_write_failures_total") == before + 1
    assert "role_changed" in caplog.text
