"""What ``memql doctor`` looks at, one check after the other; a failed check never stops the next."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from memql.cli.boot import boot_settings
from memql.config import Settings, describe, unknown_variables
from memql.errors import MemqlError

__all__ = ["CheckResult", "examine"]

Verdict = Literal["ok", "note", "broken"]
_SERVER_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check; ``advice`` says what to do about it."""

    verdict: Verdict
    check: str
    text: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """The members by name."""
        return {"verdict": self.verdict, "check": self.check, "text": self.text, "advice": self.advice}


async def examine() -> list[CheckResult]:
    """Run every check that the settings allow."""
    results = [_python()]
    try:
        settings = boot_settings()
    except MemqlError as error:
        return [*results, CheckResult("broken", "settings", error.message, "set the variable to an allowed value")]
    results.extend(_settings(settings))
    checks: tuple[tuple[str, Callable[[Settings], Awaitable[CheckResult]]], ...] = (
        ("tree", _tree),
        ("database", _database),
        ("node", _node),
    )
    for name, check in checks:
        try:
            results.append(await check(settings))
        except MemqlError as error:
            results.append(CheckResult("broken", name, f"{error.code.value}: {error.message}"))
    return results


def _python() -> CheckResult:
    return CheckResult("ok", "python", f"{platform.python_version()}, {sys.executable}")


def _settings(settings: Settings) -> list[CheckResult]:
    missing = [row.name for row in describe(settings) if row.missing]
    given = sum(row.source != "default" for row in describe(settings))
    results = [
        CheckResult("note", "settings", f"{', '.join(missing)} missing", "memql run needs it; memql up does not")
        if missing
        else CheckResult("ok", "settings", f"{given} given, all valid")
    ]
    for name, known in unknown_variables(os.environ).items():
        if known:
            results.append(CheckResult("note", "settings", f"{name} is not read", f"did you mean {known}?"))
    return results


async def _tree(settings: Settings) -> CheckResult:
    from memql.lang.loader import load_tree, read_sources

    loaded = load_tree(read_sources(settings.dsl_path))
    errors = sum(finding.severity == "error" for finding in loaded.findings)
    if errors:
        return CheckResult("broken", "tree", f"{errors} errors", "memql check shows them")
    assert loaded.catalog is not None
    count = len(loaded.catalog.concepts)
    overlays = ", ".join(map(str, settings.dsl_path)) or "none"
    return CheckResult("ok", "tree", f"{count} concepts, overlays: {overlays}")


async def _database(settings: Settings) -> CheckResult:
    from memql.cli.store import open_store
    from memql.graph.migrator import pending

    async with open_store(settings) as database:
        waiting = await pending(database)
        row = await database.fetch_one("SELECT current_setting('server_version')")
    version = f"PostgreSQL {row[0]}" if row else "PostgreSQL"
    where = "given by DSN" if settings.database_dsn else f"embedded in {settings.home}"
    if not waiting:
        return CheckResult("ok", "database", f"{version}, {where}, schema up to date")
    advice = "memql migrate applies them, and so does the start of a node"
    return CheckResult("note", "database", f"{version}, {where}, {len(waiting)} migrations pending", advice)


async def _node(settings: Settings) -> CheckResult:
    from memql.cli.connection import find_server, open_client

    server, token = os.environ.get("MEMQL_SERVER"), os.environ.get("MEMQL_TOKEN")
    try:
        async with open_client(server, token, _SERVER_PATIENCE) as client:
            address = find_server(server, token).address
            return CheckResult("ok", "node", f"{client.server.node_id} answers at {address}")
    except MemqlError as error:
        return CheckResult("note", "node", error.message, "memql up starts one")
