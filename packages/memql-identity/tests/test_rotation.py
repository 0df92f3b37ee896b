"""Replacing keys: when each step is due, and that no token fails meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from identity_system import BASE, identity_node, issuer_settings
from issuer_system import Rows

from memql.auth.jwks import JwksCache
from memql.auth.verifier import TokenVerifier
from memql.identity.keyring import KeyRing, load_keys
from memql.identity.rotation import Rotation, Step

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)


class Bench:
    """A rotation with a clock of its own."""

    def __init__(self, directory: Path, longest: datetime | None = None) -> None:
        self.told: list[Step] = []
        self.longest_expiry = longest
        self.ring: KeyRing = load_keys(issuer_settings(directory))
        self.now = datetime.now(UTC)
        self.rotation = Rotation(ring=self.ring, every=90 * DAY, overlap=DAY, longest=self._longest, told=self._told)

    async def _longest(self) -> datetime | None:
        return self.longest_expiry

    async def _told(self, step: Step) -> None:
        self.told.append(step)

    async def after(self, time: timedelta) -> list[Step]:
        """What is done when time has passed."""
        self.now += time
        self.told.clear()
        await self.rotation.look(self.now)
        return list(self.told)


async def test_a_key_is_staged_then_signs_and_the_old_one_is_swept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    old = bench.ring.current.kid
    assert await bench.after(89 * DAY) == []
    assert await bench.after(DAY) == ["staged"]
    assert bench.ring.current.kid == old
    # Published for a while before it signs, so that every verifier has it.
    bench.now = datetime.now(UTC)
    assert await bench.after(timedelta(minutes=1)) == []
    assert await bench.after(timedelta(minutes=15)) == ["promoted"]
    assert bench.ring.current.kid != old
    assert bench.ring.previous is not None
    assert bench.ring.previous.kid == old
    assert await bench.after(timedelta(hours=23)) == []
    assert await bench.after(timedelta(hours=2)) == ["retired"]
    assert bench.ring.previous is None


async def test_the_old_key_stays_as_long_as_a_token_that_it_signed(tmp_path: Path) -> None:
    last = datetime.now(UTC) + 30 * DAY
    bench = Bench(tmp_path, longest=last)
    await bench.after(90 * DAY)
    bench.now = datetime.now(UTC)
    await bench.after(timedelta(minutes=20))
    assert bench.ring.previous is not None
    assert bench.ring.previous.retires_at == last
    # Meanwhile there is no room for another: the next rotation waits.
    bench.ring.current = type(bench.ring.current)(bench.ring.current.seed, bench.now - 100 * DAY)
    assert await bench.after(29 * DAY) == []
    assert await bench.after(2 * DAY) == ["retired", "staged"]


async def test_the_longest_token_is_known_from_its_row(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        soon = await identity.issuing.longest()
        assert soon is not None
        assert timedelta(hours=23) < soon - datetime.now(UTC) <= timedelta(hours=24)
        far = datetime.now(UTC) + 60 * DAY
        await Rows(identity.node.engine.writer).identity(
            "voice_agent_token",
            {"instanceId": "v", "keyHash": "h", "mintedBy": "t", "expiresAt": far.isoformat()},
        )
        assert await identity.issuing.longest() == far


async def test_keys_rotate_under_load_without_one_failure(dsn: str, tmp_path: Path) -> None:
    """Verifiers over HTTP and on the node itself, three rotations, tokens minted and verified all the while."""
    async with identity_node(dsn, tmp_path) as identity:
        user = await identity.rows.user("ada")
        ring = identity.ring
        cache = JwksCache(f"{identity.http}/.well-known/jwks.json", refresh=0.05)
        remote, local = (TokenVerifier(keys, issuer=BASE) for keys in (cache, ring))
        kids: set[str] = set()
        verified = 0
        stop = anyio.Event()

        async def load() -> None:
            nonlocal verified
            from memql.auth.claims import TokenClass

            while not stop.is_set():
                token, _ = identity.issuing.minter.mint(
                    TokenClass.USER, user, timedelta(minutes=5), {"sid": "v1:identity:authSession:s1"}
                )
                kids.add(ring.current.kid)
                await local.verify(token)
                await remote.verify(token)
                verified += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cache.run)
            with anyio.fail_after(20):
                while not cache.ready:  # noqa: ASYNC110  fetched in the background
                    await anyio.sleep(0.01)
            for _ in range(4):
                tasks.start_soon(load)
            for _ in range(3):
                await ring.stage()
                assert ring.following is not None
                with anyio.fail_after(20):
                    while await cache.find(ring.following.kid) is None:  # noqa: ASYNC110  fetched in the background
                        await anyio.sleep(0.01)
                await ring.promote(datetime.now(UTC) + timedelta(hours=1))
                before = verified
                with anyio.fail_after(20):
                    while verified < before + 50:  # noqa: ASYNC110  the load goes on
                        await anyio.sleep(0.01)
                await ring.retire()
            stop.set()
            with anyio.fail_after(20):
                while verified < 150:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        assert len(kids) == 4


async def test_the_steps_are_in_the_audit_trail(dsn: str, tmp_path: Path) -> None:
    async with identity_node(dsn, tmp_path) as identity:
        service = identity.role._service
        assert service is not None
        rotation = service.rotation()
        rotation.staged_for = timedelta(0)
        await rotation.look(datetime.now(UTC) + 91 * DAY)
        await rotation.look(datetime.now(UTC) + 91 * DAY)
        events = await identity.trail()
        assert [event["action"] for event in events] == ["jwks_key_staged", "jwks_rotated"]
        assert events[-1]["detail"]["current"] == identity.ring.current.kid
