"""``memql genesis``: seal, open and verify the genesis envelope (spec "Secrets")."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.output import say, show_table
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.secrets import MasterKey

__all__ = ["ManifestOption", "register"]

EnvelopeArgument = Annotated[
    Path | None,
    typer.Argument(help="The sealed file; MEMQL_GENESIS_PATH, else ~/.memql/genesis.znas, unless given."),
]

ManifestOption = Annotated[
    Path | None,
    typer.Option("--manifest", help="The manifest; MEMQL_MANIFEST_PATH, else the packaged one, unless given."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    genesis = typer.Typer(
        help="The genesis envelope: shared settings, sealed.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    genesis.command("seal")(seal)
    genesis.command("open")(open_envelope)
    genesis.command("verify")(verify)
    app.add_typer(genesis, name="genesis")


def seal(
    env_file: Annotated[Path, typer.Option("--env-file", help="NAME=VALUE lines to seal; - reads standard input.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; the default place unless given.")] = None,
    manifest: ManifestOption = None,
    base64: Annotated[bool, typer.Option("--base64", help="Also write the envelope as base64 to stdout.")] = False,
    sync_shell: Annotated[
        bool, typer.Option("--sync-shell", help="Have new shells open this envelope; that writes the key to a file.")
    ] = False,
    sync_source: Annotated[
        Path | None, typer.Option("--sync-source", help="The start-up file to write; that of $SHELL unless given.")
    ] = None,
) -> None:
    """Seal an environment file.

    The first time, without MEMQL_MASTER_KEY, a key is made and shown once. An existing envelope is replaced
    only by the key that opens it. A text that lacks a name of the manifest's floor is not sealed.
    """
    from memql.secrets import parse_env, seal_file

    path = out or _default_path()
    text = _read_text(env_file)
    _require_floor(text, manifest)
    profile = _profile(sync_source) if sync_shell else None
    key, fresh = _key_for_sealing(path)
    blob = seal_file(path, key, text)
    if fresh:
        say("no master key was set; keep this one, it is not shown again:")
        sys.stdout.write(f"MEMQL_MASTER_KEY={key.to_hex()}\n")
    if base64:
        from base64 import b64encode

        sys.stdout.write(b64encode(blob).decode() + "\n")
    say(f"sealed {len(parse_env(text))} names into {path}")
    if profile is not None:
        _sync(profile, path, key)


def _require_floor(text: str, path: Path | None) -> None:
    from memql.secrets import find_manifest, parse_env

    found = find_manifest(os.environ, path)
    say(f"manifest: {found.source}")
    missing = found.manifest.missing(name for name, value in parse_env(text).items() if value.strip())
    if missing:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"not sealed: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, and the manifest "
            f"({found.source}) has neither a default nor optional there",
            details={"missing": missing, "manifest": found.source},
        )


def _profile(named: Path | None) -> Path:
    from memql.cli.shell_profile import profile_of_shell

    return named or profile_of_shell(os.environ)


def _sync(profile: Path, envelope: Path, key: MasterKey) -> None:
    from memql.cli.shell_profile import write_block
    from memql.secrets import MASTER_KEY_VARIABLE

    values = {
        "MEMQL_GENESIS_AUTOLOAD": "true",
        "MEMQL_GENESIS_PATH": str(envelope.absolute()),
        MASTER_KEY_VARIABLE: key.to_hex(),
    }
    write_block(profile, values)
    say(f"{profile} exports {', '.join(values)}; it holds the key now, keep it to yourself")


def open_envelope(
    path: EnvelopeArgument = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Write the environment text as it was sealed, values and all.")
    ] = False,
) -> None:
    """Show what an envelope holds: the names, and values only with --reveal."""
    from memql.config import mask
    from memql.secrets import parse_env

    text = _opened(path)
    if reveal:
        sys.stdout.write(text)
        return
    show_table(["NAME", "VALUE"], [[name, mask(value)] for name, value in parse_env(text).items()])


def verify(path: EnvelopeArgument = None) -> None:
    """Check that the key opens an envelope and that its text is sound. Exit code 1 when not."""
    from memql.secrets import parse_env

    say(f"{path or _default_path()} opens and holds {len(parse_env(_opened(path)))} names")


def _opened(path: Path | None) -> str:
    from memql.secrets import load_master_key, open_envelope, read_sealed

    return open_envelope(load_master_key(os.environ), read_sealed(path or _default_path()))


def _key_for_sealing(path: Path) -> tuple[MasterKey, bool]:
    from memql.secrets import MASTER_KEY_VARIABLE, MasterKey, load_master_key

    if os.environ.get(MASTER_KEY_VARIABLE) or path.exists():
        return load_master_key(os.environ), False
    return MasterKey.generate(), True


def _default_path() -> Path:
    named = os.environ.get("MEMQL_GENESIS_PATH", "").strip()
    return Path(named or "~/.memql/genesis.znas").expanduser()


def _read_text(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{path} cannot be read: {error}") from error
