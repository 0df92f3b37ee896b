"""Setting and listing secrets and variables (spec "Secrets and variables")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from memql.engine.context import RequestContext
from memql.engine.result import Result
from memql.engine.write.intents import Intent
from memql.engine.write.tables import GLOBAL_SECRET, GLOBAL_VARIABLE, PARTITION_SECRET, PARTITION_VARIABLE, load_tables
from memql.engine.write.writer import GraphWriter
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.ids import SHORT_ID, derived_id
from memql.secrets.box import fingerprint, seal_value
from memql.secrets.keys import MasterKey

__all__ = ["SecretEntry", "ValueStore", "VariableEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableEntry:
    """One variable as it stands."""

    name: str
    value: str
    partition: bool
    active: bool
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretEntry:
    """One secret as it stands, without its value."""

    name: str
    fingerprint: str
    partition: bool
    active: bool
    kind: str
    description: str
    added_by: str
    rotated_at: str


class ValueStore:
    """Sets and lists variables and secrets. A value's plaintext is sealed at once and never read back.

    :param key: the master key; needed only to set a secret.
    """

    def __init__(self, writer: GraphWriter, database: Database, key: MasterKey | None) -> None:
        self._writer = writer
        self._database = database
        self._key = key

    async def set_variable(
        self, name: str, value: str, ctx: RequestContext, *, partition: bool = False, description: str | None = None
    ) -> Result:
        """Set a variable, active from now on.

        :raises MemqlError: ``FORBIDDEN`` below role admin, ``VALIDATION_FAILED`` for a malformed name.
        """
        _require_admin(ctx, "setting a variable")
        concept = PARTITION_VARIABLE if partition else GLOBAL_VARIABLE
        values = {"value": value, "active": True, **_given(description=description)}
        return await self._set(concept, name, values, values, ctx)

    async def set_secret(
        self,
        name: str,
        plaintext: str,
        ctx: RequestContext,
        *,
        partition: bool = False,
        kind: str | None = None,
        description: str | None = None,
    ) -> Result:
        """Seal a secret under the master key and store it, active from now on.

        :raises MemqlError: ``FORBIDDEN`` for anyone but the cluster owner and the system, ``FAILED_PRECONDITION``
            without a master key, ``INVALID_ARGUMENT`` for an empty secret, ``VALIDATION_FAILED`` for a malformed name.
        """
        if self._key is None:
            raise MemqlError(Code.FAILED_PRECONDITION, "a secret cannot be sealed: MEMQL_MASTER_KEY is not set")
        sealed = {
            "encryptedValue": seal_value(self._key, plaintext),
            "fingerprint": fingerprint(plaintext),
            "active": True,
            **_given(kind=kind, description=description),
        }
        concept = PARTITION_SECRET if partition else GLOBAL_SECRET
        added = {**sealed, "addedBy": ctx.actor.created_by}
        return await self._set(concept, name, added, {**sealed, "rotatedAt": ctx.now_text}, ctx)

    async def variables(self, ctx: RequestContext) -> list[VariableEntry]:
        """All variables by name, inactive ones too.

        :raises MemqlError: ``FORBIDDEN`` below role admin.
        """
        _require_admin(ctx, "listing variables")
        return [
            VariableEntry(
                name=payload["name"],
                value=payload["value"],
                partition=concept == PARTITION_VARIABLE,
                active=payload.get("active", True),
                description=payload.get("description", ""),
            )
            for concept, payload in await self._rows("memory_heads", [GLOBAL_VARIABLE, PARTITION_VARIABLE])
        ]

    async def secrets(self, ctx: RequestContext) -> list[SecretEntry]:
        """All secrets by name, inactive ones too, without their values.

        :raises MemqlError: ``FORBIDDEN`` for anyone but the cluster owner and the system.
        """
        if not ctx.actor.bypasses_row_rules:
            raise MemqlError(Code.FORBIDDEN, "only the cluster owner may list secrets")
        return [
            SecretEntry(
                name=payload["name"],
                fingerprint=payload["fingerprint"],
                partition=concept == PARTITION_SECRET,
                active=payload.get("active", True),
                kind=payload.get("kind", ""),
                description=payload.get("description", ""),
                added_by=payload.get("addedBy", ""),
                rotated_at=payload.get("rotatedAt", ""),
            )
            for concept, payload in await self._rows("secret_memory_heads", [GLOBAL_SECRET, PARTITION_SECRET])
        ]

    async def plain(self, ctx: RequestContext, *, partition: bool = False) -> dict[str, str]:
        """The active secrets, opened, and variables of one scope; for whoever seals them elsewhere at once.

        :raises MemqlError: ``FORBIDDEN`` for anyone but the system, ``FAILED_PRECONDITION`` without the master key or
            when a secret was sealed under another.
        """
        if not ctx.actor.is_system:
            raise MemqlError(Code.FORBIDDEN, "opened secrets leave the system only sealed, by its own commands")
        tables = await load_tables(self._database, self._key)
        scope = (PARTITION_VARIABLE, PARTITION_SECRET) if partition else (GLOBAL_VARIABLE, GLOBAL_SECRET)
        return {name: tables.value(concept, name) for concept, name in sorted(tables.values) if concept in scope}

    async def _rows(self, table: LiteralString, concepts: list[str]) -> list[tuple[Any, ...]]:
        return await self._database.fetch(
            f"SELECT concept, payload FROM {table} WHERE concept = ANY(%s) AND NOT deleted "
            "ORDER BY payload ->> 'name', concept",
            (concepts,),
        )

    async def _set(
        self, concept: str, name: str, added: Mapping[str, Any], changed: Mapping[str, Any], ctx: RequestContext
    ) -> Result:
        """Update the live row of that name, or insert one."""
        rules = self._writer.rules(concept)
        row = await self._database.fetch_one(
            f"SELECT id FROM {rules.store.heads} WHERE concept = %s AND NOT deleted AND payload ->> 'name' = %s",
            (concept, name),
        )
        if row is not None:
            return await self._writer.run(Intent(kind="update", rules=rules, id=row[0], payload=changed), ctx)
        short = name if SHORT_ID.fullmatch(name) else derived_id(concept, name)
        return await self._writer.run(
            Intent(kind="insert", rules=rules, id=short, payload={"name": name, **added}), ctx
        )


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _require_admin(ctx: RequestContext, what: str) -> None:
    if not ctx.actor.has_role("admin"):
        raise MemqlError(Code.FORBIDDEN, f"{what} needs role admin or above; yours is {ctx.actor.role!r}")
