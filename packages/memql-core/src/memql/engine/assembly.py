"""Putting an engine together: the executors behind the facade, over one database."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from memql.auth import system
from memql.engine.caching import AnswerCache
from memql.engine.context import RequestContext
from memql.engine.engine import Engine, Executors
from memql.engine.freshness import Freshness
from memql.engine.introspection import introspection
from memql.engine.logic import Policies, PolicyRecords, Publisher, Runner
from memql.engine.read import GraphReader, Listings
from memql.engine.read.cursors import CursorCodec
from memql.engine.tools.builtins import Builtins
from memql.engine.tools.dispatch import Dispatcher
from memql.engine.tools.model_ports import Credential, CredentialLookup, KeySource
from memql.engine.tools.models import Models
from memql.engine.tools.standard import register_standard
from memql.engine.values import ValueTables
from memql.engine.write import GraphWriter
from memql.engine.write.preview import Preview
from memql.engine.write.variables import ValueStore
from memql.events.event import Event
from memql.events.masking import SecretMask
from memql.events.outbox import Outbox
from memql.graph.database import Database
from memql.lang.catalog import Catalog
from memql.secrets.keys import MasterKey

__all__ = ["build_engine"]

_PREFIX: Final = "MEMQL_SI_"
_MODELS: Final = RequestContext(actor=system("system:models"))


def build_engine(
    database: Database,
    catalog: Catalog,
    *,
    publish: Callable[[Event], None],
    node: str = "local",
    master_key: MasterKey | None = None,
    cursor_key: bytes | None = None,
    max_results: int = 10_000,
    salt: str = "",
    environ: Mapping[str, str] = os.environ,
    model_defaults: Mapping[str, str] | None = None,
) -> Engine:
    """An engine over a migrated database.

    :param publish: takes each event after its commit, for the bus; must not wait.
    :param node: the id of this node, recorded with the events it keeps.
    :param cursor_key: signs cursors; nodes that serve the same clients share it. Random when not given.
    :param max_results: the default and largest page, rows.
    :param salt: mixed into ids derived from content.
    :param environ: where providers' keys are looked up last.
    :param model_defaults: the provider or routing policy of a modality when a call names none.
    """

    signing_key = cursor_key or secrets.token_bytes(32)
    cache = AnswerCache()

    def executors(engine: Engine) -> Executors:
        def current() -> Catalog:
            return engine.catalog

        async def tables(ctx: RequestContext) -> ValueTables:
            return await writer.tables(ctx)

        async def ask_model(name: str, data: Mapping[str, Any], ctx: RequestContext, **options: Any) -> Any:
            return await models.run(name, data, ctx, **options)

        reader = GraphReader(
            database,
            current,
            signing_key=signing_key,
            max_results=max_results,
            load_tables=tables,
            ask_model=ask_model,
            cache=cache,
        )

        def published(event: Event) -> None:
            # Before anyone who hears of the write asks again.
            if event.topic.startswith("graph."):
                cache.evict(str(event.payload.get("concept", "")))
            publish(event)

        writer: GraphWriter = GraphWriter(
            database, current, published, reader=lambda: reader, master_key=master_key, salt=salt
        )
        models: Models = Models(
            current,
            _credentials(writer, environ),
            variable=partial(_global_variable, writer),
            defaults=model_defaults,
            publish=published,
        )
        policies = Policies(
            engine,
            writer.tables,
            records=PolicyRecords(writer.create, SecretMask(current)),
            cache=cache,
            reads=reader.concepts_of,
        )
        publisher = Publisher(Outbox(database, node), published)
        logic = Runner(engine, database, publisher, tables=writer.tables, models=models, policies=policies)
        builtins = Builtins(introspection(current, Preview(writer, database)))
        register_standard(builtins)
        return Executors(
            reader=reader,
            listings=Listings(current, CursorCodec(signing_key), max_results),
            writer=writer,
            logic=logic,
            policies=policies,
            builtins=builtins,
            models=models,
            tools=Dispatcher(current, engine.invoke, engine.run),
            values=ValueStore(writer, database, master_key),
            cache=cache,
            freshness=Freshness(database, cache),
        )

    return Engine(catalog, executors)


def _credentials(writer: GraphWriter, environ: Mapping[str, str]) -> CredentialLookup:
    """How a provider's ``env("NAME")`` is found: global secret, global variable, environment, each also without the
    prefix ``MEMQL_SI_``."""

    async def look_up(name: str) -> Credential | None:
        tables = await writer.tables(_MODELS)
        names = [name, name.removeprefix(_PREFIX)] if name.startswith(_PREFIX) else [name]
        stores: tuple[tuple[KeySource, Callable[[str], str | None]], ...] = (
            ("global", lambda candidate: tables.secret(candidate, system_only=True)),
            ("global", lambda candidate: tables.variable(candidate, system_only=True)),
            ("env", environ.get),
        )
        for source, find in stores:
            for candidate in names:
                if value := find(candidate):
                    return Credential(value, source)
        return None

    return look_up


async def _global_variable(writer: GraphWriter, name: str) -> str | None:
    return (await writer.tables(_MODELS)).variable(name, system_only=True)
