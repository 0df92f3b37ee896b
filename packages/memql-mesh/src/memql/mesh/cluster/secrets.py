"""What a cluster on one machine keeps secret, made once and kept for its owner alone.

The signing key is in the environment, not on a disk, so that every identity node signs with the same one.
"""

from __future__ import annotations

import getpass
import secrets
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from memql.errors import Code, MemqlError
from memql.mesh.cluster.files import read_private, write_private
from memql.mesh.cluster.place import Place

__all__ = ["ClusterSecrets", "obtain_secrets"]


class ClusterSecrets(msgspec.Struct, rename="camel"):
    """``bootstrap`` has, by role, what a node of that role gets its credential for."""

    master_key: str
    signing_seed: str
    signing_seed_created_at: str
    owner_email: str
    bootstrap: dict[str, str]


def obtain_secrets(place: Place, roles: Iterable[str]) -> ClusterSecrets:
    """Those of this cluster, made where they are missing.

    :param roles: the roles that need a secret.
    :raises MemqlError: ``CONFIG_INVALID`` when the file is open to others or is none of ours.
    """
    kept = _read(place) or _new()
    missing = [role for role in roles if role not in kept.bootstrap]
    kept.bootstrap.update({role: secrets.token_urlsafe(32) for role in missing})
    if missing or not place.secrets.exists():
        write_private(place.secrets, msgspec.json.format(msgspec.json.encode(kept), indent=2))
    return kept


def _read(place: Place) -> ClusterSecrets | None:
    content = read_private(place.secrets)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=ClusterSecrets)
    except msgspec.MsgspecError as error:
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"{place.secrets} cannot be read: {error}. Without it stored secrets and tokens of this cluster are lost; "
            "put the file back, or remove it to begin anew",
        ) from error


def _new() -> ClusterSecrets:
    return ClusterSecrets(
        master_key=secrets.token_hex(32),
        signing_seed=b64encode(secrets.token_bytes(32)).decode(),
        signing_seed_created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        owner_email=f"{_user()}@localhost",
        bootstrap={},
    )


def _user() -> str:
    try:
        return getpass.getuser().lower()
    except (KeyError, OSError):
        return "owner"
