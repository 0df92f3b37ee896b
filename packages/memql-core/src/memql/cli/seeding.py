"""From an environment text to rows of secrets and variables, as a manifest says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.engine.context import RequestContext
    from memql.engine.write import ValueStore
    from memql.secrets import Entry, Manifest

__all__ = ["Sowing", "given_values", "seeding_plan", "sow"]


@dataclass(frozen=True, slots=True)
class Sowing:
    """One value to store."""

    entry: Entry
    value: str
    is_secret: bool

    @property
    def partition(self) -> bool:
        """Whether it belongs to the partition rather than to all."""
        return self.entry.scope == "partition"


def given_values(env_file: Path | None, envelope: Path | None) -> dict[str, str]:
    """The assignments of an environment file, or of an envelope that the master key opens.

    :raises MemqlError: ``INVALID_ARGUMENT`` unless exactly one is named, and what reading or opening it raises.
    """
    from memql.secrets import load_master_key, open_envelope, parse_env, read_sealed

    if (env_file is None) == (envelope is None):
        raise MemqlError(Code.INVALID_ARGUMENT, "name one source: --env-file or --envelope")
    if envelope is not None:
        return parse_env(open_envelope(load_master_key(os.environ), read_sealed(envelope)))
    assert env_file is not None
    if str(env_file) == "-":
        return parse_env(sys.stdin.read())
    try:
        return parse_env(env_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{env_file} cannot be read: {error}") from error


def seeding_plan(manifest: Manifest, values: Mapping[str, str]) -> list[Sowing]:
    """What of the values, and of the defaults, belongs into the graph.

    :raises MemqlError: ``FAILED_PRECONDITION`` when something of the floor is missing.
    """
    wanted = [
        (entry, is_secret)
        for entries, is_secret in ((manifest.secrets, True), (manifest.variables, False))
        for entry in entries
        if entry.scope != "node"
    ]
    found = {entry.name: values.get(entry.name, "").strip() or entry.default for entry, _ in wanted}
    missing = [entry.name for entry, _ in wanted if entry.in_floor and not found[entry.name]]
    if missing:
        raise MemqlError(
            Code.FAILED_PRECONDITION, f"nothing is stored: {', '.join(missing)} missing", details={"missing": missing}
        )
    return [Sowing(entry, value, is_secret) for entry, is_secret in wanted if (value := found[entry.name])]


async def sow(
    plan: Sequence[Sowing], store: ValueStore, ctx: RequestContext, *, overwrite: bool
) -> list[tuple[str, bool]]:
    """Store what is not set yet, or everything; each name and whether it was stored."""
    there = {(one.name, one.partition, True) for one in await store.secrets(ctx)}
    there |= {(one.name, one.partition, False) for one in await store.variables(ctx)}
    done: list[tuple[str, bool]] = []
    for one in plan:
        due = overwrite or (one.entry.name, one.partition, one.is_secret) not in there
        if due:
            await _store(one, store, ctx)
        done.append((one.entry.name, due))
    return done


async def _store(one: Sowing, store: ValueStore, ctx: RequestContext) -> None:
    entry, description = one.entry, one.entry.description or None
    if one.is_secret:
        await store.set_secret(
            entry.name, one.value, ctx, partition=one.partition, kind=entry.kind, description=description
        )
    else:
        await store.set_variable(entry.name, one.value, ctx, partition=one.partition, description=description)
