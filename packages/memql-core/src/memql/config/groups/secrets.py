"""Settings of keys and of the genesis envelope."""

from __future__ import annotations

from pathlib import Path

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import Flag

__all__ = ["SecretSettings"]


class SecretSettings(Group):
    """Keys and envelope."""

    master_key: str = setting(
        "MEMQL_MASTER_KEY",
        default="",
        doc="64 hex digits that seal stored secrets and the genesis envelope",
        secret=True,
        pattern=r"^([0-9A-Fa-f]{64})?$",
    )
    genesis_autoload: Flag = setting(
        "MEMQL_GENESIS_AUTOLOAD", default=False, doc="whether the genesis envelope is opened at start"
    )
    genesis_b64: str = setting("MEMQL_GENESIS_B64", default="", doc="the genesis envelope, base64", secret=True)
    genesis_path: Path | None = setting(
        "MEMQL_GENESIS_PATH",
        default=None,
        doc="file of the genesis envelope; genesis.znas in ~/.memql unless set",
    )
    manifest_path: Path | None = setting(
        "MEMQL_MANIFEST_PATH",
        default=None,
        doc="manifest of the secrets and variables of a system; the packaged one unless set",
    )
