"""The credential of the owner, for the commands of this machine: a personal access token, minted by the command of the
identity wheel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

import anyio

from memql.errors import Code, MemqlError
from memql.mesh.cluster.files import read_private
from memql.mesh.cluster.place import Place

__all__ = ["obtain_owner_token"]

_COMMAND_SECONDS: Final = 120.0
_LABEL: Final = "memql cluster"
_USED_FOR: Final = 30 * 86_400.0
"""Seconds after which another one is minted; it counts for three times as long."""


async def obtain_owner_token(place: Place, environment: Mapping[str, str], owner: str) -> None:
    """Have a token of the owner in the place's file: the one that is there while it counts, else a new one.

    :param environment: that of an identity node, which must be ready.
    :param owner: the owner's e-mail address.
    :raises MemqlError: ``FAILED_PRECONDITION`` with the reason when none is minted; ``TIMEOUT``.
    """
    kept = read_private(place.owner_token)
    if kept is not None and _age(place) < _USED_FOR:
        inspected = await _memql(place, environment, "token", "inspect", text=kept)
        if inspected.returncode == 0:
            return
    out = str(place.owner_token)
    minting = ("token", "mint", "--class", "pat", "--user", owner, "--label", _LABEL, "--out", out)
    minted = await _memql(place, environment, *minting)
    if minted.returncode != 0:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"there is no credential for the commands of this machine: {_reason(minted.stderr)}. Where somebody else "
            "owns the cluster of this database, set IDENTITY_BOOTSTRAP_OWNER_EMAIL to their address",
        )


def _age(place: Place) -> float:
    return time.time() - place.owner_token.stat().st_mtime


async def _memql(
    place: Place, environment: Mapping[str, str], *arguments: str, text: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "memql", *arguments]
    try:
        with anyio.fail_after(_COMMAND_SECONDS):
            return await anyio.run_process(
                command, input=text, env=environment, cwd=place.directory, check=False, start_new_session=True
            )
    except TimeoutError:
        raise MemqlError(
            Code.TIMEOUT, f"memql {arguments[0]} {arguments[1]} did not end within {_COMMAND_SECONDS:g} s"
        ) from None


def _reason(errors: bytes) -> str:
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.startswith("error ")]
    return lines[-1].removeprefix("error ") if lines else "memql token mint failed without saying why"
