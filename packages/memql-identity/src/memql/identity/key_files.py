"""Signing keys on disk (spec "Signing keys and JWKS", disk mode): ``jwt-current.ed25519`` and its neighbours.

Every change replaces a whole file, so that a process which dies half-way leaves the old state or the new one.
"""

from __future__ import annotations

import binascii
import json
import os
import tempfile
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from memql.auth.keys import base64url
from memql.config.tls import read_private_file
from memql.errors import Code, MemqlError
from memql.identity.sealing import is_sealed, seal, unseal
from memql.identity.signing_key import SEED_BYTES, SigningKey

__all__ = ["KeyFiles", "Slot"]

Slot: TypeAlias = Literal["current", "next", "previous"]
_VARIABLE = "IDENTITY_KEY_DIR"


class KeyFiles:
    """The files of one directory.

    :param secret: what keys are sealed under; empty stores them as they are.
    :param plaintext_allowed: whether a key may be stored or read unsealed: on a development machine only.
    """

    def __init__(self, directory: Path, secret: str, *, plaintext_allowed: bool) -> None:
        self._directory = directory
        self._secret = secret
        self._plaintext_allowed = plaintext_allowed

    def prepare(self) -> None:
        """Make the directory, for its owner only.

        :raises MemqlError: ``CONFIG_INVALID`` when it cannot be used, or keys would be stored unsealed where they must
            not be.
        """
        if not (self._secret or self._plaintext_allowed):
            raise MemqlError(
                Code.CONFIG_INVALID,
                "IDENTITY_KEY_ENCRYPTION_KEY is not set: signing keys are stored unsealed only with "
                "MEMQL_ENVIRONMENT=development",
            )
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._directory.chmod(0o700)
        except OSError as error:
            raise MemqlError(
                Code.CONFIG_INVALID,
                f"{_VARIABLE}: {self._directory} cannot be used for its owner alone: {error.strerror}",
            ) from error

    def read(self, slot: Slot) -> SigningKey | None:
        """The key of a slot, None when it is empty. One that was stored unsealed is sealed if there is a secret now.

        :raises MemqlError: ``CONFIG_INVALID`` for a file that others can read, is malformed or sealed under another
            secret.
        """
        path = self._path(slot)
        if not path.exists():
            return None
        members = _members(read_private_file(path, _VARIABLE), path)
        key = self._open(members, path)
        if self._secret and not is_sealed(members):
            self.write(slot, key)
        return key

    def write(self, slot: Slot, key: SigningKey) -> None:
        """Put a key into a slot, in one step."""
        Path(self._draft(key)).replace(self._path(slot))
        self._sync()

    def write_first(self, key: SigningKey) -> SigningKey:
        """Put a key into the empty slot of the current one; if another process was faster, its key is given back."""
        draft = self._draft(key)
        try:
            os.link(draft, self._path("current"))
        except FileExistsError:
            there = self.read("current")
            assert there is not None
            return there
        finally:
            Path(draft).unlink()
        self._sync()
        return key

    def promote(self, retires_at: datetime) -> None:
        """Make the next key the current one, and the current one the previous, which counts until ``retires_at``."""
        current, following = self.read("current"), self._path("next")
        assert current is not None
        self.write("previous", replace(current, retires_at=retires_at))
        following.replace(self._path("current"))
        self._sync()

    def drop(self, slot: Slot) -> None:
        """Empty a slot."""
        self._path(slot).unlink(missing_ok=True)
        self._sync()

    def _path(self, slot: Slot) -> Path:
        return self._directory / f"jwt-{slot}.ed25519"

    def _draft(self, key: SigningKey) -> str:
        """The key in a file of its own, synced, beside the others; mode 0600."""
        descriptor, draft = tempfile.mkstemp(dir=self._directory, prefix=".jwt-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._encode(key), file)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def _encode(self, key: SigningKey) -> dict[str, Any]:
        private = key.seed + key.public.raw
        held = seal(private, self._secret) if self._secret else {"privateB64": base64url(private)}
        return {
            "version": 1,
            "kid": key.kid,
            "createdAt": key.created_at.isoformat(),
            "retiresAt": key.retires_at.isoformat() if key.retires_at else "",
            "publicB64": base64url(key.public.raw),
            **held,
        }

    def _open(self, members: Mapping[str, Any], path: Path) -> SigningKey:
        try:
            private = self._private(members)
            retires = str(members.get("retiresAt") or "")
            key = SigningKey(
                private[:SEED_BYTES],
                datetime.fromisoformat(str(members["createdAt"])),
                datetime.fromisoformat(retires) if retires else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(path) from error
        if members.get("version") != 1 or len(private) != 2 * SEED_BYTES or private[SEED_BYTES:] != key.public.raw:
            raise _malformed(path)
        return key

    def _private(self, members: Mapping[str, Any]) -> bytes:
        if not is_sealed(members):
            text = str(members["privateB64"])
            try:
                return urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except binascii.Error as error:
                raise ValueError("privateB64") from error
        if not self._secret:
            raise MemqlError(
                Code.CONFIG_INVALID, "the signing key is sealed, but IDENTITY_KEY_ENCRYPTION_KEY is not set"
            )
        return unseal(members, self._secret)

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _members(content: bytes, path: Path) -> Mapping[str, Any]:
    try:
        members = json.loads(content)
    except ValueError as error:
        raise _malformed(path) from error
    if not isinstance(members, dict):
        raise _malformed(path)
    return members


def _malformed(path: Path) -> MemqlError:
    return MemqlError(Code.CONFIG_INVALID, f"{path} is no signing key that this program reads")
