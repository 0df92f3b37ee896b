"""``memql secret`` and ``memql variable``: what bodies read with ``secret(..)`` and ``var(..)``."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from memql.cli.output import say, show_json, show_table
from memql.cli.sealed import ManifestOption
from memql.cli.seeding import given_values, seeding_plan, sow

if TYPE_CHECKING:
    from memql.engine.context import RequestContext
    from memql.engine.write import ValueStore

__all__ = ["register"]

_T = TypeVar("_T")
NameArgument = Annotated[str, typer.Argument(help="The name.")]
PartitionOption = Annotated[bool, typer.Option("--partition", help="Of the partition, instead of global.")]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="What it is for.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    secret = typer.Typer(help="Secrets: sealed, never shown again.", no_args_is_help=True, rich_markup_mode=None)
    secret.command("set")(set_secret)
    secret.command("list")(list_secrets)
    secret.command("seed")(seed)
    secret.command("export")(export)
    app.add_typer(secret, name="secret")
    app.add_typer(secret, name="secrets", hidden=True)
    variable = typer.Typer(help="Variables of the tree's bodies.", no_args_is_help=True, rich_markup_mode=None)
    variable.command("set")(set_variable)
    variable.command("list")(list_variables)
    app.add_typer(variable, name="variable")


def set_secret(
    name: NameArgument,
    kind: Annotated[str | None, typer.Option("--kind", help="vendor_api_key, oauth_secret or integration.")] = None,
    partition: PartitionOption = False,
    description: DescriptionOption = None,
) -> None:
    """Seal a secret and store it. The value is read from standard input (hidden on a terminal), never from
    the command line."""
    value = _secret_value(name)

    async def work(store: ValueStore, ctx: RequestContext) -> None:
        await store.set_secret(name, value, ctx, partition=partition, kind=kind, description=description)

    _with_store(work)
    say(f"secret {name} is set")


def _secret_value(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read().strip()
    import getpass

    return getpass.getpass(f"{name}: ").strip()


def list_secrets(as_json: JsonOption = False) -> None:
    """List secrets by name and fingerprint."""
    import msgspec

    entries = _with_store(lambda store, ctx: store.secrets(ctx))
    if as_json:
        show_json(msgspec.to_builtins(entries))
        return
    show_table(
        ["NAME", "FINGERPRINT", "SCOPE", "ACTIVE", "KIND", "ROTATED"],
        [
            [one.name, one.fingerprint, _scope(one.partition), _yes(one.active), one.kind, one.rotated_at]
            for one in entries
        ],
    )


def seed(
    env_file: Annotated[Path | None, typer.Option("--env-file", help="NAME=VALUE lines; - reads stdin.")] = None,
    envelope: Annotated[Path | None, typer.Option("--envelope", help="A sealed file instead.")] = None,
    manifest: ManifestOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also set what is set already.")] = False,
) -> None:
    """Store the secrets and variables that the manifest keeps in the graph (scope global or partition).

    Nothing is stored when one that is neither optional nor has a default is missing. What is set already stays.
    """
    from memql.secrets import find_manifest

    found = find_manifest(os.environ, manifest)
    say(f"manifest: {found.source}")
    plan = seeding_plan(found.manifest, given_values(env_file, envelope))
    for name, done in _with_store(lambda store, ctx: sow(plan, store, ctx, overwrite=overwrite)):
        sys.stdout.write(f"{name} {'set' if done else 'kept'}\n")


def export(
    out: Annotated[Path, typer.Option("--out", help="The sealed file to write.")],
    partition: PartitionOption = False,
) -> None:
    """Seal the secrets and variables of the graph into a file, as an envelope under the master key.

    Values are opened in memory only. `memql genesis open` lists the names, `memql secret seed --envelope` takes the
    file back.
    """
    from memql.secrets import format_env, load_master_key, seal_file

    key = load_master_key(os.environ)
    values = _with_store(lambda store, ctx: store.plain(ctx, partition=partition))
    seal_file(out, key, format_env(values))
    say(f"sealed {len(values)} names into {out}")


def set_variable(
    name: NameArgument,
    value: Annotated[str, typer.Argument(help="The value.")],
    partition: PartitionOption = False,
    description: DescriptionOption = None,
) -> None:
    """Set a variable, active from now on."""

    async def work(store: ValueStore, ctx: RequestContext) -> None:
        await store.set_variable(name, value, ctx, partition=partition, description=description)

    _with_store(work)
    say(f"variable {name} is set")


def list_variables(as_json: JsonOption = False) -> None:
    """List variables by name."""
    import msgspec

    entries = _with_store(lambda store, ctx: store.variables(ctx))
    if as_json:
        show_json(msgspec.to_builtins(entries))
        return
    show_table(
        ["NAME", "VALUE", "SCOPE", "ACTIVE", "DESCRIPTION"],
        [[one.name, one.value, _scope(one.partition), _yes(one.active), one.description] for one in entries],
    )


def _with_store(work: Callable[[ValueStore, RequestContext], Awaitable[_T]]) -> _T:
    import anyio

    async def body() -> _T:
        from memql.auth import system
        from memql.cli.boot import boot_settings
        from memql.cli.workbench import open_workbench
        from memql.engine.context import RequestContext
        from memql.engine.write import ValueStore
        from memql.secrets import MasterKey

        settings = boot_settings()
        async with open_workbench(settings) as bench:
            key = MasterKey.from_hex(settings.master_key) if settings.master_key else None
            ctx = RequestContext(actor=system("system:cli"), provenance={"kind": "system", "name": "cli"})
            return await work(ValueStore(bench.writer, bench.database, key), ctx)

    return anyio.run(body)


def _scope(partition: bool) -> str:
    return "partition" if partition else "global"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
