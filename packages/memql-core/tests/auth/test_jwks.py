"""The cache of public keys against a real HTTP server: bounded refreshes, and keys that outlive failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from issuer_system import JwksServer, Signer, serving_jwks
from prometheus_client import REGISTRY

from memql.auth.jwks import JwksCache
from memql.auth.keys import PublicKey, fingerprint, kid_of, read_key_set
from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(server: JwksServer, **options: Any) -> AsyncIterator[JwksCache]:
    cache = JwksCache(server.url, **{"retry": 0.02, "refresh": 3600.0, "timeout": 5.0, **options})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cache.run)
        yield cache
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110  a state of the cache, which tells nobody
            await anyio.sleep(0.005)


async def test_the_keys_are_fetched_at_the_start() -> None:
    signer = Signer()
    async with serving_jwks(signer.public) as server, running(server) as cache:
        await until(lambda: cache.ready)
        assert await cache.find(signer.public.kid) == signer.public
        assert (cache.count, server.hits) == (1, 1)
        shown = REGISTRY.get_sample_value("memql_jwks_keyset", {"fingerprint": cache.fingerprint})
        assert (cache.fingerprint, shown) == (fingerprint([signer.public.kid]), 1.0)


async def test_a_service_that_is_not_there_yet_is_asked_again() -> None:
    signer = Signer()
    async with serving_jwks(signer.public) as server:
        server.status = 503
        async with running(server, cooldown=0.0) as cache:
            await until(lambda: server.hits >= 3)
            with pytest.raises(MemqlError) as error:
                await cache.find(signer.public.kid)
            assert error.value.code is Code.UNAVAILABLE
            server.status = 200
            await until(lambda: cache.ready)
            assert await cache.find(signer.public.kid) == signer.public


async def test_a_storm_of_unknown_keys_causes_one_fetch() -> None:
    known, clock = Signer(), Clock()
    async with serving_jwks(known.public) as server, running(server, clock=clock) as cache:
        await until(lambda: cache.ready)
        clock.now += 11
        found: list[PublicKey | None] = []

        async def ask(number: int) -> None:
            found.append(await cache.find(f"unknown-{number}"))

        async with anyio.create_task_group() as storm:
            for number in range(500):
                storm.start_soon(ask, number)
        assert (found, server.hits) == ([None] * 500, 2)
        # At most one per ten seconds, whoever asks.
        async with anyio.create_task_group() as storm:
            for number in range(500, 1000):
                storm.start_soon(ask, number)
        assert server.hits == 2


async def test_a_new_key_is_found_by_the_token_that_it_signed() -> None:
    old, new, clock = Signer(), Signer(), Clock()
    async with serving_jwks(old.public) as server, running(server, clock=clock) as cache:
        await until(lambda: cache.ready)
        server.keys.append(new.public)
        clock.now += 11
        assert await cache.find(new.public.kid) == new.public
        assert server.hits == 2


async def test_an_unknown_key_is_remembered_for_a_minute() -> None:
    clock = Clock()
    async with serving_jwks(Signer().public) as server, running(server, clock=clock) as cache:
        await until(lambda: cache.ready)
        clock.now += 11
        assert await cache.find("unknown") is None
        clock.now += 30
        assert await cache.find("unknown") is None
        assert server.hits == 2
        clock.now += 31
        assert await cache.find("unknown") is None
        assert server.hits == 3


async def test_a_fetch_under_way_is_joined_and_its_answer_is_not_held_against_the_key() -> None:
    old, new, clock = Signer(), Signer(), Clock()
    async with serving_jwks(old.public) as server, running(server, clock=clock, cooldown=10.0) as cache:
        await until(lambda: cache.ready)
        clock.now += 11
        server.held = anyio.Event()
        async with anyio.create_task_group() as asking:
            asking.start_soon(cache.find, "other")
            await until(lambda: server.hits == 2)
            asking.start_soon(cache.find, new.public.kid)
            await anyio.lowlevel.checkpoint()
            server.held.set()
        assert server.hits == 2
        server.keys.append(new.public)
        clock.now += 11
        assert await cache.find(new.public.kid) == new.public


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"keys": []}'), (200, b"{}"), (200, b"junk"), (500, None), (200, b'{"keys": [{"kty": "RSA"}]}')],
)
async def test_a_failing_or_empty_answer_never_replaces_good_keys(status: int, body: bytes | None) -> None:
    signer, clock = Signer(), Clock()
    async with serving_jwks(signer.public) as server, running(server, clock=clock) as cache:
        await until(lambda: cache.ready)
        server.status, server.body = status, body
        clock.now += 11
        assert await cache.find("unknown") is None
        assert server.hits == 2
        clock.now += 23 * 3600
        assert await cache.find(signer.public.kid) == signer.public


async def test_keys_are_given_up_after_a_day_without_a_good_answer() -> None:
    signer, clock = Signer(), Clock()
    async with serving_jwks(signer.public) as server, running(server, clock=clock) as cache:
        await until(lambda: cache.ready)
        server.status = 500
        clock.now += 86_401
        assert not cache.ready
        with pytest.raises(MemqlError) as error:
            await cache.find(signer.public.kid)
        assert error.value.code is Code.UNAVAILABLE


async def test_keys_are_refreshed_without_being_asked_for() -> None:
    old, new = Signer(), Signer()
    async with serving_jwks(old.public) as server, running(server, refresh=0.02) as cache:
        await until(lambda: cache.ready)
        server.keys[:] = [new.public]
        await until(lambda: cache.fingerprint == fingerprint([new.public.kid]))
        assert REGISTRY.get_sample_value("memql_jwks_keyset", {"fingerprint": fingerprint([old.public.kid])}) is None


async def test_an_endless_answer_is_cut_off() -> None:
    async with serving_jwks(Signer().public) as server:
        server.body = b" " * (300 * 1024)
        async with running(server) as cache:
            await until(lambda: server.hits >= 2)
            assert not cache.ready


def test_a_key_has_the_id_of_its_bytes() -> None:
    raw = bytes(range(32))
    assert kid_of(raw) == PublicKey.of(raw).kid == "Yw3NKWbEM2Y"
    assert read_key_set({"keys": [PublicKey.of(raw).to_jwk()]}) == {"Yw3NKWbEM2Y": PublicKey.of(raw)}


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "EC"},
        {"crv": "Ed448"},
        {"use": "enc"},
        {"alg": "ES256"},
        {"kid": ""},
        {"kid": 1},
        {"x": "AAAA"},
        {"x": 7},
    ],
)
def test_keys_of_another_kind_are_passed_over(change: dict[str, Any]) -> None:
    good = PublicKey.of(bytes(32)).to_jwk()
    assert read_key_set({"keys": [{**good, **change}, "junk", None]}) == {}


def test_sets_of_keys_are_told_apart_whatever_their_order() -> None:
    assert fingerprint(["a", "b"]) == fingerprint(["b", "a"]) != fingerprint(["a"])
    assert fingerprint([]) == ""
