"""Commands that look at this installation: env, version, doctor."""

from __future__ import annotations

import os
import platform
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memql.cli.output import say, show_json, show_table
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memql.config import Layer, SettingRow, Settings

__all__ = ["Format", "register"]


class Format(str, Enum):
    """How ``memql env`` writes."""

    TABLE = "table"
    JSON = "json"
    DOTENV = "dotenv"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("env")(env)
    app.command("doctor")(doctor)
    app.command("version")(version)


def env(
    role: Annotated[str | None, typer.Option("--role", help="As if that role were to start.")] = None,
    format: Annotated[Format, typer.Option("--format", help="table, json or dotenv.")] = Format.TABLE,
    only: Annotated[str | None, typer.Option("--only", help="Names that contain this text.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 if something required is missing.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets as they are; on a terminal only.")] = False,
) -> None:
    """Show the configuration and where each value comes from. It is what a node would start with here."""
    from memql.cli.boot import boot_layers
    from memql.config import Layer, describe, load_settings

    if reveal and not sys.stdout.isatty():
        raise MemqlError(Code.FAILED_PRECONDITION, "--reveal shows secrets on a terminal only; this is none")
    layers = boot_layers(os.environ, Path.cwd())
    if role:
        layers.insert(0, Layer("--role", {"MEMQL_NODE_TYPE": role}))
    settings = load_settings(layers=layers)
    rows = describe(settings, reveal=reveal)
    shown = [row for row in rows if not only or only.upper() in row.name]
    _show_settings(shown, format)
    missing = [row.name for row in rows if row.missing]
    missing += _missing_by_manifest(settings, layers)
    for name in dict.fromkeys(missing):
        say(f"missing: {name} is required here")
    if check and missing:
        raise typer.Exit(1)


def _missing_by_manifest(settings: Settings, layers: Sequence[Layer]) -> list[str]:
    """What the manifest requires of the role and nothing here gives; on a development machine it requires nothing."""
    from memql.secrets import find_manifest

    if settings.explicit_development:
        return []
    named = {} if settings.manifest_path is None else {"MEMQL_MANIFEST_PATH": str(settings.manifest_path)}
    given = {name for layer in layers for name, value in layer.values.items() if value.strip()}
    return find_manifest(named).manifest.required(settings.node_type or "", given)


def _show_settings(rows: list[SettingRow], format: Format) -> None:
    if format is Format.JSON:
        show_json(
            [
                {"name": row.name, "value": row.value, "source": row.source, "required": row.required, "doc": row.doc}
                for row in rows
            ]
        )
    elif format is Format.DOTENV:
        from memql.secrets import format_env

        given = {row.name: row.value for row in rows if row.source != "default"}
        sys.stdout.write(format_env(given))
    else:
        table = [[row.name, row.value, row.source, "yes" if row.required else ""] for row in rows]
        show_table(["NAME", "VALUE", "SOURCE", "REQUIRED"], table)


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what is installed."""
    installed = _distributions()
    if as_json:
        show_json({**installed, "python": platform.python_version()})
        return
    for name, number in installed.items():
        sys.stdout.write(f"{name} {number}\n")
    sys.stdout.write(f"python {platform.python_version()}\n")


def _distributions() -> dict[str, str]:
    from importlib import metadata

    found = {
        distribution.name: distribution.version
        for distribution in metadata.distributions()
        if distribution.name.startswith("memql-")
    }
    return dict(sorted(found.items(), key=lambda item: (item[0] != "memql-core", item[0])))


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Check this machine: settings, tree, database, node. Exit code 1 when something is broken."""
    import anyio

    from memql.cli.examination import examine

    findings = anyio.run(examine)
    if as_json:
        show_json([finding.to_json() for finding in findings])
    else:
        show_table(["", "CHECK", "RESULT"], [[one.verdict, one.check, one.text] for one in findings])
        _show_advice(findings)
    if any(one.verdict == "broken" for one in findings):
        raise typer.Exit(1)


def _show_advice(findings: list[Any]) -> None:
    for one in findings:
        if one.advice:
            say(f"{one.check}: {one.advice}")
