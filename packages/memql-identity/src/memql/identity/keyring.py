"""The keys of an issuer: the one that signs, the one before, the one to come (spec "Signing keys and JWKS")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import anyio.to_thread

from memql.auth.keys import PublicKey, ShownKeySet
from memql.config import Settings
from memql.config.value_types import parse_seed
from memql.errors import Code, MemqlError
from memql.identity.key_files import KeyFiles
from memql.identity.signing_key import SigningKey

__all__ = ["KeyRing", "load_keys"]

_UNKNOWN_AGE = datetime(1970, 1, 1, tzinfo=UTC)


class KeyRing:
    """The keys in force. Implements :class:`memql.auth.keys.KeySource`: an issuer verifies with what it holds.

    :param files: where they are kept; None when they come from the environment, the same on every replica.
    """

    def __init__(
        self,
        current: SigningKey,
        *,
        following: SigningKey | None = None,
        previous: SigningKey | None = None,
        files: KeyFiles | None = None,
    ) -> None:
        self.current = current
        self.following = following
        self.previous = previous
        self._files = files
        self._shown = ShownKeySet()
        self._show()

    @property
    def mode(self) -> Literal["disk", "env"]:
        """Where the keys come from."""
        return "env" if self._files is None else "disk"

    @property
    def ready(self) -> bool:
        """Always: a ring has a key."""
        return True

    @property
    def fingerprint(self) -> str:
        """What tells this set of keys from others."""
        return self._shown.fingerprint

    @property
    def rotates(self) -> bool:
        """Whether this process replaces keys by itself."""
        return self._files is not None

    async def find(self, kid: str) -> PublicKey | None:
        """The published key of that id."""
        return next((key.public for key in self._published() if key.kid == kid), None)

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims, by the current key."""
        return self.current.sign(claims)

    def jwks(self) -> dict[str, Any]:
        """The JWKS document: current, previous until it retires, next."""
        return {"keys": [key.public.to_jwk() for key in self._published()]}

    async def stage(self) -> None:
        """Make the key that will sign next, and publish it."""
        files, following = self._on_disk(), SigningKey.generate()
        await anyio.to_thread.run_sync(files.write, "next", following)
        self.following = following
        self._show()

    async def promote(self, retires_at: datetime) -> None:
        """Sign with the next key from now on; tokens of the one before count until ``retires_at``."""
        files, following = self._on_disk(), self.following
        assert following is not None
        await anyio.to_thread.run_sync(files.promote, retires_at)
        # In one step on the loop's thread: whoever looks sees the keys before or those after.
        self.current, self.following, self.previous = following, None, replace(self.current, retires_at=retires_at)
        self._show()

    async def retire(self) -> None:
        """Drop the previous key."""
        await anyio.to_thread.run_sync(self._on_disk().drop, "previous")
        self.previous = None
        self._show()

    def _published(self) -> Iterator[SigningKey]:
        yield self.current
        if self.previous is not None and self.previous.counts_at(datetime.now(UTC)):
            yield self.previous
        if self.following is not None:
            yield self.following

    def _show(self) -> None:
        self._shown.show([key.kid for key in self._published()])

    def _on_disk(self) -> KeyFiles:
        if self._files is None:
            raise MemqlError(
                Code.FAILED_PRECONDITION,
                "the signing keys come from the environment, the same on every replica; publish the next one as "
                "IDENTITY_SIGNING_KEY_NEXT_B64 and roll, then swap and roll",
            )
        return self._files


def load_keys(settings: Settings) -> KeyRing:
    """The keys that the settings name: from the environment where a seed is given, else on disk, where the first start
    makes one.

    :raises MemqlError: ``CONFIG_INVALID`` when they cannot be read, opened or stored as they must be.
    """
    if settings.identity_signing_key:
        return _from_environment(settings)
    files = KeyFiles(
        settings.identity_key_dir,
        settings.identity_key_encryption_key,
        plaintext_allowed=settings.explicit_development,
    )
    files.prepare()
    current = files.read("current") or files.write_first(SigningKey.generate())
    previous, following = files.read("previous"), files.read("next")
    if previous is not None and previous.kid == current.kid:
        previous = None  # a rotation stopped half-way; it is taken up again
    return KeyRing(current, following=following, previous=previous, files=files)


def _from_environment(settings: Settings) -> KeyRing:
    created = settings.identity_signing_key_created_at or _UNKNOWN_AGE
    following, previous = settings.identity_signing_key_next, settings.identity_signing_key_previous
    ring = KeyRing(
        SigningKey(parse_seed(settings.identity_signing_key), created),
        following=SigningKey(parse_seed(following), _UNKNOWN_AGE) if following else None,
        previous=SigningKey(parse_seed(previous), _UNKNOWN_AGE) if previous else None,
    )
    kids = [key.kid for key in (ring.current, ring.following, ring.previous) if key is not None]
    if len(set(kids)) != len(kids):
        raise MemqlError(
            Code.CONFIG_INVALID,
            "IDENTITY_SIGNING_KEY_B64, _NEXT_B64 and _PREVIOUS_B64 must be different keys; drop the one that repeats",
        )
    return ring
