"""Streams end when their credential does: one look at the database per window, however many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from issuer_system import Rows
from prometheus_client import REGISTRY

from memql.auth.credentials import CredentialStore
from memql.auth.refusals import Cause
from memql.auth.revocation import RevocationWatch
from memql.auth.standing import Credential, Row, Standing
from memql.auth.surfaces import CredentialKind
from memql.errors import Code, MemqlError
from memql.graph.database import Database

pytestmark = pytest.mark.anyio


class CountingStore(CredentialStore):
    """Counts looks, and fails them on demand."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks = 0
        self.asked: set[str] = set()
        self.broken = False

    async def refresh(self, ids: Iterable[str]) -> Mapping[str, Row]:
        wanted = list(ids)
        self.looks += 1
        self.asked = set(wanted)
        assert len(wanted) == len(self.asked)
        if self.broken:
            raise MemqlError(Code.UNAVAILABLE, "the database is away")
        return await super().refresh(wanted)


@pytest.fixture
def store(database: Database) -> CountingStore:
    return CountingStore(database)


@asynccontextmanager
async def watching(store: CredentialStore, **options: Any) -> AsyncIterator[RevocationWatch]:
    watch = RevocationWatch(store, **{"window": 0.3, **options})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        yield watch
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110  a state of the watch
            await anyio.sleep(0.005)


async def signed_in(rows: Rows, short: str) -> Credential:
    user = await rows.user(short)
    session = await rows.session(short, user)
    return Credential(kind=CredentialKind.USER, user_id=user, session_id=session, epoch=0)


async def test_every_way_to_revoke_is_told_with_its_cause(rows: Rows, store: CountingStore) -> None:
    ended: dict[str, Cause] = {}
    credentials = {name: await signed_in(rows, name) for name in ("session", "epoch", "suspended", "kept")}
    node = Credential(kind=CredentialKind.NODE, credential_id=await rows.node("bff-0", "bff"))
    async with watching(store) as watch:
        with ExitStack() as held:
            for name, credential in {**credentials, "node": node}.items():
                held.enter_context(watch.watching(credential, partial(ended.__setitem__, name)))
            await until(lambda: store.looks)
            assert not ended
            await rows.revoke(credentials["session"].session_id)
            await rows.change(credentials["epoch"].user_id, revocationEpoch=1)
            await rows.change(credentials["suspended"].user_id, suspendedAt="2026-01-01T00:00:00Z")
            await rows.revoke(node.credential_id)
            await until(lambda: len(ended) == 4)
    assert ended == {"session": Cause.SESSION, "epoch": Cause.EPOCH, "suspended": Cause.USER, "node": Cause.REVOKED}


async def test_two_hundred_streams_of_fifty_people_cost_one_look_per_window(rows: Rows, store: CountingStore) -> None:
    people = [await signed_in(rows, f"p{number}") for number in range(50)]
    ended: list[Cause] = []
    async with watching(store, window=0.5) as watch:
        with ExitStack() as held:
            for number in range(200):
                held.enter_context(watch.watching(people[number % 50], ended.append))
            began = anyio.current_time()
            await until(lambda: store.looks >= 3)
            windows = (anyio.current_time() - began) / 0.5
            assert store.looks <= windows + 2
            assert len(store.asked) == 100
            for person in people:
                await rows.revoke(person.session_id)
            await until(lambda: len(ended) == 200)
            assert len(watch) == 0


async def test_nothing_is_asked_while_nothing_is_open(rows: Rows, store: CountingStore) -> None:
    async with watching(store, window=0.05) as watch:
        with watch.watching(await signed_in(rows, "ada"), lambda cause: None):
            await until(lambda: store.looks)
        await anyio.sleep(0.4)
        looks = store.looks
        await anyio.sleep(0.2)
        assert store.looks == looks


async def test_hurrying_brings_the_next_look_forward_but_not_without_bound(rows: Rows, store: CountingStore) -> None:
    ada = await signed_in(rows, "ada")
    ended: list[Cause] = []
    async with watching(store, window=4.0) as watch:
        with watch.watching(ada, ended.append):
            await until(lambda: store.looks)
            await rows.revoke(ada.session_id)
            with anyio.fail_after(2):
                for _ in range(100):
                    watch.hurry()
                while not ended:  # noqa: ASYNC110  a state of the watch
                    await anyio.sleep(0.01)
            assert store.looks == 2


async def test_a_change_of_role_is_told_to_whoever_asked(rows: Rows, store: CountingStore) -> None:
    ada = await signed_in(rows, "ada")
    seen: list[str] = []

    def look(standing: Standing) -> None:
        assert standing.user is not None
        seen.append(standing.user.role)

    async with watching(store, window=0.1) as watch:
        with watch.watching(ada, lambda cause: None, look):
            await until(lambda: "reader" in seen)
            await rows.change(ada.user_id, role="admin")
            await until(lambda: "admin" in seen)


async def test_sessions_fail_open_loudly_while_the_database_is_away(
    rows: Rows, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    ada, ended = await signed_in(rows, "ada"), list[Cause]()
    before = REGISTRY.get_sample_value("memql_auth_revocation_fail_open_total") or 0.0
    async with watching(store, window=0.05, blind=60.0) as watch:
        with watch.watching(ada, ended.append):
            store.broken = True
            looks = store.looks
            await until(lambda: store.looks >= looks + 2)
            assert not ended
            store.broken = False
            await rows.revoke(ada.session_id)
            await until(lambda: ended)
    assert "cannot be checked for revocation" in caplog.text
    assert (REGISTRY.get_sample_value("memql_auth_revocation_fail_open_total") or 0.0) >= before + 1


async def test_what_must_fail_closed_does_so_once_a_failover_is_long_over(rows: Rows, store: CountingStore) -> None:
    ada = await signed_in(rows, "ada")
    node = Credential(kind=CredentialKind.NODE, credential_id=await rows.node("bff-0", "bff"))
    without_epoch = Credential(kind=CredentialKind.USER, user_id=ada.user_id, session_id=ada.session_id)
    ended: list[tuple[str, Cause]] = []
    store.broken = True
    async with watching(store, window=0.05, blind=0.5) as watch:
        with (
            watch.watching(ada, lambda cause: ended.append(("epoch", cause))),
            watch.watching(node, lambda cause: ended.append(("node", cause))),
            watch.watching(without_epoch, lambda cause: ended.append(("session", cause))),
        ):
            await until(lambda: store.looks)
            assert not ended
            await until(lambda: len(ended) == 2)
            assert len(watch) == 1
    assert set(ended) == {("epoch", Cause.UNCHECKED), ("node", Cause.UNCHECKED)}


async def test_a_stream_that_closed_meanwhile_is_told_nothing(rows: Rows, store: CountingStore) -> None:
    ada, ended = await signed_in(rows, "ada"), list[Cause]()
    async with watching(store, window=0.05) as watch:
        with watch.watching(ada, ended.append):
            await until(lambda: store.looks)
        await rows.revoke(ada.session_id)
        with watch.watching(await signed_in(rows, "bob"), ended.append):
            looks = store.looks
            await until(lambda: store.looks > looks + 1)
    assert not ended
