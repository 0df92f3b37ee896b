"""Commands about .memql sources: check, fmt, sdk-gen, lsp."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.output import say, show_error, show_json
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.lang.catalog import Catalog

__all__ = ["register"]

TreeArgument = Annotated[Path, typer.Argument(help="A directory that holds namespaces, or one file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check")(check)
    app.command("fmt")(fmt)
    app.command("sdk-gen")(sdk_gen)
    app.command("lsp")(lsp)


def check(
    path: Annotated[Path, typer.Argument(help="A directory that holds namespaces; laid over the packaged tree.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Count warnings as errors.")] = False,
) -> None:
    """Load a tree and show every problem in it. Exit code 1 when it would be refused."""
    from memql.lang.excerpt import finding_to_json, render
    from memql.lang.loader import load_tree, read_sources

    sources = read_sources([path])
    findings = load_tree(sources).findings
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    if as_json:
        show_json([finding_to_json(finding) for finding in findings])
    else:
        for finding in findings:
            sys.stdout.write(render(finding, sources) + "\n\n")
    say(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    if errors or (strict and warnings):
        raise typer.Exit(1)


def fmt(
    path: TreeArgument,
    check_only: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 when a file would change.")
    ] = False,
) -> None:
    """Format .memql sources in place. A path of - formats standard input to standard output."""
    from memql.lang.formatter import format_file

    if str(path) == "-":
        sys.stdout.write(format_file(sys.stdin.read(), "<stdin>"))
        return
    changed = broken = 0
    for file in _source_files(path):
        text = _read(file)
        try:
            formatted = format_file(text, str(file))
        except MemqlError as error:
            show_error(error)
            broken += 1
            continue
        if formatted != text:
            changed += 1
            sys.stdout.write(f"{file}\n")
            if not check_only:
                file.write_text(formatted, encoding="utf-8")
    say(f"{_count(changed, 'file')} {'would change' if check_only else 'changed'}")
    if broken or (check_only and changed):
        raise typer.Exit(1)


def _source_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.rglob("*.memql"))
    else:
        yield path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{path} cannot be read: {error}") from error


def sdk_gen(
    path: Annotated[Path, typer.Argument(help="A directory that holds namespaces; laid over the packaged tree.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; standard output unless given.")
    ] = None,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Only these namespaces. May be repeated.")
    ] = None,
) -> None:
    """Write a typed Python module for a tree. It has a function for every query and mutation."""
    from memql.client.sdkgen import generate_module

    module = generate_module(_catalog(path), namespaces=namespace or None)
    if out is None:
        sys.stdout.write(module)
        return
    out.write_text(module, encoding="utf-8")
    say(f"wrote {out}")


def _catalog(path: Path) -> Catalog:
    from memql.lang.loader import load_tree, read_sources

    return load_tree(read_sources([path])).require()


def lsp() -> None:
    """Serve editors: the language server protocol on stdio."""
    from memql.cli.language_server import serve

    serve()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
