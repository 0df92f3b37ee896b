"""Commands that other distributions bring: found by entry point, loaded when asked for, missed with advice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import typer

from memql.cli import plugins


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Have entry points in place of the installed ones; the names that were loaded are given back."""
    loaded: list[str] = []

    def install(**registers: Any) -> list[str]:
        def load(point: EntryPoint) -> Any:
            loaded.append(point.name)
            found = registers[point.name.replace("-", "_")]
            if isinstance(found, Exception):
                raise found
            return found

        points = [EntryPoint(name.replace("_", "-"), f"some.module:{name}", plugins.ENTRY_POINTS) for name in registers]
        monkeypatch.setattr(plugins, "entry_points", lambda group: points)
        monkeypatch.setattr(EntryPoint, "load", load)
        plugins._installed.cache_clear()
        return loaded

    yield install
    plugins._installed.cache_clear()


def greet(app: typer.Typer) -> None:
    def hello(name: str) -> None:
        """Greet somebody."""
        typer.echo(f"hello {name}")

    app.command("hello")(hello)


def test_a_command_of_another_wheel_runs(memql: Any, bring: Callable[..., list[str]]) -> None:
    bring(hello=greet)
    outcome = memql("hello", "you")
    assert (outcome.code, outcome.out) == (0, "hello you\n")


def test_nothing_is_loaded_until_it_is_asked_for(memql: Any, bring: Callable[..., list[str]]) -> None:
    loaded = bring(hello=greet)
    assert memql("version").code == 0
    assert not loaded
    outcome = memql("--help")
    assert loaded == ["hello"]
    assert "Greet somebody." in outcome.out


def test_our_own_commands_cannot_be_replaced(memql: Any, bring: Callable[..., list[str]]) -> None:
    loaded = bring(version=greet)
    assert memql("version").out.startswith("memql-core")
    assert not loaded


def test_a_command_that_cannot_be_loaded_is_named(memql: Any, bring: Callable[..., list[str]]) -> None:
    bring(hello=ImportError("no such thing"), other=greet)
    outcome = memql("hello", "you")
    assert outcome.code == 1
    assert (
        "error CONFIG_INVALID: the command 'hello' (some.module:hello) cannot be loaded: no such thing" in outcome.err
    )
    assert "does not add the command 'other'" in memql("other").err


@pytest.mark.parametrize(
    "arguments", [("token", "mint", "--class", "node"), ("keys", "status"), ("node-token", "--help")]
)
def test_a_known_command_that_is_not_installed_says_what_to_install(
    memql: Any, bring: Callable[..., list[str]], arguments: tuple[str, ...]
) -> None:
    bring()
    outcome = memql(*arguments)
    assert outcome.code == 1
    assert "pip install memql-identity" in outcome.err


def test_the_commands_of_our_own_wheels_import_little() -> None:
    program = """
import sys
from importlib.metadata import entry_points
for point in entry_points(group="memql.commands"):
    point.load()
heavy = "pydantic grpc aiohttp lark psycopg msgspec cryptography jwt anyio".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
